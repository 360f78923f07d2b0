/** An upload cut into what is stored at once, and the rule that a meter's entries chain. */
import { equalBytes } from '../../crypto/bytes.js';
import { ConflictError } from '../../crypto/errors.js';
import type { DroppedStretch, StoredEntry, StoredGrant, StoredItem } from '../../things/stores.js';

/** Entries of one meter with consecutive sequences, at least one. */
export interface Run {
  readonly kind: 'run';
  readonly first: StoredEntry;
  readonly last: StoredEntry;
  readonly entries: readonly StoredEntry[];
}

/** The items in their order, with entries gathered into the longest runs. */
export function* deliveries(items: readonly StoredItem[]): Generator<StoredGrant | Run> {
  let entries: StoredEntry[] = [];
  for (const item of items) {
    const before = entries.at(-1);
    if (before !== undefined && !(item.kind !== 'grant' && follows(before, item))) {
      yield* run(entries);
      entries = [];
    }
    if (item.kind === 'grant') yield item;
    else entries.push(item);
  }
  yield* run(entries);
}

const follows = (before: StoredEntry, { meter, sequence }: StoredEntry): boolean =>
  sequence === before.sequence + 1 && equalBytes(meter, before.meter);

function* run(entries: readonly StoredEntry[]): Generator<Run> {
  const first = entries[0];
  const last = entries.at(-1);
  if (first !== undefined && last !== undefined) yield { kind: 'run', first, last, entries };
}

/** @throws ConflictError `sequence-conflict` */
export function assertSameEntry({ sequence, hash }: StoredEntry, storedHash: Uint8Array): void {
  if (!equalBytes(hash, storedHash)) {
    throw new ConflictError('sequence-conflict', `sequence ${sequence} is known with other content`);
  }
}

/**
 * Checks every entry of a run against the one before it, and the run against its stored neighbours where they are
 * known: so all that is stored chains, in whatever order it came.
 * @param before hash of the entry before the run
 * @param after the hash that the entry after the run gives for its predecessor
 * @throws ConflictError `chain-broken`
 */
export function assertChained({ entries, last }: Run, before?: Uint8Array, after?: Uint8Array): void {
  let previous = before;
  for (const { sequence, previousHash, hash } of entries) {
    if (previous !== undefined && !equalBytes(previousHash, previous)) throw chainBroken(sequence);
    previous = hash;
  }
  if (after !== undefined && !equalBytes(last.hash, after)) throw chainBroken(last.sequence + 1);
}

const chainBroken = (sequence: number): ConflictError =>
  new ConflictError('chain-broken', `sequence ${sequence} does not continue the entry before it`);

export interface Dropped {
  /** @throws ConflictError `sequence-conflict` where its hash is known and another */
  has(entry: StoredEntry): boolean;
  /** Of the last one of a stretch; of the others it is not known any more. */
  hashOf(sequence: number): Uint8Array | undefined;
  previousHashOf(sequence: number): Uint8Array | undefined;
}

/** What is still known of entries that were given up. */
export function droppedAmong(stretches: readonly DroppedStretch[]): Dropped {
  const hashOf = (sequence: number) => stretches.find(({ last }) => last === sequence)?.hash;
  return {
    has: (entry) => {
      const { sequence } = entry;
      if (!stretches.some(({ first, last }) => first <= sequence && sequence <= last)) return false;
      assertSameEntry(entry, hashOf(sequence) ?? entry.hash);
      return true;
    },
    hashOf,
    previousHashOf: (sequence) => stretches.find(({ first }) => first === sequence)?.previousHash,
  };
}
