/** Keeps a gateway's membership lists and the backend's the same: whoever has the newer one gives it to the other. */
import type { Coordination } from '../things/coordination.js';
import type { BackendClient } from './backend-client.js';
import { PeerRefusal } from './bindings/peer-refusal.js';
import { backoffMs, codeOf, sleep, type Runtime } from './runtime.js';

/** The poll is what counts; events of the backend only make it come sooner. */
const pollMs = 10_000;

export class ListExchange {
  readonly #groups: readonly Coordination[];
  readonly #backend: BackendClient;
  readonly #runtime: Runtime;
  #wake = new AbortController();

  constructor(groups: readonly Coordination[], backend: BackendClient, runtime: Runtime) {
    this.#groups = groups;
    this.#backend = backend;
    this.#runtime = runtime;
  }

  /** A list has changed, here or there. */
  wake(): void {
    this.#wake.abort();
  }

  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#poll(signal), this.#listen(signal)]);
  }

  async #listen(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted;) {
      try {
        const wake = (): void => {
          this.wake();
        };
        await this.#backend.listenFor('memberships', wake, signal);
        failures = 0;
      } catch (error) {
        this.#runtime.log.info({ code: codeOf(error) }, 'no events of the backend now; its lists are polled');
      }
      await sleep(backoffMs(failures++), signal);
    }
  }

  async #poll(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted;) {
      this.#wake = new AbortController();
      const pauses = AbortSignal.any([signal, this.#wake.signal]);
      try {
        await this.#exchangeAll();
        failures = 0;
        await sleep(pollMs, pauses);
      } catch (error) {
        this.#runtime.log.warn({ code: codeOf(error), err: error }, 'membership lists cannot be compared now');
        await sleep(backoffMs(failures++), pauses);
      }
    }
  }

  /** A list that the backend refuses keeps those of other groups from nothing. */
  async #exchangeAll(): Promise<void> {
    let refusal: PeerRefusal | undefined;
    for (const group of this.#groups) {
      try {
        await this.#exchange(group);
      } catch (error) {
        if (!(error instanceof PeerRefusal)) throw error;
        refusal ??= error;
      }
    }
    if (refusal) throw refusal;
  }

  async #exchange(group: Coordination): Promise<void> {
    const { list, listHash } = group.membership;
    let theirs: Uint8Array | undefined;
    try {
      theirs = await this.#backend.membership(list.gid, listHash);
    } catch (error) {
      if (codeOf(error) !== 'group-unknown') throw error;
      await this.#backend.publishMembership(group.membershipBundle);
      return;
    }
    if (theirs && !(await this.#take(group, theirs))) await this.#backend.publishMembership(group.membershipBundle);
  }

  /** @returns whether it is in force here now; a list that is older or refused is answered with one's own */
  async #take(group: Coordination, bundle: Uint8Array): Promise<boolean> {
    try {
      await group.updateMembership(bundle);
      return true;
    } catch (error) {
      const code = codeOf(error);
      if (code !== 'membership-rollback') {
        this.#runtime.log.warn({ gid: group.gid, code, err: error }, "the backend's membership list was refused");
      }
      return code !== 'membership-rollback';
    }
  }
}
