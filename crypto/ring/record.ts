/**
 * The record of an epoch (protocol §7): its announcement, roster, tokens and confirmations, all signed. Anyone with the
 * membership list verifies who holds the key; nothing in it helps to compute the key.
 */
import { equalBytes } from '../bytes.js';
import { decodeStrict, encode } from '../cbor.js';
import { parseSign1, verifySign1, type Sign1 } from '../cose.js';
import { ConflictError, VerificationError } from '../errors.js';
import { arrayOf, bytesOf } from '../fields.js';
import { limits } from '../limits.js';
import { certificateOf, type Membership } from '../membership.js';
import type { Suite } from '../suite.js';
import {
  contextOf,
  parseAnnouncement,
  parseConfirmationBundle,
  parseRosterBundle,
  parseTokenBundle,
  type Announcement,
  type ConfirmationEntry,
  type MessageType,
} from './messages.js';
import { openRoster, verifyConfirmationOf, verifyShareOf, verifyTokenOf, type Ring } from './roster.js';
import { announcementId, secondTranscript, type KeyName } from './schedule.js';
import { publicTokenFault } from './verdict.js';

/** The four signed messages, in the order of the rounds. */
export type RecordMessages = readonly [
  announcement: Uint8Array,
  roster: Uint8Array,
  tokens: Uint8Array,
  confirmations: Uint8Array,
];

export interface VerifiedRecord {
  readonly announcement: Announcement;
  readonly name: KeyName;
  readonly sid: Uint8Array;
  /** certHashes in ring order: who holds the key. */
  readonly roster: readonly Uint8Array[];
  /** What each of them signed about the key, in the same order. */
  readonly confirmations: readonly ConfirmationEntry[];
  readonly groupPublicKey: Uint8Array;
}

export const encodeRecord = (messages: RecordMessages): Uint8Array => encode(messages);

/** @throws MalformedError */
export function parseRecord(bytes: Uint8Array): RecordMessages {
  const what = 'epoch record';
  const [announcement, roster, tokens, confirmations] = arrayOf(decodeStrict(bytes, 4 * limits.bundle), what, 4);
  return [bytesOf(announcement, what), bytesOf(roster, what), bytesOf(tokens, what), bytesOf(confirmations, what)];
}

/** What an announcement inside a record refers to, before anything is verified: to find the list it needs. */
export const announcementOf = (record: Uint8Array): Announcement =>
  parseAnnouncement(parseSign1(parseRecord(record)[0], limits.memberMessage).payload);

/**
 * Recomputes annId → sid → th1 → th2 and checks every signature.
 * @throws MalformedError, ConflictError `membership-unknown`, VerificationError (as of the rounds, and `wrong-group`,
 * `record-session`, `record-tokens`, `record-key`)
 */
export function verifyRecord(suite: Suite, membership: Membership, record: Uint8Array, nowS: number): VerifiedRecord {
  const [announcementBytes, rosterBytes, tokensBytes, confirmationsBytes] = parseRecord(record);
  const announcementMessage = parseSign1(announcementBytes, limits.memberMessage);
  const announcement = parseAnnouncement(announcementMessage.payload);
  if (!equalBytes(announcement.listHash, membership.listHash)) {
    throw new ConflictError('membership-unknown', 'the record rests on another membership list');
  }
  if (!equalBytes(announcement.gid, membership.list.gid)) {
    throw new VerificationError('wrong-group', 'the record is of another group than its membership list');
  }
  if (announcement.suite !== suite.id) throw new VerificationError('suite-mismatch', 'the record is of another suite');
  const annId = announcementId(suite, announcementMessage.payload);
  const coordinator = certificateOf(membership, announcement.coordinator, 'coordinator', nowS);
  const verify = (message: Sign1, type: MessageType, context: Uint8Array): void => {
    if (!equalBytes(message.kid, coordinator.kid)) throw new VerificationError('wrong-signer', `${type} of another`);
    verifySign1(suite, coordinator.verifier, message, contextOf(type, context));
  };
  verify(announcementMessage, 'announcement', announcement.gid);

  const rosterMessage = parseSign1(rosterBytes, limits.bundle);
  verify(rosterMessage, 'roster', annId);
  const { announcementRef, entries } = parseRosterBundle(rosterMessage.payload);
  assertReference(annId, announcementRef);
  const ring = openRoster({ suite, membership, nowS }, annId, entries);
  for (const member of ring.members) verifyShareOf(suite, ring, member);

  const tokensMessage = parseSign1(tokensBytes, limits.bundle);
  verify(tokensMessage, 'tokens', ring.th1);
  const th2 = verifyTokens(suite, ring, tokensMessage);

  const confirmationsMessage = parseSign1(confirmationsBytes, limits.bundle);
  verify(confirmationsMessage, 'confirmations', th2);
  const { gid, epoch, attempt } = announcement;
  const { confirmations, groupPublicKey } = verifyConfirmations(suite, ring, th2, confirmationsMessage);
  return {
    announcement,
    name: { gid, epoch, attempt, th2 },
    sid: ring.sid,
    roster: ring.members.map(({ certHash }) => certHash),
    confirmations,
    groupPublicKey,
  };
}

function assertReference(id: Uint8Array, reference: Uint8Array): void {
  if (!equalBytes(id.subarray(0, 8), reference))
    throw new VerificationError('record-session', 'the record mixes sessions');
}

function verifyTokens(suite: Suite, ring: Ring, { payload }: Sign1): Uint8Array {
  const { sessionRef, entries } = parseTokenBundle(payload);
  assertReference(ring.sid, sessionRef);
  if (entries.length !== ring.members.length || publicTokenFault(suite, ring, entries)) {
    throw new VerificationError('record-tokens', 'the tokens of the record do not fit together');
  }
  ring.members.forEach((member, i) => {
    const entry = entries[i];
    if (entry) verifyTokenOf(suite, ring, member, entry);
  });
  return secondTranscript(suite, ring.th1, entries);
}

function verifyConfirmations(
  suite: Suite,
  { sid, members }: Ring,
  th2: Uint8Array,
  { payload }: Sign1,
): { readonly confirmations: readonly ConfirmationEntry[]; readonly groupPublicKey: Uint8Array } {
  const { sessionRef, entries } = parseConfirmationBundle(payload);
  assertReference(sid, sessionRef);
  const groupPublicKey = entries[0]?.groupPublicKey;
  const agree = entries.every((entry) => groupPublicKey && equalBytes(entry.groupPublicKey, groupPublicKey));
  if (!groupPublicKey || !agree || entries.length !== members.length) {
    throw new VerificationError('record-key', 'the confirmations of the record do not agree on one key');
  }
  members.forEach(({ certificate }, i) => {
    const entry = entries[i];
    if (entry) verifyConfirmationOf(suite, { sid, th2 }, certificate, entry);
  });
  return { confirmations: entries, groupPublicKey };
}
