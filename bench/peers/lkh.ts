/**
 * Logical key hierarchy (RFC 2627 §5.4; Wong, Gouda, Lam): a server keeps a binary tree of keys and each member those
 * from its leaf to the root, which is the group key. Individual keys, those of the leaves, are taken as given, as the
 * literature does; every rekey message is one broadcast that the server signs.
 */
import type { CborItem } from '../../crypto/cbor.js';
import { arrayOf, bytesOf, uint32Max, uintOf } from '../../crypto/fields.js';
import { generateSigner } from '../../crypto/keys.js';
import type { Suite, Verifier } from '../../crypto/suite.js';
import { random } from '../deployment.js';
import type { Event, Peer, PeerGroup } from './peer.js';
import { openSigned, signed, unwrapKey, wrapKey } from './signed.js';

/** The root; the children of node i are 2i and 2i + 1. */
const root = 1;

function* ancestors(leaf: number): Generator<number> {
  for (let node = leaf >> 1; node >= root; node >>= 1) yield node;
}

export class LkhServer {
  readonly #suite: Suite;
  readonly #signer;
  readonly #firstLeaf: number;
  readonly #keys = new Map<number, Uint8Array>();
  #version = 0;

  constructor(suite: Suite, capacity: number) {
    this.#suite = suite;
    this.#signer = generateSigner(suite, random).signer;
    this.#firstLeaf = 2 ** Math.ceil(Math.log2(capacity));
  }

  get verificationKey(): Uint8Array {
    return this.#signer.publicKey;
  }

  /** Gives a free leaf to a member with this individual key, who is in the group from the next `rekey` of it on. */
  seat(individualKey: Uint8Array): number {
    let leaf = this.#firstLeaf;
    while (this.#keys.has(leaf)) leaf++;
    if (leaf >= 2 * this.#firstLeaf) throw new RangeError('the tree is full');
    this.#keys.set(leaf, individualKey);
    return leaf;
  }

  /** Takes a member's leaf away, who is out of the group from the next `rekey` of it on. */
  unseat(leaf: number): void {
    this.#keys.delete(leaf);
  }

  /** Fresh keys from above the given leaves to the root, each wrapped for those below it: one broadcast. */
  rekey(leaves: readonly number[]): Uint8Array {
    const version = ++this.#version;
    const nodes = [...new Set(leaves.flatMap((leaf) => [...ancestors(leaf)]))].sort((a, b) => b - a);
    const wrapped = nodes.flatMap((node): CborItem[] => {
      const children = [2 * node, 2 * node + 1].filter((child) => this.#keys.has(child));
      if (children.length === 0) this.#keys.delete(node);
      else this.#keys.set(node, random(this.#suite.aeadKeyBytes));
      return children.map((child) => [child, this.#wrap(version, child)]);
    });
    return signed(this.#signer, [version, wrapped]);
  }

  #wrap(version: number, child: number): Uint8Array {
    const [childKey, key] = [this.#keys.get(child), this.#keys.get(child >> 1)];
    if (!childKey || !key) throw new TypeError('a node without a key');
    return wrapKey(this.#suite, childKey, [version, child], key);
  }
}

export class LkhMember {
  readonly #suite: Suite;
  readonly #server: Verifier;
  readonly #keys: Map<number, Uint8Array>;
  #version = 0;

  constructor(suite: Suite, server: Verifier, leaf: number, individualKey: Uint8Array) {
    this.#suite = suite;
    this.#server = server;
    this.#keys = new Map([[leaf, individualKey]]);
  }

  /** Every key that this member has now, by node. */
  get keys(): ReadonlyMap<number, Uint8Array> {
    return this.#keys;
  }

  /**
   * Takes over the keys that are wrapped for this member.
   * @throws VerificationError `signature-invalid`, `seal-invalid` (this member is out), RangeError when it is an old message
   */
  receive(message: Uint8Array): void {
    const [version, wrapped] = arrayOf(openSigned(this.#server, message), 'rekey message', 2);
    const newVersion = uintOf(version, 'version');
    if (newVersion <= this.#version) throw new RangeError('an old rekey message');
    for (const item of arrayOf(wrapped, 'wrapped keys')) {
      const [child, key] = arrayOf(item, 'wrapped key', 2);
      const node = uintOf(child, 'node', uint32Max, 2);
      const known = this.#keys.get(node);
      if (known) this.#keys.set(node >> 1, unwrapKey(this.#suite, known, [newVersion, node], bytesOf(key, 'key')));
    }
    this.#version = newVersion;
  }
}

class LkhGroup implements PeerGroup {
  readonly #suite: Suite;
  readonly #server: LkhServer;
  readonly #verifier: Verifier;
  readonly #members: { readonly leaf: number; readonly member: LkhMember }[] = [];

  constructor(suite: Suite, size: number) {
    this.#suite = suite;
    this.#server = new LkhServer(suite, size);
    this.#verifier = suite.verifier(this.#server.verificationKey);
    for (let i = 0; i < size; i++) this.#join();
  }

  async stage(event: Event): Promise<() => Promise<number>> {
    if (event === 'create') return async () => this.#rekey(this.#members.map(({ leaf }) => leaf));
    return async () => {
      const changed = event === 'add' ? this.#join() : this.#leave();
      return this.#rekey([changed]);
    };
  }

  async keys(): Promise<readonly Uint8Array[]> {
    return this.#members.flatMap(({ member }) => member.keys.get(root) ?? []);
  }

  #join(): number {
    const individualKey = random(this.#suite.aeadKeyBytes);
    const leaf = this.#server.seat(individualKey);
    this.#members.push({ leaf, member: new LkhMember(this.#suite, this.#verifier, leaf, individualKey) });
    return leaf;
  }

  #leave(): number {
    const left = this.#members.shift();
    if (!left) throw new RangeError('nobody is left');
    this.#server.unseat(left.leaf);
    return left.leaf;
  }

  #rekey(leaves: readonly number[]): number {
    const message = this.#server.rekey(leaves);
    for (const { member } of this.#members) member.receive(message);
    return message.length * this.#members.length;
  }
}

export const lkh: Peer = {
  name: 'LKH',
  contributory: false,
  prepare: async (suite, members) => new LkhGroup(suite, members),
};
