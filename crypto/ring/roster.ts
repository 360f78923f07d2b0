/** A roster as members, coordinator and auditors all check it, and the signatures that bundles carry. */
import { equalBytes } from '../bytes.js';
import { Embedded } from '../cbor.js';
import type { VerifiedCertificate } from '../certificate.js';
import { verifyBare, type SignatureContext } from '../cose.js';
import { VerificationError } from '../errors.js';
import { assertQuorum, certificateAt, type Membership } from '../membership.js';
import type { Suite } from '../suite.js';
import {
  contextOf,
  confirmationItem,
  shareItem,
  tokenItem,
  type ConfirmationEntry,
  type RosterEntry,
  type TokenEntry,
} from './messages.js';
import { firstTranscript, inRingOrder, sessionId } from './schedule.js';

export interface RingMember extends RosterEntry {
  readonly certHash: Uint8Array;
  readonly certificate: VerifiedCertificate;
}

/** A checked roster: members in ring order, and the hashes that name the session. */
export interface Ring {
  readonly annId: Uint8Array;
  readonly members: readonly RingMember[];
  readonly sid: Uint8Array;
  readonly th1: Uint8Array;
}

export interface RosterCheck {
  readonly suite: Suite;
  readonly membership: Membership;
  readonly nowS: number;
}

/**
 * Checks everything about a roster but the shares' signatures: members of the list with certificates valid now, quorum,
 * ring order, no key or member twice.
 * @throws VerificationError `not-listed`, `certificate-expired`, `roster-minority`, `roster-order`, `roster-duplicate`
 */
export function openRoster(check: RosterCheck, annId: Uint8Array, entries: readonly RosterEntry[]): Ring {
  const { suite, membership, nowS } = check;
  const members = entries.map((entry): RingMember => {
    const certificate = certificateAt(membership, entry.listIndex, 'member', nowS);
    const { listIndex, ephemeralKey, commitment, signature } = entry;
    return { listIndex, ephemeralKey, commitment, signature, certHash: certificate.certHash, certificate };
  });
  assertDistinct(members);
  assertQuorum(
    membership.list,
    members.map(({ certHash }) => certHash),
  );
  const ordered = inRingOrder(suite, annId, members);
  if (ordered.some((member, i) => member !== members[i])) {
    throw new VerificationError('roster-order', 'the roster is not in ring order');
  }
  const sid = sessionId(
    suite,
    annId,
    members.map(({ certHash }) => certHash),
  );
  return { annId, members, sid, th1: firstTranscript(suite, sid, members) };
}

function assertDistinct(members: readonly RingMember[]): void {
  const isSame = (a: RingMember, b: RingMember): boolean =>
    a.listIndex === b.listIndex || equalBytes(a.ephemeralKey, b.ephemeralKey);
  if (members.some((member, i) => members.findIndex((other) => isSame(other, member)) < i)) {
    throw new VerificationError('roster-duplicate', 'a member or an ephemeral key stands twice in the roster');
  }
}

/** Position of a member in the ring, −1 when it was left out. */
export const ringIndexOf = ({ members }: Ring, certHash: Uint8Array): number =>
  members.findIndex((member) => equalBytes(member.certHash, certHash));

export const neighbour = ({ members }: Ring, index: number, offset: 1 | -1): RingMember => {
  const member = members[(index + offset + members.length) % members.length];
  if (!member) throw new RangeError('no such position in the ring');
  return member;
};

/** @throws VerificationError `share-signature-missing`, `signature-invalid` */
export function verifyShareOf({ annId }: Ring, member: RingMember): void {
  if (!member.signature) throw new VerificationError('share-signature-missing', 'a neighbour’s share is not signed');
  const payload = new Embedded(shareItem({ announcementRef: annId.slice(0, 8), ...member }));
  verifyCarried(member.certificate, contextOf('share', annId), payload, member.signature);
}

/** @throws VerificationError `token-signature-missing`, `signature-invalid` */
export function verifyTokenOf({ sid, th1 }: Ring, { certificate }: RingMember, entry: TokenEntry): void {
  if (!entry.signature) throw new VerificationError('token-signature-missing', 'a token came without its signature');
  const payload = new Embedded(tokenItem({ sessionRef: sid.slice(0, 8), ...entry }));
  verifyCarried(certificate, contextOf('token', th1), payload, entry.signature);
}

/** @throws VerificationError `signature-invalid` */
export function verifyConfirmationOf(
  { sessionRef, th2 }: { readonly sessionRef: Uint8Array; readonly th2: Uint8Array },
  certificate: VerifiedCertificate,
  { mac, groupPublicKey, signature }: ConfirmationEntry,
): void {
  const payload = new Embedded(confirmationItem({ sessionRef, th2, mac, groupPublicKey }));
  verifyCarried(certificate, contextOf('confirmation', th2), payload, signature);
}

/** Bundles carry bare signatures: the rest of each message is rebuilt (protocol §4). */
const verifyCarried = (
  { protectedHeader, verifier }: VerifiedCertificate,
  context: SignatureContext,
  payload: Embedded,
  signature: Uint8Array,
): void => {
  verifyBare(verifier, { protectedHeader, payload, signature }, context);
};
