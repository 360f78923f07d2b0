/**
 * One attempt at an epoch: what members answer goes in, by whichever way it came, and the coordinator's next message goes
 * out to all of them. Whoever runs it says how long a round may take.
 */
import { ConflictError, GridringError, UnavailableError, VerificationError } from '../crypto/errors.js';
import { findEntry } from '../crypto/membership.js';
import {
  allSharesIn,
  announce,
  closeShares,
  currentMessage,
  missing,
  onConfirmation,
  onShare,
  onToken,
  type CoordinatorContext,
  type CoordinatorState,
  type Published,
} from '../crypto/ring/coordinator.js';
import type { Reason } from '../crypto/ring/messages.js';

export type MemberAction = 'rekey' | 'agree' | 'confirm' | 'activate' | 'updateMembership';

/** Reaches members' Things; how is for the servient that gives it. */
export interface Members {
  /**
   * Invokes a message action of a member.
   * @throws GridringError with the peer's own code where it refused, UnavailableError `unreachable` where it is silent
   */
  invoke(member: Uint8Array, action: MemberAction, message: Uint8Array): Promise<Uint8Array>;
}

export interface EpochRunParts {
  /** Made anew for each step: it holds the time. */
  readonly context: () => CoordinatorContext;
  /** The newest list with its certificates, for members that do not know it. */
  readonly membershipBundle: Uint8Array;
  readonly members: Members;
  readonly roundDeadlineMs: number;
  /** Resolves after the time, or at once when the signal is aborted. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Hears of every member that did not answer or whose answer was refused. */
  readonly onMemberFailed: (member: Uint8Array, action: MemberAction, error: unknown) => void;
  readonly onProgress: () => void;
}

export interface EpochPlan {
  readonly epoch: number;
  readonly attempt: number;
  readonly reason: Reason;
  readonly expiryS: number;
}

const activationTries = 4;

export class EpochRun {
  readonly #parts: EpochRunParts;
  readonly #stopped = new AbortController();
  #state: CoordinatorState;
  #roundClosed = new AbortController();

  constructor(parts: EpochRunParts, plan: EpochPlan) {
    this.#parts = parts;
    this.#state = announce(parts.context(), plan);
  }

  get state(): CoordinatorState {
    return this.#state;
  }

  /** What a member that cannot be called, or missed it, asks for. */
  get currentMessage(): Uint8Array {
    return currentMessage(this.#state);
  }

  stop(): void {
    this.#stopped.abort();
  }

  /**
   * Takes a member's share, token or confirmation, asked for or sent on its own initiative.
   * @throws MalformedError, VerificationError, ConflictError `wrong-round`
   */
  accept(message: Uint8Array): void {
    const context = this.#parts.context();
    const before = this.#state.kind;
    switch (this.#state.kind) {
      case 'shares':
        this.#state = onShare(context, this.#state, message);
        if (allSharesIn(context, this.#state)) this.#roundClosed.abort();
        break;
      case 'tokens':
        this.#state = onToken(context, this.#state, message);
        break;
      case 'confirmations':
        this.#state = onConfirmation(context, this.#state, message);
        break;
      case 'inconsistent':
      case 'published':
        throw new ConflictError('wrong-round', 'no round is open');
    }
    if (this.#state.kind !== before) this.#roundClosed.abort();
  }

  /**
   * Runs the three rounds.
   * @returns the published epoch
   * @throws VerificationError `roster-minority`; ConflictError `members-missing`, `tokens-inconsistent`
   */
  async run(): Promise<Published> {
    const { context } = this.#parts;
    await this.#round('rekey', this.#listedMembers());
    if (this.#state.kind === 'shares') this.#state = closeShares(context(), this.#state);
    this.#parts.onProgress();
    if (this.#state.kind === 'tokens') await this.#round('agree', this.#roster());
    if (this.#state.kind === 'inconsistent') {
      throw new ConflictError('tokens-inconsistent', `the tokens do not fit together: ${this.#state.fault.reason}`);
    }
    this.#parts.onProgress();
    if (this.#state.kind === 'confirmations') await this.#round('confirm', this.#roster());
    if (this.#state.kind !== 'published') throw this.#missingError();
    return this.#state;
  }

  /**
   * Hands out the confirmations, and again to who was silent: a key is active only at members that have them.
   * @returns the members that are active
   */
  async activate({ confirmationsMessage }: Published): Promise<readonly Uint8Array[]> {
    const activated = await Promise.all(
      this.#roster().map(async (member) => ((await this.#activateOne(member, confirmationsMessage)) ? [member] : [])),
    );
    return activated.flat();
  }

  async #activateOne(member: Uint8Array, message: Uint8Array): Promise<boolean> {
    for (let tries = 1; ; tries++) {
      try {
        await this.#parts.members.invoke(member, 'activate', message);
        return true;
      } catch (error) {
        this.#parts.onMemberFailed(member, 'activate', error);
        if (tries === activationTries || !(error instanceof UnavailableError)) return false;
        await this.#parts.sleep(tries * 1_000, this.#stopped.signal);
      }
    }
  }

  /** Calls everybody at once, and ends when all have answered or the deadline has passed. */
  async #round(action: MemberAction, members: readonly Uint8Array[]): Promise<void> {
    this.#roundClosed = new AbortController();
    const message = this.currentMessage;
    const { signal } = this.#roundClosed;
    for (const member of members) void this.#call(member, action, message, signal);
    await this.#parts.sleep(this.#parts.roundDeadlineMs, AbortSignal.any([signal, this.#stopped.signal]));
    this.#roundClosed.abort();
    if (this.#stopped.signal.aborted) throw new ConflictError('epoch-stopped', 'the attempt was stopped');
  }

  async #call(member: Uint8Array, action: MemberAction, message: Uint8Array, over: AbortSignal): Promise<void> {
    try {
      const reply = await this.#invoke(member, action, message);
      if (!over.aborted) this.accept(reply);
    } catch (error) {
      this.#parts.onMemberFailed(member, action, error);
    }
  }

  /** A member that does not know the list is given it, once. */
  async #invoke(member: Uint8Array, action: MemberAction, message: Uint8Array): Promise<Uint8Array> {
    const { members, membershipBundle } = this.#parts;
    try {
      return await members.invoke(member, action, message);
    } catch (error) {
      if (!(error instanceof GridringError && error.code === 'membership-unknown')) throw error;
      await members.invoke(member, 'updateMembership', membershipBundle);
      return members.invoke(member, action, message);
    }
  }

  #listedMembers(): readonly Uint8Array[] {
    const { list } = this.#parts.context().membership;
    return list.entries.map(({ certHash }) => certHash).filter((certHash) => findEntry(list, certHash, 'member'));
  }

  #roster(): readonly Uint8Array[] {
    return this.#state.kind === 'shares' ? [] : this.#state.ring.members.map(({ certHash }) => certHash);
  }

  #missingError(): Error {
    const absent = missing(this.#parts.context(), this.#state).length;
    return absent > 0
      ? new ConflictError('members-missing', `${absent} members did not answer in round “${this.#state.kind}”`)
      : new VerificationError('round-refused', 'the round ended without a key');
  }
}
