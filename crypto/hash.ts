/** The protocol's hash with domain separation (protocol §2), and HKDF (RFC 5869), over a suite's SHA-256 and HMAC. */
import { concatBytes } from './bytes.js';
import { withEncoded, type CborItem } from './cbor.js';
import type { Suite } from './suite.js';

/** H(label, …) = SHA-256(deterministic CBOR of ["gridring1/" + label, …]); 32 bytes that everybody may know. */
export const hash = (suite: Suite, label: string, ...items: readonly CborItem[]): Uint8Array =>
  withEncoded([`gridring1/${label}`, ...items], (bytes) => suite.publicSha256(bytes));

/** As `hash`, for a result that is secret. */
export const secretHash = (suite: Suite, label: string, ...items: readonly CborItem[]): Uint8Array =>
  withEncoded([`gridring1/${label}`, ...items], (bytes) => suite.sha256(bytes));

const blockBytes = 64;
/** A key's block, and after it the data or the inner hash. One for all calls, and overwritten after each. */
const keyed = new Uint8Array(2 * blockBytes);

/**
 * HMAC-SHA-256 (RFC 2104) for a result that everybody may know, 32 bytes: a member makes one for each of the others.
 * @throws RangeError when the key or the data has more than 64 bytes
 */
export function publicHmac(suite: Suite, key: Uint8Array, data: Uint8Array): Uint8Array {
  if (Math.max(key.length, data.length) > blockBytes) throw new RangeError('a key, or data, of more than a block');
  const inner = keyedHash(suite, key, 0x36, data);
  return keyedHash(suite, key, 0x5c, inner);
}

function keyedHash(suite: Suite, key: Uint8Array, pad: number, data: Uint8Array): Uint8Array {
  for (let i = 0; i < blockBytes; i++) keyed[i] = (key[i] ?? 0) ^ pad;
  keyed.set(data, blockBytes);
  const digest = suite.publicSha256(keyed.subarray(0, blockBytes + data.length));
  keyed.fill(0);
  return digest;
}

/** RFC 5869 §2.2; 32 bytes. */
export const hkdfExtract = (suite: Suite, salt: Uint8Array, inputKey: Uint8Array): Uint8Array =>
  suite.hmacSha256(salt, inputKey);

/** RFC 5869 §2.3. @throws RangeError when `length` is above 255 × 32 */
export function hkdfExpand(suite: Suite, prk: Uint8Array, info: Uint8Array, length: number): Uint8Array {
  if (length > 255 * 32) throw new RangeError('HKDF-Expand gives at most 8160 bytes');
  let block: Uint8Array = new Uint8Array(0);
  let output: Uint8Array = new Uint8Array(0);
  for (let counter = 1; output.length < length; counter++) {
    block = suite.hmacSha256(prk, concatBytes(block, info, Uint8Array.of(counter)));
    output = concatBytes(output, block);
  }
  return output.slice(0, length);
}
