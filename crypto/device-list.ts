/**
 * A detached signature of a list of devices, as a maker or an operator sends it: who made which file, and when. What is in
 * the file is for the caller to read, and nothing of it before this has verified.
 */
import { equalBytes } from './bytes.js';
import { decodeStrict, encode } from './cbor.js';
import { parseCertificate, verifyChain, type Certificate, type VerifiedCertificate } from './certificate.js';
import { parseSign1, sign1, verifySign1, type SignatureContext } from './cose.js';
import { ConflictError, MalformedError, VerificationError } from './errors.js';
import { arrayOf, bytesOf, uintOf } from './fields.js';
import { limits } from './limits.js';
import type { Signer, Suite } from './suite.js';

const what = 'signature of a device list';
const contextOf = (digest: Uint8Array): SignatureContext => ({ type: 'device-list', context: digest });

/** CBOR `[COSE_Sign1 of [SHA-256 of the file, time], certificates]`, the signer's own first. */
export function signDeviceList(
  suite: Suite,
  by: { readonly kid: Uint8Array; readonly signer: Signer; readonly certificates: readonly Uint8Array[] },
  file: Uint8Array,
  timeS: number,
): Uint8Array {
  const digest = suite.sha256(file);
  const signed = sign1(suite, by.signer, by.kid, contextOf(digest), encode([digest, timeS]));
  return encode([signed, by.certificates]);
}

export interface VerifiedDeviceList {
  /** Whether this one may bring devices is for the caller to say. */
  readonly signer: VerifiedCertificate;
  readonly timeS: number;
}

/**
 * Checks chain, signature and age; not the signer's role.
 * @throws MalformedError `message-malformed`; VerificationError `wrong-signer`, `signature-invalid`, `device-list-altered`,
 * and those of `verifyChain`; ConflictError `device-list-stale`
 */
export function verifyDeviceList(
  check: { readonly suite: Suite; readonly trustedRoots: readonly Certificate[]; readonly nowS: number },
  file: Uint8Array,
  signature: Uint8Array,
): VerifiedDeviceList {
  const { suite, trustedRoots, nowS } = check;
  const [signed, chain] = arrayOf(decodeStrict(signature, limits.endorsement), what, 2);
  const [leaf, ...above] = arrayOf(chain, what).map((der) => parseCertificate(suite, bytesOf(der, what)));
  if (!leaf || above.length > 3) throw new MalformedError('message-malformed', 'a device list without a signer');
  const signer = verifyChain(suite, leaf, above, trustedRoots, nowS);
  const message = parseSign1(bytesOf(signed, what), limits.memberMessage);
  if (!equalBytes(signer.kid, message.kid)) {
    throw new VerificationError('wrong-signer', 'the device list is signed by another than it names');
  }
  const [told, time] = arrayOf(decodeStrict(message.payload, limits.memberMessage), what, 2);
  const digest = bytesOf(told, what, 32);
  verifySign1(suite, signer.verifier, message, contextOf(digest));
  if (!equalBytes(digest, suite.sha256(file))) {
    throw new VerificationError('device-list-altered', 'the device list is not the one that was signed');
  }
  const timeS = uintOf(time, what);
  if (timeS > nowS + limits.clockSkewS || nowS - timeS > limits.deviceListS) {
    throw new ConflictError('device-list-stale', 'the device list was signed too long ago, or is of the future');
  }
  return { signer, timeS };
}
