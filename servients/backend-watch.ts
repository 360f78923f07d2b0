/** Looks again whenever the backend says that something of a topic has changed, and every ten seconds anyway. */
import type { BackendClient } from './backend-client.js';
import { backoffMs, codeOf, sleep, type Runtime } from './runtime.js';

/** The poll is what counts; events of the backend only make it come sooner. */
const pollMs = 10_000;

interface WatchParts {
  readonly backend: Pick<BackendClient, 'listenFor'>;
  readonly runtime: Runtime;
  readonly topic: Parameters<BackendClient['listenFor']>[0];
  readonly look: () => Promise<void>;
}

export class BackendWatch {
  readonly #parts: WatchParts;
  #wake = new AbortController();

  constructor(parts: WatchParts) {
    this.#parts = parts;
  }

  /** Something has changed, here or there. */
  wake(): void {
    this.#wake.abort();
  }

  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#poll(signal), this.#listen(signal)]);
  }

  async #listen(signal: AbortSignal): Promise<void> {
    const { backend, runtime, topic } = this.#parts;
    for (let failures = 0; !signal.aborted;) {
      try {
        const wake = (): void => {
          this.wake();
        };
        await backend.listenFor(topic, wake, signal);
        failures = 0;
      } catch (error) {
        runtime.log.info({ topic, code: codeOf(error) }, 'no events of the backend now; it is polled');
      }
      await sleep(backoffMs(failures++), signal);
    }
  }

  async #poll(signal: AbortSignal): Promise<void> {
    const { look, runtime, topic } = this.#parts;
    for (let failures = 0; !signal.aborted;) {
      this.#wake = new AbortController();
      const pauses = AbortSignal.any([signal, this.#wake.signal]);
      try {
        await look();
        failures = 0;
        await sleep(pollMs, pauses);
      } catch (error) {
        runtime.log.warn({ topic, code: codeOf(error), err: error }, 'cannot be compared with the backend now');
        await sleep(backoffMs(failures++), pauses);
      }
    }
  }
}
