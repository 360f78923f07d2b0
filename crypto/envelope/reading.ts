/**
 * Sealed readings (protocol §8): one COSE_Sign1(COSE_Encrypt0) each. What a relay must check stands outside the seal:
 * key name, meter, sequence, hash of the previous envelope, hash of the key. Who has the grant reads the rest.
 */
import { equalBytes } from '../bytes.js';
import { decodeStrict, encode } from '../cbor.js';
import type { VerifiedCertificate } from '../certificate.js';
import { decrypt0, encrypt0, parseSign1, sign1, verifySign1, type Sign1 } from '../cose.js';
import { VerificationError } from '../errors.js';
import { arrayOf, bytesOf, uint32Max, uintOf } from '../fields.js';
import { hash } from '../hash.js';
import { limits } from '../limits.js';
import type { KeyName } from '../ring/schedule.js';
import type { Signer, Suite } from '../suite.js';
import { assertSignedBy, entryHash, type ChainEntry, type ChainPlace, type EntrySigner } from './chain.js';
import { readingKeyHash } from './grant.js';

/** The sequence is the nonce too. */
interface ReadingHeader extends Omit<ChainEntry, 'hash'> {
  readonly kind: 'reading';
  /** th2[0..8] of the epoch. */
  readonly keyRef: Uint8Array;
  readonly keyHash: Uint8Array;
}

export interface SealedReading extends ReadingHeader, ChainEntry {
  readonly kind: 'reading';
  readonly sealed: Uint8Array;
}

const headerItems = (h: ReadingHeader) =>
  [h.gid, h.epoch, h.attempt, h.keyRef, h.meter, h.sequence, h.previousHash, h.keyHash] as const;

const sealAad = (header: ReadingHeader): Uint8Array => encode(['gridring1', 'reading', ...headerItems(header)]);

/** 4 zero bytes ‖ sequence as u64. */
function nonceOf(sequence: number): Uint8Array {
  const nonce = new Uint8Array(12);
  new DataView(nonce.buffer).setBigUint64(4, BigInt(sequence));
  return nonce;
}

/**
 * Seals and signs one reading. The caller saves sequence and envelope in one transaction before sending: a sequence is
 * used once in the life of a meter.
 */
export function sealReading(
  suite: Suite,
  meter: EntrySigner,
  key: { readonly name: KeyName; readonly readingKey: Uint8Array },
  at: ChainPlace,
  plaintext: Uint8Array,
): { readonly envelope: Uint8Array; readonly hash: Uint8Array } {
  const { gid, epoch, attempt, th2 } = key.name;
  const keyHash = readingKeyHash(suite, key.readingKey);
  const kind = 'reading';
  const header: ReadingHeader = {
    ...{ kind, gid, epoch, attempt, keyRef: th2.slice(0, 8), meter: meter.certHash, keyHash },
    ...at,
  };
  const sealed = encrypt0(suite, key.readingKey, nonceOf(at.sequence), sealAad(header), plaintext);
  const payload = encode([...headerItems(header), sealed]);
  return {
    envelope: sign1(suite, meter.signer, meter.kid, { type: 'reading', context: gid }, payload),
    hash: entryHash(suite, payload),
  };
}

/** Parses without verifying. @throws MalformedError */
export const parseReading = (suite: Suite, bytes: Uint8Array): SealedReading =>
  readingIn(suite, parseSign1(bytes, limits.envelope));

/** In a message that was parsed. @throws MalformedError */
export function readingIn(suite: Suite, { payload }: Sign1): SealedReading {
  const what = 'sealed reading';
  const [gid, epoch, attempt, keyRef, meter, sequence, previousHash, keyHash, sealed] = arrayOf(
    decodeStrict(payload, limits.envelope),
    what,
    9,
  );
  return {
    kind: 'reading',
    gid: bytesOf(gid, what, 16),
    epoch: uintOf(epoch, what, uint32Max, 1),
    attempt: uintOf(attempt, what, 255, 1),
    keyRef: bytesOf(keyRef, what, 8),
    meter: bytesOf(meter, what, 32),
    sequence: uintOf(sequence, what, Number.MAX_SAFE_INTEGER, 1),
    previousHash: bytesOf(previousHash, what, 32),
    keyHash: bytesOf(keyHash, what, 32),
    sealed: bytesOf(sealed, what),
    hash: entryHash(suite, payload),
  };
}

/** @throws MalformedError, VerificationError `wrong-signer`, `signature-invalid` */
export function verifyReading(suite: Suite, meter: VerifiedCertificate, bytes: Uint8Array): SealedReading {
  const reading = parseReading(suite, bytes);
  assertSignedBy(suite, meter, reading, bytes);
  return reading;
}

/**
 * The plaintext of a verified reading.
 * @throws VerificationError `reading-key-mismatch` when another key sealed it, `seal-invalid` when it was altered
 */
export function openReading(suite: Suite, readingKey: Uint8Array, reading: SealedReading): Uint8Array {
  if (!equalBytes(readingKeyHash(suite, readingKey), reading.keyHash)) {
    throw new VerificationError('reading-key-mismatch', 'the reading was sealed with another key than the granted one');
  }
  return decrypt0(suite, readingKey, nonceOf(reading.sequence), sealAad(reading), reading.sealed, limits.envelope);
}

/** What is uploaded: grants first, then entries of the chain in order of sequence; every item is signed by its meter. */
export interface Upload {
  readonly grants: readonly Uint8Array[];
  /** Sealed readings, and among them gap reports and checkpoints. */
  readonly readings: readonly Uint8Array[];
}

export const encodeUpload = ({ grants, readings }: Upload): Uint8Array => encode([grants, readings]);

/** @throws MalformedError */
export function parseUpload(bytes: Uint8Array): Upload {
  const what = 'upload';
  const [grants, readings] = arrayOf(decodeStrict(bytes, limits.readingsBatch), what, 2);
  return {
    grants: arrayOf(grants, what).map((item) => bytesOf(item, what)),
    readings: arrayOf(readings, what).map((item) => bytesOf(item, what)),
  };
}

/** What becomes of a meter's entries at a gateway that has signed for them. */
export interface Custody {
  /** 16 random bytes that name the database in which the gateway keeps them. */
  readonly custodian: Uint8Array;
  /** Of the meter's entries that were given there, the backend has all up to this sequence. */
  readonly storedThrough: number;
}

/**
 * A receipt: the receiver signs that it holds the whole upload durably, so that nobody else can make the sender forget.
 * `sender` is the certHash of who uploaded. A gateway adds how it stands with what the sender gave it before.
 */
export const signReceipt = (
  suite: Suite,
  receiver: { readonly kid: Uint8Array; readonly signer: Signer },
  sender: Uint8Array,
  upload: Uint8Array,
  custody?: Custody,
): Uint8Array =>
  sign1(
    suite,
    receiver.signer,
    receiver.kid,
    { type: 'receipt', context: sender },
    encode([hash(suite, 'upload', upload), ...(custody ? [custody.custodian, custody.storedThrough] : [])]),
  );

/**
 * @returns what a gateway says of its custody
 * @throws MalformedError, VerificationError `receipt-mismatch`, `signature-invalid`
 */
export function verifyReceipt(
  suite: Suite,
  receiver: VerifiedCertificate,
  sender: Uint8Array,
  upload: Uint8Array,
  bytes: Uint8Array,
): Custody | undefined {
  const what = 'receipt';
  const message = parseSign1(bytes, limits.memberMessage);
  verifySign1(suite, receiver.verifier, message, { type: 'receipt', context: sender });
  const items = arrayOf(decodeStrict(message.payload, limits.memberMessage), what);
  const [uploadHash, custodian, storedThrough] = arrayOf(items, what, items.length === 1 ? 1 : 3);
  if (!equalBytes(bytesOf(uploadHash, what, 32), hash(suite, 'upload', upload))) {
    throw new VerificationError('receipt-mismatch', 'the receipt is for another upload');
  }
  if (items.length === 1) return undefined;
  return {
    custodian: bytesOf(custodian, what, 16),
    storedThrough: uintOf(storedThrough, what, Number.MAX_SAFE_INTEGER),
  };
}
