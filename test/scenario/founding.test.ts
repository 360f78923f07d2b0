import { describe, expect, it } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { limits } from '../../crypto/limits.js';
import { decodeMemberState, encodeMemberState } from '../../crypto/ring/member-state.js';
import { verifyRecord } from '../../crypto/ring/record.js';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import { makeNeighbourhood, nowS } from '../support/neighbourhood.js';
import { activeKey, agree } from '../support/ring.js';

describe.each([suiteX25519, suiteP256])('a ring of members in memory, suite $name', (suite) => {
  it.each([2, 3, 4, 5, 15])('of %i agrees on one key, and every member confirms it', (count) => {
    const { players, shares, tokens, confirmations } = agree(makeNeighbourhood(suite, count));
    const keys = new Set(players.map((player) => toHex(activeKey(player).groupKey)));
    expect(keys.size).toBe(1);
    for (const message of [...shares, ...tokens, ...confirmations]) {
      expect(message.length).toBeLessThanOrEqual(limits.memberMessage);
    }
  });

  it('gives another key in the next epoch, and keeps the old one for receiving', () => {
    const n = makeNeighbourhood(suite, 3);
    const first = agree(n);
    const firstKey = toHex(activeKey(first.players[0]!).groupKey);
    const second = agree(n, { players: first.players, epoch: 2, reason: 'periodic' });
    for (const player of second.players) {
      expect(toHex(activeKey(player).groupKey)).not.toBe(firstKey);
      expect(toHex(player.state.previous!.key.groupKey)).toBe(firstKey);
    }
  });

  it('leaves a record that anyone with the list verifies and that names who holds the key', () => {
    const n = makeNeighbourhood(suite, 5);
    const { published, players } = agree(n);
    const record = verifyRecord(suite, n.membership(), published.record, nowS);
    expect(new Set(record.roster.map(toHex))).toEqual(new Set(n.meters.map(({ certHash }) => toHex(certHash))));
    expect(toHex(record.name.th2)).toBe(toHex(activeKey(players[0]!).name.th2));
    expect(toHex(record.groupPublicKey)).toBe(toHex(activeKey(players[0]!).groupPublicKey));
  });

  it('survives a round trip of its state through the disk', () => {
    const { players } = agree(makeNeighbourhood(suite, 3));
    for (const { state } of players) expect(decodeMemberState(encodeMemberState(state))).toEqual(state);
  });
});
