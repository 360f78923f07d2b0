import { describe, expect, it } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { announce } from '../../crypto/ring/coordinator.js';
import { onAnnouncement, onConfirmations, onMembership, onRoster, onTime, onTokens } from '../../crypto/ring/member.js';
import type { MemberStep } from '../../crypto/ring/member-context.js';
import { decodeMemberState, encodeMemberState, type MemberState } from '../../crypto/ring/member-state.js';
import {
  at,
  fingerprint,
  flipped,
  inRing,
  neighbourhoodOf,
  refusal,
  refusedBy,
  replaced,
  resignToken,
  signTokens,
  suites,
  tokenEntries,
  tokenEntryOf,
  unsigned,
} from '../support/forge.js';
import { nowS, type Neighbourhood } from '../support/neighbourhood.js';
import {
  activeKey,
  agree,
  collectConfirmations,
  collectTokens,
  makePlayers,
  play,
  snapshot,
  throughConfirmations,
  throughShares,
  throughTokens,
  type Player,
} from '../support/ring.js';

/** What a crash leaves: the state as it was saved. */
const restarted = (player: Player): Player => ({
  ...player,
  state: decodeMemberState(encodeMemberState(player.state)),
});

const announceAgain = (n: Neighbourhood, epoch: number, attempt: number): Uint8Array =>
  announce(n.coordinatorContext(), { epoch, attempt, reason: 'restart', expiryS: nowS + 120 }).announcementMessage;

/** A member whose coordinator showed it tokens that do not add up. */
function abortedMember(n: Neighbourhood) {
  const sent = throughTokens(n);
  const entries = replaced(unsigned(tokenEntries(sent.confirming)), 0, (entry) => ({
    ...entry,
    token: flipped(entry.token),
  }));
  const bundle = signTokens(n, sent.roster.ring, entries);
  const player = at(sent.players, 0);
  const abort = play(player, onTokens, bundle);
  return { ...sent, player, bundle, abort };
}

describe.each(suites)('a member that crashes and comes back, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 3);

  it('has forgotten the round it had answered, never that it answered', () => {
    const { collecting, players } = throughShares(n, { epoch: 4, attempt: 2 });
    const player = restarted(at(players, 0));
    expect(player.state).toMatchObject({ highWater: { epoch: 4, attempt: 2 }, round: { kind: 'idle' } });
    expect(refusedBy(player, onAnnouncement, collecting.announcementMessage)).toBe('epoch-stale');
    expect(refusedBy(player, onAnnouncement, announceAgain(n, 4, 1))).toBe('epoch-stale');
    expect(play(player, onAnnouncement, announceAgain(n, 4, 3)).length).toBeGreaterThan(0);
  });

  it('has forgotten its token, and takes no roster nor tokens of that session', () => {
    const { players, roster, confirming } = throughTokens(n);
    const player = restarted(at(players, 0));
    expect(player.state.round).toEqual({ kind: 'idle' });
    expect(refusedBy(player, onRoster, roster.rosterMessage)).toBe('wrong-round');
    expect(refusedBy(player, onTokens, confirming.tokensMessage)).toBe('wrong-round');
  });

  it('still knows what it has confirmed: the same reply, and it can become active', () => {
    const { players, confirming, confirmations, published } = throughConfirmations(n);
    const player = restarted(at(players, 0));
    expect(play(player, onTokens, confirming.tokensMessage)).toEqual(at(confirmations, 0));
    play(player, onConfirmations, published.confirmationsMessage);
    const other = at(players, 1);
    play(other, onConfirmations, published.confirmationsMessage);
    expect(activeKey(player).groupKey).toEqual(activeKey(other).groupKey);
  });

  it('still gives way to a higher announcement, and its pending key is gone from the disk too', () => {
    const { players, published } = throughConfirmations(n);
    const player = restarted(at(players, 0));
    play(player, onAnnouncement, announceAgain(n, 1, 2));
    expect(refusedBy(restarted(player), onConfirmations, published.confirmationsMessage)).toBe('wrong-round');
  });

  it('keeps the tombstone of a session that it gave up, and can neither reveal nor confirm there', () => {
    const { player, confirming, roster, bundle } = abortedMember(n);
    const again = restarted(player);
    expect(again.state.tombstone).toEqual(roster.ring.sid);
    for (const message of [bundle, confirming.tokensMessage, confirming.signedTokensMessage]) {
      expect(refusedBy(again, onTokens, message)).toBe('session-aborted');
    }
  });

  it('keeps the version of its list, so that an older one stays refused', () => {
    const player = at(makePlayers(n), 0);
    player.state = onMembership(player.state, n.membership(n.list({ version: 7 }))).state;
    const older = n.membership(n.list({ version: 6 }));
    expect(refusal(() => onMembership(restarted(player).state, older))).toBe('membership-rollback');
  });

  it('reads its state back whatever grace period the policy allows', () => {
    const membership = n.membership(n.list({ policy: { graceS: 0xffff_ffff } }));
    const { players } = agree(n, { players: makePlayers(n, { membership }), membership });
    agree(n, { players, epoch: 2, membership });
    const { state } = at(players, 0);
    expect(decodeMemberState(encodeMemberState(state))).toEqual(state);
  });

  it('refuses a state that is damaged or of another version', () => {
    const stored = encodeMemberState(at(agree(n).players, 0).state);
    expect(refusal(() => decodeMemberState(stored.slice(0, -1)))).toBe('cbor-malformed');
    expect(refusal(() => decodeMemberState(stored.with(1, 1)))).toBe('state-version');
    expect(refusal(() => decodeMemberState(Uint8Array.of(0x80)))).toBe('message-malformed');
  });
});

describe.each(suites)('the same message again gets the same bytes, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 3);

  it('in every state that has an answer, even when a second one was validly signed meanwhile', () => {
    const idle = makePlayers(n);
    const shares = throughShares(n, { players: idle });
    const shared = at(snapshot(shares.players), 0);
    const tokens = collectTokens(n, shares);
    const tokenSent = at(snapshot(tokens.players), 0);
    const confirmed = at(collectConfirmations(n, tokens).players, 0);
    const aborted = abortedMember(n);
    const cases = [
      [shared, onAnnouncement, shares.collecting.announcementMessage, at(shares.shares, 0)],
      [tokenSent, onAnnouncement, shares.collecting.announcementMessage, at(shares.shares, 0)],
      [tokenSent, onRoster, tokens.roster.rosterMessage, at(tokens.tokens, 0)],
      [confirmed, onTokens, tokens.confirming.tokensMessage, undefined],
      [aborted.player, onAnnouncement, aborted.collecting.announcementMessage, at(aborted.shares, 0)],
      [aborted.player, onRoster, aborted.roster.rosterMessage, at(aborted.tokens, 0)],
      [aborted.player, onTokens, aborted.bundle, aborted.abort],
    ] as const;
    for (const [player, round, message, reply] of cases) {
      const before = fingerprint(player.state);
      const first = play(player, round, message);
      expect(first).toEqual(reply ?? first);
      expect(play(player, round, message)).toEqual(first);
      expect(fingerprint(player.state)).toBe(before);
    }
  });

  it('and a share that is gone is not made a second time', () => {
    const { players, collecting, roster } = throughConfirmations(n);
    const player = at(players, 0);
    expect(refusedBy(player, onAnnouncement, collecting.announcementMessage)).toBe('epoch-stale');
    expect(refusedBy(player, onRoster, roster.rosterMessage)).toBe('wrong-round');
  });
});

/** Every secret that a state holds, by identity. */
function secretsIn({ round, active, previous }: MemberState): ReadonlySet<Uint8Array> {
  const held = [active, previous?.key].flatMap((key) => (key ? [key.groupKey, key.groupSeed, key.exporter] : []));
  if (round.kind === 'shared') held.push(round.secret, round.opening);
  if (round.kind === 'tokenSent' || round.kind === 'aborted') held.push(round.secret, round.leftEdge, round.rightEdge);
  if (round.kind === 'confirmed') {
    const { groupKey, confirmationKey, groupSeed, exporter } = round.keys;
    held.push(groupKey, confirmationKey, groupSeed, exporter);
  }
  return new Set(held);
}

/** Each step hands over every secret that the next state does not hold; it is overwritten then, as a host does. */
function erase(before: MemberState, { state, consumed }: MemberStep): void {
  const after = secretsIn(state);
  // The opening of a token that was sent is public.
  const published = state.round.kind === 'tokenSent' ? state.round.opening : undefined;
  for (const secret of secretsIn(before)) {
    if (!after.has(secret) && secret !== published) expect(consumed).toContain(secret);
  }
  for (const secret of consumed) {
    expect(after.has(secret)).toBe(false);
    secret.fill(0);
  }
}

describe.each(suites)('a member erases what it no longer needs, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 3);
  const erasingPlayers = (): readonly Player[] => makePlayers(n).map((player) => ({ ...player, watch: erase }));
  const keysOf = (players: readonly Player[]) => new Set(players.map((player) => toHex(activeKey(player).groupKey)));

  it('through a founding, attempts that fail, and rekeys, and every key works on', () => {
    const players = erasingPlayers();
    agree(n, { players });
    throughShares(n, { players, epoch: 2, attempt: 1 });
    throughTokens(n, { players, epoch: 2, attempt: 2 });
    throughConfirmations(n, { players, epoch: 2, attempt: 3 });
    for (const attempt of [4, 5]) agree(n, { players, epoch: 2, attempt });
    expect(keysOf(players).size).toBe(1);
    for (const { state } of players) {
      for (const secret of secretsIn(state)) expect(secret.some((byte) => byte !== 0)).toBe(true);
    }
  });

  it('when it is left out, gives up an attempt in time, aborts, reveals, or learns of a new list', () => {
    const [first, second, third] = erasingPlayers();
    const sent = throughTokens(n, { players: [first!, second!, third!] });
    const ring = sent.roster.ring;
    const insider = inRing(ring, sent.players).findIndex((player) => player === second);
    const lie = tokenEntryOf(
      resignToken(n, ring, second!.principal, at(sent.tokens, 1), () => ({ token: new Uint8Array(32) })),
    );
    const entries = replaced(tokenEntries(sent.confirming), insider, () => lie);
    play(first!, onTokens, signTokens(n, ring, unsigned(entries)));
    play(first!, onTokens, signTokens(n, ring, entries));
    expect(first!.state.round.kind).toBe('revealed');

    const late = onTime(second!.state, nowS + 3_600);
    erase(second!.state, late);
    expect(late.state.round.kind).toBe('idle');

    const changed = onMembership(third!.state, n.membership(n.list({ version: 2 })));
    erase(third!.state, changed);
    expect(changed.state.round.kind).toBe('idle');
  });

  it('of what it computed on the way: both agreements, and every edge of the ring', () => {
    const count = n.meters.length;
    const consumed: (readonly Uint8Array[])[] = [];
    const watch = (_: MemberState, step: MemberStep): void => void consumed.push(step.consumed);
    const players = makePlayers(n).map((player, i) => (i === 0 ? { ...player, watch } : player));
    throughConfirmations(n, { players });
    const [shared, tokenSent, confirmed] = consumed;
    expect([shared?.length, tokenSent?.length]).toEqual([0, 2]);
    // The ephemeral, the member's own two edges, and all edges as it walked the ring.
    expect(confirmed).toHaveLength(3 + count);
  });

  it('when the grace period of the previous key has passed, and not before', () => {
    const players = erasingPlayers();
    agree(n, { players });
    agree(n, { players, epoch: 2 });
    const [{ state } = at(players, 0)] = players;
    const untilS = state.previous?.untilS ?? 0;
    expect(untilS).toBe(nowS + n.list().policy.graceS);
    expect(onTime(state, untilS).state.previous).not.toBeNull();
    const step = onTime(state, untilS + 1);
    erase(state, step);
    expect(step.state.previous).toBeNull();
    expect(step.consumed).toHaveLength(3);
  });
});

describe.each(suites)('what a meter must keep on disk, suite $name', (suite) => {
  it('stays small in a ring of 32, with an active, a previous and a pending key', () => {
    const n = neighbourhoodOf(suite, 32);
    // The profile changes nothing of what is kept, and this one is cheaper to play.
    const membership = n.membership(n.list({ policy: { profile: 'constrained' } }));
    const players = makePlayers(n, { membership });
    for (const epoch of [1, 2]) agree(n, { players, epoch, membership });
    const { length: settled } = encodeMemberState(at(players, 0).state);
    throughConfirmations(n, { players, epoch: 3, membership });
    const { length: rekeying } = encodeMemberState(at(players, 0).state);
    console.log(`state of a member of 32, ${suite.name}: ${settled} B settled, ${rekeying} B while rekeying`);
    expect(rekeying).toBeLessThan(1_500);
  });
});
