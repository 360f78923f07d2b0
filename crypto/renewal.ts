/**
 * How the holder of a certificate asks for the next one (protocol §11): with the certificate that it has, over a request
 * for the key that is to come. Whoever signs for it checks that again: the statement travels through servers that could
 * put a key of their own into its place.
 */
import { equalBytes } from './bytes.js';
import { decodeStrict, encode, type CborItem } from './cbor.js';
import { verifyRequest } from './certificate/request.js';
import { parseCertificate, verifyChain, type Certificate, type VerifiedCertificate } from './certificate.js';
import { parseSign1, sign1, verifySign1 } from './cose.js';
import { MalformedError, VerificationError } from './errors.js';
import { arrayOf, bytesOf, uintOf } from './fields.js';
import { limits } from './limits.js';
import type { Signer, Suite } from './suite.js';

/** `certificates`: those of the holder now, leaf first, DER. `request`: PKCS #10, for the same name. */
export function signRenewal(
  suite: Suite,
  holder: { readonly certHash: Uint8Array; readonly kid: Uint8Array; readonly signer: Signer },
  renewal: { readonly certificates: readonly Uint8Array[]; readonly request: Uint8Array; readonly timeS: number },
): Uint8Array {
  const payload = encode([renewal.certificates, renewal.request, renewal.timeS]);
  return sign1(suite, holder.signer, holder.kid, { type: 'renewal', context: holder.certHash }, payload);
}

export interface VerifiedRenewal {
  /** The certificate that is to be replaced. */
  readonly holder: VerifiedCertificate;
  /** Of the next one, as `Suite.verifier` takes it. */
  readonly publicKey: Uint8Array;
  readonly timeS: number;
}

/**
 * Checks chain, signature, and that the request is for the holder's own name; how old it may be is for the caller.
 * @throws MalformedError; VerificationError `wrong-signer`, `certificate-role`, and those of `verifyChain` and
 * `verifyRequest`
 */
export function verifyRenewal(
  check: { readonly suite: Suite; readonly trustedRoots: readonly Certificate[]; readonly nowS: number },
  bytes: Uint8Array,
): VerifiedRenewal {
  const { suite, trustedRoots, nowS } = check;
  const message = parseSign1(bytes, limits.renewal);
  const [chain, request, timeS] = itemsOf(bytes);
  const [leaf, ...above] = arrayOf(chain, what).map((der) => parseCertificate(suite, bytesOf(der, what)));
  if (!leaf || above.length > 3) throw new MalformedError('message-malformed', 'a renewal without a chain');
  const holder = verifyChain(suite, leaf, above, trustedRoots, nowS);
  if (!equalBytes(holder.kid, message.kid)) {
    throw new VerificationError('wrong-signer', 'the renewal is signed by another than the holder');
  }
  verifySign1(suite, holder.verifier, message, { type: what, context: holder.certHash });
  const { role, id, publicKey } = verifyRequest(suite, bytesOf(request, what));
  if (role !== holder.role || id !== holder.id) {
    throw new VerificationError('certificate-role', 'a request for another name than the certificate has');
  }
  return { holder, publicKey, timeS: uintOf(timeS, what) };
}

/** The request in a renewal, without verifying anything. @throws MalformedError */
export const requestIn = (bytes: Uint8Array): Uint8Array => bytesOf(itemsOf(bytes)[1], what);

/** The certificate in a renewal under which it is signed, without verifying anything. @throws MalformedError */
export const holderIn = (bytes: Uint8Array): Uint8Array => bytesOf(arrayOf(itemsOf(bytes)[0], what)[0], what);

const what = 'renewal';

const itemsOf = (bytes: Uint8Array): readonly CborItem[] =>
  arrayOf(decodeStrict(parseSign1(bytes, limits.renewal).payload, limits.renewal), what, 3);
