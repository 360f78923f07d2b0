/** Time that passes only when nothing else is left to do: minutes between messages cost a test nothing. */

interface Timer {
  readonly atMs: number;
  readonly fire: () => void;
}

export class VirtualClock {
  #nowMs: number;
  #timers: readonly Timer[] = [];

  constructor(startS: number) {
    this.#nowMs = startS * 1_000;
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  get nowS(): number {
    return Math.floor(this.#nowMs / 1_000);
  }

  /** Resolves after the time, or at once when the signal is aborted. */
  readonly sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      if (signal?.aborted) {
        resolve();
        return;
      }
      const timer = { atMs: this.#nowMs + ms, fire: resolve };
      this.#timers = [...this.#timers, timer];
      const wake = (): void => {
        this.#timers = this.#timers.filter((other) => other !== timer);
        resolve();
      };
      signal?.addEventListener('abort', wake, { once: true });
    });

  /** Lets time pass until the work has settled. @throws Error when the work waits for nothing that will come */
  async until<T>(work: Promise<T>): Promise<T> {
    // It may be refused while nobody looks.
    work.catch(() => undefined);
    const running = Symbol();
    // It may fail while nobody looks; it is looked at below.
    work.catch(() => undefined);
    for (;;) {
      await new Promise(setImmediate);
      if ((await Promise.race([work, Promise.resolve(running)])) !== running) return work;
      const [next] = [...this.#timers].sort((a, b) => a.atMs - b.atMs);
      if (!next) throw new Error('nothing is left that could happen');
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.fire();
    }
  }
}
