/** What the group key protocols that are measured beside one another have in common here. */
import type { Suite } from '../../crypto/suite.js';

/** A group is created with n members; then one is removed, and taken in again: n is the larger size of each event. */
export type Event = 'create' | 'remove' | 'add';

export interface PeerGroup {
  /**
   * Makes ready what is at hand before the event (identities, key packages, signed lists), and returns the event itself:
   * all that members and a server compute, encode and decode. It resolves to the bytes of all messages, each counted
   * when it is sent by a member and once for each member that receives it.
   */
  stage(event: Event): Promise<() => Promise<number>>;
  /** The group key of each present member, as that member knows it. */
  keys(): Promise<readonly Uint8Array[]>;
}

export interface Peer {
  readonly name: string;
  /** Whether every member has a share in the key, and nobody outside knows it. */
  readonly contributory: boolean;
  prepare(suite: Suite, members: number): Promise<PeerGroup>;
}
