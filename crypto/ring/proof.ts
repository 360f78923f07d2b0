/**
 * The proof of an epoch (protocol §7): the membership list with its certificates, the record, and the backend's
 * endorsement. Whoever has it and the root's certificate tells, without anybody's help, who holds the key of the epoch.
 */
import { equalBytes } from '../bytes.js';
import { decodeStrict, encode } from '../cbor.js';
import type { VerifiedCertificate } from '../certificate.js';
import { assembleSign1, protectedHeader } from '../cose.js';
import { GridringError, VerificationError } from '../errors.js';
import { arrayOf, bytesOf } from '../fields.js';
import { limits } from '../limits.js';
import { certificateOf, lastValidS, verifyMembership, type Membership, type MembershipCheck } from '../membership.js';
import type { Suite } from '../suite.js';
import { endorsedAtS, recordHashOf, verifyEndorsement, type VerifiedEndorsement } from './endorsement.js';
import { encodeConfirmation, type Announcement } from './messages.js';
import { announcementOf, verifyRecord, type VerifiedRecord } from './record.js';

/** Three bundles, each as it travels by itself. */
export interface Proof {
  readonly membership: Uint8Array;
  readonly record: Uint8Array;
  readonly endorsement: Uint8Array;
}

export const encodeProof = ({ membership, record, endorsement }: Proof): Uint8Array =>
  encode([membership, record, endorsement]);

/** @throws MalformedError */
export function parseProof(bytes: Uint8Array): Proof {
  const what = 'proof of an epoch';
  const [membership, record, endorsement] = arrayOf(decodeStrict(bytes, limits.proof), what, 3);
  return {
    membership: bytesOf(membership, what),
    record: bytesOf(record, what),
    endorsement: bytesOf(endorsement, what),
  };
}

/** A member that holds the key, and what it signed to say so. */
export interface KeyHolder {
  readonly certificate: VerifiedCertificate;
  /** Its confirmation as it sent it: a COSE_Sign1 that stands by itself. */
  readonly confirmation: Uint8Array;
}

export interface VerifiedProof {
  readonly membership: Membership;
  readonly record: VerifiedRecord;
  readonly endorsement: VerifiedEndorsement;
  /** In ring order. */
  readonly holders: readonly KeyHolder[];
  /** As at which time certificates and list were found valid, Unix seconds. */
  readonly asAtS: number;
}

/** What a proof is checked for, one after the other; a refusal begins with the name. */
type ProofPart = 'form' | 'membership list' | 'record' | 'endorsement';

/** An announcement is for so long. */
const announcedForS = 300;

/**
 * When what was announced is judged, Unix seconds: as its members did, while the announcement lasted and, if so, the list.
 * What members signed outlives their certificates and the list.
 * @throws MalformedError for a bundle that is none
 */
export const judgedAtS = (nowS: number, { expiryS }: Announcement, membershipBundle: Uint8Array): number =>
  Math.min(nowS, expiryS, Math.max(expiryS - announcedForS, lastValidS(membershipBundle)));

/**
 * Checks every signature and hash of a proof, as at the time that `judgedAtS` says.
 * @throws VerificationError with the code of the check that failed, also `endorsement-mismatch`; the message begins with
 * the part
 */
export function verifyProof(check: MembershipCheck, bytes: Uint8Array): VerifiedProof {
  const { suite } = check;
  const { proof, asAtS } = inPart('form', () => {
    const parsed = parseProof(bytes);
    return { proof: parsed, asAtS: judgedAtS(check.nowS, announcementOf(parsed.record), parsed.membership) };
  });
  const then = { ...check, nowS: asAtS };
  const membership = inPart('membership list', () => verifyMembership(then, proof.membership));
  const record = inPart('record', () => verifyRecord(suite, membership, proof.record, asAtS));
  const endorsement = inPart('endorsement', () => endorsementOf(check, asAtS, proof, record));
  return { membership, record, endorsement, holders: holdersOf(suite, membership, record, asAtS), asAtS };
}

function endorsementOf(
  check: MembershipCheck,
  asAtS: number,
  { record, endorsement }: Proof,
  { name }: VerifiedRecord,
): VerifiedEndorsement {
  const nowS = endorsedAtS(check, asAtS, endorsement);
  const verified = verifyEndorsement({ ...check, nowS }, endorsement);
  const { gid, epoch, attempt, th2, recordHash } = verified;
  const isSame =
    equalBytes(gid, name.gid) &&
    epoch === name.epoch &&
    attempt === name.attempt &&
    equalBytes(th2, name.th2) &&
    equalBytes(recordHash, recordHashOf(check.suite, record));
  if (!isSame) throw new VerificationError('endorsement-mismatch', 'the endorsement is of another record');
  return verified;
}

function holdersOf(
  suite: Suite,
  membership: Membership,
  { sid, name, roster, confirmations }: VerifiedRecord,
  nowS: number,
): readonly KeyHolder[] {
  return confirmations.flatMap((entry, i) => {
    const certHash = roster[i];
    if (!certHash) return [];
    const certificate = certificateOf(membership, certHash, 'member', nowS);
    const header = protectedHeader(suite.signatureAlgorithm, certificate.kid);
    const payload = encodeConfirmation({ sessionRef: sid.slice(0, 8), th2: name.th2, ...entry });
    return [{ certificate, confirmation: assembleSign1(header, payload, entry.signature) }];
  });
}

function inPart<T>(part: ProofPart, check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof GridringError)) throw error;
    throw new VerificationError(error.code, `${part}: ${error.message}`, error);
  }
}
