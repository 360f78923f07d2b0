/** Random numbers that depend on a seed alone, so that a run can be repeated. Not for keys: the state is 128 bits and shows. */
import { createHash } from 'node:crypto';

export interface SeededRandom {
  /** The next number, from 0 up to and without 1. */
  next(): number;
}

/** A stream of its own for every label: what one draws does not move the others. sfc32, by C. Doty-Humphrey. */
export function seededRandom(seed: string, ...labels: readonly (string | number)[]): SeededRandom {
  const digest = createHash('sha256')
    .update(JSON.stringify([seed, ...labels]))
    .digest();
  let [a, b, c, counter] = [0, 4, 8, 12].map((offset) => digest.readInt32BE(offset)) as [
    number,
    number,
    number,
    number,
  ];
  return {
    next: () => {
      const sum = (((a + b) | 0) + counter) | 0;
      counter = (counter + 1) | 0;
      a = b ^ (b >>> 9);
      b = (c + (c << 3)) | 0;
      c = (((c << 21) | (c >>> 11)) + sum) | 0;
      return (sum >>> 0) / 2 ** 32;
    },
  };
}

/** A number from `min` up to and without `max`. */
export const between = (random: SeededRandom, { min, max }: Range): number => min + random.next() * (max - min);

/** In whatever unit the name of the value says. */
export interface Range {
  readonly min: number;
  readonly max: number;
}
