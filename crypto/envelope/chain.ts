/**
 * A meter's chain (protocol §8): everything it states of its measuring, one entry after another. Sealed readings, gap
 * reports and checkpoints take their sequences from one counter, and each holds the hash of the entry before it, of
 * whatever kind: none of them can be left out without a hole.
 */
import { equalBytes } from '../bytes.js';
import { decodeStrict, encode, type CborItem } from '../cbor.js';
import type { VerifiedCertificate } from '../certificate.js';
import { parseSign1, sign1, verifySign1 } from '../cose.js';
import { MalformedError, VerificationError } from '../errors.js';
import { arrayOf, bytesOf, uint32Max, uintOf } from '../fields.js';
import { hash } from '../hash.js';
import { limits } from '../limits.js';
import type { KeyName } from '../ring/schedule.js';
import type { Signer, Suite } from '../suite.js';

export type EntryKind = 'reading' | 'gap' | 'checkpoint';

/** Where an entry stands; the next one holds its hash. */
export interface ChainPlace {
  /** From 1; never resets, and is used once. */
  readonly sequence: number;
  /** Hash of the entry before; 32 zero bytes in the first. */
  readonly previousHash: Uint8Array;
}

/** What stands in every entry, outside any seal: whose it is, its place, and the epoch in which it was made. */
export interface ChainEntry extends ChainPlace {
  readonly kind: EntryKind;
  readonly gid: Uint8Array;
  readonly epoch: number;
  readonly attempt: number;
  /** certHash. */
  readonly meter: Uint8Array;
  /** Hash of this entry, as the next one carries it. */
  readonly hash: Uint8Array;
}

export const firstPreviousHash = new Uint8Array(32);

/** H(envelope, payload): the payload, since a signature is no part of what is identical. */
export const entryHash = (suite: Suite, payload: Uint8Array): Uint8Array => hash(suite, 'envelope', payload);

export interface EntrySigner {
  readonly certHash: Uint8Array;
  readonly kid: Uint8Array;
  readonly signer: Signer;
}

/** A statement of a meter in clear: an entry that is no reading. Its payload begins with the kind as text. */
export function signStatement(
  suite: Suite,
  meter: EntrySigner,
  { gid, epoch, attempt }: Pick<KeyName, 'gid' | 'epoch' | 'attempt'>,
  place: ChainPlace,
  kind: Exclude<EntryKind, 'reading'>,
  content: readonly CborItem[],
): { readonly message: Uint8Array; readonly hash: Uint8Array } {
  const { sequence, previousHash } = place;
  const payload = encode([kind, gid, epoch, attempt, meter.certHash, sequence, previousHash, ...content]);
  const message = sign1(suite, meter.signer, meter.kid, { type: kind, context: gid }, payload);
  return { message, hash: entryHash(suite, payload) };
}

/**
 * Parses without verifying; `items` is how many the kind has after the common ones.
 * @throws MalformedError
 */
export function parseStatement<Kind extends Exclude<EntryKind, 'reading'>>(
  suite: Suite,
  bytes: Uint8Array,
  kind: Kind,
  items: number,
): { readonly entry: ChainEntry & { readonly kind: Kind }; readonly content: readonly CborItem[] } {
  const { payload } = parseSign1(bytes, limits.statement);
  const all = arrayOf(decodeStrict(payload, limits.statement), kind, 7 + items);
  const [named, gid, epoch, attempt, meter, sequence, previousHash, ...content] = all;
  if (named !== kind) throw new MalformedError('message-malformed', `not a valid ${kind}`);
  const entry = {
    kind,
    gid: bytesOf(gid, kind, 16),
    epoch: uintOf(epoch, kind, uint32Max, 1),
    attempt: uintOf(attempt, kind, 255, 1),
    meter: bytesOf(meter, kind, 32),
    sequence: uintOf(sequence, kind, Number.MAX_SAFE_INTEGER, 1),
    previousHash: bytesOf(previousHash, kind, 32),
    hash: entryHash(suite, payload),
  };
  return { entry, content };
}

/** @throws VerificationError `wrong-signer`, `algorithm-mismatch`, `signature-invalid` unless the meter has signed it */
export function assertSignedBy(
  suite: Suite,
  meter: VerifiedCertificate,
  { kind, gid, meter: named }: ChainEntry,
  bytes: Uint8Array,
): void {
  if (!equalBytes(named, meter.certHash)) throw new VerificationError('wrong-signer', `a ${kind} of another meter`);
  verifySign1(suite, meter.verifier, parseSign1(bytes, limits.envelope), { type: kind, context: gid });
}

/** CBOR's major type of texts (RFC 8949 §3.1). */
const textType = 3;

/** Of a message that may be any entry; statements begin with a text, readings with the group's id. @throws MalformedError */
export const entryKindOf = (bytes: Uint8Array): EntryKind => kindOfPayload(parseSign1(bytes, limits.envelope).payload);

export function kindOfPayload(payload: Uint8Array): EntryKind {
  const [, first = 0] = payload;
  if (first >> 5 !== textType) return 'reading';
  return first === ((textType << 5) | 'gap'.length) ? 'gap' : 'checkpoint';
}
