/** Epoch after epoch of a group whose coordinator and members are all in memory, with nothing between them. */
import {
  announce,
  closeShares,
  onConfirmation,
  onShare,
  onToken,
  type CoordinatorContext,
} from '../crypto/ring/coordinator.js';
import type { MemberContext, MemberStep } from '../crypto/ring/member-context.js';
import { newMemberState, type EpochKey, type MemberState } from '../crypto/ring/member-state.js';
import { onAnnouncement, onConfirmations, onRoster, onTokens } from '../crypto/ring/member.js';
import { nowS, random, type Deployment } from './deployment.js';

/** Runs a part of an epoch: that of all members in one round, or of the coordinator between two. */
export type Measure = <T>(part: 'members' | 'coordinator', work: () => T) => T;

/** Every message of an epoch; arrays have one of each member. */
export interface EpochMessages {
  readonly announcement: Uint8Array;
  readonly shares: readonly Uint8Array[];
  readonly roster: Uint8Array;
  readonly tokens: readonly Uint8Array[];
  readonly tokenBundle: Uint8Array;
  readonly confirmations: readonly Uint8Array[];
  readonly confirmationBundle: Uint8Array;
  readonly record: Uint8Array;
}

interface Member {
  readonly context: MemberContext;
  state: MemberState;
}

type Round = (context: MemberContext, state: MemberState, message: Uint8Array) => MemberStep;

export class Group {
  readonly #coordinator: CoordinatorContext;
  readonly #members: readonly Member[];
  #epoch = 0;

  constructor({ suite, membership, gateway, meters, gid }: Deployment) {
    const shared = { suite, membership, nowS: nowS(), random };
    this.#coordinator = { ...shared, self: gateway };
    this.#members = meters.map((self) => ({ context: { ...shared, self }, state: newMemberState(gid) }));
  }

  /** The key of the first member. @throws TypeError before the first epoch */
  get activeKey(): EpochKey {
    const active = this.#members[0]?.state.active;
    if (!active) throw new TypeError('no epoch was run yet');
    return active;
  }

  /** Runs the three rounds and the activation. @throws GridringError when a member or the coordinator refuses */
  run(measure: Measure): EpochMessages {
    const context = this.#coordinator;
    const plan = { epoch: ++this.#epoch, attempt: 1, reason: 'periodic', expiryS: context.nowS + 300 } as const;

    const announced = measure('coordinator', () => announce(context, plan));
    const announcement = announced.announcementMessage;
    const shares = measure('members', () => this.#all(onAnnouncement, announcement));
    const inSession = measure('coordinator', () =>
      closeShares(
        context,
        shares.reduce((state, share) => onShare(context, state, share), announced),
      ),
    );
    const tokens = measure('members', () => this.#all(onRoster, inSession.rosterMessage));
    const confirming = measure('coordinator', () =>
      tokens.reduce<ReturnType<typeof onToken>>(
        (state, token) => (state.kind === 'tokens' ? onToken(context, state, token) : state),
        inSession,
      ),
    );
    if (confirming.kind !== 'confirmations') throw new TypeError(`an honest ring ended in ${confirming.kind}`);
    const confirmations = measure('members', () => this.#all(onTokens, confirming.tokensMessage));
    const published = measure('coordinator', () =>
      confirmations.reduce<ReturnType<typeof onConfirmation>>(
        (state, message) => (state.kind === 'confirmations' ? onConfirmation(context, state, message) : state),
        confirming,
      ),
    );
    if (published.kind !== 'published') throw new TypeError(`an honest ring ended in ${published.kind}`);
    measure('members', () => this.#all(onConfirmations, published.confirmationsMessage));
    return {
      announcement,
      shares,
      roster: inSession.rosterMessage,
      tokens,
      tokenBundle: confirming.tokensMessage,
      confirmations,
      confirmationBundle: published.confirmationsMessage,
      record: published.record,
    };
  }

  #all(round: Round, message: Uint8Array): readonly Uint8Array[] {
    return this.#members.map((member) => {
      const { state, reply, consumed } = round(member.context, member.state, message);
      member.state = state;
      for (const secret of consumed) secret.fill(0);
      return reply;
    });
  }
}
