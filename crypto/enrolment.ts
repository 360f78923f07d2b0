/** How a device makes itself known to its gateway: its Thing Description and certificates, signed by its own key. */
import { equalBytes, utf8 } from './bytes.js';
import { decodeStrict, encode } from './cbor.js';
import { parseCertificate, verifyChain, type Certificate, type VerifiedCertificate } from './certificate.js';
import { parseSign1, sign1, verifySign1 } from './cose.js';
import { ConflictError, MalformedError, VerificationError } from './errors.js';
import { arrayOf, bytesOf, uintOf } from './fields.js';
import { limits } from './limits.js';
import type { Signer, Suite } from './suite.js';

const maxBytes = limits.thingDescription + 4 * limits.certificate;

/** `certificates`: the leaf first, then its intermediates, DER. `td`: JSON text. */
export function signEnrolment(
  suite: Suite,
  device: { readonly certHash: Uint8Array; readonly kid: Uint8Array; readonly signer: Signer },
  enrolment: { readonly certificates: readonly Uint8Array[]; readonly td: string; readonly timeS: number },
): Uint8Array {
  const payload = encode([enrolment.certificates, utf8(enrolment.td), enrolment.timeS]);
  return sign1(suite, device.signer, device.kid, { type: 'enrolment', context: device.certHash }, payload);
}

export interface VerifiedEnrolment {
  readonly certificate: VerifiedCertificate;
  /** Leaf first. */
  readonly certificates: readonly Uint8Array[];
  readonly td: string;
  readonly timeS: number;
}

/**
 * Checks chain, role, signature and freshness; what the TD says is for the caller to validate.
 * @throws MalformedError, VerificationError, ConflictError `enrolment-stale`
 */
export function verifyEnrolment(
  check: { readonly suite: Suite; readonly trustedRoots: readonly Certificate[]; readonly nowS: number },
  bytes: Uint8Array,
): VerifiedEnrolment {
  const what = 'enrolment';
  const { suite, trustedRoots, nowS } = check;
  const message = parseSign1(bytes, maxBytes);
  const [chain, td, timeS] = arrayOf(decodeStrict(message.payload, maxBytes), what, 3);
  const certificates = arrayOf(chain, what).map((der) => bytesOf(der, what));
  const [leaf, ...intermediates] = certificates.map((der) => parseCertificate(suite, der));
  if (!leaf || intermediates.length > 3) throw new MalformedError('message-malformed', 'an enrolment without a chain');
  const certificate = verifyChain(suite, leaf, intermediates, trustedRoots, nowS, 'meter');
  if (!equalBytes(certificate.kid, message.kid)) {
    throw new VerificationError('wrong-signer', 'the enrolment is signed by another device');
  }
  verifySign1(suite, certificate.verifier, message, { type: what, context: certificate.certHash });
  const signedS = uintOf(timeS, what);
  if (Math.abs(nowS - signedS) > limits.clockSkewS) {
    throw new ConflictError('enrolment-stale', 'the enrolment was not signed just now; check the clocks');
  }
  return { certificate, certificates, td: decodeText(bytesOf(td, what)), timeS: signedS };
}

function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new MalformedError('message-malformed', 'a TD that is not UTF-8', cause);
  }
}
