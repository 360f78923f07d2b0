/** The smallest ring: both neighbours of a member are the same, and the two edges differ by their index alone. */
import { describe, expect, it } from 'vitest';
import { announce, closeShares, onShare } from '../../crypto/ring/coordinator.js';
import { onAnnouncement, onConfirmations, onMembership, onRoster, onTokens } from '../../crypto/ring/member.js';
import type { Membership } from '../../crypto/membership.js';
import { at, neighbourhoodOf, refusal, refusedBy, suites } from '../support/forge.js';
import { nowS } from '../support/neighbourhood.js';
import { activeKey, agree, makePlayers, play, type Player } from '../support/ring.js';

const under = (membership: Membership, players: readonly Player[]): readonly Player[] =>
  players.map((player) => ({
    ...player,
    context: { ...player.context, membership },
    state: onMembership(player.state, membership).state,
  }));

describe.each(suites)('a ring of two, suite $name', (suite) => {
  const pair = neighbourhoodOf(suite, 2);

  it('is founded and rekeyed, each time with a key that both have, and another one than before', () => {
    const players = makePlayers(pair);
    const keys = [1, 2, 3].map((epoch) => {
      agree(pair, { players, epoch, reason: epoch === 1 ? 'founding' : 'periodic' });
      expect(activeKey(at(players, 0)).groupKey).toEqual(activeKey(at(players, 1)).groupKey);
      return activeKey(at(players, 0)).groupKey.join();
    });
    expect(new Set(keys).size).toBe(3);
  });

  it('remains when one of three leaves, who takes part in nothing any more', () => {
    const n = neighbourhoodOf(suite, 3);
    const smaller = n.membership(n.list({ version: 2, without: [at(n.meters, 2)] }));
    const { players } = agree(n);
    const gone = at(players, 2);
    const kept = under(smaller, players.slice(0, 2));
    const { published, collecting, roster, confirming } = agree(n, {
      players: kept,
      epoch: 2,
      reason: 'leave',
      membership: smaller,
    });
    expect(published.ring.members).toHaveLength(2);
    expect(activeKey(at(kept, 0)).groupKey).toEqual(activeKey(at(kept, 1)).groupKey);
    expect(activeKey(gone).groupKey).not.toEqual(activeKey(at(kept, 0)).groupKey);
    expect(refusedBy(gone, onAnnouncement, collecting.announcementMessage)).toBe('membership-unknown');
    expect(refusedBy(gone, onRoster, roster.rosterMessage)).toBe('wrong-round');
    expect(refusedBy(gone, onTokens, confirming.tokensMessage)).toBe('wrong-round');
    expect(refusedBy(gone, onConfirmations, published.confirmationsMessage)).toBe('wrong-round');
  });

  it('is not followed by one of one: when one of two leaves, no key is agreed, and the old one only receives', () => {
    const alone = pair.membership(pair.list({ version: 2, without: [at(pair.meters, 1)] }));
    const [last] = under(alone, agree(pair).players.slice(0, 1));
    const context = pair.coordinatorContext(alone);
    const collecting = announce(context, { epoch: 2, attempt: 1, reason: 'leave', expiryS: nowS + 60 });
    const share = play(last!, onAnnouncement, collecting.announcementMessage);
    expect(refusal(() => closeShares(context, onShare(context, collecting, share)))).toBe('roster-minority');
    expect(activeKey(last!).receiveOnly).toBe(true);
  });
});
