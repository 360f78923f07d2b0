/** Keeps a gateway's membership lists and the backend's the same: whoever has the newer one gives it to the other. */
import type { Coordination } from '../things/coordination.js';
import type { BackendClient } from './backend-client.js';
import { BackendWatch } from './backend-watch.js';
import { PeerRefusal } from './bindings/peer-refusal.js';
import { codeOf, type Runtime } from './runtime.js';

export class ListExchange {
  readonly #groups: readonly Coordination[];
  readonly #backend: BackendClient;
  readonly #runtime: Runtime;
  /** Woken when a list has changed, here or there. */
  readonly watch: BackendWatch;

  constructor(groups: readonly Coordination[], backend: BackendClient, runtime: Runtime) {
    this.#groups = groups;
    this.#backend = backend;
    this.#runtime = runtime;
    this.watch = new BackendWatch({ backend, runtime, topic: 'memberships', look: () => this.#exchangeAll() });
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
