/** Epoch after epoch of a group whose coordinator and members are all in memory, with nothing between them. */
import { toHex } from '../crypto/bytes.js';
import { CertificateCache } from '../crypto/certificate/cache.js';
import type { Membership } from '../crypto/membership.js';
import type { CoordinatorContext } from '../crypto/ring/coordinator-state.js';
import { announce, closeShares, onConfirmation, onShare, onToken } from '../crypto/ring/coordinator.js';
import type { MemberContext, MemberStep } from '../crypto/ring/member-context.js';
import { encodeMemberState, newMemberState, type EpochKey, type MemberState } from '../crypto/ring/member-state.js';
import { onAnnouncement, onConfirmations, onMembership, onRoster, onTokens } from '../crypto/ring/member.js';
import type { Identity } from '../things/parts.js';
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
  readonly certificateCache: CertificateCache;
  context: MemberContext;
  state: MemberState;
}

type Round = (context: MemberContext, state: MemberState, message: Uint8Array) => MemberStep;

export class Group {
  readonly #deployment: Deployment;
  /** Everybody who ever was in the group, by certHash in hex. */
  readonly #known = new Map<string, Member>();
  /** The coordinator's. */
  readonly #certificateCache = new CertificateCache();
  #coordinator: CoordinatorContext;
  /** Those of the newest list. */
  #members: readonly Member[];
  #epoch = 0;

  constructor(deployment: Deployment) {
    const { suite, membership, gateway, meters } = deployment;
    this.#deployment = deployment;
    this.#coordinator = { suite, membership, self: gateway, nowS: nowS(), random };
    this.#members = meters.map((self) => this.#member(self));
  }

  /** The keys of those who are in the newest list. @throws TypeError when one has none yet */
  get activeKeys(): readonly EpochKey[] {
    return this.#members.map(({ state: { active } }) => {
      if (!active) throw new TypeError('a member without a key');
      return active;
    });
  }

  /** What the first member keeps on disk. */
  get memberState(): Uint8Array {
    const [first] = this.#members;
    if (!first) throw new TypeError('a group without members');
    return encodeMemberState(first.state);
  }

  /** Goes on with just these members, under a newer list; each verifies it by a call of its own. @throws GridringError */
  adopt(meters: readonly Identity[], verify: (certificateCache: CertificateCache) => Membership): void {
    this.#coordinator = { ...this.#coordinator, membership: verify(this.#certificateCache) };
    this.#members = meters.map((self) => this.#member(self));
    for (const member of this.#members) {
      const membership = verify(member.certificateCache);
      member.context = { ...member.context, membership };
      member.state = onMembership(member.state, membership).state;
    }
  }

  #member(self: Identity): Member {
    const { suite, membership, gid } = this.#deployment;
    const known = this.#known.get(toHex(self.certHash));
    if (known) return known;
    const made = {
      certificateCache: new CertificateCache(),
      context: { suite, membership, self, nowS: nowS(), random },
      state: newMemberState(gid),
    };
    this.#known.set(toHex(self.certHash), made);
    return made;
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
