/**
 * The coordinator's side of the ring (protocol §7) as pure steps. It holds no key of the group: it collects what members
 * sign, checks all of it, and hands it out in bundles.
 */
import { equalBytes, toHex } from '../bytes.js';
import { parseSign1, verifySign1 } from '../cose.js';
import { ConflictError, VerificationError } from '../errors.js';
import { limits } from '../limits.js';
import { certificateOf, findEntry, roleBit } from '../membership.js';
import type { Suite } from '../suite.js';
import {
  announced,
  inOrder,
  signed,
  verifyInSession,
  wrongRound,
  type CollectingConfirmations,
  type CollectingShares,
  type CollectingTokens,
  type CoordinatorContext,
  type CoordinatorState,
  type Inconsistent,
  type Published,
} from './coordinator-state.js';
import { inconsistent, onObjection, unheard } from './inconsistent.js';
import {
  contextOf,
  encodeAnnouncement,
  encodeConfirmationBundle,
  encodeRosterBundle,
  encodeTokenBundle,
  parseShare,
  parseToken,
  parseTokensReply,
  type Announcement,
  type Reason,
  type RosterEntry,
  type TokenEntry,
} from './messages.js';
import { encodeRecord } from './record.js';
import { openRoster, type Ring } from './roster.js';
import { announcementId, inRingOrder, secondTranscript } from './schedule.js';
import { publicTokenFault } from './token-fault.js';

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
  const session = {
    ...announced(state),
    ring,
    rosterMessage,
    signedTokensMessage: bundleOf(entries),
    tokens: entries,
    th2: secondTranscript(suite, ring.th1, entries),
  };
  const fault = publicTokenFault(suite, ring, entries);
  if (fault) return inconsistent(session, fault);
  const tokensMessage = bundleOf(entries.map((entry) => ({ ...entry, signature: null })));
  return { ...session, kind: 'confirmations', tokensMessage, confirmations: new Map() };
}

/**
 * Round 3: takes a member's confirmation; the last one makes the record. An abort or a reveal ends the round. The MACs are for members to check. Group keys
 * are compared at the end only: who comes first with a false one must not make the honest look late.
 * @throws MalformedError, VerificationError `confirmation-transcript`, ConflictError `wrong-round`, `confirmation-equivocation`
 */
export function onConfirmation(
  context: CoordinatorContext,
  state: CollectingConfirmations,
  bytes: Uint8Array,
): CollectingConfirmations | Published | Inconsistent {
  const message = parseSign1(bytes, limits.memberMessage);
  const reply = parseTokensReply(message.payload);
  if (reply.kind !== 'confirmation') return onObjection(context, state, bytes);
  const { sessionRef, th2, mac, groupPublicKey } = reply;
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
  const byKey = new Map<string, readonly number[]>();
  for (const [position, { groupPublicKey }] of confirmations) {
    const key = toHex(groupPublicKey);
    byKey.set(key, [...(byKey.get(key) ?? []), position]);
  }
  if (byKey.size === 1) return publish(context, state, confirmations);
  const majority = [...byKey.values()].find((positions) => positions.length * 2 > confirmations.size) ?? [];
  return inconsistent(state, { reason: 'key', accused: null }, new Set(majority));
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

/**
 * Members of the roster whose message of this round has not come; in round 1, members of the list without a share; after
 * it, who can still help to tell who is to blame.
 */
export function missing(context: CoordinatorContext, state: CoordinatorState): readonly Uint8Array[] {
  const absent = (present: ReadonlyMap<number, unknown>, ring: Ring): readonly Uint8Array[] =>
    ring.members.filter((_, i) => !present.has(i)).map(({ certHash }) => certHash);
  switch (state.kind) {
    case 'shares':
      return context.membership.list.entries
        .filter(({ roles }, i) => (roles & roleBit.member) !== 0 && !state.shares.has(i))
        .map(({ certHash }) => certHash);
    case 'tokens':
      return absent(state.tokens, state.ring);
    case 'confirmations':
      return absent(state.confirmations, state.ring);
    case 'inconsistent':
      return unheard(context, state);
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
