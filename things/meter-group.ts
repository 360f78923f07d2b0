/** One group of a meter: its membership list, its place in the ring, and one step at a time, each on disk before it is answered. */
import { equalBytes } from '../crypto/bytes.js';
import { ConflictError } from '../crypto/errors.js';
import { assertSucceeds, isFuller, type Membership, type Renewal } from '../crypto/membership.js';
import type { VerifiedEndorsement } from '../crypto/ring/endorsement.js';
import type { MemberContext, MemberStep } from '../crypto/ring/member-context.js';
import { onEndorsement } from '../crypto/ring/member-endorsement.js';
import { encodeMemberState, type MemberState } from '../crypto/ring/member-state.js';
import { onMembership, onTime } from '../crypto/ring/member.js';
import type { Parts } from './parts.js';
import { Serial } from './serial.js';
import type { MeterStore } from './stores.js';

/** A round of the ring as the member takes it. */
export type MemberRound = (context: MemberContext, state: MemberState, message: Uint8Array) => MemberStep;

export interface MeterGroupParts extends Parts {
  readonly store: MeterStore;
  /** Hears of every state that replaced another, once it is on disk. */
  readonly onStep: (before: MemberState, after: MemberState) => void;
  /** A list has another certificate in the place of this one: whoever runs the meter takes it, and loads it anew. */
  readonly onRenewal?: ((renewal: Renewal) => void) | undefined;
  /** Since when the state is that of a backup, Unix seconds; undefined where it is not. */
  readonly restoredS?: number | undefined;
}

/** How long a group looks for a list that was named to it: whoever forges an announcement has it ask that long, no more. */
const unlistedForS = 60;

export class MeterGroup {
  readonly #parts: MeterGroupParts;
  readonly #serial = new Serial();
  #state: MemberState;
  #membership: Membership | undefined;
  #changedS: number;
  #unlistedS: number | undefined;

  /** `membership` is undefined when the stored list is not valid now: the high water mark is kept all the same. */
  constructor(parts: MeterGroupParts, state: MemberState, membership: Membership | undefined) {
    this.#parts = parts;
    this.#state = state;
    this.#membership = membership;
    this.#changedS = parts.nowS();
  }

  get state(): MemberState {
    return this.#state;
  }

  get membership(): Membership | undefined {
    return this.#membership;
  }

  /** Since when nothing has come that the group waits for: a key, the end of a round, the backend's word for a key, a list. */
  get waitingSinceS(): number | undefined {
    const { round, active } = this.#state;
    const unlistedS = this.#unlistedS ?? -Infinity;
    if (this.#parts.nowS() - unlistedS < unlistedForS) return unlistedS;
    return round.kind === 'idle' && active?.provisional === false ? undefined : this.#changedS;
  }

  /** @throws ConflictError `membership-unknown` when the list that is kept is not valid now; what the round throws */
  take(round: MemberRound, message: Uint8Array): Promise<Uint8Array> {
    return this.#serial.run(async () => {
      const step = this.#stepOf(round, message);
      await this.#keep(step);
      return step.reply;
    });
  }

  #stepOf(round: MemberRound, message: Uint8Array): MemberStep {
    try {
      if (!this.#membership) {
        throw new ConflictError('membership-unknown', 'no valid membership list of the group is known here');
      }
      return round(this.#context(this.#membership), this.#state, message);
    } catch (error) {
      const isUnlisted = error instanceof ConflictError && error.code === 'membership-unknown';
      if (isUnlisted) this.#unlistedS = this.#parts.nowS();
      throw error;
    }
  }

  /**
   * A copy of the list that is held takes its place only where it brings more certificates.
   * @throws ConflictError `membership-rollback`, `membership-conflict`, `membership-succession`
   */
  updateMembership(membership: Membership, bundle: Uint8Array): Promise<Uint8Array> {
    return this.#serial.run(async () => {
      const step = onMembership(this.#state, membership);
      const known = this.#membership;
      if (known) assertSucceeds(membership.list, known.list);
      const isCopy = known && equalBytes(known.listHash, membership.listHash);
      if (isCopy && !isFuller(membership, known, this.#parts.nowS())) return step.reply;
      await this.#parts.store.saveMembership(membership.list.gid, bundle, encodeMemberState(step.state));
      this.#membership = membership;
      this.#unlistedS = undefined;
      this.#adopt(step);
      return step.reply;
    });
  }

  /** @throws ConflictError as `onEndorsement` */
  endorse(endorsement: VerifiedEndorsement): Promise<Uint8Array> {
    return this.#serial.run(async () => {
      const step = onEndorsement(this.#state, endorsement);
      await this.#keep(step);
      return step.reply;
    });
  }

  /** Gives up rounds and old keys whose time has passed. */
  tick(): Promise<void> {
    return this.#serial.run(() => this.#keep(onTime(this.#state, this.#parts.nowS())));
  }

  #context(membership: Membership): MemberContext {
    const { suite, identity, nowS, random } = this.#parts;
    return { suite, self: identity, membership, nowS: nowS(), random };
  }

  /** Saves before anything is answered; what did not change is on disk already. */
  async #keep(step: MemberStep): Promise<void> {
    if (step.state !== this.#state) {
      await this.#parts.store.saveMember(step.state.gid, encodeMemberState(step.state));
    }
    this.#adopt(step);
  }

  #adopt({ state, consumed }: MemberStep): void {
    const before = this.#state;
    this.#state = state;
    wipe(consumed);
    if (before === state) return;
    this.#changedS = this.#parts.nowS();
    this.#parts.onStep(before, state);
  }
}

/** No more than JavaScript allows: copies that the runtime made elsewhere are out of reach (SECURITY.md). */
export function wipe(secrets: readonly Uint8Array[]): void {
  for (const secret of secrets) secret.fill(0);
}
