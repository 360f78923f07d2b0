/**
 * The record of an epoch (protocol §7): its announcement, roster, tokens and confirmations, all signed. Anyone with the
 * membership list verifies who holds the key; nothing in it helps to compute the key.
 */
import { equalBytes } from '../bytes.js';
import { decodeStrict, encode } from '../cbor.js';
import { parseSign1, type Sign1 } from '../cose.js';
import { VerificationError } from '../errors.js';
import { arrayOf, bytesOf } from '../fields.js';
import { limits } from '../limits.js';
import type { Membership } from '../membership.js';
import type { Suite } from '../suite.js';
import { assertReference, openEvidence, peekAnnouncement } from './evidence.js';
import { parseConfirmationBundle, type Announcement, type ConfirmationEntry } from './messages.js';
import { verifyConfirmationOf, type Ring } from './roster.js';
import { secondTranscript, type KeyName } from './schedule.js';
import { publicTokenFault } from './token-fault.js';

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
export const announcementOf = (record: Uint8Array): Announcement => peekAnnouncement(parseRecord(record)[0]);

/**
 * Recomputes annId → sid → th1 → th2 and checks every signature.
 * @throws MalformedError, ConflictError `membership-unknown`, VerificationError (as of the rounds, and `wrong-group`,
 * `record-session`, `record-tokens`, `record-key`)
 */
export function verifyRecord(suite: Suite, membership: Membership, record: Uint8Array, nowS: number): VerifiedRecord {
  const [announcementBytes, rosterBytes, tokensBytes, confirmationsBytes] = parseRecord(record);
  const evidence = openEvidence({ suite, membership, nowS }, [announcementBytes, rosterBytes, tokensBytes]);
  const { announcement, ring, tokens } = evidence;
  if (publicTokenFault(suite, ring, tokens)) {
    throw new VerificationError('record-tokens', 'the tokens of the record do not fit together');
  }
  const th2 = secondTranscript(suite, ring.th1, tokens);
  const confirmationsMessage = parseSign1(confirmationsBytes, limits.bundle);
  evidence.verifyCoordinator(confirmationsMessage, 'confirmations', th2);
  const { gid, epoch, attempt } = announcement;
  const { confirmations, groupPublicKey } = verifyConfirmations(ring, th2, confirmationsMessage);
  return {
    announcement,
    name: { gid, epoch, attempt, th2 },
    sid: ring.sid,
    roster: ring.members.map(({ certHash }) => certHash),
    confirmations,
    groupPublicKey,
  };
}

function verifyConfirmations(
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
    if (entry) verifyConfirmationOf({ sessionRef, th2 }, certificate, entry);
  });
  return { confirmations: entries, groupPublicKey };
}
