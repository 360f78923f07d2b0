import type { DirectoryEntry, DirectoryStore } from '../../../things/stores.js';
import { onlyRow, type Database } from './database.js';

const columns = 'id, td, created_s AS "createdS", modified_s AS "modifiedS", ttl_s AS "ttlS", owner';

const changedIf = (rows: string): string =>
  `changed AS (UPDATE backend_state SET directory_revision = directory_revision + 1 WHERE EXISTS (SELECT FROM ${rows}))`;

export class PostgresDirectoryStore implements DirectoryStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** What is replaced keeps its time of creation. */
  async putEntry({
    id,
    td,
    modifiedS,
    ttlS,
    owner,
  }: Omit<DirectoryEntry, 'createdS'>): Promise<'created' | 'replaced' | 'of-another'> {
    // A row that was inserted, and not updated, has never been deleted or locked: its xmax is 0.
    const [put] = await this.#database.rows<{ readonly created: boolean }>(
      `WITH put AS (
         INSERT INTO directory_entry AS known (id, td, created_s, modified_s, ttl_s, owner)
         VALUES ($1, $2, $3, $3, $4, $5)
         ON CONFLICT (id) DO UPDATE SET
           td = excluded.td, modified_s = excluded.modified_s, ttl_s = excluded.ttl_s, owner = excluded.owner
         WHERE known.owner = excluded.owner OR known.modified_s + known.ttl_s <= excluded.modified_s
         RETURNING xmax = 0 AS created
       ), ${changedIf('put')}
       SELECT created FROM put`,
      [id, td, modifiedS, ttlS, owner],
    );
    if (put === undefined) return 'of-another';
    return put.created ? 'created' : 'replaced';
  }

  async entry(id: string): Promise<DirectoryEntry | undefined> {
    const [row] = await this.#database.rows<DirectoryEntry>(`SELECT ${columns} FROM directory_entry WHERE id = $1`, [
      id,
    ]);
    return row;
  }

  async deleteEntry(id: string): Promise<boolean> {
    const deleted = await this.#database.rows(
      `WITH gone AS (DELETE FROM directory_entry WHERE id = $1 RETURNING id), ${changedIf('gone')} SELECT FROM gone`,
      [id],
    );
    return deleted.length > 0;
  }

  async listEntries(
    offset: number,
    limit: number,
  ): Promise<{ readonly entries: readonly DirectoryEntry[]; readonly total: number }> {
    const [entries, total] = await Promise.all([
      this.#database.rows<DirectoryEntry>(
        `SELECT ${columns} FROM directory_entry ORDER BY id LIMIT $1::bigint OFFSET $2::bigint`,
        [limit, offset],
      ),
      this.#database.rows<{ readonly total: number }>('SELECT count(*) AS total FROM directory_entry'),
    ]);
    return { entries, total: onlyRow(total).total };
  }

  async purgeExpired(nowS: number): Promise<readonly string[]> {
    const rows = await this.#database.rows<{ readonly id: string }>(
      `WITH gone AS (
         DELETE FROM directory_entry WHERE ttl_s IS NOT NULL AND modified_s + ttl_s <= $1::bigint RETURNING id
       ), ${changedIf('gone')}
       SELECT id FROM gone`,
      [nowS],
    );
    return rows.map(({ id }) => id).sort();
  }

  async revision(): Promise<string> {
    const rows = await this.#database.rows<{ readonly revision: string }>(
      `SELECT life || '-' || directory_revision AS revision FROM backend_state`,
    );
    return onlyRow(rows).revision;
  }
}
