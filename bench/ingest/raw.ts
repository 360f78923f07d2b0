/** What the database takes without us: the same rows, inserted by one prepared statement, a transaction for each batch. */
import { join } from 'node:path';
import pg from 'pg';
import { DatabaseSync } from '@photostructure/sqlite';
import { migrationsOf } from '../../servients/stores/sqlite/migrate.js';
import type { StoredEntry } from '../../things/stores.js';

export interface RawDatabase {
  insert(batch: readonly StoredEntry[]): Promise<void>;
  close(): Promise<void>;
}

/** With the schema and the durability of the backend's own. */
export function openRawSqlite(folder: string): RawDatabase {
  const connection = new DatabaseSync(join(folder, 'raw.db'), { enableForeignKeyConstraints: true });
  for (const sql of migrationsOf('backend')) connection.exec(sql);
  connection.exec('PRAGMA journal_mode = WAL');
  connection.exec('PRAGMA synchronous = FULL');
  const meter = connection.prepare('INSERT INTO meter (id, cert_hash) VALUES (?, ?)');
  const reading = connection.prepare(
    `INSERT INTO reading (meter, sequence, gid, epoch, attempt, hash, previous_hash, received_s, message)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const numbers = meterNumbers((id, certHash) => meter.run(id, certHash));
  return {
    insert: async (batch) => {
      connection.exec('BEGIN IMMEDIATE');
      for (const row of batch) {
        const { sequence, gid, epoch, attempt, hash, previousHash, message } = row;
        reading.run(numbers(row), sequence, gid, epoch, attempt, hash, previousHash, 0, message);
      }
      connection.exec('COMMIT');
    },
    close: async () => {
      connection.close();
    },
  };
}

function meterNumbers(add: (id: number, certHash: Uint8Array) => void): (reading: StoredEntry) => number {
  const known = new Map<Uint8Array, number>();
  return ({ meter }) => {
    const number = known.get(meter) ?? known.size + 1;
    if (!known.has(meter)) add(number, meter);
    known.set(meter, number);
    return number;
  };
}

/** The same for PostgreSQL, a batch in one statement as fast drivers send it. The schema is that which a backend has made. */
export async function openRawPostgres(url: string): Promise<RawDatabase> {
  const client = new pg.Client(url);
  await client.connect();
  await client.query(
    'CREATE TABLE raw_meter (LIKE meter INCLUDING ALL); CREATE TABLE raw_reading (LIKE reading INCLUDING DEFAULTS)',
  );
  await client.query('CREATE UNIQUE INDEX ON raw_reading (meter, sequence)');
  const known = new Map<Uint8Array, number>();
  return {
    insert: async (batch) => {
      for (const { meter } of batch) {
        if (known.has(meter)) continue;
        known.set(meter, known.size + 1);
        await client.query('INSERT INTO raw_meter (cert_hash) VALUES ($1)', [meter]);
      }
      await client.query({
        name: 'raw',
        text: `INSERT INTO raw_reading (meter, sequence, gid, epoch, attempt, hash, previous_hash, received_s, message)
               SELECT meter, sequence, gid, epoch, attempt, hash, previous_hash, 0, message FROM unnest(
                 $1::integer[], $2::bigint[], $3::bytea[], $4::bigint[], $5::integer[], $6::bytea[], $7::bytea[],
                 $8::bytea[]
               ) AS row (meter, sequence, gid, epoch, attempt, hash, previous_hash, message)`,
        values: [
          batch.map(({ meter }) => known.get(meter)),
          batch.map(({ sequence }) => sequence),
          batch.map(({ gid }) => gid),
          batch.map(({ epoch }) => epoch),
          batch.map(({ attempt }) => attempt),
          batch.map(({ hash }) => hash),
          batch.map(({ previousHash }) => previousHash),
          batch.map(({ message }) => message),
        ],
      });
    },
    close: () => client.end(),
  };
}
