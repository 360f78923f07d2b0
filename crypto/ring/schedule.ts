/** The ring's hashes, edges and key schedule (protocol §4). Indices are positions in ring order, modulo n. */
import { compareBytes, concatBytes, xorBytes } from '../bytes.js';
import { withEncoded } from '../cbor.js';
import { hash, hkdfExpand, hkdfExtract, publicHmac, secretHash } from '../hash.js';
import { deriveKeyPair } from '../hpke.js';
import type { Suite } from '../suite.js';
import type { TokenParts } from './messages.js';

/** The position names exactly what is hashed; every function here is one line of protocol §4. */
export const announcementId = (suite: Suite, payload: Uint8Array): Uint8Array => hash(suite, 'ann', payload);

export const commitmentTo = (suite: Suite, annId: Uint8Array, certHash: Uint8Array, opening: Uint8Array): Uint8Array =>
  hash(suite, 'commit', annId, certHash, opening);

/** Sorts members into ring order: ascending H(order, annId, certHash), so that nobody chooses its neighbours. */
export function inRingOrder<T extends { readonly certHash: Uint8Array }>(
  suite: Suite,
  annId: Uint8Array,
  members: readonly T[],
): readonly T[] {
  return members
    .map((member) => ({ member, order: hash(suite, 'order', annId, member.certHash) }))
    .sort((a, b) => compareBytes(a.order, b.order))
    .map(({ member }) => member);
}

export const sessionId = (suite: Suite, annId: Uint8Array, roster: readonly Uint8Array[]): Uint8Array =>
  hash(suite, 'sid', annId, roster.length, hash(suite, 'roster', roster));

export const firstTranscript = (
  suite: Suite,
  sid: Uint8Array,
  shares: readonly { readonly ephemeralKey: Uint8Array; readonly commitment: Uint8Array }[],
): Uint8Array =>
  hash(
    suite,
    'th1',
    sid,
    shares.map(({ ephemeralKey }) => ephemeralKey),
    shares.map(({ commitment }) => commitment),
  );

/** e_i = H(edge, th1, i, ECDH(E_i, E_{i+1})). */
export const edgeFrom = (suite: Suite, th1: Uint8Array, index: number, agreed: Uint8Array): Uint8Array =>
  secretHash(suite, 'edge', th1, index, agreed);

/** tag_i = H(tag, th1, i, e_i)[0..16]. */
export const tagOf = (suite: Suite, th1: Uint8Array, index: number, edge: Uint8Array): Uint8Array =>
  hash(suite, 'tag', th1, index, edge).slice(0, 16);

export const secondTranscript = (suite: Suite, th1: Uint8Array, tokens: readonly TokenParts[]): Uint8Array =>
  hash(
    suite,
    'th2',
    th1,
    tokens.map(({ token, leftTag, rightTag, opening }) => [token, leftTag, rightTag, opening]),
  );

/** All edges e_0 … e_{n−1} from the edge at `index`, walking right: e_j = e_{j−1} xor T_j. */
export function walkRing(tokens: readonly TokenParts[], index: number, edge: Uint8Array): readonly Uint8Array[] {
  const n = tokens.length;
  const edges = new Array<Uint8Array>(n);
  edges[index] = edge.slice();
  let last = edge;
  for (let step = 1; step < n; step++) {
    const j = (index + step) % n;
    last = xorBytes(last, tokens[j]?.token ?? last);
    edges[j] = last;
  }
  return edges;
}

/** Names a key in every header and AAD: (gid, epoch, attempt, th2[0..8]). */
export interface KeyName {
  readonly gid: Uint8Array;
  readonly epoch: number;
  readonly attempt: number;
  readonly th2: Uint8Array;
}

export interface EpochKeys {
  readonly groupKey: Uint8Array;
  readonly confirmationKey: Uint8Array;
  readonly groupSeed: Uint8Array;
  readonly exporter: Uint8Array;
  /** Public key of HPKE DeriveKeyPair(groupSeed). */
  readonly groupPublicKey: Uint8Array;
}

/** PRK = HKDF-Extract(th2, e_0 ‖ … ‖ e_{n−1}), then one HKDF-Expand a key; for n = 3 the paper's formula. */
export function deriveEpochKeys(suite: Suite, name: KeyName, edges: readonly Uint8Array[]): EpochKeys {
  const joined = concatBytes(...edges);
  const prk = hkdfExtract(suite, name.th2, joined);
  const expand = (label: string): Uint8Array =>
    withEncoded(['gridring1', label, name.gid, name.epoch, name.attempt], (info) => hkdfExpand(suite, prk, info, 32));
  const groupSeed = expand('seedG');
  const keys = {
    groupKey: expand('GK'),
    confirmationKey: expand('kc'),
    groupSeed,
    exporter: expand('exporter'),
    groupPublicKey: deriveKeyPair(suite, groupSeed).key.hpkePublicKey,
  };
  joined.fill(0);
  prk.fill(0);
  return keys;
}

/** mac_i = HMAC(kc, [i, th2])[0..16]. */
export const confirmationMac = (suite: Suite, kc: Uint8Array, index: number, th2: Uint8Array): Uint8Array =>
  withEncoded([index, th2], (bytes) => publicHmac(suite, kc, bytes)).slice(0, 16);
