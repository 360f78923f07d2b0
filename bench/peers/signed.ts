/** Signed messages and wrapped keys of the two baselines that have a key server. */
import { concatBytes } from '../../crypto/bytes.js';
import { decodeStrict, encode, type CborItem } from '../../crypto/cbor.js';
import { VerificationError } from '../../crypto/errors.js';
import { arrayOf, bytesOf } from '../../crypto/fields.js';
import { limits } from '../../crypto/limits.js';
import type { Signer, Suite, Verifier } from '../../crypto/suite.js';
import { random } from '../deployment.js';

export function signed(signer: Signer, item: CborItem): Uint8Array {
  const payload = encode(item);
  return encode([payload, signer.sign(payload)]);
}

/** @throws MalformedError of the CBOR gate, VerificationError `signature-invalid` */
export function openSigned(verifier: Verifier, message: Uint8Array): CborItem {
  const [payload, signature] = arrayOf(decodeStrict(message, limits.requestBody), 'signed message', 2);
  const bytes = bytesOf(payload, 'payload');
  if (!verifier.verify(bytes, bytesOf(signature, 'signature', 64))) {
    throw new VerificationError('signature-invalid', 'not signed by the one who should have');
  }
  return decodeStrict(bytes, limits.requestBody);
}

/** A fresh nonce, and `key` sealed under `wrappingKey` for this place alone. */
export function wrapKey(suite: Suite, wrappingKey: Uint8Array, place: CborItem, key: Uint8Array): Uint8Array {
  const nonce = random(12);
  return concatBytes(nonce, suite.seal(wrappingKey, nonce, encode(place), key));
}

/** @throws VerificationError `seal-invalid` */
export const unwrapKey = (suite: Suite, wrappingKey: Uint8Array, place: CborItem, wrapped: Uint8Array): Uint8Array =>
  suite.open(wrappingKey, wrapped.subarray(0, 12), encode(place), wrapped.subarray(12));
