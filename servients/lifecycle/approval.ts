/**
 * For whom the CA's key signs. A backend says who waits, and whoever manages enrolments there invites whom it likes: neither
 * decides who becomes more than a meter, or comes back into a list that it was taken off.
 */
import { hash } from 'node:crypto';
import { equalBytes, fromBase64Url } from '../../crypto/bytes.js';
import { parseCertificate, verifyChain, type Certificate, type LeafCertificate } from '../../crypto/certificate.js';
import { VerificationError } from '../../crypto/errors.js';
import type { Suite } from '../../crypto/suite.js';

/** An enrolment as the backend lists it. */
export interface Waiting {
  readonly device: string;
  readonly kind: 'invitation' | 'renewal';
  readonly state: 'invited' | 'waiting' | 'issued';
  readonly request?: string;
  readonly certificates?: readonly string[];
}

/** No certificate of an authority comes about this way. */
const enrolled = /^urn:gridring:(?:meter|gateway|backend|reader|operator):/;

export interface Approval {
  /** To be certified where they wait, and taken into the list where they are meters. */
  readonly due: readonly Waiting[];
  /** Have a certificate already, and were not named: whether one of them was removed since is nothing that shows here. */
  readonly issued: readonly Waiting[];
}

/** `ids`: of meters, or URNs of any device; where there are none, all meters that wait. */
export function approvalOf(enrolments: readonly Waiting[], ids: readonly string[]): Approval {
  const names = new Set(ids.map((id) => (id.startsWith('urn:') ? id : `urn:gridring:meter:${id}`)));
  const asked = enrolments.filter(({ device, kind, state }) => {
    const isNamed = names.size === 0 ? device.startsWith('urn:gridring:meter:') : names.has(device);
    return kind === 'invitation' && state !== 'invited' && isNamed && enrolled.test(device);
  });
  const isDue = ({ state }: Waiting): boolean => names.size > 0 || state === 'waiting';
  return { due: asked.filter(isDue), issued: asked.filter((each) => !isDue(each)) };
}

/** Leaf first, without the root. */
export type Chain = readonly [LeafCertificate, ...Certificate[]];

/**
 * A chain that the backend says was issued before, as certificates.
 * @throws VerificationError `certificate-of-another`, and as `verifyChain`; MalformedError
 */
export function issuedChain(
  { suite, root, nowS }: { readonly suite: Suite; readonly root: Certificate; readonly nowS: number },
  device: string,
  chain: readonly Uint8Array[],
): Chain {
  const [leaf, ...above] = chain.map((der) => parseCertificate(suite, der));
  const verified = leaf && verifyChain(suite, leaf, above, [root], nowS);
  if (!verified || `urn:gridring:${verified.role}:${verified.id}` !== device) {
    throw new VerificationError('certificate-of-another', `the backend shows a certificate that is not of ${device}`);
  }
  return [verified, ...above];
}

/** Whether a list names a certificate, base64url. */
export const isListed = (
  entries: readonly { readonly certHash: Uint8Array }[],
  certificate: string | undefined,
): boolean => {
  const certHash = hash('sha256', fromBase64Url(certificate ?? ''), 'buffer');
  return entries.some((entry) => equalBytes(entry.certHash, certHash));
};
