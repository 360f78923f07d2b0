/** A gateway that may change a list for a while, and one that makes more of it than it may. */
import { describe, expect, it } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { decodeStrict, encode } from '../../crypto/cbor.js';
import { assembleSign1, parseSign1 } from '../../crypto/cose.js';
import { signChange } from '../../crypto/delegation.js';
import { limits } from '../../crypto/limits.js';
import {
  encodeMembershipBundle,
  encodeMembershipList,
  findEntry,
  lastValidS,
  parseMembershipBundle,
  parseMembershipList,
  roleBit,
  type Membership,
} from '../../crypto/membership.js';
import { announce, closeShares, onShare } from '../../crypto/ring/coordinator.js';
import { decodeMemberState, encodeMemberState } from '../../crypto/ring/member-state.js';
import { onAnnouncement, onMembership, onRoster } from '../../crypto/ring/member.js';
import { verifyRecord } from '../../crypto/ring/record.js';
import { change, changeOf, dayS, delegate, termsOf, verified } from '../support/delegate.js';
import { at, flipped, neighbourhoodOf, ordered, refusal, refusedBy, signRoster, suites } from '../support/forge.js';
import { nowS, type Principal } from '../support/neighbourhood.js';
import { activeKey, agree, makePlayers, play, throughShares, type Player } from '../support/ring.js';

describe.each(suites)('a gateway with a delegation, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 6);
  const [newcomer, stranger] = ['meter-91', 'meter-92'].map((id) => n.certify('meter', id, { seed: id }));
  const additions = [newcomer!.certHash];
  const base = delegate(n, { additions }, n.list(), [newcomer!]);
  const attempt = (by: Parameters<typeof change>[2], bundle = base): string =>
    refusal(() => verified(n, change(n, bundle, by)));

  const under = (membership: Membership, principals: readonly Principal[]): readonly Player[] =>
    makePlayers({ ...n, meters: principals }, { membership });

  it('removes a member for days without the authority, and those who remain agree without it', () => {
    const { players } = agree(n, { membership: verified(n, base) });
    const membership = verified(n, change(n, base, changeOf([at(n.meters, 5)])));
    expect(membership.list).toMatchObject({ version: 1, revision: 1 });
    expect(findEntry(membership.list, at(n.meters, 5).certHash, 'member')).toBeUndefined();
    const [gone, ...kept] = players
      .map((player) => ({
        ...player,
        context: { ...player.context, membership },
        state: onMembership(player.state, membership).state,
      }))
      .toReversed();
    for (const player of [gone!, ...kept]) expect(activeKey(player).receiveOnly).toBe(true);
    const { published, collecting } = agree(
      { ...n, meters: kept.map(({ principal }) => principal) },
      { players: kept, epoch: 2, reason: 'revocation', membership },
    );
    expect(refusedBy(gone!, onAnnouncement, collecting.announcementMessage)).toBe('not-listed');
    expect(verifyRecord(suite, membership, published.record, nowS).roster).toHaveLength(5);
    expect(refusal(() => verifyRecord(suite, n.membership(), published.record, nowS))).toBe('membership-unknown');
  });

  it('adds a certificate that the authority has named, as a member and nothing else', () => {
    const membership = verified(n, change(n, base, changeOf([], [newcomer!])));
    expect(findEntry(membership.list, newcomer!.certHash, 'member')?.entry.roles).toBe(roleBit.member);
    const everybody = [...n.meters, newcomer!];
    const { players } = agree({ ...n, meters: everybody }, { players: under(membership, everybody), membership });
    expect(new Set(players.map((player) => toHex(activeKey(player).groupKey))).size).toBe(1);
  });

  it('changes its mind: each revision says all that is changed, and takes the place of the one before', () => {
    const revisions = [changeOf([at(n.meters, 0)]), changeOf([at(n.meters, 1)], [newcomer!], 2), changeOf([], [], 3)];
    const lists = revisions.map((by) => verified(n, change(n, change(n, base, changeOf([])), by)));
    expect(lists.map(({ list }) => list.entries.filter(({ roles }) => roles === roleBit.member).length)).toEqual([
      5, 6, 6,
    ]);
    const player = at(makePlayers(n), 2);
    for (const membership of lists) player.state = onMembership(player.state, membership).state;
    expect(player.state.newestList).toMatchObject({ version: 1, revision: 3 });
    for (const membership of [...lists.slice(0, 2), verified(n, base)]) {
      expect(refusal(() => onMembership(player.state, membership))).toBe('membership-rollback');
    }
    const next = n.membership(n.list({ version: 2 }));
    expect(onMembership(player.state, next).state.newestList).toMatchObject({ version: 2, revision: 0 });
  });

  it('shows what it was given with the list that the authority signed, until that is over', () => {
    const membership = verified(n, base);
    expect(membership.listHash).toEqual(n.membership().listHash);
    expect(membership.delegation).toEqual({ ...termsOf(n), additions, change: null });
    expect(verified(n, base, nowS + dayS + limits.clockSkewS + 1).delegation).toBeUndefined();
    expect(refusal(() => change(n, n.bundle(n.list()), changeOf([])))).toBe('delegation-absent');
  });

  it('oversteps it in no way', () => {
    const meters = n.meters.map(({ certHash }) => certHash);
    const noRemovals = delegate(n, { mayRemove: false, additions: meters });
    const required = n.list({ policy: { requiredMembers: [at(meters, 0)] } });
    const operators = n.list({ version: 3 });
    const alsoReader = {
      ...operators,
      entries: operators.entries.map((entry) => ({
        ...entry,
        roles: entry.roles === roleBit.member ? 3 : entry.roles,
      })),
    };
    const attempts: readonly (readonly [string, string])[] = [
      ['an addition that is not named', attempt(changeOf([], [stranger!]))],
      ['an addition that is not named, beside one that is', attempt(changeOf([], [newcomer!, stranger!]))],
      ['a removal where none is allowed', attempt(changeOf([at(n.meters, 0)]), noRemovals)],
      [
        'a role for who has another already',
        attempt(changeOf([], [n.utility]), delegate(n, { additions: [n.utility.certHash] })),
      ],
      ['a member that is in the list already', attempt(changeOf([], [at(n.meters, 0)]), noRemovals)],
      ['the removal of a required member', attempt(changeOf([at(n.meters, 0)]), delegate(n, {}, required))],
      ['the removal of the coordinator itself', attempt(changeOf([n.gateway]))],
      ['the removal of a reader', attempt(changeOf([n.utility]))],
      ['the removal of an operator', attempt(changeOf([n.operator]))],
      ['the removal of a member that reads too', attempt(changeOf([at(n.meters, 0)]), delegate(n, {}, alsoReader))],
      ['the removal of who is not in the list', attempt(changeOf([stranger!]))],
    ];
    expect(attempts.filter(([, code]) => code !== 'delegation-overstepped')).toEqual([]);
  });

  it('may not fill a ring beyond what it holds', () => {
    const many = Array.from({ length: 60 }, (_, i) => suite.sha256(Uint8Array.of(i)));
    const bundle = delegate(n, { additions: many.toSorted((a, b) => Buffer.compare(a, b)) });
    expect(attempt({ revision: 1, removals: [], additions: many.slice(0, 59) }, bundle)).toBe('delegation-overstepped');
    expect(
      verified(n, change(n, bundle, { revision: 1, removals: [], additions: many.slice(0, 58) })).list.entries,
    ).toHaveLength(68);
  });

  it('uses none that was given to another gateway, for another list, or for another group', () => {
    const other = n.certify('gateway', 'gw-2', { seed: 'gw-2' });
    const two = n.list();
    const twoGateways = {
      ...two,
      entries: [...two.entries, { certHash: other.certHash, roles: roleBit.coordinator, hpkeKey: null }],
    };
    const toOther = delegate(n, { gateway: other.certHash }, twoGateways, [other]);
    const removal = changeOf([at(n.meters, 0)]);
    expect(attempt(removal, toOther)).toBe('delegation-overstepped');
    expect(verified(n, change(n, toOther, removal, other)).list.revision).toBe(1);
    expect(attempt(removal, delegate(n, { gateway: other.certHash }))).toBe('delegation-overstepped');
    for (const terms of [{ baseVersion: 2 }, { baseHash: n.membership(n.list({ version: 2 })).listHash }]) {
      expect(attempt(removal, delegate(n, terms))).toBe('delegation-overstepped');
    }
    const { delegated } = parseMembershipBundle(base);
    const { listMessage, certificates } = parseMembershipBundle(n.bundle(n.list({ version: 2 })));
    const onNewer = encodeMembershipBundle(listMessage, certificates, delegated);
    expect(attempt(removal, onNewer)).toBe('delegation-overstepped');
    expect(attempt(removal, delegate(n, { gid: new Uint8Array(16) }))).toBe('signature-invalid');
  });

  it('cannot put a change under a delegation that it was not made under', () => {
    const narrow = delegate(n, { mayRemove: false });
    const { delegated } = parseMembershipBundle(change(n, narrow, changeOf([at(n.meters, 0)])));
    const { listMessage, certificates, delegated: wide } = parseMembershipBundle(base);
    const moved = encodeMembershipBundle(listMessage, certificates, { ...wide!, change: delegated!.change });
    expect(refusal(() => verified(n, moved))).toBe('delegation-overstepped');
  });

  it('cannot delegate to itself, nor change a change', () => {
    const byItself = delegate({ ...n, authority: { ...n.authority, signer: n.gateway.signer } });
    expect(refusal(() => verified(n, byItself))).toMatch(/signature-invalid/);
    const { listMessage, certificates, delegated } = parseMembershipBundle(
      change(n, base, changeOf([at(n.meters, 0)])),
    );
    const verdict = (parts: { readonly delegation: Uint8Array; readonly change: Uint8Array | null }): string =>
      refusal(() => verified(n, encodeMembershipBundle(listMessage, certificates, parts)));
    for (let bit = 0; bit < delegated!.change!.length * 8; bit += 41) {
      expect(verdict({ ...delegated!, change: flipped(delegated!.change!, bit) })).toMatch(/./);
    }
    for (let bit = 0; bit < delegated!.delegation.length * 8; bit += 53) {
      expect(verdict({ ...delegated!, delegation: flipped(delegated!.delegation, bit) })).toMatch(/./);
    }
  });

  it('cannot say a change in two forms: what does not ascend, or stands twice, is malformed', () => {
    const { listMessage, certificates, delegated } = parseMembershipBundle(base);
    const hash = at(n.meters, 0).certHash;
    const bound = { delegationHash: new Uint8Array(32), baseHash: n.membership().listHash };
    const twice = signChange(suite, n.gateway, n.gid, { ...bound, revision: 1, removals: [hash, hash], additions: [] });
    const bundle = encodeMembershipBundle(listMessage, certificates, { ...delegated!, change: twice });
    expect(refusal(() => verified(n, bundle))).toBe('membership-malformed');
    expect(attempt({ revision: 0, removals: [], additions: [] })).toBe('message-malformed');
  });

  it('has a list that ends with the delegation, and does not fall back to the one that names the removed', () => {
    const bundle = change(n, base, changeOf([at(n.meters, 5)]));
    const over = nowS + dayS + limits.clockSkewS + 1;
    expect(refusal(() => verified(n, bundle, over))).toBe('delegation-overstepped');
    expect(lastValidS(bundle)).toBe(nowS + dayS);
    expect(lastValidS(base)).toBe(n.list().notAfterS);
    const membership = verified(n, bundle);
    const { collecting } = throughShares({ ...n, meters: n.meters.slice(0, 5) }, { membership });
    const player = at(under(membership, n.meters), 1);
    expect(refusedBy(player, onAnnouncement, collecting.announcementMessage, { nowS: over })).toBe(
      'membership-expired',
    );
    player.state = onMembership(player.state, membership).state;
    expect(refusal(() => onMembership(player.state, n.membership()))).toBe('membership-rollback');
  });

  it('is found out when it signs two changes of one revision, after a restart too', () => {
    const [one, two] = [0, 1].map((i) => verified(n, change(n, base, changeOf([at(n.meters, i)]))));
    const player = at(makePlayers(n), 3);
    player.state = onMembership(player.state, one!).state;
    expect(refusal(() => onMembership(player.state, two!))).toBe('membership-conflict');
    player.state = decodeMemberState(encodeMemberState(player.state));
    expect(refusal(() => onMembership(player.state, two!))).toBe('membership-conflict');
    expect(onMembership(player.state, one!).state).toEqual(player.state);
  });

  describe('makes no two rings of one attempt by showing two lists to two halves', () => {
    const halves = [n.meters.slice(0, 3), n.meters.slice(3)] as const;
    const added = n.certify('meter', 'meter-93', { seed: 'meter-93' });
    const both = delegate(
      n,
      { additions: [newcomer!, added].map(({ certHash }) => certHash).toSorted((a, b) => Buffer.compare(a, b)) },
      n.list(),
      [newcomer!, added],
    );

    /** Whether members take the roster of those who answered, under the list that the gateway shows to them. */
    const rosterUnder = (membership: Membership, present: readonly Principal[]): readonly string[] => {
      const { collecting, players } = throughShares(
        { ...n, meters: present },
        { membership, players: under(membership, present), epoch: 7, attempt: 1 },
      );
      const entries = [...collecting.shares.values()];
      const roster = signRoster(n, collecting.annId, ordered(n, membership, collecting.annId, entries));
      return players.map((player) => {
        try {
          play(player, onRoster, roster);
          return player.state.round.kind;
        } catch (error) {
          return (error as { readonly code: string }).code;
        }
      });
    };

    it('though each half is all that its list names', () => {
      for (const [present, absent] of [halves, halves.toReversed()] as const) {
        const membership = verified(n, change(n, base, changeOf(absent)));
        expect(new Set(rosterUnder(membership, present))).toEqual(new Set(['roster-minority']));
      }
    });

    it('nor by filling the halves up with additions that it plays itself', () => {
      const guests = [newcomer!, added];
      for (const [present, absent] of [halves, halves.toReversed()] as const) {
        const membership = verified(n, change(n, both, changeOf(absent, guests)));
        expect(new Set(rosterUnder(membership, [...present, ...guests]))).toEqual(new Set(['roster-minority']));
      }
    });

    it('nor does the honest coordinator try; four of the authority’s six are a quorum, whatever was removed', () => {
      const membership = verified(n, change(n, base, changeOf(halves[1])));
      const context = n.coordinatorContext(membership);
      let collecting = announce(context, { epoch: 7, attempt: 1, reason: 'revocation', expiryS: nowS + 120 });
      for (const player of under(membership, halves[0])) {
        collecting = onShare(context, collecting, play(player, onAnnouncement, collecting.announcementMessage));
      }
      expect(refusal(() => closeShares(context, collecting))).toBe('roster-minority');
      const four = verified(n, change(n, base, changeOf(n.meters.slice(4))));
      expect(new Set(rosterUnder(four, n.meters.slice(0, 4)))).toEqual(new Set(['tokenSent']));
    });

    it('and additions do not make up for the policy’s least number either', () => {
      const list = n.list({ policy: { minMembers: 5 } });
      const bundle = delegate(n, { additions }, list, [newcomer!]);
      const membership = verified(n, change(n, bundle, changeOf([], [newcomer!])));
      expect(new Set(rosterUnder(membership, [...n.meters.slice(0, 4), newcomer!]))).toEqual(
        new Set(['roster-minority']),
      );
      expect(new Set(rosterUnder(membership, n.meters.slice(0, 5)))).toEqual(new Set(['tokenSent']));
    });
  });
});

describe.each(suites)('a gateway without a delegation, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 3);
  const { listMessage, certificates } = parseMembershipBundle(n.bundle(n.list()));

  it('adds nobody, drops nobody and reorders nothing: the authority’s signature is over all of it', () => {
    const { protectedHeader, signature, payload } = parseSign1(listMessage, limits.membership);
    const list = parseMembershipList(payload);
    const insider = n.certify('meter', 'meter-94', { seed: 'insider' });
    const [gid, version, policy, entries, ...rest] = decodeStrict(payload, limits.membership) as readonly never[];
    const altered = [
      encodeMembershipList({
        ...list,
        entries: [...list.entries, { certHash: insider.certHash, roles: 1, hpkeKey: null }],
      }),
      encodeMembershipList({ ...list, entries: list.entries.slice(1) }),
      encodeMembershipList({ ...list, version: 2 }),
      encode([gid!, version!, policy!, (entries! as readonly never[]).toReversed(), ...rest]),
    ].map((bytes) =>
      refusal(() =>
        verified(n, encodeMembershipBundle(assembleSign1(protectedHeader, bytes, signature), certificates)),
      ),
    );
    expect(altered).toEqual(['signature-invalid', 'signature-invalid', 'signature-invalid', 'membership-malformed']);
  });

  it('replays no old list: neither to who has taken a newer one, nor to who has answered under it', () => {
    const newer = n.membership(n.list({ version: 2 }));
    const player = at(makePlayers(n, { membership: newer }), 0);
    const { collecting } = throughShares(n, { membership: newer });
    play(player, onAnnouncement, collecting.announcementMessage);
    expect(refusal(() => onMembership(player.state, n.membership()))).toBe('membership-rollback');
    const older = throughShares(n, { epoch: 2 }).collecting.announcementMessage;
    expect(refusedBy(player, onAnnouncement, older, { membership: n.membership() })).toBe('membership-unknown');
  });
});
