/** A gateway that holds messages back, and hands them on when it likes: that costs time, and nothing else. */
import { describe, expect, it } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { onAnnouncement, onConfirmations, onRoster, onTokens } from '../../crypto/ring/member.js';
import { neighbourhoodOf, refusedBy, suites } from '../support/forge.js';
import { activeKey, agree, play, throughConfirmations, type Player } from '../support/ring.js';

const keysOf = (players: readonly Player[]): Set<string> =>
  new Set(players.map((player) => toHex(activeKey(player).groupKey)));

describe.each(suites)('a gateway that delays, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 5);

  it('moves nobody back with what it held: after a newer epoch no message of an older one is taken', () => {
    const held = throughConfirmations(n);
    const { players } = agree(n, { players: held.players, epoch: 2 });
    for (const player of players) {
      expect(refusedBy(player, onAnnouncement, held.collecting.announcementMessage)).toBe('epoch-stale');
      expect(refusedBy(player, onRoster, held.roster.rosterMessage)).toBe('wrong-round');
      expect(refusedBy(player, onTokens, held.confirming.tokensMessage)).toBe('wrong-round');
      expect(refusedBy(player, onConfirmations, held.published.confirmationsMessage)).toBe('wrong-round');
    }
    expect(keysOf(players).size).toBe(1);
  });

  it('keeps some on the old key for as long as it holds a bundle back, and gives nobody another', () => {
    const held = throughConfirmations(n);
    const [prompt, late] = [held.players.slice(0, 2), held.players.slice(2)];
    for (const player of prompt) play(player, onConfirmations, held.published.confirmationsMessage);
    for (const player of late) expect(player.state.active).toBeNull();
    for (const player of late) play(player, onConfirmations, held.published.confirmationsMessage);
    expect(keysOf(held.players).size).toBe(1);
    expect(keysOf(agree(n, { players: held.players, epoch: 2 }).players).size).toBe(1);
  });

  it('that gave a bundle to some only, and went on, leaves no second key of that epoch behind', () => {
    const held = throughConfirmations(n);
    const [prompt, late] = [held.players.slice(0, 2), held.players.slice(2)];
    for (const player of prompt) play(player, onConfirmations, held.published.confirmationsMessage);
    const { players } = agree(n, { players: held.players, epoch: 2 });
    for (const player of late) {
      expect(refusedBy(player, onConfirmations, held.published.confirmationsMessage)).toBe('wrong-round');
    }
    for (const player of players) expect(activeKey(player).name.epoch).toBe(2);
    expect(keysOf(players).size).toBe(1);
  });
});
