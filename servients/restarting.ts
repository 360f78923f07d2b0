/** Something that runs, and is started anew within its process when its certificate or its trust has changed on disk. */
import { backoffMs, codeOf, sleep, type Runtime } from './runtime.js';

interface RestartingParts<Running> {
  /** May ask for a restart before it has begun. */
  readonly begin: (restart: () => void) => Promise<Running>;
  readonly end: (running: Running) => Promise<unknown>;
  readonly log: Runtime['log'];
}

/** Whoever asked is answered first, and a gateway has told its members. */
const pauseMs = 1_000;

export class Restarting<Running> {
  readonly #parts: RestartingParts<Running>;
  readonly #closed = new AbortController();
  #running: Promise<Running | undefined> = Promise.resolve(undefined);
  #isDue = false;

  private constructor(parts: RestartingParts<Running>) {
    this.#parts = parts;
  }

  /** @throws what the first start throws; later ones are tried again */
  static async start<Running>(parts: RestartingParts<Running>): Promise<Restarting<Running>> {
    const restarting = new Restarting(parts);
    const first = parts.begin(restarting.#restart);
    restarting.#running = restarting.#running.then(() => first.catch(() => undefined));
    await first;
    return restarting;
  }

  /** Starts it no more. @returns what runs now, which is for the caller to end; undefined where a restart had failed */
  close(): Promise<Running | undefined> {
    this.#closed.abort();
    return this.#running;
  }

  /** Asked for more than once before it happens, it happens once. */
  readonly #restart = (): void => {
    if (this.#isDue) return;
    this.#isDue = true;
    setTimeout(() => {
      this.#running = this.#running.then((running) => this.#again(running));
    }, pauseMs).unref();
  };

  async #again(running: Running | undefined): Promise<Running | undefined> {
    const { begin, end, log } = this.#parts;
    this.#isDue = false;
    if (this.#isClosed()) return running;
    try {
      if (running !== undefined) await end(running);
    } catch (error) {
      log.error({ code: codeOf(error), err: error }, 'it did not end well before it is started again');
    }
    for (let failures = 0; !this.#isClosed(); failures++) {
      try {
        return await begin(this.#restart);
      } catch (error) {
        log.error({ code: codeOf(error), err: error }, 'it cannot be started again yet; trying again');
        await sleep(backoffMs(failures), this.#closed.signal);
      }
    }
    return undefined;
  }

  #isClosed(): boolean {
    return this.#closed.signal.aborted;
  }
}
