/**
 * A member's side of the ring protocol (protocol §6) as pure steps: state and message in, state and reply out.
 * The caller saves the new state before it sends the reply, and then overwrites what the step consumed.
 */
import { equalBytes, equalSecret, xorBytes } from '../bytes.js';
import { parseSign1, sign1, type Sign1 } from '../cose.js';
import { ConflictError, VerificationError } from '../errors.js';
import { generateAgreementKey } from '../keys.js';
import { limits } from '../limits.js';
import {
  assertListValid,
  certificateAt,
  certificateOf,
  compareLists,
  findEntry,
  roleBit,
  type Membership,
  type MembershipList,
} from '../membership.js';
import { abort, onTokensAfterAbort } from './abort.js';
import {
  assertNotExpired,
  assertSameList,
  nothing,
  startsWith,
  verifyFrom,
  withRound,
  wrongRound,
  type MemberContext,
  type MemberStep,
} from './member-context.js';
import {
  memberRef,
  holdsEphemeral,
  type Aborted,
  type Confirmed,
  type EpochKey,
  type MemberState,
  type PreviousKey,
  type Shared,
  type TokenSent,
} from './member-state.js';
import {
  contextOf,
  encodeConfirmation,
  encodeShare,
  encodeToken,
  parseAnnouncement,
  parseConfirmationBundle,
  parseRosterBundle,
  parseTokenBundle,
  type Announcement,
  type TokenBundle,
} from './messages.js';
import { neighbour, openRoster, ringIndexOf, verifyConfirmationOf, verifyShareOf } from './roster.js';
import {
  announcementId,
  commitmentTo,
  confirmationMac,
  deriveEpochKeys,
  edgeFrom,
  secondTranscript,
  tagOf,
} from './schedule.js';
import { openTokens } from './token-fault.js';

/**
 * Takes a newer membership list: a round that hangs on the old one is given up, and an active key that somebody holds
 * who is no member any more is for receiving only (protocol §7: a revocation stops sending under the old key at once).
 * @throws ConflictError `membership-rollback`, `membership-conflict`; VerificationError `wrong-group`
 */
export function onMembership(state: MemberState, { list, listHash }: Membership): MemberStep {
  if (!equalBytes(list.gid, state.gid)) throw new VerificationError('wrong-group', 'a list of another group');
  assertNotOlder(state, list, listHash);
  const { round, active } = state;
  const keeps =
    round.kind === 'idle' ||
    equalBytes(round.kind === 'confirmed' ? round.listHash : round.announcement.listHash, listHash);
  const next = { ...state, newestList: orderOf(list, listHash), active: active && withholdFrom(active, list) };
  return keeps ? { state: next, reply: nothing, consumed: [] } : withRound(next, { kind: 'idle' }, nothing);
}

const orderOf = ({ version, revision }: MembershipList, listHash: Uint8Array): MemberState['newestList'] => ({
  version,
  revision,
  listHash,
});

function assertNotOlder({ newestList }: MemberState, list: MembershipList, listHash: Uint8Array): void {
  const order = compareLists(list, newestList);
  if (order < 0) {
    const known = `${newestList.version}.${newestList.revision}`;
    throw new ConflictError('membership-rollback', `list ${list.version}.${list.revision} is older than list ${known}`);
  }
  if (order === 0 && !equalBytes(listHash, newestList.listHash)) {
    throw new ConflictError('membership-conflict', 'another list of the same version and revision is known');
  }
}

function withholdFrom(active: EpochKey, { entries }: MembershipList): EpochKey {
  const isMember = (ref: Uint8Array): boolean =>
    entries.some(({ certHash, roles }) => (roles & roleBit.member) !== 0 && startsWith(certHash, ref));
  return active.receiveOnly || active.roster.every(isMember) ? active : { ...active, receiveOnly: true };
}

/**
 * Round 1: an announcement is answered with a signed share.
 * @throws MalformedError, VerificationError, ConflictError `wrong-group`, `membership-unknown`, `epoch-stale`, `epoch-ahead`, `announcement-expired`
 */
export function onAnnouncement(context: MemberContext, state: MemberState, bytes: Uint8Array): MemberStep {
  const { suite, self, membership, nowS } = context;
  const message = parseSign1(bytes, limits.memberMessage);
  const announcement = parseAnnouncement(message.payload);
  if (!equalBytes(announcement.gid, state.gid))
    throw new ConflictError('wrong-group', 'an announcement of another group');
  const annId = announcementId(suite, message.payload);
  if (state.round.kind !== 'idle' && equalBytes(state.round.annId, annId)) return answerAgain(state);
  assertNewer(announcement, state);
  const { list, listHash } = membership;
  const isNewest = equalBytes(list.gid, state.gid) && compareLists(list, state.newestList) >= 0;
  if (!isNewest || !equalBytes(announcement.listHash, listHash)) {
    throw new ConflictError(
      'membership-unknown',
      'the announcement names a membership list that is not the newest known here',
    );
  }
  const coordinator = findEntry(list, announcement.coordinator, 'coordinator');
  if (coordinator && !membership.certificates[coordinator.index]) {
    throw new ConflictError('membership-unknown', 'the list has come without the certificate of its coordinator');
  }
  verifyFrom(context, announcement.coordinator, message, 'announcement', announcement.gid);
  assertAcceptable(context, state, announcement);
  certificateOf(membership, self.certHash, 'member', nowS);

  const { secret, key } = generateAgreementKey(suite, context.random);
  const opening = context.random(16);
  const commitment = commitmentTo(suite, annId, self.certHash, opening);
  const payload = encodeShare({ announcementRef: annId.slice(0, 8), ephemeralKey: key.publicKey, commitment });
  const shareReply = sign1(suite, self.signer, self.kid, contextOf('share', annId), payload);
  const round: Shared = { kind: 'shared', annId, announcement, shareReply, secret, key, opening, commitment };
  const { epoch, attempt } = announcement;
  const answered = { ...state, highWater: { epoch, attempt }, newestList: orderOf(list, listHash) };
  return withRound(answered, round, shareReply);
}

/** The same announcement again: the same answer (protocol §5, slot rule). */
function answerAgain(state: MemberState): MemberStep {
  const { round } = state;
  if (!holdsEphemeral(round)) {
    throw new ConflictError('epoch-stale', 'this attempt was answered, and its share is gone');
  }
  return { state, reply: round.shareReply, consumed: [] };
}

function assertNewer({ epoch, attempt }: Announcement, { highWater }: MemberState): void {
  const newer = epoch > highWater.epoch || (epoch === highWater.epoch && attempt > highWater.attempt);
  if (!newer)
    throw new ConflictError('epoch-stale', `attempt ${epoch}.${attempt} is not above what was answered before`);
}

function assertAcceptable(
  { suite, membership, nowS }: MemberContext,
  { highWater }: MemberState,
  a: Announcement,
): void {
  const { policy } = membership.list;
  assertListValid(membership.list, nowS);
  if (a.suite !== suite.id || policy.suite !== suite.id) {
    throw new VerificationError('suite-mismatch', 'the announcement is for another suite');
  }
  if (a.epoch > Math.max(highWater.epoch, policy.epochFloor ?? 0) + limits.epochAhead) {
    throw new ConflictError('epoch-ahead', `epoch ${a.epoch} is too far above what was seen here`);
  }
  assertNotExpired(a, nowS);
}

/**
 * Round 2: a roster bundle is answered with a signed token. Left out of the roster: the ephemeral is given up, and the
 * reply is empty.
 * @throws MalformedError, VerificationError, ConflictError `wrong-round`, `roster-equivocation`
 */
export function onRoster(context: MemberContext, state: MemberState, bytes: Uint8Array): MemberStep {
  const { suite, self } = context;
  const message = parseSign1(bytes, limits.bundle);
  const bundle = parseRosterBundle(message.payload);
  const { round } = state;
  if (!holdsEphemeral(round) || !startsWith(round.annId, bundle.announcementRef)) {
    throw wrongRound('roster bundle');
  }
  if (round.kind !== 'shared') return rosterAgain(context, state, round, message);
  verifyFrom(context, round.announcement.coordinator, message, 'roster', round.annId);
  assertNotExpired(round.announcement, context.nowS);
  assertSameList(context, round.announcement.listHash);

  const ring = openRoster(context, round.annId, bundle.entries);
  const index = ringIndexOf(ring, self.certHash);
  if (index < 0) return withRound(state, { kind: 'idle' }, nothing);
  const own = ring.members[index];
  if (!own || !equalBytes(own.ephemeralKey, round.key.publicKey) || !equalBytes(own.commitment, round.commitment)) {
    throw new VerificationError('roster-own-share', 'the roster does not hold the share that was sent');
  }
  const left = neighbour(ring, index, -1);
  const right = neighbour(ring, index, 1);
  verifyShareOf(ring, left);
  if (right !== left) verifyShareOf(ring, right);

  const n = ring.members.length;
  const leftIndex = (index + n - 1) % n;
  const leftAgreed = round.key.agree(left.ephemeralKey);
  const rightAgreed = round.key.agree(right.ephemeralKey);
  const leftEdge = edgeFrom(suite, ring.th1, leftIndex, leftAgreed);
  const rightEdge = edgeFrom(suite, ring.th1, index, rightAgreed);
  const token = {
    sessionRef: ring.sid.slice(0, 8),
    token: xorBytes(leftEdge, rightEdge),
    leftTag: tagOf(suite, ring.th1, leftIndex, leftEdge),
    rightTag: tagOf(suite, ring.th1, index, rightEdge),
    opening: round.opening,
  };
  const tokenReply = sign1(suite, self.signer, self.kid, contextOf('token', ring.th1), encodeToken(token));
  const next: TokenSent = {
    ...round,
    kind: 'tokenSent',
    ring,
    index,
    rosterPayload: message.payload,
    token,
    tokenReply,
    leftEdge,
    rightEdge,
  };
  return { state: { ...state, round: next }, reply: tokenReply, consumed: [leftAgreed, rightAgreed] };
}

/** One roster an announcement: the same one gets the same token, another one that is validly signed is equivocation. */
function rosterAgain(
  context: MemberContext,
  state: MemberState,
  round: TokenSent | Aborted,
  message: Sign1,
): MemberStep {
  if (equalBytes(message.payload, round.rosterPayload)) return { state, reply: round.tokenReply, consumed: [] };
  verifyFrom(context, round.announcement.coordinator, message, 'roster', round.annId);
  throw new ConflictError('roster-equivocation', 'the coordinator signed two rosters for one announcement');
}

/**
 * Round 3: a bundle of tokens that fit is answered with a signed confirmation; one that does not, and that the
 * coordinator really signed, with a signed abort, or, where all n signed tokens stand in it, with the reveal (rule 4).
 * @throws MalformedError, VerificationError, ConflictError `wrong-round`, `session-aborted`, `tokens-equivocation`
 */
export function onTokens(context: MemberContext, state: MemberState, bytes: Uint8Array): MemberStep {
  const { suite } = context;
  const message = parseSign1(bytes, limits.bundle);
  const bundle = parseTokenBundle(message.payload);
  const { round } = state;
  if (round.kind === 'confirmed' && startsWith(round.sid, bundle.sessionRef))
    return tokensAgain(context, state, round, bundle);
  if (round.kind === 'revealed' && equalBytes(round.tokensPayload, message.payload)) {
    return { state, reply: round.revealReply, consumed: [] };
  }
  if (!(round.kind === 'tokenSent' || round.kind === 'aborted') || !startsWith(round.ring.sid, bundle.sessionRef)) {
    // After a restart too it is known by name, and never entered again.
    if (state.tombstone && startsWith(state.tombstone, bundle.sessionRef)) {
      throw new ConflictError('session-aborted', 'this member has aborted the session, and confirms nothing in it');
    }
    throw wrongRound('token bundle');
  }
  assertSameList(context, round.announcement.listHash);
  if (bundle.entries.length !== round.ring.members.length) {
    throw new VerificationError('tokens-count', 'the bundle does not hold one token a member');
  }
  if (round.kind === 'aborted') return onTokensAfterAbort(context, state, round, message, bundle);
  assertNotExpired(round.announcement, context.nowS);
  const opened = openTokens(suite, round.ring, bundle.entries, round);
  return 'fault' in opened
    ? abort(context, state, round, message, bundle, opened.fault)
    : confirm(context, state, round, bundle, opened.edges);
}

function confirm(
  { suite, self }: MemberContext,
  state: MemberState,
  round: TokenSent,
  bundle: TokenBundle,
  edges: readonly Uint8Array[],
): MemberStep {
  const { ring, index, announcement } = round;
  const th2 = secondTranscript(suite, ring.th1, bundle.entries);
  const name = { gid: state.gid, epoch: announcement.epoch, attempt: announcement.attempt, th2 };
  const keys = deriveEpochKeys(suite, name, edges);
  const payload = encodeConfirmation({
    sessionRef: ring.sid.slice(0, 8),
    th2,
    mac: confirmationMac(suite, keys.confirmationKey, index, th2),
    groupPublicKey: keys.groupPublicKey,
  });
  const next: Confirmed = {
    kind: 'confirmed',
    annId: round.annId,
    sid: ring.sid,
    th1: ring.th1,
    name,
    keys,
    listHash: announcement.listHash,
    roster: ring.members.map(({ listIndex }) => listIndex),
    index,
    confirmationReply: sign1(suite, self.signer, self.kid, contextOf('confirmation', th2), payload),
  };
  return withRound(state, next, next.confirmationReply, edges);
}

/** An identical bundle gets the stored confirmation again; identical means: the same tokens, whoever signed them. */
function tokensAgain({ suite }: MemberContext, state: MemberState, round: Confirmed, bundle: TokenBundle): MemberStep {
  if (!equalBytes(secondTranscript(suite, round.th1, bundle.entries), round.name.th2)) {
    throw new ConflictError('tokens-conflict', 'other tokens for a session that was confirmed');
  }
  return { state, reply: round.confirmationReply, consumed: [] };
}

/**
 * The end: everybody's confirmation makes the pending key active. Until then it protects and accepts nothing.
 * @throws MalformedError, VerificationError `confirmation-mac`, `confirmation-key`, `signature-invalid`, ConflictError `wrong-round`
 */
export function onConfirmations(context: MemberContext, state: MemberState, bytes: Uint8Array): MemberStep {
  const { suite, membership, nowS } = context;
  const { payload } = parseSign1(bytes, limits.bundle);
  const bundle = parseConfirmationBundle(payload);
  const { round, active } = state;
  if (active && startsWith(active.sid, bundle.sessionRef)) return { state, reply: nothing, consumed: [] };
  if (round.kind !== 'confirmed' || !startsWith(round.sid, bundle.sessionRef)) throw wrongRound('confirmation bundle');
  assertSameList(context, round.listHash);
  const { name, keys, roster, index } = round;
  const n = roster.length;
  if (bundle.entries.length !== n) {
    throw new VerificationError('confirmations-count', 'the bundle does not hold one confirmation a member');
  }
  const confirmations = bundle.entries.map((entry, i) => ({
    entry,
    certificate: certificateAt(membership, roster[i] ?? -1, 'member', nowS),
  }));
  for (const [i, { entry, certificate }] of confirmations.entries()) {
    if (!equalSecret(entry.mac, confirmationMac(suite, keys.confirmationKey, i, name.th2))) {
      throw new VerificationError('confirmation-mac', `the confirmation of ${certificate.id} is not of this key`);
    }
    if (!equalBytes(entry.groupPublicKey, keys.groupPublicKey)) {
      throw new VerificationError('confirmation-key', `${certificate.id} confirms another group public key`);
    }
  }
  const session = { sessionRef: bundle.sessionRef, th2: name.th2 };
  const constrained = membership.list.policy.profile === 'constrained' && n > 3;
  for (const [i, { entry, certificate }] of confirmations.entries()) {
    const isNeighbour = (i + 1) % n === index || (index + 1) % n === i;
    if (i !== index && (!constrained || isNeighbour)) {
      verifyConfirmationOf(session, certificate, entry);
    }
  }
  return activate(context, state, round, constrained);
}

function activate(
  { membership: { list }, nowS }: MemberContext,
  state: MemberState,
  { sid, name, keys, listHash, roster: indices }: Confirmed,
  provisional: boolean,
): MemberStep {
  const { confirmationKey, ...lasting } = keys;
  const roster = indices.map((index) => memberRef(list.entries[index]?.certHash ?? nothing));
  const active: EpochKey = {
    ...lasting,
    sid,
    name,
    listHash,
    roster,
    sinceS: nowS,
    provisional,
    receiveOnly: false,
  };
  const previous = state.active && { key: previousOf(state.active), untilS: nowS + list.policy.graceS };
  const consumed = [confirmationKey, ...(state.previous ? secretsOfKey(state.previous.key) : [])];
  return { state: { ...state, round: { kind: 'idle' }, active, previous }, reply: nothing, consumed };
}

const previousOf = ({ roster: _roster, receiveOnly: _receiveOnly, ...key }: EpochKey): PreviousKey => key;

/** Deadlines: gives up a round that was not confirmed in time, and a previous key whose grace has passed. */
export function onTime(state: MemberState, nowS: number): MemberStep {
  const { round, previous } = state;
  const late =
    round.kind !== 'idle' && round.kind !== 'confirmed' && nowS > round.announcement.expiryS + limits.clockSkewS;
  const step: MemberStep = late ? withRound(state, { kind: 'idle' }, nothing) : { state, reply: nothing, consumed: [] };
  if (!previous || nowS <= previous.untilS) return step;
  return {
    ...step,
    state: { ...step.state, previous: null },
    consumed: [...step.consumed, ...secretsOfKey(previous.key)],
  };
}

const secretsOfKey = ({ groupKey, groupSeed, exporter }: PreviousKey): readonly Uint8Array[] => [
  groupKey,
  groupSeed,
  exporter,
];
