/**
 * One attempt at an epoch: what members answer goes in, by whichever way it came, and the coordinator's next message goes
 * out to all of them. Whoever runs it says whom to ask, and how long a round may take.
 */
import { equalBytes } from '../crypto/bytes.js';
import { ConflictError, GridringError, UnavailableError, VerificationError } from '../crypto/errors.js';
import type { Judgement } from '../crypto/ring/blame.js';
import type {
  CollectingShares,
  CoordinatorContext,
  CoordinatorState,
  Inconsistent,
  Published,
} from '../crypto/ring/coordinator-state.js';
import {
  announce,
  closeShares,
  currentMessage,
  missing,
  onConfirmation,
  onShare,
  onToken,
} from '../crypto/ring/coordinator.js';
import { findings, onTokensReply } from '../crypto/ring/inconsistent.js';
import type { Reason } from '../crypto/ring/messages.js';

export type MemberAction = 'rekey' | 'agree' | 'confirm' | 'activate' | 'updateMembership' | 'endorse' | 'control';

/**
 * How a member takes part. Callable: its actions are invoked. Awaited: it comes on its own initiative, with
 * `submitPublicKey`, `submitToken` and `submitConfirmation`. Absent: neither called nor waited for, but its share is taken
 * if it comes. Quarantined: its share is refused. Who stands in the roster is waited for in the rounds after, whatever it
 * was before.
 */
export type Reach = 'callable' | 'awaited' | 'absent' | 'quarantined';

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
  /** Asked again whenever it matters, for every listed member. */
  readonly reach: (member: Uint8Array) => Reach;
  /** How long a round waits for who is called. */
  readonly roundDeadlineMs: number;
  /** How long it waits for who comes on its own initiative; the announcement's expiry has to allow four of these, one for who is to blame. */
  readonly sleeperDeadlineMs: number;
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

/** A member that answered round 1 and did not come through a later round in the time that it had. */
interface Dropout {
  readonly member: Uint8Array;
  readonly round: 'tokens' | 'confirmations' | 'reveals';
}

/** How an attempt went, for whoever decides whom to ask the next time. It blames nobody who was never reached. */
export interface EpochReport {
  /** Whether there is an epoch now. */
  readonly agreed: boolean;
  /** Members of the roster that did their part in every round they were asked in. */
  readonly faithful: readonly Uint8Array[];
  readonly dropouts: readonly Dropout[];
  /** Who is convicted, with the proof: `message` is for `verifyVerdict`. */
  readonly verdict: (Judgement & { readonly message: Uint8Array }) | null;
}

/** What is known of the members of a published epoch. */
export interface Activation {
  readonly active: number;
  /** They have the confirmations, and do not take them. */
  readonly refused: number;
}

const activationTries = 4;
/** After a first silence; longer after each further one. */
const retryPauseMs = 1_000;

export class EpochRun {
  readonly #parts: EpochRunParts;
  readonly #stopped = new AbortController();
  #state: CoordinatorState;
  #roundClosed = new AbortController();
  /** Whose time in this round is not over. */
  #waitsFor: readonly Reach[] = [];
  #report: EpochReport | undefined;

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

  /** Undefined until `run` has ended, either way. */
  get report(): EpochReport | undefined {
    return this.#report;
  }

  /**
   * Takes a member's share, token or confirmation, asked for or sent on its own initiative.
   * @throws MalformedError, VerificationError, ConflictError `wrong-round`, `quarantined`
   */
  accept(message: Uint8Array): void {
    if (this.#report) throw new ConflictError('wrong-round', 'the attempt is over');
    const context = this.#parts.context();
    const before = this.#state.kind;
    switch (this.#state.kind) {
      case 'shares':
        this.#state = this.#withShare(context, this.#state, message);
        break;
      case 'tokens':
        this.#state = onToken(context, this.#state, message);
        break;
      case 'confirmations':
        this.#state = onConfirmation(context, this.#state, message);
        break;
      case 'inconsistent':
        this.#state = onTokensReply(context, this.#state, message);
        break;
      case 'published':
        throw new ConflictError('wrong-round', 'no round is open');
    }
    if (this.#state.kind !== before) this.#roundClosed.abort();
    else this.#closeIfNobodyIsLeft();
  }

  #withShare(context: CoordinatorContext, state: CollectingShares, message: Uint8Array): CollectingShares {
    const next = onShare(context, state, message);
    const { entries } = context.membership.list;
    for (const [index] of next.shares) {
      const member = state.shares.has(index) ? undefined : entries[index]?.certHash;
      if (member && this.#parts.reach(member) === 'quarantined') {
        throw new ConflictError('quarantined', 'this member has to wait before it is let in again');
      }
    }
    return next;
  }

  /**
   * Runs the three rounds, and where the tokens do not fit, one more that asks who is to blame.
   * @returns the published epoch
   * @throws VerificationError `roster-minority`; ConflictError `members-missing`, `tokens-inconsistent`, `epoch-stopped`
   */
  async run(): Promise<Published> {
    try {
      return await this.#rounds();
    } finally {
      this.#report = this.#reportNow();
    }
  }

  async #rounds(): Promise<Published> {
    const { context } = this.#parts;
    await this.#round('rekey', this.#missing());
    if (this.#state.kind === 'shares') this.#state = closeShares(context(), this.#state);
    this.#parts.onProgress();
    if (this.#state.kind === 'tokens') await this.#round('agree', this.#roster());
    this.#parts.onProgress();
    if (this.#state.kind === 'confirmations') await this.#round('confirm', this.#roster());
    if (this.#state.kind === 'inconsistent') {
      this.#parts.onProgress();
      await this.#round('confirm', this.#missing());
      throw new ConflictError('tokens-inconsistent', `the tokens do not fit together: ${this.#state.fault.reason}`);
    }
    if (this.#state.kind !== 'published') throw this.#missingError();
    return this.#state;
  }

  /**
   * Hands out the confirmations, and again to who was silent: a key is active only at members that have them. Who cannot
   * be called fetches them.
   */
  async activate({ confirmationsMessage }: Published): Promise<Activation> {
    const callable = this.#roster().filter((member) => this.#parts.reach(member) === 'callable');
    const answers = await Promise.all(callable.map((member) => this.#activateOne(member, confirmationsMessage)));
    const count = (wanted: (typeof answers)[number]): number => answers.filter((answer) => answer === wanted).length;
    return { active: count('active'), refused: count('refused') };
  }

  async #activateOne(member: Uint8Array, message: Uint8Array): Promise<'active' | 'refused' | 'silent'> {
    for (let tries = 1; ; tries++) {
      try {
        await this.#parts.members.invoke(member, 'activate', message);
        return 'active';
      } catch (error) {
        this.#parts.onMemberFailed(member, 'activate', error);
        if (!(error instanceof UnavailableError)) return 'refused';
        if (tries === activationTries) return 'silent';
        await this.#parts.sleep(tries * retryPauseMs, this.#stopped.signal);
      }
    }
  }

  /** Calls all that can be called at once, and ends when nobody is left to answer or the deadlines have passed. */
  async #round(action: MemberAction, members: readonly Uint8Array[]): Promise<void> {
    const { roundDeadlineMs, sleeperDeadlineMs } = this.#parts;
    this.#roundClosed = new AbortController();
    this.#waitsFor = ['callable', 'awaited'];
    const message = this.currentMessage;
    const { signal } = this.#roundClosed;
    for (const member of members) {
      if (this.#reachOf(member) === 'callable') void this.#call(member, action, message, signal);
    }
    this.#closeIfNobodyIsLeft();
    await this.#wait(roundDeadlineMs);
    if (!signal.aborted) this.#waitsFor = ['awaited'];
    if (this.#canStillSucceed()) this.#closeIfNobodyIsLeft();
    else this.#roundClosed.abort();
    await this.#wait(sleeperDeadlineMs - roundDeadlineMs);
    if (!signal.aborted) this.#waitsFor = [];
    this.#roundClosed.abort();
  }

  /** @throws ConflictError `epoch-stopped` */
  async #wait(ms: number): Promise<void> {
    const over = AbortSignal.any([this.#roundClosed.signal, this.#stopped.signal]);
    if (ms > 0 && !over.aborted) await this.#parts.sleep(ms, over);
    if (this.#stopped.signal.aborted) throw new ConflictError('epoch-stopped', 'the attempt was stopped');
  }

  /** A roster may go without who does not answer, and so may a verdict; tokens and confirmations are needed of all. */
  #canStillSucceed(): boolean {
    const needsAll = this.#state.kind === 'tokens' || this.#state.kind === 'confirmations';
    return !needsAll || this.#missing().every((member) => this.#hasTime(member));
  }

  #closeIfNobodyIsLeft(): void {
    if (!this.#missing().some((member) => this.#hasTime(member))) this.#roundClosed.abort();
  }

  #hasTime(member: Uint8Array): boolean {
    return this.#waitsFor.includes(this.#reachOf(member));
  }

  #reachOf(member: Uint8Array): Reach {
    const reach = this.#parts.reach(member);
    return this.#state.kind === 'shares' || reach === 'callable' ? reach : 'awaited';
  }

  #missing(): readonly Uint8Array[] {
    return missing(this.#parts.context(), this.#state);
  }

  /** Calls again who was silent, for as long as the round is open: a step that is taken twice gives the same answer. */
  async #call(member: Uint8Array, action: MemberAction, message: Uint8Array, over: AbortSignal): Promise<void> {
    const isOver = (): boolean => over.aborted;
    for (let tries = 1; !isOver(); tries++) {
      try {
        const reply = await this.#invoke(member, action, message);
        if (!isOver()) this.accept(reply);
        return;
      } catch (error) {
        this.#parts.onMemberFailed(member, action, error);
        if (!(error instanceof UnavailableError)) return;
        // A signal of its own: many members that listen to one would look like a leak.
        await this.#parts.sleep(tries * retryPauseMs, AbortSignal.any([over]));
      }
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

  #roster(): readonly Uint8Array[] {
    return this.#state.kind === 'shares' ? [] : this.#state.ring.members.map(({ certHash }) => certHash);
  }

  #reportNow(): EpochReport {
    const state = this.#state;
    switch (state.kind) {
      case 'shares':
        return { agreed: false, faithful: [], dropouts: [], verdict: null };
      case 'tokens':
      case 'confirmations':
        return { agreed: false, ...this.#sortOut(this.#missing(), state.kind), verdict: null };
      case 'published':
        return { agreed: true, faithful: this.#roster(), dropouts: [], verdict: null };
      case 'inconsistent':
        return { agreed: false, ...this.#findings(state) };
      default:
        return state satisfies never;
    }
  }

  #findings(state: Inconsistent): Omit<EpochReport, 'agreed'> {
    const { judgement, verdict, faithful, failing } = findings(this.#parts.context(), state);
    const round = judgement ? 'reveals' : 'confirmations';
    return {
      faithful,
      dropouts: this.#sortOut(failing, round).dropouts,
      verdict: judgement && verdict && { ...judgement, message: verdict },
    };
  }

  /** Who failed has dropped out, unless it still had time to answer. */
  #sortOut(failing: readonly Uint8Array[], round: Dropout['round']): Pick<EpochReport, 'faithful' | 'dropouts'> {
    const isOf = (members: readonly Uint8Array[], member: Uint8Array): boolean =>
      members.some((other) => equalBytes(other, member));
    const pending = this.#missing().filter((member) => this.#hasTime(member));
    return {
      faithful: this.#roster().filter((member) => !isOf(failing, member)),
      dropouts: failing.filter((member) => !isOf(pending, member)).map((member) => ({ member, round })),
    };
  }

  #missingError(): Error {
    const absent = this.#missing().length;
    return absent > 0
      ? new ConflictError('members-missing', `${absent} members did not answer in round “${this.#state.kind}”`)
      : new VerificationError('round-refused', 'the round ended without a key');
  }
}
