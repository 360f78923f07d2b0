/** Payloads of the ring's messages (protocol §4): fixed CBOR arrays, parsed into readonly types and back. */
import { decodeStrict, encode, type CborItem } from '../cbor.js';
import type { SignatureContext } from '../cose.js';
import { arrayOf, bytesOf, nullOr, oneOf, uint32Max, uintOf } from '../fields.js';
import { limits } from '../limits.js';
import type { SuiteId } from '../suite.js';

/** The type string of a message's signature context. */
export type MessageType =
  | 'announcement'
  | 'share'
  | 'token'
  | 'confirmation'
  | 'reveal'
  | 'abort'
  | 'roster'
  | 'tokens'
  | 'confirmations'
  | 'verdict'
  | 'rekeyRequest'
  | 'leave'
  | 'revoke';

/** gid for announcements and requests; annId in round 1; th1 in round 2; th2 in round 3. */
export const contextOf = (type: MessageType, context: Uint8Array): SignatureContext => ({ type, context });

export const reasons = ['founding', 'periodic', 'join', 'leave', 'revocation', 'retry', 'request', 'restart'] as const;
export type Reason = (typeof reasons)[number];
const reasonCodes = reasons.map((_, code) => code);

export interface Announcement {
  readonly gid: Uint8Array;
  readonly epoch: number;
  readonly attempt: number;
  readonly nonce: Uint8Array;
  readonly coordinator: Uint8Array;
  readonly listHash: Uint8Array;
  readonly suite: SuiteId;
  readonly reason: Reason;
  readonly expiryS: number;
}

export const encodeAnnouncement = (a: Announcement): Uint8Array =>
  encode([
    a.gid,
    a.epoch,
    a.attempt,
    a.nonce,
    a.coordinator,
    a.listHash,
    a.suite,
    reasons.indexOf(a.reason),
    a.expiryS,
  ]);

/** @throws MalformedError */
export function parseAnnouncement(payload: Uint8Array): Announcement {
  const what = 'announcement';
  const [gid, epoch, attempt, nonce, coordinator, listHash, suite, reason, expiryS] = fieldsOf(payload, what, 9);
  return {
    gid: bytesOf(gid, what, 16),
    epoch: uintOf(epoch, what, uint32Max, 1),
    attempt: uintOf(attempt, what, 255, 1),
    nonce: bytesOf(nonce, what, 16),
    coordinator: bytesOf(coordinator, what, 32),
    listHash: bytesOf(listHash, what, 32),
    suite: oneOf<SuiteId>(suite, what, [1, 2]),
    reason: reasons[oneOf(reason, what, reasonCodes)] ?? 'founding',
    expiryS: uintOf(expiryS, what),
  };
}

/** Round 1. `announcementRef` is annId[0..8]. */
export interface Share {
  readonly announcementRef: Uint8Array;
  readonly ephemeralKey: Uint8Array;
  readonly commitment: Uint8Array;
}

export const shareItem = (share: Share): CborItem => [share.announcementRef, share.ephemeralKey, share.commitment];
export const encodeShare = (share: Share): Uint8Array => encode(shareItem(share));

/** @throws MalformedError */
export function parseShare(payload: Uint8Array): Share {
  const [reference, ephemeralKey, commitment] = fieldsOf(payload, 'share', 3);
  return {
    announcementRef: bytesOf(reference, 'share', 8),
    ephemeralKey: bytesOf(ephemeralKey, 'share', 32),
    commitment: bytesOf(commitment, 'share', 32),
  };
}

/** What a member opens in round 2, in the token and in the bundle of tokens. */
export interface TokenParts {
  readonly token: Uint8Array;
  readonly leftTag: Uint8Array;
  readonly rightTag: Uint8Array;
  readonly opening: Uint8Array;
}

/** Round 2. `sessionRef` is sid[0..8]. */
export interface Token extends TokenParts {
  readonly sessionRef: Uint8Array;
}

export const tokenItem = (t: Token): CborItem => [t.sessionRef, t.token, t.leftTag, t.rightTag, t.opening];
export const encodeToken = (token: Token): Uint8Array => encode(tokenItem(token));

/** @throws MalformedError */
export function parseToken(payload: Uint8Array): Token {
  const what = 'token';
  const [sessionRef, token, leftTag, rightTag, opening] = fieldsOf(payload, what, 5);
  return {
    sessionRef: bytesOf(sessionRef, what, 8),
    token: bytesOf(token, what, 32),
    leftTag: bytesOf(leftTag, what, 16),
    rightTag: bytesOf(rightTag, what, 16),
    opening: bytesOf(opening, what, 16),
  };
}

/** Round 3. */
export interface Confirmation {
  readonly sessionRef: Uint8Array;
  readonly th2: Uint8Array;
  readonly mac: Uint8Array;
  /** HPKE public key of the group, 32 or 65 bytes. */
  readonly groupPublicKey: Uint8Array;
}

export const confirmationItem = (c: Confirmation): CborItem => [c.sessionRef, c.th2, c.mac, c.groupPublicKey];
export const encodeConfirmation = (confirmation: Confirmation): Uint8Array => encode(confirmationItem(confirmation));

/** @throws MalformedError */
export function parseConfirmation(payload: Uint8Array): Confirmation {
  const what = 'confirmation';
  const [sessionRef, th2, mac, groupPublicKey] = fieldsOf(payload, what, 4);
  return {
    sessionRef: bytesOf(sessionRef, what, 8),
    th2: bytesOf(th2, what, 32),
    mac: bytesOf(mac, what, 16),
    groupPublicKey: bytesOf(groupPublicKey, what, 32, 65),
  };
}

/** The ephemeral secret of an aborted session: never after round 3 (protocol §1, rule 4). */
export interface Reveal {
  readonly sessionRef: Uint8Array;
  readonly secret: Uint8Array;
}

export const encodeReveal = (reveal: Reveal): Uint8Array => encode([reveal.sessionRef, reveal.secret]);

/** @throws MalformedError */
export function parseReveal(payload: Uint8Array): Reveal {
  const [sessionRef, secret] = fieldsOf(payload, 'reveal', 2);
  return { sessionRef: bytesOf(sessionRef, 'reveal', 8), secret: bytesOf(secret, 'reveal', 32) };
}

const abortReasons = ['commitment', 'sum', 'tag'] as const;
export type AbortReason = (typeof abortReasons)[number];

export interface Abort {
  readonly sessionRef: Uint8Array;
  readonly reason: AbortReason;
  /** certHash of whom the member can already accuse; null when tokens must be revealed to tell. */
  readonly accused: Uint8Array | null;
}

export const encodeAbort = (abort: Abort): Uint8Array =>
  encode([abort.sessionRef, abortReasons.indexOf(abort.reason), abort.accused]);

/** @throws MalformedError */
export function parseAbort(payload: Uint8Array): Abort {
  const what = 'abort';
  const [sessionRef, reason, accused] = fieldsOf(payload, what, 3);
  return {
    sessionRef: bytesOf(sessionRef, what, 8),
    reason: abortReasons[oneOf(reason, what, [0, 1, 2])],
    accused: nullOr(accused, (certHash) => bytesOf(certHash, what, 32)),
  };
}

/** What a member may answer a bundle of tokens with. */
export type TokensReply =
  | ({ readonly kind: 'confirmation' } & Confirmation)
  | ({ readonly kind: 'abort' } & Abort)
  | ({ readonly kind: 'reveal' } & Reveal);

/** Told apart by their number of fields; the type is also under the signature. @throws MalformedError */
export function parseTokensReply(payload: Uint8Array): TokensReply {
  const { length } = arrayOf(decodeStrict(payload, limits.memberMessage), 'answer to a token bundle');
  if (length === 2) return { kind: 'reveal', ...parseReveal(payload) };
  if (length === 3) return { kind: 'abort', ...parseAbort(payload) };
  return { kind: 'confirmation', ...parseConfirmation(payload) };
}

export interface RosterEntry {
  /** Index of the member in the membership list. */
  readonly listIndex: number;
  readonly ephemeralKey: Uint8Array;
  readonly commitment: Uint8Array;
  /** Of the share; null only where the profile lets a member go without. */
  readonly signature: Uint8Array | null;
}

/** Entries in ring order. */
export interface RosterBundle {
  readonly announcementRef: Uint8Array;
  readonly entries: readonly RosterEntry[];
}

export const encodeRosterBundle = ({ announcementRef, entries }: RosterBundle): Uint8Array =>
  encode([announcementRef, entries.map((e) => [e.listIndex, e.ephemeralKey, e.commitment, e.signature])]);

/** @throws MalformedError */
export function parseRosterBundle(payload: Uint8Array): RosterBundle {
  const what = 'roster bundle';
  const [reference, entries] = fieldsOf(payload, what, 2, limits.bundle);
  return {
    announcementRef: bytesOf(reference, what, 8),
    entries: ringOf(entries, what).map((item) => {
      const [listIndex, ephemeralKey, commitment, signature] = arrayOf(item, what, 4);
      return {
        listIndex: uintOf(listIndex, what, limits.membershipEntries),
        ephemeralKey: bytesOf(ephemeralKey, what, 32),
        commitment: bytesOf(commitment, what, 32),
        signature: nullOr(signature, (bytes) => bytesOf(bytes, what, 64)),
      };
    }),
  };
}

export interface TokenEntry extends TokenParts {
  /** Of the token; null unless asked for. */
  readonly signature: Uint8Array | null;
}

/** Entries in ring order. */
export interface TokenBundle {
  readonly sessionRef: Uint8Array;
  readonly entries: readonly TokenEntry[];
}

export const encodeTokenBundle = ({ sessionRef, entries }: TokenBundle): Uint8Array =>
  encode([sessionRef, entries.map((e) => [e.token, e.leftTag, e.rightTag, e.opening, e.signature])]);

/** @throws MalformedError */
export function parseTokenBundle(payload: Uint8Array): TokenBundle {
  const what = 'token bundle';
  const [sessionRef, entries] = fieldsOf(payload, what, 2, limits.bundle);
  return {
    sessionRef: bytesOf(sessionRef, what, 8),
    entries: ringOf(entries, what).map((item) => {
      const [token, leftTag, rightTag, opening, signature] = arrayOf(item, what, 5);
      return {
        token: bytesOf(token, what, 32),
        leftTag: bytesOf(leftTag, what, 16),
        rightTag: bytesOf(rightTag, what, 16),
        opening: bytesOf(opening, what, 16),
        signature: nullOr(signature, (bytes) => bytesOf(bytes, what, 64)),
      };
    }),
  };
}

export interface ConfirmationEntry {
  readonly mac: Uint8Array;
  readonly signature: Uint8Array;
  readonly groupPublicKey: Uint8Array;
}

/** Entries in ring order. */
export interface ConfirmationBundle {
  readonly sessionRef: Uint8Array;
  readonly entries: readonly ConfirmationEntry[];
}

export const encodeConfirmationBundle = ({ sessionRef, entries }: ConfirmationBundle): Uint8Array =>
  encode([sessionRef, entries.map((e) => [e.mac, e.signature, e.groupPublicKey])]);

/** @throws MalformedError */
export function parseConfirmationBundle(payload: Uint8Array): ConfirmationBundle {
  const what = 'confirmation bundle';
  const [sessionRef, entries] = fieldsOf(payload, what, 2, limits.bundle);
  return {
    sessionRef: bytesOf(sessionRef, what, 8),
    entries: ringOf(entries, what).map((item) => {
      const [mac, signature, groupPublicKey] = arrayOf(item, what, 3);
      return {
        mac: bytesOf(mac, what, 16),
        signature: bytesOf(signature, what, 64),
        groupPublicKey: bytesOf(groupPublicKey, what, 32, 65),
      };
    }),
  };
}

/** Asks the coordinator for a new epoch of the group; the time keeps an old request from being played again. */
export interface RekeyRequest {
  readonly gid: Uint8Array;
  readonly currentEpoch: number;
  readonly reason: Reason;
  readonly timeS: number;
}

export const encodeRekeyRequest = (request: RekeyRequest): Uint8Array =>
  encode([request.gid, request.currentEpoch, reasons.indexOf(request.reason), request.timeS]);

/** @throws MalformedError */
export function parseRekeyRequest(payload: Uint8Array): RekeyRequest {
  const what = 'rekey request';
  const [gid, currentEpoch, reason, timeS] = fieldsOf(payload, what, 4);
  return {
    gid: bytesOf(gid, what, 16),
    currentEpoch: uintOf(currentEpoch, what),
    reason: reasons[oneOf(reason, what, reasonCodes)] ?? 'request',
    timeS: uintOf(timeS, what),
  };
}

const fieldsOf = (payload: Uint8Array, what: string, length: number, maxBytes: number = limits.memberMessage) =>
  arrayOf(decodeStrict(payload, maxBytes), what, length);

/** The entries of a bundle: 2 to 64. @throws MalformedError */
function ringOf(item: CborItem | undefined, what: string): readonly CborItem[] {
  const entries = arrayOf(item, what);
  uintOf(entries.length, what, limits.ringMembersHard, 2);
  return entries;
}
