/** What Spin finds not to hold (`formal/README.md`, "Limits"), done with real members: so far it goes, and no further. */
import { describe, expect, it } from 'vitest';
import { equalBytes, xorBytes } from '../../crypto/bytes.js';
import type { Policy } from '../../crypto/membership.js';
import { onConfirmations, onRoster, onTokens } from '../../crypto/ring/member.js';
import { parseReveal, parseToken, type TokenEntry } from '../../crypto/ring/messages.js';
import { neighbour, openRoster, ringIndexOf, type Ring } from '../../crypto/ring/roster.js';
import {
  confirmationMac,
  deriveEpochKeys,
  edgeFrom,
  secondTranscript,
  tagOf,
  walkRing,
} from '../../crypto/ring/schedule.js';
import type { Membership } from '../../crypto/membership.js';
import {
  at,
  confirmationEntryOf,
  inRing,
  neighbourhoodOf,
  ordered,
  payloadOf,
  refusal,
  refusedBy,
  replaced,
  resignToken,
  signConfirmations,
  signRoster,
  signTokens,
  suites,
  tokenEntryOf,
  unsigned,
} from '../support/forge.js';
import { nowS, type Neighbourhood } from '../support/neighbourhood.js';
import { activeKey, play, snapshot, throughShares, type AfterShares, type Player } from '../support/ring.js';

/** One of the rosters that the coordinator makes of one announcement. */
interface Split {
  readonly ring: Ring;
  readonly rosterMessage: Uint8Array;
  /** In ring order. */
  readonly members: readonly Player[];
}

interface Setting extends AfterShares {
  readonly n: Neighbourhood;
  readonly membership: Membership;
}

function shared(n: Neighbourhood, policy: Partial<Policy>): Setting {
  const membership = n.membership(n.list({ policy }));
  return { n, membership, ...throughShares(n, { membership }) };
}

function splitOff({ n, membership, collecting: { annId, shares } }: Setting, players: readonly Player[]): Split {
  const entries = [...shares.values()].filter(({ listIndex }) =>
    players.some(({ principal }) => equalBytes(principal.certHash, at(membership.list.entries, listIndex).certHash)),
  );
  const inOrder = ordered(n, membership, annId, entries);
  const ring = openRoster({ suite: n.suite, membership, nowS }, annId, inOrder);
  return { ring, rosterMessage: signRoster(n, annId, inOrder), members: inRing(ring, players) };
}

const positionOf = ({ ring }: Split, { principal }: Player): number => ringIndexOf(ring, principal.certHash);

describe.each(suites)('an insider that stands in two quorums, with the coordinator, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 3);

  it('makes two rings of one attempt, whose keys have two names', () => {
    const setting = shared(n, {});
    const [one, other, insider] = setting.players;
    const keys = [one!, other!].map((honest) => {
      const split = splitOff(setting, [honest, ...snapshot([insider!])]);
      const tokens = split.members.map((member) => tokenEntryOf(play(member, onRoster, split.rosterMessage)));
      const bundle = signTokens(n, split.ring, unsigned(tokens));
      const confirmations = split.members.map((member) => confirmationEntryOf(play(member, onTokens, bundle)));
      const name = { gid: n.gid, epoch: 1, attempt: 1, th2: secondTranscript(suite, split.ring.th1, tokens) };
      play(honest, onConfirmations, signConfirmations(n, { ring: split.ring, name }, confirmations));
      return activeKey(honest);
    });
    expect(at(keys, 0).groupKey).not.toEqual(at(keys, 1).groupKey);
    expect(at(keys, 0).name.th2).not.toEqual(at(keys, 1).name.th2);
  });

  it('makes one only, where the policy’s least number makes two quorums share an honest member', () => {
    const setting = shared(n, { minMembers: 3 });
    expect(refusal(() => splitOff(setting, setting.players.slice(1)))).toBe('roster-minority');
  });
});

/**
 * The first of seven members is given a roster with an insider, whose token does not fit, and reveals as rule 4 lets it.
 * The other roster has no insider; in it the coordinator, which knows the ephemeral now, plays that member.
 */
function playTheRevealer(n: Neighbourhood, policy: Partial<Policy>) {
  const { suite } = n;
  const setting = shared(n, policy);
  const { players } = setting;
  const victim = at(players, 0);
  const insider = at(players, 1);
  const lure = splitOff(setting, players.slice(0, 4));
  const tokens = lure.members.map((member) => play(member, onRoster, lure.rosterMessage));
  const lie = resignToken(n, lure.ring, insider.principal, at(tokens, positionOf(lure, insider)), ({ token }) => ({
    token: xorBytes(token, new Uint8Array(32).fill(0xd1)),
  }));
  const lured = replaced(tokens.map(tokenEntryOf), positionOf(lure, insider), () => tokenEntryOf(lie));
  const { secret } = parseReveal(payloadOf(play(victim, onTokens, signTokens(n, lure.ring, lured))));
  const { opening } = parseToken(payloadOf(at(tokens, positionOf(lure, victim))));

  const target = splitOff(setting, [victim, ...players.slice(4)]);
  const { ring, members } = target;
  const v = positionOf(target, victim);
  const left = (v + members.length - 1) % members.length;
  const key = suite.agreementKey(secret);
  const leftEdge = edgeFrom(suite, ring.th1, left, key.agree(neighbour(ring, v, -1).ephemeralKey));
  const rightEdge = edgeFrom(suite, ring.th1, v, key.agree(neighbour(ring, v, 1).ephemeralKey));
  const forged: TokenEntry = {
    token: xorBytes(leftEdge, rightEdge),
    leftTag: tagOf(suite, ring.th1, left, leftEdge),
    rightTag: tagOf(suite, ring.th1, v, rightEdge),
    opening,
    signature: new Uint8Array(64),
  };
  const entries = members.map((member, i) =>
    i === v ? forged : tokenEntryOf(play(member, onRoster, target.rosterMessage)),
  );
  const name = { gid: n.gid, epoch: 1, attempt: 1, th2: secondTranscript(suite, ring.th1, entries) };
  const keys = deriveEpochKeys(suite, name, walkRing(entries, v, rightEdge));
  const confirmations = members.map((member, i) =>
    i === v
      ? {
          mac: confirmationMac(suite, keys.confirmationKey, v, name.th2),
          groupPublicKey: keys.groupPublicKey,
          signature: new Uint8Array(64),
        }
      : confirmationEntryOf(play(member, onTokens, signTokens(n, ring, unsigned(entries)))),
  );
  const bundle = signConfirmations(n, { ring, name }, confirmations);
  return {
    bundle,
    neighbours: [at(members, left), at(members, (v + 1) % members.length)],
    opposite: at(members, (v + 2) % members.length),
  };
}

describe.each(suites)('an insider elsewhere that provokes a reveal, with the coordinator, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 7);

  it('makes nobody active in the full profile', () => {
    const { neighbours, opposite, bundle } = playTheRevealer(n, { profile: 'full' });
    for (const member of [...neighbours, opposite]) {
      expect(refusedBy(member, onConfirmations, bundle)).toBe('signature-invalid');
    }
  });

  it('is answered with the abort in the constrained profile, in which nobody reveals', () => {
    expect(() => playTheRevealer(n, { profile: 'constrained' })).toThrow('not a valid reveal');
  });
});
