/**
 * For whom the CA's key signs. A backend says who waits, and whoever manages enrolments there invites whom it likes: neither
 * decides who becomes more than a meter, or comes back into a list that it was taken off.
 */
import { hash } from 'node:crypto';
import { equalBytes, fromBase64Url } from '../../crypto/bytes.js';
import { parseCertificate, verifyChain, type Certificate, type LeafCertificate } from '../../crypto/certificate.js';
import { ConflictError, GridringError, VerificationError } from '../../crypto/errors.js';
import { successorOf, type AuthorityList } from '../../crypto/membership.js';
import { holderIn, verifyRenewal, type VerifiedRenewal } from '../../crypto/renewal.js';
import type { Suite } from '../../crypto/suite.js';

/** An enrolment as the backend lists it. */
export interface Waiting {
  readonly device: string;
  readonly kind: 'invitation' | 'renewal';
  readonly state: 'invited' | 'waiting' | 'issued';
  readonly request?: string;
  /** Of a renewal, as its holder has signed it. */
  readonly message?: string;
  readonly certificates?: readonly string[];
}

/** No certificate of an authority comes about this way. */
const enrolled = /^urn:gridring:(?:meter|gateway|backend|reader|operator):/;

export interface Renewing {
  readonly waiting: Waiting;
  readonly renewal: VerifiedRenewal;
}

/**
 * Renewals that wait, each verified by the holder's own signature: whose key is certified is not for the backend to say.
 * A holder must have its place in the list under that certificate, or be a backend. No list names a backend, so none takes
 * a certificate back that a thief of its key has asked for: it is due only where it is named. `ids` as of `approvalOf`;
 * where there are none, those of everybody else.
 * @returns also those that are not to be signed, each with the code of why
 */
export function renewalsOf(
  check: Check & { readonly list: AuthorityList },
  enrolments: readonly Waiting[],
  ids: readonly string[],
): { readonly due: readonly Renewing[]; readonly refused: readonly { device: string; code: string }[] } {
  const names = new Set(ids.map((id) => (id.startsWith('urn:') ? id : `urn:gridring:meter:${id}`)));
  const [due, refused]: [Renewing[], { device: string; code: string }[]] = [[], []];
  for (const waiting of enrolments) {
    const { device, kind, message } = waiting;
    if (kind !== 'renewal' || message === undefined || !(names.size === 0 || names.has(device))) continue;
    try {
      if (isDone(check, message)) continue;
      const renewal = renewalOf(check, device, message);
      if (renewal.holder.role === 'backend' && names.size === 0) {
        if (waiting.state === 'issued') continue;
        throw unnamed(device);
      }
      due.push({ waiting, renewal });
    } catch (error) {
      if (!(error instanceof GridringError)) throw error;
      refused.push({ device, code: error.code });
    }
  }
  return { due, refused };
}

const unnamed = (device: string): ConflictError =>
  new ConflictError('renewal-unnamed', `${device} is in no list: whose key it is, only you can say`);

/** Signed for, and in the list since. */
const isDone = ({ suite, list }: Check & { readonly list: AuthorityList }, message: string): boolean =>
  successorOf(list, suite.sha256(holderIn(fromBase64Url(message)))) !== undefined;

function renewalOf(check: Check & { readonly list: AuthorityList }, device: string, message: string): VerifiedRenewal {
  const renewal = verifyRenewal(check, fromBase64Url(message));
  const { role, id, certHash } = renewal.holder;
  if (`urn:gridring:${role}:${id}` !== device) {
    throw new VerificationError('certificate-of-another', `the backend shows a renewal that is not of ${device}`);
  }
  if (role === 'backend' || check.list.entries.some((entry) => equalBytes(entry.certHash, certHash))) return renewal;
  throw new VerificationError('not-listed', `${device} has no place in the list under that certificate`);
}

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

interface Check {
  readonly suite: Suite;
  readonly trustedRoots: readonly Certificate[];
  readonly nowS: number;
}

/** Leaf first, without the root. */
export type Chain = readonly [LeafCertificate, ...Certificate[]];

/**
 * A chain that the backend says was issued before, as certificates.
 * @throws VerificationError `certificate-of-another`, and as `verifyChain`; MalformedError
 */
export function issuedChain({ suite, trustedRoots, nowS }: Check, device: string, chain: readonly Uint8Array[]): Chain {
  const [leaf, ...above] = chain.map((der) => parseCertificate(suite, der));
  const verified = leaf && verifyChain(suite, leaf, above, trustedRoots, nowS);
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
