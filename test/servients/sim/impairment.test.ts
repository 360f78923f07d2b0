import { describe, expect, it } from 'vitest';
import { DatagramPath, noImpairment, StreamPath, type Impairment } from '../../../servients/sim/impairment.js';
import { between, seededRandom } from '../../../servients/sim/random.js';

const bad: Impairment = { lossRate: 0.2, delayMs: { min: 50, max: 400 }, reorderRate: 0.05, duplicateRate: 0.05 };
const count = 5_000;

const decisions = (impairment: Impairment, seed = '7', spacingMs = 1_000) => {
  const path = new DatagramPath(impairment, seededRandom(seed, 'udp', 5683, 0, 'there'));
  return Array.from({ length: count }, (_, i) => path.next(i * spacingMs));
};

describe('seeded random numbers', () => {
  const draw = (seed: string, ...labels: readonly (string | number)[]): readonly number[] => {
    const random = seededRandom(seed, ...labels);
    return Array.from({ length: 1_000 }, () => random.next());
  };

  it('depend on the seed and its labels, and on nothing else', () => {
    expect(draw('7', 'a', 1)).toEqual(draw('7', 'a', 1));
    for (const other of [draw('8', 'a', 1), draw('7', 'a', 2), draw('7a', 1), draw('7')]) {
      expect(other).not.toEqual(draw('7', 'a', 1));
    }
  });

  it('stay as they are from version to version, for a seed is written into bug reports', () => {
    expect(draw('7').slice(0, 3)).toMatchInlineSnapshot(`
      [
        0.6071932865306735,
        0.7110238636378199,
        0.47637994145043194,
      ]
    `);
  });

  it('are spread evenly from 0 to 1', () => {
    const tenths = new Array<number>(10).fill(0);
    const random = seededRandom('even');
    for (let i = 0; i < 100_000; i++) tenths[Math.floor(random.next() * 10)]! += 1;
    for (const tenth of tenths) expect(tenth).toBeGreaterThan(9_500);
    const range = Array.from({ length: 100 }, () => between(random, { min: 50, max: 60 }));
    expect(Math.min(...range)).toBeGreaterThanOrEqual(50);
    expect(Math.max(...range)).toBeLessThan(60);
  });
});

describe('the fate of datagrams', () => {
  it('is the same again for the same seed, and another for another', () => {
    expect(decisions(bad)).toEqual(decisions(bad));
    expect(decisions(bad, '8')).not.toEqual(decisions(bad));
  });

  it('is as often loss, doubling and reordering as was asked for', () => {
    const all = decisions(bad);
    const share = (fits: (one: (typeof all)[number]) => boolean): number => all.filter(fits).length / count;
    expect(share(({ fate }) => fate.length === 0)).toBeCloseTo(0.2, 1);
    expect(share(({ fate }) => fate.length === 2)).toBeCloseTo(0.8 * 0.05, 1);
    expect(share(({ reordered }) => reordered)).toBeCloseTo(0.8 * 0.05, 1);
  });

  it('is within the delay that was asked for, and beyond it only when held back', () => {
    const all = decisions(bad);
    const beyond = (mostMs: number) => all.filter(({ fate }) => fate.some((ms) => ms < 50 || ms >= mostMs));
    expect(beyond(400).filter(({ reordered }) => !reordered)).toEqual([]);
    expect(beyond(800)).toEqual([]);
  });

  it('keeps the order of what follows closely, but for what is reordered', () => {
    const arrivals = decisions({ ...bad, duplicateRate: 0 }, '7', 1).map(({ fate: [delayMs], reordered }, i) => ({
      ms: delayMs === undefined ? undefined : i + delayMs,
      reordered,
    }));
    const queued = arrivals.flatMap(({ ms, reordered }) => (ms === undefined || reordered ? [] : [ms]));
    expect(queued).toEqual([...queued].sort((a, b) => a - b));
    const overtaken = arrivals.filter(
      ({ ms, reordered }, i) => reordered && arrivals.slice(i, i + 200).some((later) => (later.ms ?? Infinity) < ms!),
    );
    expect(overtaken.length).toBeGreaterThan(count * 0.03);
  });

  it('of one decision is not moved by the setting of another', () => {
    const lost = (impairment: Impairment): readonly boolean[] =>
      decisions(impairment).map(({ fate }) => fate.length === 0);
    expect(lost({ ...noImpairment, lossRate: 0.2 })).toEqual(lost(bad));
  });

  it('without impairment is to arrive at once', () => {
    expect(new Set(decisions(noImpairment).map(({ fate }) => JSON.stringify(fate)))).toEqual(new Set(['[0]']));
  });
});

describe('a stream under loss', () => {
  it('pauses as TCP’s retransmission does, loses nothing, and keeps its order', () => {
    const path = new StreamPath({ ...bad, delayMs: { min: 0, max: 0 } }, seededRandom('7'));
    const stalls = Array.from({ length: 1_000 }, (_, i) => path.next(i * 100_000));
    for (const { delayMs, losses } of stalls)
      expect(delayMs).toBe([0, 1_000, 3_000, 7_000, 15_000, 31_000, 63_000][losses]);
    expect(stalls.filter(({ losses }) => losses > 0).length / stalls.length).toBeCloseTo(0.2, 1);
    const busy = new StreamPath(bad, seededRandom('7'));
    const arrivals = Array.from({ length: 1_000 }, (_, i) => i + busy.next(i).delayMs);
    expect(arrivals).toEqual([...arrivals].sort((a, b) => a - b));
  });
});
