/**
 * The first three signed messages of an attempt (announcement, roster, tokens), as anyone verifies them afterwards with
 * the membership list alone: what the record of an epoch begins with, and what a verdict rests on (protocol §7).
 */
import { equalBytes } from '../bytes.js';
import { parseSign1, verifySign1, type Sign1 } from '../cose.js';
import { ConflictError, VerificationError } from '../errors.js';
import { limits } from '../limits.js';
import { certificateOf } from '../membership.js';
import {
  contextOf,
  parseAnnouncement,
  parseRosterBundle,
  parseTokenBundle,
  type Announcement,
  type MessageType,
  type TokenEntry,
} from './messages.js';
import { openRoster, verifyShareOf, verifyTokenOf, type Ring, type RosterCheck } from './roster.js';
import { announcementId } from './schedule.js';

export type EvidenceMessages = readonly [announcement: Uint8Array, roster: Uint8Array, tokens: Uint8Array];

export interface Evidence {
  readonly announcement: Announcement;
  readonly ring: Ring;
  /** In ring order, each with its owner's valid signature. Whether they fit is not looked at. */
  readonly tokens: readonly TokenEntry[];
  /** @throws VerificationError `wrong-signer`, `signature-invalid` unless the same coordinator signed it */
  readonly verifyCoordinator: (message: Sign1, type: MessageType, context: Uint8Array) => void;
}

/** What an announcement refers to, before anything is verified: to find the list that it needs. */
export const peekAnnouncement = (announcement: Uint8Array): Announcement =>
  parseAnnouncement(parseSign1(announcement, limits.memberMessage).payload);

/**
 * Recomputes annId → sid → th1 and checks every signature of the coordinator, of shares and of tokens.
 * @throws MalformedError, ConflictError `membership-unknown`, VerificationError (as of the rounds, and `wrong-group`,
 * `record-session`, `record-tokens`)
 */
export function openEvidence(check: RosterCheck, [announcement, roster, tokens]: EvidenceMessages): Evidence {
  const opened = openAnnouncement(check, announcement);
  const { verifyCoordinator } = opened;
  const ring = openRosterMessage(check, opened, roster);
  const message = parseSign1(tokens, limits.bundle);
  verifyCoordinator(message, 'tokens', ring.th1);
  const { sessionRef, entries } = parseTokenBundle(message.payload);
  assertReference(ring.sid, sessionRef);
  if (entries.length !== ring.members.length) {
    throw new VerificationError('record-tokens', 'not one token a member');
  }
  ring.members.forEach((member, i) => {
    const entry = entries[i];
    if (entry) verifyTokenOf(ring, member, entry);
  });
  return { announcement: opened.announcement, ring, tokens: entries, verifyCoordinator };
}

type OpenedAnnouncement = Pick<Evidence, 'announcement' | 'verifyCoordinator'> & { readonly annId: Uint8Array };

function openAnnouncement({ suite, membership, nowS }: RosterCheck, bytes: Uint8Array): OpenedAnnouncement {
  const message = parseSign1(bytes, limits.memberMessage);
  const announcement = parseAnnouncement(message.payload);
  if (!equalBytes(announcement.listHash, membership.listHash)) {
    throw new ConflictError('membership-unknown', 'the record rests on another membership list');
  }
  if (!equalBytes(announcement.gid, membership.list.gid)) {
    throw new VerificationError('wrong-group', 'the record is of another group than its membership list');
  }
  if (announcement.suite !== suite.id) throw new VerificationError('suite-mismatch', 'the record is of another suite');
  const { kid, verifier } = certificateOf(membership, announcement.coordinator, 'coordinator', nowS);
  const verifyCoordinator: Evidence['verifyCoordinator'] = (signed, type, context) => {
    if (!equalBytes(signed.kid, kid)) throw new VerificationError('wrong-signer', `${type} of another`);
    verifySign1(suite, verifier, signed, contextOf(type, context));
  };
  verifyCoordinator(message, 'announcement', announcement.gid);
  return { announcement, annId: announcementId(suite, message.payload), verifyCoordinator };
}

function openRosterMessage(
  check: RosterCheck,
  { annId, verifyCoordinator }: OpenedAnnouncement,
  bytes: Uint8Array,
): Ring {
  const message = parseSign1(bytes, limits.bundle);
  verifyCoordinator(message, 'roster', annId);
  const { announcementRef, entries } = parseRosterBundle(message.payload);
  assertReference(annId, announcementRef);
  const ring = openRoster(check, annId, entries);
  for (const member of ring.members) verifyShareOf(ring, member);
  return ring;
}

/** @throws VerificationError `record-session` */
export function assertReference(id: Uint8Array, reference: Uint8Array): void {
  if (!equalBytes(id.subarray(0, 8), reference))
    throw new VerificationError('record-session', 'the record mixes sessions');
}
