import { expect, it } from 'vitest';
import { Penalties } from '../../servients/search/penalties.js';

const secondsLeft = (penalties: Penalties, nowMs: number): number | undefined => {
  try {
    penalties.assertNone('bomber', nowMs);
    return undefined;
  } catch (error) {
    return (error as { readonly retryAfterS?: number }).retryAfterS;
  }
};

it('who asks for too much again and again stays out twice as long each time, an hour at most, and nobody else', () => {
  const penalties = new Penalties(10_000);
  let nowMs = 0;
  const waits = Array.from({ length: 11 }, () => {
    penalties.add('bomber', nowMs);
    expect(() => {
      penalties.assertNone('friend', nowMs);
    }).not.toThrow();
    const waitS = secondsLeft(penalties, nowMs);
    nowMs += (waitS ?? 0) * 1_000;
    expect(secondsLeft(penalties, nowMs)).toBeUndefined();
    return waitS;
  });
  expect(waits).toEqual([10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 3_600, 3_600]);
});

it('who has behaved for an hour begins anew', () => {
  const penalties = new Penalties(10_000);
  penalties.add('bomber', 0);
  penalties.add('bomber', 10_000);
  penalties.add('bomber', 30_000 + 3_600_000);
  expect(secondsLeft(penalties, 30_000 + 3_600_000)).toBe(10);
});

it('the memory of ten thousand callers has room for the next one', () => {
  const penalties = new Penalties(10_000);
  for (let i = 0; i < 10_000; i++) penalties.add(`other ${i}`, 0);
  penalties.add('bomber', 0);
  expect(secondsLeft(penalties, 0)).toBe(10);
  expect(() => {
    penalties.assertNone('other 0', 0);
  }).not.toThrow();
});
