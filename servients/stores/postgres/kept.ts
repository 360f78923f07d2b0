/**
 * The backend's chain entries and grants, of which it keeps every one. Whoever stores entries holds the rows of their meters,
 * so that no two transactions decide on one meter at a time. What is above the newest sequence of a meter cannot be
 * there: only for what comes late or again are the partitions asked.
 */
import { toHex } from '../../../crypto/bytes.js';
import type { StoredEntry, StoredGrant, StoredItem } from '../../../things/stores.js';
import { assertChained, assertSameEntry, deliveries } from '../deliveries.js';
import type { Session } from './database.js';

interface MeterRow {
  readonly id: number;
  readonly certHash: Uint8Array;
  readonly lastSequence: number;
  /** Null before the first reading. */
  readonly lastHash: Uint8Array | null;
}

interface Neighbour {
  readonly hash: Uint8Array;
  readonly previousHash?: Uint8Array;
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
  for (const [key, readings] of entriesByMeter(items)) {
    const meter = meterOf(meters, key);
    for (const reading of await freshOf(session, meter, bySequence(readings)))
      fresh.push({ ...reading, meterId: meter.id });
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
    const readings = found.get(key);
    if (readings) readings.push(item);
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
function bySequence(readings: readonly StoredEntry[]): readonly StoredEntry[] {
  const found = new Map<number, StoredEntry>();
  for (const reading of readings) {
    const same = found.get(reading.sequence);
    if (same === undefined) found.set(reading.sequence, reading);
    else assertSameEntry(reading, same.hash);
  }
  return [...found.values()].sort((a, b) => a.sequence - b.sequence);
}

/**
 * Those that are not there yet.
 * @param readings of one meter, ascending
 * @throws ConflictError `sequence-conflict`, `chain-broken`
 */
async function freshOf(
  session: Session,
  meter: MeterRow,
  readings: readonly StoredEntry[],
): Promise<readonly StoredEntry[]> {
  const known = await neighbours(session, meter, readings);
  const fresh: StoredEntry[] = [];
  for (const run of deliveries(readings)) {
    if (run.kind !== 'run') continue;
    const isNew = run.entries.filter((reading) => {
      const same = known.get(reading.sequence);
      if (same !== undefined) assertSameEntry(reading, same.hash);
      return same === undefined;
    });
    if (isNew.length === 0) continue;
    assertChained(run, known.get(run.first.sequence - 1)?.hash, known.get(run.last.sequence + 1)?.previousHash);
    fresh.push(...isNew);
  }
  return fresh;
}

/** What is stored of the readings' sequences, and of those before and after them. */
async function neighbours(
  session: Session,
  { id, lastSequence, lastHash }: MeterRow,
  readings: readonly StoredEntry[],
): Promise<ReadonlyMap<number, Neighbour>> {
  const first = readings[0]?.sequence ?? 0;
  if (lastHash === null) return new Map();
  if (first > lastSequence) return new Map([[lastSequence, { hash: lastHash }]]);
  const wanted = new Set(readings.flatMap(({ sequence }) => [sequence - 1, sequence, sequence + 1]));
  const rows = await session.rows<Required<Neighbour> & { readonly sequence: number }>(
    `SELECT sequence, hash, previous_hash AS "previousHash" FROM reading
     WHERE meter = $1 AND sequence = ANY($2::bigint[])`,
    [id, [...wanted]],
  );
  return new Map(rows.map(({ sequence, ...neighbour }) => [sequence, neighbour]));
}

async function addEntries(session: Session, readings: readonly FreshEntry[], nowS: number): Promise<number> {
  if (readings.length === 0) return 0;
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
      readings.map(({ meterId }) => meterId),
      readings.map(({ sequence }) => sequence),
      readings.map(({ epoch }) => epoch),
      readings.map(({ attempt }) => attempt),
      readings.map(({ gid }) => gid),
      readings.map(({ hash }) => hash),
      readings.map(({ previousHash }) => previousHash),
      readings.map(({ message }) => message),
      readings.map(({ kind }) => kind),
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
