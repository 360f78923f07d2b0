/**
 * The backend's chain entries and grants, of which it keeps every one. Whoever stores entries holds the rows of their meters,
 * so that no two transactions decide on one meter at a time. What is above the newest sequence of a meter cannot be
 * there: only for what comes late or again are the partitions asked.
 */
import { toHex } from '../../../crypto/bytes.js';
import type { DroppedStretch, StoredEntry, StoredGrant, StoredItem } from '../../../things/stores.js';
import { assertChained, assertSameEntry, deliveries, droppedAmong, type Dropped } from '../deliveries.js';
import type { Session } from './database.js';

interface MeterRow {
  readonly id: number;
  readonly certHash: Uint8Array;
  readonly lastSequence: number;
  /** Null before the first entry. */
  readonly lastHash: Uint8Array | null;
}

interface Stored {
  readonly hash: Uint8Array;
  readonly previousHash: Uint8Array;
}

/** What is known of a meter's entries, as far as an upload touches them. */
interface Known {
  readonly stored: ReadonlyMap<number, Stored>;
  readonly dropped: Dropped;
  readonly newest: { readonly sequence: number; readonly hash: Uint8Array } | undefined;
}

interface FreshEntry extends StoredEntry {
  readonly meterId: number;
}

/**
 * Stores an upload. Within a transaction of the caller.
 * @returns how many of its items are new
 * @throws ConflictError `sequence-conflict`, `chain-broken`
 */
export async function keepItems(session: Session, items: readonly StoredItem[], nowS: number): Promise<number> {
  const meters = await holdMeters(session, items);
  const fresh: FreshEntry[] = [];
  for (const [key, entries] of entriesByMeter(items)) {
    const meter = meterOf(meters, key);
    for (const entry of await freshOf(session, meter, bySequence(entries))) fresh.push({ ...entry, meterId: meter.id });
  }
  const idOf = (meter: Uint8Array): number => meterOf(meters, toHex(meter)).id;
  const grants = items.filter((item) => item.kind === 'grant');
  return (await addEntries(session, fresh, nowS)) + (await addGrants(session, grants, idOf, nowS));
}

function entriesByMeter(items: readonly StoredItem[]): ReadonlyMap<string, readonly StoredEntry[]> {
  const found = new Map<string, StoredEntry[]>();
  for (const item of items) {
    if (item.kind === 'grant') continue;
    const key = toHex(item.meter);
    const entries = found.get(key);
    if (entries) entries.push(item);
    else found.set(key, [item]);
  }
  return found;
}

/** In one order, so that two uploads cannot wait for each other. */
async function holdMeters(session: Session, items: readonly StoredItem[]): Promise<ReadonlyMap<string, MeterRow>> {
  const certHashes = [...new Map(items.map(({ meter }) => [toHex(meter), meter])).values()];
  const hold = () =>
    session.rows<MeterRow>(
      `SELECT id, cert_hash AS "certHash", last_sequence AS "lastSequence", last_hash AS "lastHash" FROM meter
       WHERE cert_hash = ANY($1::bytea[]) ORDER BY cert_hash FOR UPDATE`,
      [certHashes],
    );
  let rows = await hold();
  if (rows.length < certHashes.length) {
    await session.run(
      `INSERT INTO meter (cert_hash) SELECT cert_hash FROM unnest($1::bytea[]) AS new (cert_hash) ORDER BY cert_hash
       ON CONFLICT DO NOTHING`,
      [certHashes],
    );
    rows = await hold();
  }
  return new Map(rows.map((row) => [toHex(row.certHash), row]));
}

function meterOf(meters: ReadonlyMap<string, MeterRow>, key: string): MeterRow {
  const meter = meters.get(key);
  if (meter === undefined) throw new Error('a meter whose row is held has none');
  return meter;
}

/** Ascending, each sequence once. @throws ConflictError `sequence-conflict` */
function bySequence(entries: readonly StoredEntry[]): readonly StoredEntry[] {
  const found = new Map<number, StoredEntry>();
  for (const entry of entries) {
    const same = found.get(entry.sequence);
    if (same === undefined) found.set(entry.sequence, entry);
    else assertSameEntry(entry, same.hash);
  }
  return [...found.values()].sort((a, b) => a.sequence - b.sequence);
}

/**
 * Those that are not there yet.
 * @param entries of one meter, ascending
 * @throws ConflictError `sequence-conflict`, `chain-broken`
 */
async function freshOf(
  session: Session,
  meter: MeterRow,
  entries: readonly StoredEntry[],
): Promise<readonly StoredEntry[]> {
  const { stored, dropped, newest } = await knownOf(session, meter, entries);
  const hashOf = (sequence: number): Uint8Array | undefined =>
    sequence === newest?.sequence ? newest.hash : (stored.get(sequence)?.hash ?? dropped.hashOf(sequence));
  const fresh: StoredEntry[] = [];
  for (const run of deliveries(entries)) {
    if (run.kind !== 'run') continue;
    const isNew = run.entries.filter((entry) => {
      const same = stored.get(entry.sequence);
      if (same !== undefined) assertSameEntry(entry, same.hash);
      return same === undefined && !dropped.has(entry);
    });
    if (isNew.length === 0) continue;
    const next = run.last.sequence + 1;
    assertChained(run, hashOf(run.first.sequence - 1), stored.get(next)?.previousHash ?? dropped.previousHashOf(next));
    fresh.push(...isNew);
  }
  return fresh;
}

/** Of the entries' sequences, and of those before and after them. */
async function knownOf(
  session: Session,
  { id, lastSequence, lastHash }: MeterRow,
  entries: readonly StoredEntry[],
): Promise<Known> {
  const [first, last] = [entries[0]?.sequence ?? 0, entries.at(-1)?.sequence ?? 0];
  const newest = lastHash === null ? undefined : { sequence: lastSequence, hash: lastHash };
  if (newest === undefined || first > newest.sequence) return { stored: new Map(), dropped: droppedAmong([]), newest };
  const wanted = new Set(entries.flatMap(({ sequence }) => [sequence - 1, sequence, sequence + 1]));
  const rows = await session.rows<Stored & { readonly sequence: number }>(
    `SELECT sequence, hash, previous_hash AS "previousHash" FROM reading
     WHERE meter = $1 AND sequence = ANY($2::bigint[])`,
    [id, [...wanted]],
  );
  const stretches = await session.rows<DroppedStretch>(
    `SELECT first, last, previous_hash AS "previousHash", hash FROM dropped_stretch
     WHERE meter = $1 AND last >= $2 AND first <= $3`,
    [id, first - 1, last + 1],
  );
  return { stored: new Map(rows.map((row) => [row.sequence, row])), dropped: droppedAmong(stretches), newest };
}

async function addEntries(session: Session, entries: readonly FreshEntry[], nowS: number): Promise<number> {
  if (entries.length === 0) return 0;
  return session.run(
    `WITH new AS (
       INSERT INTO reading (received_s, meter, sequence, epoch, attempt, gid, hash, previous_hash, message, kind)
       SELECT $1, * FROM unnest(
         $2::integer[], $3::bigint[], $4::bigint[], $5::integer[], $6::bytea[], $7::bytea[], $8::bytea[], $9::bytea[],
         $10::text[]
       )
       RETURNING meter, sequence, hash, kind
     ), counted AS (
       SELECT meter, count(*) FILTER (WHERE kind = 'reading') AS readings, max(sequence) AS last FROM new GROUP BY meter
     ), told AS (
       UPDATE meter SET
         readings = meter.readings + counted.readings,
         last_hash = CASE WHEN last_hash IS NULL OR last > last_sequence THEN new.hash ELSE last_hash END,
         last_sequence = greatest(last_sequence, last)
       FROM counted JOIN new ON new.meter = counted.meter AND new.sequence = last
       WHERE meter.id = counted.meter
     )
     SELECT FROM new`,
    [
      nowS,
      entries.map(({ meterId }) => meterId),
      entries.map(({ sequence }) => sequence),
      entries.map(({ epoch }) => epoch),
      entries.map(({ attempt }) => attempt),
      entries.map(({ gid }) => gid),
      entries.map(({ hash }) => hash),
      entries.map(({ previousHash }) => previousHash),
      entries.map(({ message }) => message),
      entries.map(({ kind }) => kind),
    ],
  );
}

async function addGrants(
  session: Session,
  grants: readonly StoredGrant[],
  idOf: (meter: Uint8Array) => number,
  nowS: number,
): Promise<number> {
  if (grants.length === 0) return 0;
  return session.run(
    `INSERT INTO reader_grant (received_s, meter, reader, gid, epoch, attempt, key_hash, message)
     SELECT $1, * FROM unnest(
       $2::integer[], $3::bytea[], $4::bytea[], $5::bigint[], $6::integer[], $7::bytea[], $8::bytea[]
     )
     ON CONFLICT DO NOTHING`,
    [
      nowS,
      grants.map(({ meter }) => idOf(meter)),
      grants.map(({ reader }) => reader),
      grants.map(({ gid }) => gid),
      grants.map(({ epoch }) => epoch),
      grants.map(({ attempt }) => attempt),
      grants.map(({ keyHash }) => keyHash),
      grants.map(({ message }) => message),
    ],
  );
}
