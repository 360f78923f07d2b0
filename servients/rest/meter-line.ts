/**
 * A meter's one chain, of which it may have signed stretches with several certificates. What is signed with a certificate
 * that was replaced ends where the next one begins: nobody goes on in a meter's name with a key that it has given up.
 */
import type { EntryKind } from '../../crypto/envelope/chain.js';
import type { BackendStore, DroppedStretch, EntryRow } from '../../things/stores.js';

type Line = readonly Uint8Array[];
type Kind = EntryKind | 'any';

interface Part {
  readonly certHash: Uint8Array;
  /** Sequence of the last entry that counts. */
  readonly last: number;
}

/** Entries after a sequence, ascending. */
export async function entriesOf(
  store: BackendStore,
  line: Line,
  after: number,
  limit: number,
  kind: Kind,
): Promise<readonly EntryRow[]> {
  const rows: EntryRow[] = [];
  for (const { certHash, last } of await partsOf(store, line)) {
    if (last <= after || rows.length >= limit) continue;
    const part = await store.entries(certHash, after, limit - rows.length, kind);
    rows.push(...part.filter(({ sequence }) => sequence <= last));
  }
  return rows;
}

/** The last entries, ascending. */
export async function lastEntriesOf(
  store: BackendStore,
  line: Line,
  limit: number,
  kind: Kind,
): Promise<readonly EntryRow[]> {
  let rows: readonly EntryRow[] = [];
  for (const { certHash, last } of (await partsOf(store, line)).toReversed()) {
    if (rows.length < limit) rows = [...(await store.lastEntries(certHash, limit - rows.length, kind, last)), ...rows];
  }
  return rows;
}

/** What was given up, ascending. */
export async function droppedOf(store: BackendStore, line: Line): Promise<readonly DroppedStretch[]> {
  const parts = await partsOf(store, line);
  const dropped = await Promise.all(
    parts.map(async ({ certHash, last }) => (await store.droppedEntries(certHash)).filter((each) => each.last <= last)),
  );
  return dropped.flat();
}

/** How many readings there are, and the sequence of the last entry, by the certHash that the meter has now in hex. */
export const countOf = (
  line: Line,
  rows: ReadonlyMap<string, { readonly count: number; readonly lastSequence: number }>,
  keyOf: (certHash: Uint8Array) => string,
): { readonly count: number; readonly lastSequence: number } => {
  const known = line.flatMap((certHash) => rows.get(keyOf(certHash)) ?? []);
  return {
    count: known.reduce((sum, { count }) => sum + count, 0),
    lastSequence: known.at(-1)?.lastSequence ?? 0,
  };
};

async function partsOf(store: BackendStore, line: Line): Promise<readonly Part[]> {
  const parts: Part[] = [];
  let last = Number.MAX_SAFE_INTEGER;
  for (const certHash of line.toReversed()) {
    parts.unshift({ certHash, last });
    if (parts.length < line.length) last = Math.min(last, (await firstOf(store, certHash)) - 1);
  }
  return parts;
}

async function firstOf(store: BackendStore, certHash: Uint8Array): Promise<number> {
  const [entry] = await store.entries(certHash, 0, 1, 'any');
  const [dropped] = await store.droppedEntries(certHash);
  return Math.min(entry?.sequence ?? Infinity, dropped?.first ?? Infinity);
}
