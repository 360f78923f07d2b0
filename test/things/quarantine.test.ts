import { describe, expect, it } from 'vitest';
import { fromHex, toHex } from '../../crypto/bytes.js';
import type { MembershipList } from '../../crypto/membership.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import type { EpochReport, Reach } from '../../things/epoch-run.js';
import {
  afterAttempt,
  afterEnrolment,
  afterVerdict,
  decodeQuarantine,
  emptyQuarantine,
  encodeQuarantine,
  exclusions,
  release,
  type Quarantine,
} from '../../things/quarantine.js';
import { at, neighbourhoodOf, refusal } from '../support/forge.js';
import { makeRun, outcome, unreachable } from '../support/epoch-run.js';
import { nowS } from '../support/neighbourhood.js';

const n = neighbourhoodOf(suiteX25519, 5);
const members = n.meters.map(({ certHash }) => certHash);
const member = (i: number): Uint8Array => at(members, i);
const list = n.list();

/** A failed attempt that these dropped out of. */
const failed = (...dropouts: readonly number[]): EpochReport => ({
  agreed: false,
  faithful: members.filter((_, i) => !dropouts.includes(i)),
  dropouts: dropouts.map((i) => ({ member: member(i), round: 'tokens' })),
  verdict: null,
});
const agreedBy = (...faithful: readonly number[]): EpochReport => ({
  agreed: true,
  faithful: faithful.map(member),
  dropouts: [],
  verdict: null,
});
const after = (quarantine: Quarantine, ...reports: readonly EpochReport[]): Quarantine =>
  reports.reduce((before, report) => afterAttempt(before, report, list, nowS), quarantine);
const twice = (i: number): Quarantine => after(emptyQuarantine, failed(i), failed(i));

function isOut(
  quarantine: Quarantine,
  i: number,
  { afterS = 0, in: inList = list, expected = members }: IsOutOptions = {},
): boolean {
  return exclusions(quarantine, inList, expected, nowS + afterS).has(toHex(member(i)));
}
interface IsOutOptions {
  readonly afterS?: number;
  readonly in?: MembershipList;
  readonly expected?: readonly Uint8Array[];
}

describe('a member that drops out', () => {
  it('is left out from the second time in a row on, and let in again when the time is over', () => {
    expect(isOut(after(emptyQuarantine, failed(2)), 2)).toBe(false);
    expect(isOut(twice(2), 2)).toBe(true);
    expect(isOut(twice(2), 2, { afterS: 299 })).toBe(true);
    expect(isOut(twice(2), 2, { afterS: 300 })).toBe(false);
  });

  it('waits twice as long each time, and never longer than six hours', () => {
    let quarantine = twice(2);
    for (const waitS of [600, 1_200, 2_400, 4_800, 9_600, 19_200, 21_600, 21_600]) {
      quarantine = after(quarantine, failed(2));
      expect(isOut(quarantine, 2, { afterS: waitS - 1 })).toBe(true);
      expect(isOut(quarantine, 2, { afterS: waitS })).toBe(false);
    }
  });

  it('begins anew after an epoch with it, and not after one without it', () => {
    const withIt = after(emptyQuarantine, failed(2), agreedBy(0, 1, 2), failed(2));
    expect(isOut(withIt, 2)).toBe(false);
    const withoutIt = after(emptyQuarantine, failed(2), agreedBy(0, 1, 3), failed(2));
    expect(isOut(withoutIt, 2)).toBe(true);
  });

  it('comes back by enrolling afresh, but not for ever', () => {
    let quarantine = afterEnrolment(twice(2), member(2));
    expect(isOut(quarantine, 2)).toBe(false);
    quarantine = after(quarantine, failed(2), failed(2));
    expect(isOut(afterEnrolment(quarantine, member(2)), 2)).toBe(true);
  });

  it('is not blamed where hardly anybody could be reached: then it is the coordinator’s own network', () => {
    const everybody = failed(0, 1, 2, 3, 4);
    expect(after(emptyQuarantine, everybody, everybody).size).toBe(0);
    expect(after(emptyQuarantine, failed(0, 1, 2), failed(0, 1, 2)).size).toBe(0);
    expect(isOut(after(emptyQuarantine, failed(0, 1), failed(0, 1)), 0)).toBe(true);
  });

  it('is not locked out by a clock that was far ahead', () => {
    const ahead = afterAttempt(after(emptyQuarantine, failed(2)), failed(2), list, nowS + 86_400 * 365);
    expect(isOut(ahead, 2)).toBe(false);
  });
});

describe('a member that a verdict convicted', () => {
  const convicted = afterVerdict(emptyQuarantine, [member(1)], list);

  it('is out, whatever time passes and however often it enrols, until there is a newer list', () => {
    expect(isOut(convicted, 1, { afterS: 10 * 365 * 86_400 })).toBe(true);
    expect(isOut(afterEnrolment(convicted, member(1)), 1)).toBe(true);
    expect(isOut(after(convicted, agreedBy(0, 1, 2)), 1)).toBe(true);
    expect(isOut(convicted, 1, { in: n.list({ version: 2 }) })).toBe(false);
  });

  it('is let in again by an operator', () => {
    expect(isOut(release(convicted, member(1)), 1)).toBe(false);
    expect(isOut(release(twice(1), member(1)), 1)).toBe(false);
  });

  it('is forgotten when the list names it no more', () => {
    const without = n.list({ version: 2, without: [at(n.meters, 1)] });
    expect(afterAttempt(convicted, agreedBy(0, 2, 3), without, nowS).size).toBe(0);
  });
});

describe('a quarantine never makes a roster impossible', () => {
  const outOf = (quarantine: Quarantine, inList: MembershipList, expected = members): readonly number[] => {
    const out = exclusions(quarantine, inList, expected, nowS);
    return members.flatMap((_, i) => (isOutOf(out, i) ? [i] : []));
  };
  const isOutOf = (out: ReadonlyMap<string, unknown>, i: number): boolean => out.has(toHex(member(i)));
  const threeOut = after(afterVerdict(emptyQuarantine, [member(4)], list), failed(0, 1), failed(0, 1), failed(1));

  it('keeps a majority, and tries those first who have least against them', () => {
    expect(outOf(threeOut, list)).toEqual([1, 4]);
    expect(outOf(threeOut, list, members.slice(1))).toEqual([4]);
    expect(outOf(threeOut, list, members.slice(2))).toEqual([]);
  });

  it('keeps the policy’s least number', () => {
    expect(outOf(threeOut, n.list({ policy: { minMembers: 4 } }))).toEqual([4]);
    expect(outOf(threeOut, n.list({ policy: { minMembers: 5 } }))).toEqual([]);
  });

  it('keeps the members that the policy requires', () => {
    expect(outOf(threeOut, n.list({ policy: { requiredMembers: [member(4), member(1)] } }))).toEqual([0]);
  });
});

describe('a quarantine in the store', () => {
  it('is the same after it', () => {
    const quarantine = after(afterVerdict(twice(3), [member(1)], list), failed(0));
    expect(decodeQuarantine(encodeQuarantine(quarantine))).toEqual(quarantine);
    expect(decodeQuarantine(encodeQuarantine(emptyQuarantine))).toEqual(emptyQuarantine);
  });

  it('is refused in another version', () => {
    expect(refusal(() => decodeQuarantine(fromHex('820280')))).toBe('state-version');
    expect(refusal(() => decodeQuarantine(fromHex('820181f6')))).toBe('message-malformed');
  });
});

describe('a group with a member that always drops out', () => {
  it('agrees at the third attempt, and lets the member in again when it has become better', async () => {
    let quarantine = emptyQuarantine;
    const attempts: (string | number)[] = [];
    for (const attempt of [1, 2, 3]) {
      const out = exclusions(quarantine, list, members, nowS);
      const reach: Record<number, Reach> = isOut(quarantine, 2) ? { 2: 'quarantined' } : {};
      expect(out.size).toBe(attempt === 3 ? 1 : 0);
      const setting = makeRun(n, {
        attempt,
        reach,
        behaviours: { 2: (action, _message, honest) => (action === 'agree' ? unreachable() : honest()) },
      });
      const result = await outcome(setting);
      attempts.push(typeof result === 'string' ? result : result.ring.members.length);
      quarantine = afterAttempt(quarantine, setting.run.report!, list, nowS);
    }
    expect(attempts).toEqual(['members-missing', 'members-missing', 4]);
    expect(isOut(quarantine, 2, { afterS: 300 })).toBe(false);
    const setting = makeRun(n, { attempt: 4 });
    await outcome(setting);
    expect(afterAttempt(quarantine, setting.run.report!, list, nowS)).toEqual(emptyQuarantine);
  });
});
