/** Quantiles of measurements, and processor time with the garbage that it leaves behind. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** The value below which the fraction `q` of the values lies, by the nearest rank; NaN of none. */
export function quantile(values: readonly number[], q: number): number {
  const ascending = [...values].sort((a, b) => a - b);
  return ascending[Math.max(0, Math.ceil(q * ascending.length) - 1)] ?? Number.NaN;
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

export interface Interval {
  readonly low: number;
  readonly high: number;
}

/**
 * The narrowest pair of order statistics, equally far from both ends, between which the median of what was sampled lies
 * with a confidence of at least 95 %, whatever its distribution; null of fewer than six values, which cannot say that.
 */
export function medianInterval(values: readonly number[]): Interval | null {
  const ascending = [...values].sort((a, b) => a - b);
  const n = ascending.length;
  // The interval misses when at most `below` values lie on one side: binomial with one half, both sides.
  let below = -1;
  let probability = 0.5 ** n;
  for (let outside = probability; outside <= 0.025; outside += probability) {
    below++;
    probability *= (n - below) / (below + 1);
  }
  const [low, high] = [ascending[below], ascending[n - 1 - below]];
  return low === undefined || high === undefined ? null : { low, high };
}

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as (options: { readonly type: 'minor' }) => void;

/** Collects young garbage: so that each measurement pays for its own, and for no other's. */
export const collectGarbage = (): void => {
  collect({ type: 'minor' });
};

/** User and system time of all threads of this process while `work` ran, in microseconds. */
export function cpuUs<T>(work: () => T): { readonly result: T; readonly us: number } {
  const before = process.cpuUsage();
  const result = work();
  const { user, system } = process.cpuUsage(before);
  return { result, us: user + system };
}
