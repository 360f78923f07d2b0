import { describe, expect, it } from 'vitest';
import { countingSuite, type PublicKeyWork } from '../../bench/counting.js';
import { onAnnouncement, onConfirmations, onRoster, onTokens } from '../../crypto/ring/member.js';
import type { Profile } from '../../crypto/membership.js';
import type { Suite } from '../../crypto/suite.js';
import { at, suites } from '../support/forge.js';
import { makeNeighbourhood } from '../support/neighbourhood.js';
import {
  collectConfirmations,
  collectTokens,
  makePlayers,
  play,
  snapshot,
  throughShares,
  type MemberRound,
} from '../support/ring.js';

/** The public-key work of one member, from the announcement to its active key. */
function workOfOne(suite: Suite, members: number, profile: Profile): PublicKeyWork {
  const counter = countingSuite(suite);
  const n = makeNeighbourhood(counter.suite, members);
  const membership = n.membership(n.list({ policy: { profile } }));
  const idle = makePlayers(n, { membership });
  const [one] = snapshot(idle);
  const shares = throughShares(n, { players: idle, membership });
  // A member's own share must be in the roster, so it is stepped in the run and once more beside it.
  const shared = at(snapshot(shares.players), 0);
  const tokens = collectTokens(n, shares, membership);
  const tokenSent = at(snapshot(tokens.players), 0);
  const { published, players } = collectConfirmations(n, tokens, membership);
  const steps: readonly (readonly [typeof shared, MemberRound, Uint8Array])[] = [
    [one!, onAnnouncement, shares.collecting.announcementMessage],
    [shared, onRoster, tokens.roster.rosterMessage],
    [tokenSent, onTokens, tokens.confirming.tokensMessage],
    [at(players, 0), onConfirmations, published.confirmationsMessage],
  ];
  for (const [player, round, message] of steps) counter.during(() => play(player, round, message));
  return counter.work;
}

describe.each(suites)('the public-key work of a member, suite $name', (suite) => {
  const constant = { keyPairs: 2, agreements: 2, signatures: 3 };

  it.each([3, 5, 9])('in a ring of %i under the full profile: n + 3 verifications, the rest constant', (members) => {
    expect(workOfOne(suite, members, 'full')).toEqual({ ...constant, verifications: members + 3 });
  });

  it.each([4, 5, 9])('in a ring of %i under the constrained profile: 6 verifications, all constant', (members) => {
    expect(workOfOne(suite, members, 'constrained')).toEqual({ ...constant, verifications: 6 });
  });

  it('in a ring of two, where both neighbours are one', () => {
    expect(workOfOne(suite, 2, 'full')).toEqual({ ...constant, verifications: 4 });
  });
});
