/**
 * MLS (RFC 9420) by ts-mls, on WebCrypto: basic credentials, so nobody checks a certificate; commits as private messages,
 * the tree inside the welcome. The first member founds and commits.
 */
import {
  createCommit,
  createGroup,
  decodeMlsMessage,
  defaultCapabilities,
  defaultLifetime,
  emptyPskIndex,
  encodeMlsMessage,
  generateKeyPackage,
  getCiphersuiteFromName,
  getCiphersuiteImpl,
  joinGroup,
  mlsExporter,
  processPrivateMessage,
  type CiphersuiteImpl,
  type ClientState,
  type MLSMessage,
  type PrivateKeyPackage,
  type KeyPackage,
  type Proposal,
  zeroOutUint8Array,
} from 'ts-mls';
import type { Suite, SuiteName } from '../../crypto/suite.js';
import { random } from '../deployment.js';
import type { Event, Peer, PeerGroup } from './peer.js';

const ciphersuites = {
  x25519: 'MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519',
  p256: 'MLS_128_DHKEMP256_AES128GCM_SHA256_P256',
} as const satisfies Record<SuiteName, string>;

interface Candidate {
  readonly own: KeyPackage;
  readonly secret: PrivateKeyPackage;
  /** The key package as it is published. */
  readonly published: Uint8Array;
}

class MlsGroup implements PeerGroup {
  readonly #impl: CiphersuiteImpl;
  readonly #size: number;
  /** By order of joining. */
  #members: readonly ClientState[] = [];
  #candidates = 0;

  constructor(impl: CiphersuiteImpl, size: number) {
    this.#impl = impl;
    this.#size = size;
  }

  async stage(event: Event): Promise<() => Promise<number>> {
    switch (event) {
      case 'create': {
        const founder = await this.#candidate();
        const others = await Promise.all(Array.from({ length: this.#size - 1 }, () => this.#candidate()));
        return () => this.#found(founder, others);
      }
      case 'add': {
        const candidate = await this.#candidate();
        return () => this.#add([candidate]);
      }
      case 'remove':
        return () => this.#remove();
    }
  }

  keys(): Promise<readonly Uint8Array[]> {
    const none = new Uint8Array(0);
    const exported = ({ keySchedule }: ClientState): Promise<Uint8Array> =>
      mlsExporter(keySchedule.exporterSecret, 'group key', none, 32, this.#impl);
    return Promise.all(this.#members.map(exported));
  }

  async #candidate(): Promise<Candidate> {
    const credential = {
      credentialType: 'basic',
      identity: new TextEncoder().encode(`member-${++this.#candidates}`),
    } as const;
    const made = await generateKeyPackage(credential, defaultCapabilities(), defaultLifetime, [], this.#impl);
    const published = encoded({ wireformat: 'mls_key_package', keyPackage: made.publicPackage });
    return { own: made.publicPackage, secret: made.privatePackage, published };
  }

  async #found(founder: Candidate, others: readonly Candidate[]): Promise<number> {
    this.#members = [await createGroup(random(16), founder.own, founder.secret, [], this.#impl)];
    return this.#add(others);
  }

  async #add(candidates: readonly Candidate[]): Promise<number> {
    const proposals = candidates.map(({ published }): Proposal => {
      const message = decoded(published);
      if (message.wireformat !== 'mls_key_package') throw new TypeError('not a key package');
      return { proposalType: 'add', add: { keyPackage: message.keyPackage } };
    });
    const before = this.#members.length;
    const { commit, welcome } = await this.#commit(proposals);
    if (!welcome) throw new TypeError('a commit that adds has a welcome');
    for (const candidate of candidates) this.#members = [...this.#members, await this.#join(candidate, welcome)];
    const fetchedBytes = 2 * candidates.reduce((sum, { published }) => sum + published.length, 0);
    return commit.length * before + welcome.length * (candidates.length + 1) + fetchedBytes;
  }

  async #remove(): Promise<number> {
    const left = this.#members[1];
    if (!left) throw new RangeError('nobody is left');
    this.#members = this.#members.filter((member) => member !== left);
    const { commit } = await this.#commit([
      { proposalType: 'remove', remove: { removed: left.privatePath.leafIndex } },
    ]);
    return commit.length * this.#members.length;
  }

  /** The first member commits, and every other one processes it. */
  async #commit(proposals: readonly Proposal[]) {
    const [committer, ...others] = this.#members;
    if (!committer) throw new RangeError('an empty group');
    const made = await createCommit(
      { state: committer, cipherSuite: this.#impl },
      { extraProposals: [...proposals], ratchetTreeExtension: true },
    );
    made.consumed.forEach(zeroOutUint8Array);
    const commit = encodeMlsMessage(made.commit);
    const welcome = made.welcome && encoded({ wireformat: 'mls_welcome', welcome: made.welcome });
    const states = [made.newState];
    for (const state of others) states.push(await this.#process(state, commit));
    this.#members = states;
    return { commit, welcome };
  }

  async #process(state: ClientState, commit: Uint8Array): Promise<ClientState> {
    const message = decoded(commit);
    if (message.wireformat !== 'mls_private_message') throw new TypeError('not a commit');
    const { newState, consumed } = await processPrivateMessage(
      state,
      message.privateMessage,
      emptyPskIndex,
      this.#impl,
    );
    consumed.forEach(zeroOutUint8Array);
    return newState;
  }

  async #join({ own, secret }: Candidate, welcome: Uint8Array): Promise<ClientState> {
    const message = decoded(welcome);
    if (message.wireformat !== 'mls_welcome') throw new TypeError('not a welcome');
    return joinGroup(message.welcome, own, secret, emptyPskIndex, this.#impl);
  }
}

type WithoutVersion<T> = T extends unknown ? Omit<T, 'version'> : never;

const encoded = (message: WithoutVersion<MLSMessage>): Uint8Array => encodeMlsMessage({ version: 'mls10', ...message });

function decoded(bytes: Uint8Array): MLSMessage {
  const [message] = decodeMlsMessage(bytes, 0) ?? [];
  if (!message) throw new TypeError('not an MLS message');
  return message;
}

export const mls: Peer = {
  name: 'ts-mls',
  contributory: true,
  prepare: async (suite: Suite, members) =>
    new MlsGroup(await getCiphersuiteImpl(getCiphersuiteFromName(ciphersuites[suite.name])), members),
};
