/**
 * The coordinator's side of the ring (protocol §7) as pure steps. It holds no key of the group: it collects what members
 * sign, checks all of it, and hands it out in bundles.
 */
import { equalBytes, toHex } from '../bytes.js';
import { parseSign1, sign1, verifySign1, type Sign1 } from '../cose.js';
import { ConflictError, VerificationError } from '../errors.js';
import { limits } from '../limits.js';
import { certificateOf, findEntry, roleBit, type Membership } from '../membership.js';
import type { Random, Signer, Suite } from '../suite.js';
import {
  contextOf,
  encodeAnnouncement,
  encodeConfirmationBundle,
  encodeRosterBundle,
  encodeTokenBundle,
  parseConfirmation,
  parseShare,
  parseToken,
  type Announcement,
  type ConfirmationEntry,
  type MessageType,
  type Reason,
  type RosterEntry,
  type TokenEntry,
} from './messages.js';
import { encodeRecord } from './record.js';
import { openRoster, ringIndexOf, type Ring, type RingMember } from './roster.js';
import { announcementId, inRingOrder, secondTranscript, type KeyName } from './schedule.js';
import { publicTokenFault, type TokenFault } from './verdict.js';

export interface CoordinatorContext {
  readonly suite: Suite;
  readonly self: { readonly certHash: Uint8Array; readonly kid: Uint8Array; readonly signer: Signer };
  readonly membership: Membership;
  readonly nowS: number;
  readonly random: Random;
}

interface Announced {
  readonly announcement: Announcement;
  readonly annId: Uint8Array;
  readonly announcementMessage: Uint8Array;
}

/** Shares by index of the membership list. */
export interface CollectingShares extends Announced {
  readonly kind: 'shares';
  readonly shares: ReadonlyMap<number, RosterEntry>;
}

interface InSession extends Announced {
  readonly ring: Ring;
  readonly rosterMessage: Uint8Array;
}

/** Tokens by position in the ring. */
export interface CollectingTokens extends InSession {
  readonly kind: 'tokens';
  readonly tokens: ReadonlyMap<number, TokenEntry & { readonly signature: Uint8Array }>;
}

export interface CollectingConfirmations extends InSession {
  readonly kind: 'confirmations';
  readonly tokensMessage: Uint8Array;
  /** The bundle with all signatures, for the record. */
  readonly signedTokensMessage: Uint8Array;
  readonly th2: Uint8Array;
  readonly confirmations: ReadonlyMap<number, ConfirmationEntry>;
}

/** The tokens or the group keys do not fit by their public values alone: this attempt is over. */
export interface Inconsistent extends InSession {
  readonly kind: 'inconsistent';
  readonly signedTokensMessage: Uint8Array;
  readonly fault: TokenFault | { readonly reason: 'key'; readonly accused: null };
}

export interface Published extends InSession {
  readonly kind: 'published';
  readonly tokensMessage: Uint8Array;
  readonly confirmationsMessage: Uint8Array;
  readonly name: KeyName;
  readonly record: Uint8Array;
}

export type CoordinatorState = CollectingShares | CollectingTokens | CollectingConfirmations | Inconsistent | Published;

/** Announces an attempt. The caller has saved (epoch, attempt) before: it is never announced twice. */
export function announce(
  context: CoordinatorContext,
  plan: { readonly epoch: number; readonly attempt: number; readonly reason: Reason; readonly expiryS: number },
): CollectingShares {
  const { suite, self, membership, random } = context;
  const announcement: Announcement = {
    ...plan,
    gid: membership.list.gid,
    nonce: random(16),
    coordinator: self.certHash,
    listHash: membership.listHash,
    suite: suite.id,
  };
  const payload = encodeAnnouncement(announcement);
  const announcementMessage = signed(context, 'announcement', announcement.gid, payload);
  return {
    kind: 'shares',
    announcement,
    annId: announcementId(suite, payload),
    announcementMessage,
    shares: new Map(),
  };
}

/**
 * Round 1: takes a member's share. An identical one again changes nothing.
 * @throws MalformedError, VerificationError (`key-invalid` and `share-key-taken` among others), ConflictError
 * `wrong-round`, `share-equivocation`
 */
export function onShare(context: CoordinatorContext, state: CollectingShares, bytes: Uint8Array): CollectingShares {
  const { membership, nowS } = context;
  const message = parseSign1(bytes, limits.memberMessage);
  const share = parseShare(message.payload);
  if (!equalBytes(share.announcementRef, state.annId.subarray(0, 8))) throw wrongRound('share');
  const certHash = membership.list.entries.find(({ certHash: hash }) =>
    equalBytes(hash.subarray(0, 8), message.kid),
  )?.certHash;
  const found = certHash && findEntry(membership.list, certHash, 'member');
  if (!certHash || !found) throw new VerificationError('not-listed', 'a share of no member of the list');
  const { verifier } = certificateOf(membership, certHash, 'member', nowS);
  verifySign1(context.suite, verifier, message, contextOf('share', state.annId));
  const entry: RosterEntry = { ...share, listIndex: found.index, signature: message.signature };
  const known = state.shares.get(found.index);
  if (!known) {
    assertUsableKey(context.suite, state, entry.ephemeralKey);
    return { ...state, shares: new Map(state.shares).set(found.index, entry) };
  }
  const same = equalBytes(known.ephemeralKey, entry.ephemeralKey) && equalBytes(known.commitment, entry.commitment);
  if (!same) throw new ConflictError('share-equivocation', 'a member signed two shares for one announcement');
  return state;
}

/** Any scalar will do: the agreement is made only for the checks that it makes. */
const probeSecret = new Uint8Array(32).fill(1);

/** One member's bad or copied key would make the roster useless to its neighbours, or no roster at all. */
function assertUsableKey(suite: Suite, { shares }: CollectingShares, ephemeralKey: Uint8Array): void {
  suite.agreementKey(probeSecret).agree(ephemeralKey);
  if ([...shares.values()].some((other) => equalBytes(other.ephemeralKey, ephemeralKey))) {
    throw new VerificationError('share-key-taken', 'another member has sent the same ephemeral key');
  }
}

/**
 * Fixes the roster: those whose share came in time, in ring order.
 * @throws VerificationError `roster-minority`, `roster-duplicate`, `not-listed`
 */
export function closeShares(context: CoordinatorContext, state: CollectingShares): CollectingTokens {
  const { suite, membership } = context;
  const members = [...state.shares.values()].map((share) => ({
    ...share,
    certHash: membership.list.entries[share.listIndex]?.certHash ?? new Uint8Array(0),
  }));
  const entries = inRingOrder(suite, state.annId, members);
  const ring = openRoster(context, state.annId, entries);
  const payload = encodeRosterBundle({ announcementRef: state.annId.slice(0, 8), entries });
  const rosterMessage = signed(context, 'roster', state.annId, payload);
  return { ...announced(state), kind: 'tokens', ring, rosterMessage, tokens: new Map() };
}

/**
 * Round 2: takes a member's token; the last one closes the round.
 * @throws MalformedError, VerificationError, ConflictError `wrong-round`, `token-equivocation`
 */
export function onToken(
  context: CoordinatorContext,
  state: CollectingTokens,
  bytes: Uint8Array,
): CollectingTokens | CollectingConfirmations | Inconsistent {
  const message = parseSign1(bytes, limits.memberMessage);
  const { sessionRef, ...parts } = parseToken(message.payload);
  const index = verifyInSession(context, state, message, sessionRef, 'token', state.ring.th1);
  const known = state.tokens.get(index);
  if (known) {
    const same = (['token', 'leftTag', 'rightTag', 'opening'] as const).every((key) =>
      equalBytes(known[key], parts[key]),
    );
    if (!same) throw new ConflictError('token-equivocation', 'a member signed two tokens for one session');
    return state;
  }
  const tokens = new Map(state.tokens).set(index, { ...parts, signature: message.signature });
  return tokens.size === state.ring.members.length ? closeTokens(context, state, tokens) : { ...state, tokens };
}

function closeTokens(
  context: CoordinatorContext,
  state: CollectingTokens,
  tokens: CollectingTokens['tokens'],
): CollectingConfirmations | Inconsistent {
  const { suite } = context;
  const { ring, rosterMessage } = state;
  const entries = inOrder(ring, tokens);
  const bundleOf = (all: readonly TokenEntry[]): Uint8Array =>
    signed(context, 'tokens', ring.th1, encodeTokenBundle({ sessionRef: ring.sid.slice(0, 8), entries: all }));
  const session = { ...announced(state), ring, rosterMessage, signedTokensMessage: bundleOf(entries) };
  const fault = publicTokenFault(suite, ring, entries);
  if (fault) return { ...session, kind: 'inconsistent', fault };
  return {
    ...session,
    kind: 'confirmations',
    tokensMessage: bundleOf(entries.map((entry) => ({ ...entry, signature: null }))),
    th2: secondTranscript(suite, ring.th1, entries),
    confirmations: new Map(),
  };
}

/**
 * Round 3: takes a member's confirmation; the last one makes the record. The MACs are for members to check. Group keys
 * are compared at the end only: who comes first with a false one must not make the honest look late.
 * @throws MalformedError, VerificationError `confirmation-transcript`, ConflictError `wrong-round`, `confirmation-equivocation`
 */
export function onConfirmation(
  context: CoordinatorContext,
  state: CollectingConfirmations,
  bytes: Uint8Array,
): CollectingConfirmations | Published | Inconsistent {
  const message = parseSign1(bytes, limits.memberMessage);
  const confirmation = parseConfirmation(message.payload);
  const { sessionRef, th2, mac, groupPublicKey } = confirmation;
  const index = verifyInSession(context, state, message, sessionRef, 'confirmation', state.th2);
  if (!equalBytes(th2, state.th2)) throw new VerificationError('confirmation-transcript', 'it confirms other tokens');
  const known = state.confirmations.get(index);
  if (known) {
    if (equalBytes(known.mac, mac) && equalBytes(known.groupPublicKey, groupPublicKey)) return state;
    throw new ConflictError('confirmation-equivocation', 'a member signed two confirmations for one session');
  }
  const confirmations = new Map(state.confirmations).set(index, { mac, groupPublicKey, signature: message.signature });
  return confirmations.size === state.ring.members.length
    ? closeConfirmations(context, state, confirmations)
    : { ...state, confirmations };
}

function closeConfirmations(
  context: CoordinatorContext,
  state: CollectingConfirmations,
  confirmations: CollectingConfirmations['confirmations'],
): Published | Inconsistent {
  const { ring, rosterMessage, signedTokensMessage } = state;
  if (new Set([...confirmations.values()].map(({ groupPublicKey }) => toHex(groupPublicKey))).size > 1) {
    const session = { ...announced(state), ring, rosterMessage, signedTokensMessage };
    return { ...session, kind: 'inconsistent', fault: { reason: 'key', accused: null } };
  }
  return publish(context, state, confirmations);
}

function publish(
  context: CoordinatorContext,
  state: CollectingConfirmations,
  confirmations: CollectingConfirmations['confirmations'],
): Published {
  const { ring, rosterMessage, tokensMessage, signedTokensMessage, th2, announcement } = state;
  const entries = inOrder(ring, confirmations);
  const payload = encodeConfirmationBundle({ sessionRef: ring.sid.slice(0, 8), entries });
  const confirmationsMessage = signed(context, 'confirmations', th2, payload);
  const { gid, epoch, attempt } = announcement;
  return {
    ...announced(state),
    kind: 'published',
    ring,
    rosterMessage,
    tokensMessage,
    confirmationsMessage,
    name: { gid, epoch, attempt, th2 },
    record: encodeRecord([state.announcementMessage, rosterMessage, signedTokensMessage, confirmationsMessage]),
  };
}

/** Members of the roster whose message of this round has not come; in round 1, members of the list without a share. */
export function missing({ membership }: CoordinatorContext, state: CoordinatorState): readonly Uint8Array[] {
  const absent = (present: ReadonlyMap<number, unknown>, ring: Ring): readonly Uint8Array[] =>
    ring.members.filter((_, i) => !present.has(i)).map(({ certHash }) => certHash);
  switch (state.kind) {
    case 'shares':
      return membership.list.entries
        .filter(({ roles }, i) => (roles & roleBit.member) !== 0 && !state.shares.has(i))
        .map(({ certHash }) => certHash);
    case 'tokens':
      return absent(state.tokens, state.ring);
    case 'confirmations':
      return absent(state.confirmations, state.ring);
    case 'inconsistent':
    case 'published':
      return [];
    default:
      return state satisfies never;
  }
}

/** The newest message of the coordinator: what a member that missed it asks for. */
export function currentMessage(state: CoordinatorState): Uint8Array {
  switch (state.kind) {
    case 'shares':
      return state.announcementMessage;
    case 'tokens':
      return state.rosterMessage;
    case 'confirmations':
      return state.tokensMessage;
    case 'inconsistent':
      return state.signedTokensMessage;
    case 'published':
      return state.confirmationsMessage;
    default:
      return state satisfies never;
  }
}

const announced = ({ announcement, annId, announcementMessage }: Announced): Announced => ({
  announcement,
  annId,
  announcementMessage,
});

/** Who of the roster signed it. @throws VerificationError, ConflictError `wrong-round` */
function verifyInSession(
  { suite, membership, nowS }: CoordinatorContext,
  { ring }: InSession,
  message: Sign1,
  sessionRef: Uint8Array,
  type: MessageType,
  context: Uint8Array,
): number {
  if (!equalBytes(sessionRef, ring.sid.subarray(0, 8))) throw wrongRound(type);
  const signer: RingMember | undefined = ring.members.find(({ certificate }) =>
    equalBytes(certificate.kid, message.kid),
  );
  if (!signer) throw new VerificationError('not-listed', `a ${type} of nobody in the roster`);
  const { verifier } = certificateOf(membership, signer.certHash, 'member', nowS);
  verifySign1(suite, verifier, message, contextOf(type, context));
  return ringIndexOf(ring, signer.certHash);
}

function inOrder<T>({ members }: Ring, byIndex: ReadonlyMap<number, T>): readonly T[] {
  return members.flatMap((_, i) => {
    const entry = byIndex.get(i);
    return entry === undefined ? [] : [entry];
  });
}

const signed = ({ suite, self }: CoordinatorContext, type: MessageType, context: Uint8Array, payload: Uint8Array) =>
  sign1(suite, self.signer, self.kid, contextOf(type, context), payload);

const wrongRound = (what: string): ConflictError =>
  new ConflictError('wrong-round', `this ${what} belongs to no open round`);
