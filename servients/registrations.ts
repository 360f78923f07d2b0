/** A gateway's entries in the directory: its own, and those of the meters that have enrolled. */
import { PeerRefusal } from './bindings/peer-refusal.js';
import type { DirectoryClient } from './directory-client.js';
import { backoffMs, codeOf, sleep, type Runtime } from './runtime.js';

/** Registrations are renewed well before they run out, so that a gateway that is gone for good disappears. */
const registrationTtlS = 86_400;
const registrationPeriodMs = 3_600_000;
/** A directory may refuse at first what it takes when it knows more, such as the newest list. */
const enoughRefusals = 6;

/** Puts TDs into the directory, in the background and again before they expire; a directory that is away is waited for. */
export class Registrations {
  readonly #directory: DirectoryClient;
  readonly #runtime: Runtime;
  readonly #onSettled: () => void;
  readonly #all = new Map<string, () => object>();
  readonly #due = new Set<string>();
  /** How often each was refused, one time after the other. */
  readonly #refusals = new Map<string, number>();
  #wake = new AbortController();

  /** @param onSettled hears when everything that was added is in the directory, or was refused there */
  constructor(directory: DirectoryClient, runtime: Runtime, onSettled: () => void) {
    this.#directory = directory;
    this.#runtime = runtime;
    this.#onSettled = onSettled;
  }

  /** Without those that are refused again and again, as of members that were removed: they are tried, but not waited for. */
  get pending(): number {
    return [...this.#due].filter((id) => (this.#refusals.get(id) ?? 0) < enoughRefusals).length;
  }

  /** @param describe gives the Thing Description with its proof, at each registration anew */
  add(id: string, describe: () => object): void {
    this.#all.set(id, describe);
    this.#due.add(id);
    this.#refusals.delete(id);
    this.#wake.abort();
  }

  async run(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted;) {
      this.#wake = new AbortController();
      const pauses = AbortSignal.any([signal, this.#wake.signal]);
      try {
        await this.#registerDue();
        failures = 0;
        if (this.#due.size > 0) continue;
        this.#onSettled();
        await sleep(registrationPeriodMs, pauses);
        if (!this.#wake.signal.aborted) for (const id of this.#all.keys()) this.#due.add(id);
      } catch (error) {
        if (this.pending === 0) this.#onSettled();
        this.#runtime.log.warn(
          { code: codeOf(error), err: error },
          'the directory takes no registration; trying again',
        );
        await sleep(backoffMs(failures++), pauses);
      }
    }
  }

  /** One that is refused keeps none of the others waiting. @throws PeerRefusal of the first, UnavailableError */
  async #registerDue(): Promise<void> {
    let refusal: PeerRefusal | undefined;
    for (const id of [...this.#due]) {
      const describe = this.#all.get(id);
      try {
        const td = { ...describe?.(), registration: { ttl: registrationTtlS } };
        await this.#directory.register(id, JSON.stringify(td));
        // Another may have been added meanwhile.
        if (this.#all.get(id) === describe) this.#due.delete(id);
        this.#refusals.delete(id);
        this.#runtime.emit({ event: 'registered', id });
      } catch (error) {
        if (!(error instanceof PeerRefusal) || error.status === 429) throw error;
        if (this.#all.get(id) === describe) this.#refusals.set(id, (this.#refusals.get(id) ?? 0) + 1);
        refusal ??= error;
      }
    }
    if (refusal) throw refusal;
  }
}
