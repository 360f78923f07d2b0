/** An upload cut into what is stored at once, and the rule that a meter's readings chain. */
import { equalBytes } from '../../crypto/bytes.js';
import { ConflictError } from '../../crypto/errors.js';
import type { StoredItem } from '../../things/stores.js';

export type StoredReading = Extract<StoredItem, { readonly kind: 'reading' }>;
export type StoredGrant = Extract<StoredItem, { readonly kind: 'grant' }>;

/** Readings of one meter with consecutive sequences, at least one. */
export interface Run {
  readonly kind: 'run';
  readonly first: StoredReading;
  readonly last: StoredReading;
  readonly readings: readonly StoredReading[];
}

/** The items in their order, with readings gathered into the longest runs. */
export function* deliveries(items: readonly StoredItem[]): Generator<StoredGrant | Run> {
  let readings: StoredReading[] = [];
  for (const item of items) {
    const before = readings.at(-1);
    if (before !== undefined && !(item.kind === 'reading' && follows(before, item))) {
      yield* run(readings);
      readings = [];
    }
    if (item.kind === 'reading') readings.push(item);
    else yield item;
  }
  yield* run(readings);
}

const follows = (before: StoredReading, { meter, sequence }: StoredReading): boolean =>
  sequence === before.sequence + 1 && equalBytes(meter, before.meter);

function* run(readings: readonly StoredReading[]): Generator<Run> {
  const first = readings[0];
  const last = readings.at(-1);
  if (first !== undefined && last !== undefined) yield { kind: 'run', first, last, readings };
}

/** @throws ConflictError `sequence-conflict` */
export function assertSameReading({ sequence, hash }: StoredReading, storedHash: Uint8Array): void {
  if (!equalBytes(hash, storedHash)) {
    throw new ConflictError('sequence-conflict', `sequence ${sequence} is known with other content`);
  }
}

/**
 * Checks every reading of a run against the one before it, and the run against its stored neighbours where they are
 * known: so all that is stored chains, in whatever order it came.
 * @param before hash of the reading before the run
 * @param after the hash that the reading after the run gives for its predecessor
 * @throws ConflictError `chain-broken`
 */
export function assertChained({ readings, last }: Run, before?: Uint8Array, after?: Uint8Array): void {
  let previous = before;
  for (const { sequence, previousHash, hash } of readings) {
    if (previous !== undefined && !equalBytes(previousHash, previous)) throw chainBroken(sequence);
    previous = hash;
  }
  if (after !== undefined && !equalBytes(last.hash, after)) throw chainBroken(last.sequence + 1);
}

const chainBroken = (sequence: number): ConflictError =>
  new ConflictError('chain-broken', `sequence ${sequence} does not continue the reading before it`);
