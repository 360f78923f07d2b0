import { beforeEach, describe, expect, it } from 'vitest';
import { limits } from '../../crypto/limits.js';
import { equalBytes } from '../../crypto/bytes.js';
import type { MembershipList, Policy } from '../../crypto/membership.js';
import type { CollectingTokens } from '../../crypto/ring/coordinator-state.js';
import { announce, closeShares, onShare } from '../../crypto/ring/coordinator.js';
import { onAnnouncement, onMembership, onRoster, onTokens } from '../../crypto/ring/member.js';
import { encodeRosterBundle, encodeShare, parseShare, type RosterEntry } from '../../crypto/ring/messages.js';
import {
  at,
  flipped,
  inRing,
  neighbourhoodOf,
  ordered,
  payloadOf,
  refusal,
  refusedBy,
  replaced,
  rosterEntries,
  signAs,
  signatureOf,
  signRoster,
  signTokens,
  suites,
  tokenEntryOf,
} from '../support/forge.js';
import { nowS, type Neighbourhood, type Principal } from '../support/neighbourhood.js';
import {
  collectTokens,
  makePlayers,
  play,
  snapshot,
  throughShares,
  type AfterShares,
  type Player,
} from '../support/ring.js';

const indexIn = ({ entries }: MembershipList, { certHash }: Pick<Principal, 'certHash'>): number =>
  entries.findIndex((entry) => equalBytes(entry.certHash, certHash));

/** An announced ring of five, whose members wait for the roster. */
interface Waiting {
  readonly after: AfterShares;
  readonly roster: CollectingTokens;
  readonly entries: readonly RosterEntry[];
  /** By position in the honest roster. */
  readonly players: readonly Player[];
}

function waitingMembers(n: Neighbourhood): Waiting {
  const after = throughShares(n);
  const waiting = snapshot(after.players);
  const { roster } = collectTokens(n, after);
  return { after, roster, entries: rosterEntries(roster), players: inRing(roster.ring, waiting) };
}

describe.each(suites)('a member that is shown a roster, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 5);
  let annId: Uint8Array;
  let entries: readonly RosterEntry[];
  let players: readonly Player[];
  let honest: Uint8Array;
  let member: Player;
  const refuses = (altered: readonly RosterEntry[], player = member): string =>
    refusedBy(player, onRoster, signRoster(n, annId, altered));

  beforeEach(() => {
    const waiting = waitingMembers(n);
    ({ entries, players } = waiting);
    annId = waiting.roster.annId;
    honest = waiting.roster.rosterMessage;
    member = at(players, 0);
  });

  it('refuses any other order than that of the ring', () => {
    expect(refuses([...entries].reverse())).toBe('roster-order');
    expect(refuses([at(entries, 1), at(entries, 0), ...entries.slice(2)])).toBe('roster-order');
    expect(refuses([...entries.slice(1), at(entries, 0)])).toBe('roster-order');
  });

  it('refuses swapped indices of the list', () => {
    const [first, second] = [at(entries, 1), at(entries, 2)];
    const swapped = entries.map((entry, i) =>
      i === 1 ? { ...first, listIndex: second.listIndex } : i === 2 ? { ...second, listIndex: first.listIndex } : entry,
    );
    expect(refuses(swapped)).toBe('roster-order');
  });

  it('refuses keys swapped between two others, at their neighbours', () => {
    const swapped = [
      at(entries, 0),
      ...[2, 1].map((i, j) => ({ ...at(entries, i), listIndex: at(entries, j + 1).listIndex })),
      ...entries.slice(3),
    ];
    expect(refuses(swapped)).toBe('signature-invalid');
    expect(refuses(swapped, at(players, 1))).toBe('roster-own-share');
  });

  it('refuses a certificate or an ephemeral key that stands twice, its own echoed among them', () => {
    expect(refuses([...entries, at(entries, 2)])).toBe('roster-duplicate');
    const underNewKey = { ...at(entries, 2), ephemeralKey: flipped(at(entries, 2).ephemeralKey) };
    expect(refuses([...entries, underNewKey])).toBe('roster-duplicate');
    const echo = replaced(entries, 2, (entry) => ({ ...entry, ephemeralKey: at(entries, 0).ephemeralKey }));
    expect(refuses(echo)).toBe('roster-duplicate');
  });

  it('refuses a roster with another share than it sent', () => {
    const key = replaced(entries, 0, (entry) => ({ ...entry, ephemeralKey: flipped(entry.ephemeralKey, 77) }));
    const commitment = replaced(entries, 0, (entry) => ({ ...entry, commitment: flipped(entry.commitment) }));
    for (const altered of [key, commitment]) expect(refuses(altered)).toBe('roster-own-share');
  });

  it.each([
    ['left', 4],
    ['right', 1],
  ])('refuses a %s neighbour whose share is not signed, or altered', (_, i) => {
    expect(refuses(replaced(entries, i, (entry) => ({ ...entry, signature: null })))).toBe('share-signature-missing');
    const altered = replaced(entries, i, (entry) => ({ ...entry, commitment: flipped(entry.commitment) }));
    expect(refuses(altered)).toBe('signature-invalid');
  });

  it('refuses a neighbour’s share of another attempt', () => {
    const neighbour = at(players, 1);
    const other = announce(n.coordinatorContext(), { epoch: 1, attempt: 2, reason: 'retry', expiryS: nowS + 120 });
    const share = play({ ...neighbour }, onAnnouncement, other.announcementMessage);
    const replay = { ...parseShare(payloadOf(share)), signature: signatureOf(share) };
    expect(refuses(replaced(entries, 1, (entry) => ({ ...entry, ...replay })))).toBe('signature-invalid');
  });

  it('refuses entries that are no members: operators, readers, the coordinator, nobody', () => {
    const { list } = n.membership();
    for (const { certHash } of [n.operator, n.utility, n.gateway]) {
      const listIndex = indexIn(list, { certHash });
      expect(refuses(replaced(entries, 2, (entry) => ({ ...entry, listIndex })))).toBe('not-listed');
    }
    expect(refuses(replaced(entries, 2, (entry) => ({ ...entry, listIndex: list.entries.length })))).toBe('not-listed');
  });

  it('refuses fewer than two and more than 64 entries unread', () => {
    expect(refuses(entries.slice(0, 1))).toBe('message-malformed');
    expect(refuses(Array.from({ length: limits.ringMembersHard + 1 }, () => at(entries, 0)))).toBe('message-malformed');
  });

  it('gives up its ephemeral when it is left out, and lets nobody take it in again', () => {
    const step = onRoster(member.context, member.state, signRoster(n, annId, entries.slice(1)));
    expect(step.state.round).toEqual({ kind: 'idle' });
    expect(step.reply).toHaveLength(0);
    const { round } = member.state;
    expect(step.consumed).toContain(round.kind === 'shared' ? round.secret : undefined);
    expect(refusedBy({ ...member, state: step.state }, onRoster, honest)).toBe('wrong-round');
  });

  it('answers one roster an announcement: a second one, validly signed, is equivocation', () => {
    const token = play(member, onRoster, honest);
    expect(refuses(entries.slice(0, 4))).toBe('roster-equivocation');
    expect(refuses(entries.slice(0, 4), member)).toBe('roster-equivocation');
    expect(play(member, onRoster, honest)).toEqual(token);
    const payload = encodeRosterBundle({ announcementRef: annId.slice(0, 8), entries: entries.slice(0, 4) });
    expect(refusedBy(member, onRoster, signAs(suite, n.gateway, 'tokens', annId, payload))).toBe('signature-invalid');
  });

  it('refuses a roster of another announcement, of another coordinator, and of a member', () => {
    const other = waitingMembers(n);
    expect(refusedBy(member, onRoster, other.roster.rosterMessage)).toBe('wrong-round');
    const payload = payloadOf(honest);
    for (const signer of [n.operator, at(n.meters, 1)]) {
      expect(refusedBy(member, onRoster, signAs(suite, signer, 'roster', annId, payload))).toBe('wrong-signer');
    }
  });

  it('refuses to go on under another list than the attempt began with, and gives up when its own changes', () => {
    const newer = n.membership(n.list({ version: 2, without: [at(n.meters, 4)] }));
    expect(refusedBy(member, onRoster, honest, { membership: newer })).toBe('membership-changed');
    const { state, consumed } = onMembership(member.state, newer);
    expect(state.round.kind).toBe('idle');
    expect(consumed.length).toBeGreaterThan(0);
    expect(refusedBy({ ...member, state }, onRoster, honest)).toBe('wrong-round');
  });

  it('refuses a roster after the announcement’s expiry', () => {
    const late = { nowS: nowS + 120 + limits.clockSkewS + 1 };
    expect(refusedBy(member, onRoster, honest, late)).toBe('announcement-expired');
  });

  it('takes no part with whose certificate expires in mid-round', () => {
    const brief = n.certify('meter', 'meter-brief', { seed: 'brief', notAfterS: nowS + 60 });
    const membership = n.membership(n.list({ add: [brief] }), [brief]);
    const six = { ...n, meters: [...n.meters, brief] };
    const after = throughShares(six, { players: makePlayers(six, { membership }), membership });
    const { rosterMessage } = closeShares(n.coordinatorContext(membership), after.collecting);
    const late = { nowS: nowS + 60 + limits.clockSkewS + 1 };
    expect(refusedBy(at(after.players, 0), onRoster, rosterMessage, late)).toBe('certificate-expired');
  });
});

describe.each(suites)('a roster must be a quorum, suite $name', (suite) => {
  /** The first member's verdict on a roster of these meters, under this policy. */
  function verdict(n: Neighbourhood, present: readonly Principal[], policy: Partial<Policy> = {}): string {
    const membership = n.membership(n.list({ policy }));
    const after = throughShares(n, { players: makePlayers(n, { membership }), membership });
    const [player] = after.players.filter(({ principal }) => principal === present[0]);
    const entries = after.shares.flatMap((share, i): readonly RosterEntry[] =>
      present.includes(at(n.meters, i))
        ? [
            {
              ...parseShare(payloadOf(share)),
              listIndex: indexIn(membership.list, at(n.meters, i)),
              signature: signatureOf(share),
            },
          ]
        : [],
    );
    const { annId } = after.collecting;
    const message = signRoster(n, annId, ordered(n, membership, annId, entries));
    if (!player) throw new Error('the first one present must play');
    try {
      return onRoster(player.context, player.state, message).state.round.kind;
    } catch {
      return refusedBy(player, onRoster, message);
    }
  }

  it.each([
    [3, 2, 'tokenSent'],
    [4, 2, 'roster-minority'],
    [4, 3, 'tokenSent'],
    [5, 2, 'roster-minority'],
    [5, 3, 'tokenSent'],
  ])('of %i members, %i are: %s; readers, operator and coordinator do not count', (count, present, expected) => {
    const n = neighbourhoodOf(suite, count);
    expect(n.list().entries).toHaveLength(count + 4);
    expect(verdict(n, n.meters.slice(0, present))).toBe(expected);
  });

  it('never fewer than the policy’s least number, even as a majority', () => {
    const n = neighbourhoodOf(suite, 5);
    expect(verdict(n, n.meters.slice(0, 3), { minMembers: 4 })).toBe('roster-minority');
    expect(verdict(n, n.meters.slice(0, 4), { minMembers: 4 })).toBe('tokenSent');
  });

  it('with required members: all of them, and then no majority is needed', () => {
    const n = neighbourhoodOf(suite, 5);
    const requiredMembers = n.meters.slice(0, 2).map(({ certHash }) => certHash);
    expect(verdict(n, n.meters.slice(0, 2), { requiredMembers })).toBe('tokenSent');
    expect(verdict(n, [...n.meters.slice(2), at(n.meters, 0)], { requiredMembers })).toBe('roster-minority');
  });

  it('and two quorums always share a member: a majority without the required ones is none', () => {
    const n = neighbourhoodOf(suite, 5);
    const requiredMembers = [at(n.meters, 0).certHash];
    expect(verdict(n, [at(n.meters, 0), at(n.meters, 1)], { requiredMembers })).toBe('tokenSent');
    expect(verdict(n, n.meters.slice(2), { requiredMembers })).toBe('roster-minority');
  });
});

describe.each(suites)('a coordinator that splits one attempt, suite $name', (suite) => {
  it('gets two rosters of one announcement past nobody who stands in both', () => {
    const n = neighbourhoodOf(suite, 5);
    const { roster, entries, players } = waitingMembers(n);
    const rings = [entries.slice(0, 3), entries.slice(2)];
    const messages = rings.map((ring) => signRoster(n, roster.annId, ring));
    const shared = at(players, 2);
    for (const [i, player] of players.entries()) {
      const message = at(messages, i < 3 ? 0 : 1);
      expect(play(player, onRoster, message).length).toBeGreaterThan(0);
    }
    expect(refusedBy(shared, onRoster, at(messages, 1))).toBe('roster-equivocation');
  });

  it('cannot hide that a member gave it two shares: rings with either do not fit together', () => {
    const n = neighbourhoodOf(suite, 5);
    const { roster, entries, players, after } = waitingMembers(n);
    const insider = at(players, 1).principal;
    const commitment = new Uint8Array(32).fill(7);
    const other = encodeShare({ ...at(entries, 1), announcementRef: roster.annId.slice(0, 8), commitment });
    const share = signAs(suite, insider, 'share', roster.annId, other);
    expect(refusal(() => onShare(n.coordinatorContext(), after.collecting, share))).toBe('share-equivocation');

    const signature = signatureOf(share);
    const otherRoster = replaced(entries, 1, (entry) => ({ ...entry, commitment, signature }));
    const deceived = at(players, 0);
    play(deceived, onRoster, signRoster(n, roster.annId, otherRoster));
    const tokens = players.slice(1).map((player) => tokenEntryOf(play(player, onRoster, roster.rosterMessage)));
    const { round } = deceived.state;
    if (round.kind !== 'tokenSent') throw new Error('the deceived member has sent no token');
    const mixed = signTokens(n, round.ring, [tokenEntryOf(round.tokenReply), ...tokens]);
    expect(round.ring.sid).toEqual(roster.ring.sid);
    expect(refusedBy(deceived, onTokens, mixed)).toBe('signature-invalid');
  });
});
