/** What the database takes without us: the same rows, inserted by one prepared statement, a transaction for each batch. */
import { join } from 'node:path';
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
