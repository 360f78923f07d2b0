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
