/** Gives up old entries a partition at a time, and remembers which they were. One process at a time does it. */
import { weekOf, weekS } from '../weeks.js';
import { onlyRow, type Database, type Transaction } from './database.js';
import { tryLock } from './locks.js';
import { partitions } from './partitions.js';

/**
 * Gives up the oldest week before that of `beforeS`.
 * @returns how many entries; 0 when there is none left, or another process is at it
 */
export async function dropOldestWeek(database: Database, beforeS: number): Promise<number> {
  return database.transaction(async (session) => {
    if (!(await tryLock(session, 'retention'))) return 0;
    // As long as it takes; but nobody waits long for it in the end.
    await session.script(`SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '5s'`);
    const [oldest] = await partitions(session);
    if (oldest === undefined || oldest.startS + weekS > weekOf(beforeS)) return 0;
    await remember(session, oldest.name);
    const dropped = await release(session, oldest.name);
    // An empty partition must not end the loop of whoever calls until nothing is left.
    return Math.max(dropped, 1);
  });
}

/** The stretches of consecutive sequences in a partition. */
async function remember(session: Transaction, partition: string): Promise<void> {
  await session.script(`
    INSERT INTO dropped_stretch (meter, first, last, previous_hash, hash)
    SELECT island.meter, island.first, island.last, opening.previous_hash, closing.hash
    FROM (
      SELECT meter, min(sequence) AS first, max(sequence) AS last FROM (
        SELECT meter, sequence, sequence - row_number() OVER (PARTITION BY meter ORDER BY sequence) AS number FROM ${partition}
      ) AS numbered
      GROUP BY meter, number
    ) AS island
    JOIN ${partition} AS opening ON opening.meter = island.meter AND opening.sequence = island.first
    JOIN ${partition} AS closing ON closing.meter = island.meter AND closing.sequence = island.last`);
}

/**
 * Holds the rows of the meters, as whoever stores does and in the same order: what is stored from now on is compared with
 * the stretches and no longer with the partition.
 */
async function release(session: Transaction, partition: string): Promise<number> {
  await session.script(`
    CREATE TEMPORARY TABLE leaving ON COMMIT DROP AS
      SELECT meter, count(*) AS entries, count(*) FILTER (WHERE kind = 'reading') AS readings FROM ${partition} GROUP BY meter;
    SELECT FROM meter WHERE id IN (SELECT meter FROM leaving) ORDER BY cert_hash FOR UPDATE;
    UPDATE meter SET readings = meter.readings - leaving.readings FROM leaving WHERE id = leaving.meter;
    ${join};
    DROP TABLE ${partition}`);
  const { entries } = onlyRow(
    await session.rows<{ readonly entries: number }>(
      'SELECT coalesce(sum(entries), 0)::bigint AS entries FROM leaving',
    ),
  );
  return entries;
}

/** Stretches that continue one another become the first of them; the others are then within it. */
const join = `
  WITH marked AS (
    SELECT *, (first IS DISTINCT FROM lag(last) OVER (PARTITION BY meter ORDER BY first) + 1)::integer AS begins
    FROM dropped_stretch WHERE meter IN (SELECT meter FROM leaving)
  ), numbered AS (
    SELECT *, sum(begins) OVER (PARTITION BY meter ORDER BY first) AS number FROM marked
  ), joined AS (
    SELECT meter, min(first) AS first, max(last) AS last, (array_agg(hash ORDER BY last DESC))[1] AS hash
    FROM numbered GROUP BY meter, number HAVING count(*) > 1
  )
  UPDATE dropped_stretch SET last = joined.last, hash = joined.hash FROM joined
  WHERE dropped_stretch.meter = joined.meter AND dropped_stretch.first = joined.first;
  DELETE FROM dropped_stretch WHERE meter IN (SELECT meter FROM leaving) AND EXISTS (
    SELECT FROM dropped_stretch AS whole
    WHERE whole.meter = dropped_stretch.meter AND whole.first < dropped_stretch.first AND whole.last >= dropped_stretch.last
  )`;
