/**
 * COSE_Sign1 and COSE_Encrypt0 (RFC 9052) in the one form the protocol uses: tagged, protected header exactly
 * {alg, kid} or {alg}, unprotected header empty, payload attached. Nothing else of COSE is accepted.
 */
import { concatBytes, equalBytes } from './bytes.js';
import { decodeStrict, Embedded, encode, withEncoded, type CborItem } from './cbor.js';
import { MalformedError, VerificationError } from './errors.js';
import type { Signer, Suite, Verifier } from './suite.js';

const tagSign1 = 0xd2;
const tagEncrypt0 = 0xd0;
const emptyMap = new Map<number, CborItem>();

export interface Sign1 {
  /** First 8 bytes of the signer's certHash; only finds a key. */
  readonly kid: Uint8Array;
  readonly algorithm: number;
  /** Encoded protected header, as signed. */
  readonly protectedHeader: Uint8Array;
  readonly payload: Uint8Array;
  readonly signature: Uint8Array;
}

/** What a signature is over, but for its context, and the signature. */
export interface Signed {
  readonly protectedHeader: Uint8Array;
  readonly payload: Uint8Array | Embedded;
  readonly signature: Uint8Array;
}

/** The signature's context: external_aad = ["gridring1", type, context] (protocol §2). */
export interface SignatureContext {
  readonly type: string;
  readonly context: Uint8Array;
}

export const protectedHeader = (algorithm: number, kid: Uint8Array): Uint8Array =>
  encode(new Map<number, CborItem>([[1, algorithm], [4, kid]])); // prettier-ignore

/** Sig_structure of RFC 9052 §4.4. */
const sigStructure = (header: Uint8Array, { type, context }: SignatureContext, payload: Uint8Array | Embedded) => [
  'Signature1',
  header,
  new Embedded(['gridring1', type, context]),
  payload,
];

/** A tagged COSE_Sign1 over the payload; `kid` is certHash[0..8]. */
export function sign1(
  suite: Suite,
  signer: Signer,
  kid: Uint8Array,
  context: SignatureContext,
  payload: Uint8Array,
): Uint8Array {
  const header = protectedHeader(suite.signatureAlgorithm, kid);
  const signature = withEncoded(sigStructure(header, context, payload), (bytes) => signer.sign(bytes));
  return assembleSign1(header, payload, signature);
}

/** Puts a message together again from its parts, as bundles carry them. */
export const assembleSign1 = (header: Uint8Array, payload: Uint8Array, signature: Uint8Array): Uint8Array =>
  concatBytes(Uint8Array.of(tagSign1), encode([header, emptyMap, payload, signature]));

/**
 * Parses without verifying.
 * @throws MalformedError `too-large`, `cbor-malformed`, `cbor-not-deterministic`, `cose-malformed`
 */
export function parseSign1(bytes: Uint8Array, maxBytes: number): Sign1 {
  const [header, unprotected, payload, signature] = untag(bytes, tagSign1, 4, maxBytes);
  if (!(header instanceof Uint8Array && isEmptyMap(unprotected) && payload instanceof Uint8Array)) throw malformed();
  if (!(signature instanceof Uint8Array && signature.length === 64)) throw malformed();
  const fields = decodeStrict(header, 32, 'maps');
  if (!(fields instanceof Map) || fields.size !== 2) throw malformed();
  const algorithm: unknown = fields.get(1);
  const kid: unknown = fields.get(4);
  if (typeof algorithm !== 'number' || !(kid instanceof Uint8Array) || kid.length !== 8) throw malformed();
  return { kid, algorithm, protectedHeader: header, payload, signature };
}

/**
 * Checks the signature under the given key and context; the algorithm must be the suite's.
 * @throws VerificationError `algorithm-mismatch`, `signature-invalid`
 */
export function verifySign1(suite: Suite, verifier: Verifier, message: Sign1, context: SignatureContext): void {
  assertAlgorithm(suite, message);
  verifyBare(verifier, message, context);
}

/**
 * The same beside other work, and beside other signatures: for many messages at once.
 * @throws VerificationError `algorithm-mismatch`, `signature-invalid`
 */
export async function verifySign1Aside(
  suite: Suite,
  verifier: Verifier,
  message: Sign1,
  context: SignatureContext,
): Promise<void> {
  assertAlgorithm(suite, message);
  const structure = sigStructure(message.protectedHeader, context, message.payload);
  const signed = withEncoded(structure, (bytes) => bytes.slice());
  if (!(await verifier.verifyAside(signed, message.signature))) throw signatureInvalid(context);
}

function assertAlgorithm(suite: Suite, { algorithm }: Sign1): void {
  if (algorithm === suite.signatureAlgorithm) return;
  throw new VerificationError('algorithm-mismatch', `COSE algorithm ${algorithm} is not that of the suite`);
}

const signatureInvalid = ({ type }: SignatureContext): VerificationError =>
  new VerificationError('signature-invalid', `the signature of a ${type} does not verify`);

/**
 * Checks a signature that came without the rest of its message: header and payload are known.
 * @throws VerificationError `signature-invalid`
 */
export function verifyBare(verifier: Verifier, signed: Signed, context: SignatureContext): void {
  const structure = sigStructure(signed.protectedHeader, context, signed.payload);
  if (!withEncoded(structure, (bytes) => verifier.verify(bytes, signed.signature))) throw signatureInvalid(context);
}

/** A tagged COSE_Encrypt0; the nonce is implied by the caller's context and not carried. */
export function encrypt0(
  suite: Suite,
  key: Uint8Array,
  nonce: Uint8Array,
  externalAad: Uint8Array,
  plaintext: Uint8Array,
): Uint8Array {
  const header = encryptHeader(suite);
  const sealed = suite.seal(key, nonce, encStructure(header, externalAad), plaintext);
  return concatBytes(Uint8Array.of(tagEncrypt0), encode([header, emptyMap, sealed]));
}

/** @throws MalformedError `cose-malformed` and those of the CBOR gate; VerificationError `algorithm-mismatch`, `seal-invalid` */
export function decrypt0(
  suite: Suite,
  key: Uint8Array,
  nonce: Uint8Array,
  externalAad: Uint8Array,
  bytes: Uint8Array,
  maxBytes: number,
): Uint8Array {
  const [header, unprotected, sealed] = untag(bytes, tagEncrypt0, 3, maxBytes);
  if (!(header instanceof Uint8Array && isEmptyMap(unprotected) && sealed instanceof Uint8Array)) throw malformed();
  if (!equalBytes(header, encryptHeader(suite))) {
    throw new VerificationError('algorithm-mismatch', 'the envelope is sealed with another algorithm');
  }
  return suite.open(key, nonce, encStructure(header, externalAad), sealed);
}

const encryptHeader = (suite: Suite): Uint8Array => encode(new Map<number, CborItem>([[1, suite.aeadAlgorithm]]));

/** Enc_structure of RFC 9052 §5.3. */
const encStructure = (header: Uint8Array, externalAad: Uint8Array): Uint8Array =>
  encode(['Encrypt0', header, externalAad]);

function untag(bytes: Uint8Array, tag: number, length: number, maxBytes: number): readonly CborItem[] {
  if (bytes[0] !== tag) throw malformed();
  const items = decodeStrict(bytes.subarray(1), maxBytes - 1, 'maps');
  if (!Array.isArray(items) || items.length !== length) throw malformed();
  return items as readonly CborItem[];
}

const isEmptyMap = (item: CborItem | undefined): boolean => item instanceof Map && item.size === 0;
const malformed = (): MalformedError => new MalformedError('cose-malformed', 'not a COSE message of the expected form');
