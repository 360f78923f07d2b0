/** Who has asked for too much, and stays out for a while: twice as long each time, until it has behaved for an hour. */
import { UnavailableError } from '../../crypto/errors.js';

const longestMs = 3_600_000;
/** Of how many callers that is remembered. */
const remembered = 10_000;

interface Penalty {
  readonly lastMs: number;
  readonly untilMs: number;
}

export class Penalties {
  readonly #penalties = new Map<string, Penalty>();
  readonly #firstMs: number;

  /** @param firstMs of who has done nothing before */
  constructor(firstMs: number) {
    this.#firstMs = firstMs;
  }

  add(caller: string, nowMs: number): void {
    this.#forget(nowMs);
    const before = this.#penalties.get(caller);
    const lastMs = before ? Math.min(before.lastMs * 2, longestMs) : this.#firstMs;
    this.#penalties.delete(caller);
    this.#penalties.set(caller, { lastMs, untilMs: nowMs + lastMs });
  }

  /** @throws UnavailableError `search-paused`, with the seconds that are left */
  assertNone(caller: string, nowMs: number): void {
    const { untilMs } = this.#penalties.get(caller) ?? { untilMs: nowMs };
    if (untilMs <= nowMs) return;
    throw new UnavailableError(
      'search-paused',
      'your last query took too much: come back later, with one that asks for less',
      undefined,
      Math.ceil((untilMs - nowMs) / 1000),
    );
  }

  /** From whom it is longest ago. */
  #forget(nowMs: number): void {
    for (const [caller, { untilMs }] of this.#penalties) {
      if (untilMs + longestMs > nowMs && this.#penalties.size < remembered) return;
      this.#penalties.delete(caller);
    }
  }
}
