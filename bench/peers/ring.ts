/** The ring on the same events, its messages handed from one to the next in memory. */
import type { Profile } from '../../crypto/membership.js';
import type { Suite } from '../../crypto/suite.js';
import type { Identity } from '../../things/parts.js';
import { makeDeployment, verified, type Deployment } from '../deployment.js';
import { Group } from '../group.js';
import type { Event, Peer, PeerGroup } from './peer.js';

class RingGroup implements PeerGroup {
  readonly #deployment: Deployment;
  readonly #group: Group;
  readonly #verifiesLists: boolean;
  #meters: readonly Identity[];

  constructor(suite: Suite, size: number, profile: Profile, verifiesLists: boolean) {
    this.#deployment = makeDeployment(suite, size, profile);
    this.#group = new Group(this.#deployment);
    this.#verifiesLists = verifiesLists;
    this.#meters = this.#deployment.meters;
  }

  async stage(event: Event): Promise<() => Promise<number>> {
    const { meters, membershipBundle, nextList } = this.#deployment;
    this.#meters = event === 'remove' ? meters.slice(1) : meters;
    const present = this.#meters;
    const bundle = event === 'create' ? membershipBundle : nextList(present);
    if (!this.#verifiesLists) {
      const list = verified(this.#deployment, bundle);
      this.#group.adopt(present, () => list);
      return async () => this.#agree();
    }
    return async () => {
      this.#group.adopt(present, (certificateCache) => verified(this.#deployment, bundle, certificateCache));
      return bundle.length * present.length + this.#agree();
    };
  }

  async keys(): Promise<readonly Uint8Array[]> {
    return this.#group.activeKeys.map(({ groupKey }) => groupKey);
  }

  /** Runs the rounds. @returns bytes that members sent and received */
  #agree(): number {
    const messages = this.#group.run((_part, work) => work());
    const { announcement, shares, roster, tokens, tokenBundle, confirmations, confirmationBundle } = messages;
    const sentBytes = [...shares, ...tokens, ...confirmations].reduce((sum, { length }) => sum + length, 0);
    const toEachBytes = announcement.length + roster.length + tokenBundle.length + confirmationBundle.length;
    return sentBytes + toEachBytes * shares.length;
  }
}

const ring = (name: string, profile: Profile, verifiesLists: boolean): Peer => ({
  name,
  contributory: true,
  prepare: async (suite, members) => new RingGroup(suite, members, profile, verifiesLists),
});

/** Credentials are taken as given, as with the others. */
export const ringFull = ring('ring, full', 'full', false);
export const ringConstrained = ring('ring, constrained', 'constrained', false);
/** Every member verifies the new list and all certificates in it as a part of the event. */
export const ringWithLists = ring('ring, full, and its list', 'full', true);
