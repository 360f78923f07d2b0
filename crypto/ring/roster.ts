/** A roster as members, coordinator and auditors all check it, and the signatures that bundles carry. */
import { compareBytes, toHex } from '../bytes.js';
import type { VerifiedCertificate } from '../certificate.js';
import { protectedHeader, verifySign1 } from '../cose.js';
import { VerificationError } from '../errors.js';
import { assertQuorum, certificateAt, type Membership } from '../membership.js';
import type { Suite } from '../suite.js';
import {
  contextOf,
  encodeConfirmation,
  encodeShare,
  encodeToken,
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
    return { ...entry, certHash: certificate.certHash, certificate };
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
  const listIndices = new Set(members.map(({ listIndex }) => listIndex));
  const ephemeralKeys = new Set(members.map(({ ephemeralKey }) => toHex(ephemeralKey)));
  if (listIndices.size < members.length || ephemeralKeys.size < members.length) {
    throw new VerificationError('roster-duplicate', 'a member or an ephemeral key stands twice in the roster');
  }
}

/** Position of a member in the ring, −1 when it was left out. */
export const ringIndexOf = ({ members }: Ring, certHash: Uint8Array): number =>
  members.findIndex((member) => compareBytes(member.certHash, certHash) === 0);

export const neighbour = ({ members }: Ring, index: number, offset: 1 | -1): RingMember => {
  const member = members[(index + offset + members.length) % members.length];
  if (!member) throw new RangeError('no such position in the ring');
  return member;
};

/** @throws VerificationError `share-signature-missing`, `signature-invalid` */
export function verifyShareOf(suite: Suite, { annId }: Ring, member: RingMember): void {
  if (!member.signature) throw new VerificationError('share-signature-missing', 'a neighbour’s share is not signed');
  const payload = encodeShare({ announcementRef: annId.slice(0, 8), ...member });
  verifyCarried(suite, member.certificate, contextOf('share', annId), payload, member.signature);
}

/** @throws VerificationError `token-signature-missing`, `signature-invalid` */
export function verifyTokenOf(suite: Suite, { sid, th1 }: Ring, member: RingMember, entry: TokenEntry): void {
  if (!entry.signature) throw new VerificationError('token-signature-missing', 'a token came without its signature');
  const payload = encodeToken({ sessionRef: sid.slice(0, 8), ...entry });
  verifyCarried(suite, member.certificate, contextOf('token', th1), payload, entry.signature);
}

/** @throws VerificationError `signature-invalid` */
export function verifyConfirmationOf(
  suite: Suite,
  session: { readonly sid: Uint8Array; readonly th2: Uint8Array },
  certificate: VerifiedCertificate,
  { mac, groupPublicKey, signature }: ConfirmationEntry,
): void {
  const { sid, th2 } = session;
  const payload = encodeConfirmation({ sessionRef: sid.slice(0, 8), th2, mac, groupPublicKey });
  verifyCarried(suite, certificate, contextOf('confirmation', th2), payload, signature);
}

/** Bundles carry bare signatures: the protected header is rebuilt from certificate and suite (protocol §4). */
function verifyCarried(
  suite: Suite,
  { kid, verifier }: VerifiedCertificate,
  context: ReturnType<typeof contextOf>,
  payload: Uint8Array,
  signature: Uint8Array,
): void {
  const header = protectedHeader(suite.signatureAlgorithm, kid);
  verifySign1(
    suite,
    verifier,
    { kid, algorithm: suite.signatureAlgorithm, protectedHeader: header, payload, signature },
    context,
  );
}
