/** What a live source has shown and the meter has not taken yet: while the disk is full or a key is missing, it waits here. */
import type { Observation } from './source.js';

/** More than that is lost, and the meter notices it by the times. */
const mostWaiting = 1_440;

export class LiveQueue {
  readonly #waiting: Observation[] = [];
  #wake: (() => void) | undefined;

  push(observations: readonly Observation[]): void {
    for (const observation of observations) if (this.#waiting.length < mostWaiting) this.#waiting.push(observation);
    this.#wake?.();
  }

  /** Ends when the signal is aborted. */
  async *take(signal: AbortSignal): AsyncGenerator<Observation, void, undefined> {
    const onAbort = (): void => this.#wake?.();
    signal.addEventListener('abort', onAbort);
    try {
      while (!signal.aborted) {
        const next = this.#waiting.shift();
        if (next) yield next;
        else await this.#pushed();
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  #pushed(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
