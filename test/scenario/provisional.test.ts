/** An epoch of the constrained profile is provisional at each member until the backend has verified its record. */
import { describe, expect, it } from 'vitest';
import { encodeEndorsementBundle, signEndorsement, verifyEndorsement } from '../../crypto/ring/endorsement.js';
import { onEndorsement } from '../../crypto/ring/member-endorsement.js';
import { decodeMemberState, encodeMemberState, newMemberState } from '../../crypto/ring/member-state.js';
import { onConfirmations } from '../../crypto/ring/member.js';
import type { KeyName } from '../../crypto/ring/schedule.js';
import { at, flipped, neighbourhoodOf, refusal, suites } from '../support/forge.js';
import { nowS } from '../support/neighbourhood.js';
import { agree, makePlayers, play, throughConfirmations } from '../support/ring.js';

describe.each(suites)('a key that the backend has not vouched for, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 5);
  const membership = n.membership(n.list({ policy: { profile: 'constrained' } }));
  const endorsed = (name: KeyName, record: Uint8Array) => {
    const message = signEndorsement(suite, n.backend, name, record);
    const bundle = encodeEndorsementBundle(message, [n.backend.certificate.der, at(n.certificates, 0)]);
    return verifyEndorsement({ suite, trustedRoots: [n.root], nowS }, bundle);
  };

  it('is provisional, on disk too, until the endorsement comes, and the same again changes nothing', () => {
    const { players, published } = agree(n, { players: makePlayers(n, { membership }), membership });
    const endorsement = endorsed(published.name, published.record);
    for (const { state } of players) {
      expect(decodeMemberState(encodeMemberState(state)).active?.provisional).toBe(true);
      const after = onEndorsement(state, endorsement).state;
      expect(decodeMemberState(encodeMemberState(after)).active?.provisional).toBe(false);
      expect(after.active?.groupKey).toEqual(state.active?.groupKey);
      expect(onEndorsement(after, endorsement).state).toBe(after);
    }
  });

  it('is not vouched for by the endorsement of another epoch, key or group, each refused by name', () => {
    const players = makePlayers(n, { membership });
    const first = agree(n, { players, membership }).published;
    const early = throughConfirmations(n, { players, membership, epoch: 2 }).published;
    const member = at(players, 0);
    const verdict = (change: Partial<KeyName>): string =>
      refusal(() => onEndorsement(member.state, endorsed({ ...first.name, ...change }, first.record)));
    expect(verdict(early.name)).toBe('endorsement-early');
    expect(verdict({ attempt: 2 })).toBe('endorsement-early');
    expect(verdict({ th2: flipped(first.name.th2) })).toBe('endorsement-mismatch');
    expect(verdict({ gid: flipped(n.gid) })).toBe('wrong-group');
    play(member, onConfirmations, early.confirmationsMessage);
    expect(verdict({})).toBe('endorsement-stale');
    expect(member.state.active?.provisional).toBe(true);
    expect(refusal(() => onEndorsement(newMemberState(n.gid), endorsed(first.name, first.record)))).toBe(
      'endorsement-early',
    );
  });

  it('does not exist under the full profile, where every member has checked every signature', () => {
    const { players } = agree(n);
    expect(players.map(({ state }) => state.active?.provisional)).toEqual(players.map(() => false));
  });
});
