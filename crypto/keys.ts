/** What both suites check alike about keys, and fresh keys from the caller's randomness. */
import { ED25519_TORSION_SUBGROUP, ed25519 } from '@noble/curves/ed25519.js';
import { equalBytes, fromHex } from './bytes.js';
import { VerificationError } from './errors.js';
import type { AgreementKey, Random, Signer, Suite } from './suite.js';

export const invalidKey = (why: string, cause?: unknown): VerificationError =>
  new VerificationError('key-invalid', why, cause);

/** @throws VerificationError `key-invalid` when `key` does not have `length` bytes */
export function assertKeyLength(key: Uint8Array, length: number): void {
  if (key.length !== length) throw invalidKey(`a key of ${key.length} bytes where ${length} are needed`);
}

/** The canonical u of every point whose order divides 8, on Curve25519 and on its twist. */
const lowOrderU = [
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
].map(fromHex);

/**
 * RFC 7748 §5 masks the top bit and reduces modulo p, so a point has several encodings; here it has one (protocol §2).
 * @throws VerificationError `key-invalid` for a length other than 32, a set top bit, u ≥ 2^255 − 19 and low order
 */
export function assertX25519PublicKey(u: Uint8Array): void {
  assertKeyLength(u, 32);
  if (isAtLeastFieldPrime(u)) throw invalidKey('u has its top bit set or is not below 2^255 - 19');
  if (lowOrderU.some((low) => equalBytes(low, u))) throw invalidKey('u is of low order');
}

/** Little endian, so nearly every u is decided by its last byte. */
function isAtLeastFieldPrime(u: Uint8Array): boolean {
  const top = u[31] ?? 0;
  if (top !== 0x7f) return top > 0x7f;
  return u.subarray(1, 31).every((byte) => byte === 0xff) && (u[0] ?? 0) >= 0xed;
}

const smallOrderPoints = ED25519_TORSION_SUBGROUP.map(fromHex);
const isSmallOrder = (point: Uint8Array): boolean => smallOrderPoints.some((small) => equalBytes(small, point));

/**
 * OpenSSL and ZIP 215 accept the identity, under which any message verifies; so a key is checked before it is used.
 * @throws VerificationError `key-invalid` for bytes that are no canonical point, and for small order
 */
export function assertEd25519PublicKey(publicKey: Uint8Array): void {
  assertKeyLength(publicKey, 32);
  if (isSmallOrder(publicKey)) throw invalidKey('the point is of small order');
  try {
    ed25519.Point.fromBytes(publicKey, false);
  } catch (cause) {
    throw invalidKey('not a canonical point of Ed25519', cause);
  }
}

/**
 * What every verifier checks before the equation. Node 24 refuses an R of small order and Node 20 does not: whoever
 * holds the key could be believed by one and refused by the other.
 */
export const isEd25519Signature = (signature: Uint8Array): boolean =>
  signature.length === 64 && !isSmallOrder(signature.subarray(0, 32));

/** A P-256 candidate fails once in 2^32 times (RFC 9180 §7.1.3 stops after 256 too). */
const maxAttempts = 256;

/**
 * The first of the candidates that `make` accepts.
 * @throws VerificationError `key-invalid` when none of 256 is
 */
export function firstAccepted<Key>(
  candidate: (attempt: number) => Uint8Array,
  make: (secret: Uint8Array) => Key,
): { readonly secret: Uint8Array; readonly key: Key } {
  for (let attempt = 0; ; attempt++) {
    const secret = candidate(attempt);
    try {
      return { secret, key: make(secret) };
    } catch (error) {
      if (!(error instanceof VerificationError) || attempt + 1 === maxAttempts) throw error;
    }
  }
}

export interface FreshAgreementKey {
  /** 32 bytes, as `Suite.agreementKey` takes them; the caller's to wipe. */
  readonly secret: Uint8Array;
  readonly key: AgreementKey;
}

/** @throws VerificationError `key-invalid` when `random` never yields a scalar */
export const generateAgreementKey = (suite: Suite, random: Random): FreshAgreementKey =>
  firstAccepted(
    () => random(32),
    (secret) => suite.agreementKey(secret),
  );

export interface FreshSigner {
  /** 32 bytes, as `Suite.signer` takes them; the caller's to wipe. */
  readonly secret: Uint8Array;
  readonly signer: Signer;
}

/** @throws VerificationError `key-invalid` when `random` never yields a scalar */
export function generateSigner(suite: Suite, random: Random): FreshSigner {
  const { secret, key } = firstAccepted(
    () => random(32),
    (candidate) => suite.signer(candidate),
  );
  return { secret, signer: key };
}
