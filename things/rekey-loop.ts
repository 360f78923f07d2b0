/** Rekeys a group whenever its schedule says so; one rekey at a time, and for ever. */
import { GridringError } from '../crypto/errors.js';
import { ask, begin, dueMs, failed, newSchedule, succeeded, type Cause, type RekeyPolicy } from './rekey-schedule.js';

export interface RekeyLoopParts {
  readonly nowMs: () => number;
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** 0 to 1. */
  readonly jitter: () => number;
  readonly policy: () => RekeyPolicy;
  /** Called before every look at the schedule. @returns after how long to look again at the latest */
  readonly look: () => number;
  readonly rekey: (reason: Cause) => Promise<unknown>;
  readonly onFailed: (reason: Cause, failure: RekeyFailure, error: unknown) => void;
}

/** Rekeys in a row that came to nothing, and why the last one did. */
export interface RekeyFailure {
  readonly failures: number;
  readonly code: string;
}

/** A sleep without anything due; whatever changes ends it. */
const idleMs = 3_600_000;

export class RekeyLoop {
  readonly #parts: RekeyLoopParts;
  #schedule = newSchedule;
  #failure: RekeyFailure | undefined;
  #wake = new AbortController();

  constructor(parts: RekeyLoopParts) {
    this.#parts = parts;
  }

  /** Undefined when the last rekey succeeded. */
  get failure(): RekeyFailure | undefined {
    return this.#failure;
  }

  ask(cause: Cause): void {
    this.#schedule = ask(this.#schedule, cause, this.#parts.nowMs());
    this.wake();
  }

  /** What is due is looked at again. */
  wake(): void {
    this.#wake.abort();
  }

  /** There is a new epoch. Who did not come into it, or should not be in it, is to be asked for again. */
  agreed(): void {
    this.#schedule = succeeded(this.#parts.nowMs());
    this.#failure = undefined;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { nowMs, sleep, policy, look } = this.#parts;
    while (!signal.aborted) {
      this.#wake = new AbortController();
      const lookAgainMs = look();
      const waitMs = Math.min((dueMs(this.#schedule, policy()) ?? Infinity) - nowMs(), lookAgainMs, idleMs);
      if (waitMs > 0) await sleep(waitMs, AbortSignal.any([signal, this.#wake.signal]));
      else await this.#rekey();
    }
  }

  async #rekey(): Promise<void> {
    const { reason, schedule } = begin(this.#schedule);
    this.#schedule = schedule;
    try {
      await this.#parts.rekey(reason);
    } catch (error) {
      const code = error instanceof GridringError ? error.code : 'internal';
      // Whoever stopped it has asked for another, and this one's cause still stands.
      if (code === 'epoch-stopped') this.ask(reason);
      else this.#failed(reason, schedule.failures, code, error);
    }
  }

  /** An epoch that was agreed and that its members refuse has failed like others: the count before it goes on. */
  #failed(reason: Cause, failuresBefore: number, code: string, error: unknown): void {
    const { nowMs, jitter, onFailed } = this.#parts;
    const schedule = { ...this.#schedule, failures: failuresBefore };
    this.#schedule = failed(schedule, reason, nowMs(), jitter());
    this.#failure = { failures: this.#schedule.failures, code };
    onFailed(reason, this.#failure, error);
  }
}
