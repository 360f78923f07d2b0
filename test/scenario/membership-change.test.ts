import { describe, expect, it } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { openGrant, parseGrant } from '../../crypto/envelope/grant.js';
import { newSealingState, readersOf, seal } from '../../crypto/envelope/sealing.js';
import { decodeMemberState, encodeMemberState } from '../../crypto/ring/member-state.js';
import { onAnnouncement, onConfirmations, onMembership, onRoster, onTokens } from '../../crypto/ring/member.js';
import { verifyRecord } from '../../crypto/ring/record.js';
import { openTokens } from '../../crypto/ring/token-fault.js';
import { at, neighbourhoodOf, refusal, refusedBy, suites, tokenEntries } from '../support/forge.js';
import { nowS } from '../support/neighbourhood.js';
import { activeKey, agree, makePlayers, throughShares, throughTokens } from '../support/ring.js';

describe.each(suites)('who comes and goes, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 4);
  const removed = at(n.meters, 3);
  const before = n.membership();
  const after = n.membership(n.list({ version: 2, without: [removed] }));
  const remaining = { ...n, meters: n.meters.slice(0, 3) };

  it('a removed member is answered by nobody, and answers nothing of the new epoch', () => {
    const { players } = agree(n);
    const gone = at(players, 3);
    const kept = players.slice(0, 3).map((player) => ({
      ...player,
      context: { ...player.context, membership: after },
      state: onMembership(player.state, after).state,
    }));
    const epoch2 = agree(remaining, { players: kept, epoch: 2, reason: 'revocation', membership: after });
    const { collecting, roster, confirming, published } = epoch2;
    expect(refusedBy(gone, onAnnouncement, collecting.announcementMessage)).toBe('membership-unknown');
    expect(refusedBy(gone, onAnnouncement, collecting.announcementMessage, { membership: after })).toBe('not-listed');
    expect(refusedBy(gone, onRoster, roster.rosterMessage)).toBe('wrong-round');
    expect(refusedBy(gone, onTokens, confirming.tokensMessage)).toBe('wrong-round');
    expect(refusedBy(gone, onConfirmations, published.confirmationsMessage)).toBe('wrong-round');
    expect(activeKey(gone).groupKey).not.toEqual(activeKey(at(kept, 0)).groupKey);
  });

  it('a removal makes the key that the removed one holds a key for receiving only, at once and for good', () => {
    const { players } = agree(n);
    const member = at(players, 0);
    const policyOnly = n.membership(n.list({ version: 2, policy: { graceS: 60 } }));
    member.state = onMembership(member.state, policyOnly).state;
    expect(activeKey(member).receiveOnly).toBe(false);
    member.state = onMembership(member.state, n.membership(n.list({ version: 3, without: [removed] }))).state;
    expect(activeKey(member).receiveOnly).toBe(true);
    member.state = decodeMemberState(encodeMemberState(member.state));
    member.state = onMembership(member.state, n.membership(n.list({ version: 4 }))).state;
    expect(activeKey(member).receiveOnly).toBe(true);
  });

  it('a removed member’s own key only receives too, and the key of those who remain sends again', () => {
    const { players } = agree(n);
    const gone = at(players, 3);
    expect(activeKey({ ...gone, state: onMembership(gone.state, after).state }).receiveOnly).toBe(true);
    const kept = players.slice(0, 3).map((player) => ({
      ...player,
      context: { ...player.context, membership: after },
      state: onMembership(player.state, after).state,
    }));
    agree(remaining, { players: kept, epoch: 2, reason: 'revocation', membership: after });
    for (const player of kept) expect(activeKey(player).receiveOnly).toBe(false);
  });

  it('no edge of an old epoch opens the tokens of a new one, not even between the same neighbours', () => {
    const old = throughTokens(n);
    const { round } = at(old.players, 3).state;
    if (round.kind !== 'tokenSent') throw new Error(`in ${round.kind}`);
    const fresh = throughTokens(remaining, {
      players: makePlayers(remaining, { membership: after }),
      epoch: 2,
      membership: after,
    });
    const tokens = tokenEntries(fresh.confirming);
    for (let index = 0; index < tokens.length; index++) {
      for (const [leftEdge, rightEdge] of [
        [round.leftEdge, round.rightEdge],
        [round.rightEdge, round.leftEdge],
      ] as const) {
        expect(openTokens(suite, fresh.roster.ring, tokens, { index, leftEdge, rightEdge })).toHaveProperty('fault');
      }
    }
  });

  it('a removed member’s share is refused by the coordinator, and no record holds it', () => {
    const { shares } = throughShares(n);
    expect(shares).toHaveLength(4);
    const { published } = agree(remaining, {
      players: makePlayers(remaining, { membership: after }),
      epoch: 2,
      membership: after,
    });
    const { roster } = verifyRecord(suite, after, published.record, nowS);
    expect(roster.map(toHex)).not.toContain(toHex(removed.certHash));
    expect(refusal(() => verifyRecord(suite, before, published.record, nowS))).toBe('membership-unknown');
  });

  it('a new member holds no key of any epoch before its first', () => {
    const founders = makePlayers(remaining, { membership: after });
    const first = agree(remaining, { players: founders, membership: after });
    const grown = n.membership(n.list({ version: 3 }));
    const newcomer = at(makePlayers(n, { membership: grown }), 3);
    for (const [round, message] of [
      [onRoster, first.roster.rosterMessage],
      [onTokens, first.confirming.tokensMessage],
      [onConfirmations, first.published.confirmationsMessage],
    ] as const) {
      expect(refusedBy(newcomer, round, message)).toBe('wrong-round');
    }
    expect(refusedBy(newcomer, onAnnouncement, first.collecting.announcementMessage)).toBe('membership-unknown');
    expect(newcomer.state.active).toBeNull();
  });

  it('a reader that leaves the policy is granted no key from then on, and opens none of the others’', () => {
    const without = n.list({ version: 2 });
    const policy = { ...without.policy, readings: [{ reader: n.utility.certHash, meters: null }] };
    const changed = n.membership({ ...without, policy });
    const meter = at(n.meters, 0);
    expect(readersOf(before, meter.certHash)).toHaveLength(2);
    expect(readersOf(changed, meter.certHash)).toHaveLength(1);
    const { players } = agree(n);
    const context = n.memberContext(meter, changed);
    const sealing = { ...context, self: { ...meter, id: 'meter-01' }, activeKey: activeKey(at(players, 0)).name };
    const missing = { timeS: nowS, intervalS: 60, energyTotalWh: 1, source: 'replay', missing: true } as const;
    const { items } = seal(sealing, newSealingState, missing);
    const grants = items.filter(({ kind }) => kind === 'grant').map(({ message }) => parseGrant(message));
    expect(grants).toHaveLength(1);
    expect(refusal(() => openGrant(suite, n.household, at(grants, 0)))).toBe('grant-not-mine');
    expect(openGrant(suite, n.utility, at(grants, 0))).toHaveLength(suite.aeadKeyBytes);
  });
});
