import type { DirectoryEntry, DirectoryStore } from '../../../things/stores.js';
import { onlyRow, type Database, type Statement } from './database.js';

const columns = 'id, td, created_s AS createdS, modified_s AS modifiedS, ttl_s AS ttlS, owner';

export class SqliteDirectoryStore implements DirectoryStore {
  readonly #database: Database;
  readonly #exists: Statement<[id: string], unknown>;
  readonly #changed: Statement<[]>;
  readonly #revision: Statement<[], { readonly revision: string }>;
  readonly #put: Statement<
    [id: string, td: string, createdS: number, modifiedS: number, ttlS: number | null, owner: string]
  >;
  readonly #entry: Statement<[id: string], DirectoryEntry>;
  readonly #delete: Statement<[id: string]>;
  readonly #list: Statement<[limit: number, offset: number], DirectoryEntry>;
  readonly #total: Statement<[], { readonly total: number }>;
  readonly #expired: Statement<[nowS: number], unknown>;
  readonly #purge: Statement<[nowS: number], { readonly id: string }>;

  constructor(database: Database) {
    this.#database = database;
    this.#exists = database.prepare('SELECT 1 FROM directory_entry WHERE id = ?');
    this.#put = database.prepare(
      `INSERT INTO directory_entry (id, td, created_s, modified_s, ttl_s, owner) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET
         td = excluded.td, modified_s = excluded.modified_s, ttl_s = excluded.ttl_s, owner = excluded.owner
       WHERE owner = excluded.owner OR modified_s + ttl_s <= excluded.modified_s`,
    );
    this.#changed = database.prepare('UPDATE backend_state SET directory_revision = directory_revision + 1');
    this.#revision = database.prepare(`SELECT life || '-' || directory_revision AS revision FROM backend_state`);
    this.#entry = database.prepare(`SELECT ${columns} FROM directory_entry WHERE id = ?`);
    this.#delete = database.prepare('DELETE FROM directory_entry WHERE id = ?');
    this.#list = database.prepare(`SELECT ${columns} FROM directory_entry ORDER BY id LIMIT ? OFFSET ?`);
    this.#total = database.prepare('SELECT count(*) AS total FROM directory_entry');
    this.#expired = database.prepare(
      'SELECT 1 FROM directory_entry WHERE ttl_s IS NOT NULL AND modified_s + ttl_s <= ? LIMIT 1',
    );
    this.#purge = database.prepare(
      'DELETE FROM directory_entry WHERE ttl_s IS NOT NULL AND modified_s + ttl_s <= ? RETURNING id',
    );
  }

  /** What is replaced keeps its time of creation. */
  async putEntry({
    id,
    td,
    modifiedS,
    ttlS,
    owner,
  }: Omit<DirectoryEntry, 'createdS'>): Promise<'created' | 'replaced' | 'of-another'> {
    return this.#database.transaction(() => {
      const known = this.#exists.get(id) !== undefined;
      if (this.#put.run(id, td, modifiedS, modifiedS, ttlS, owner).changes === 0) return 'of-another';
      this.#changed.run();
      return known ? 'replaced' : 'created';
    });
  }

  async entry(id: string): Promise<DirectoryEntry | undefined> {
    return this.#database.read(() => this.#entry.get(id));
  }

  async deleteEntry(id: string): Promise<boolean> {
    return this.#database.transaction(() => {
      const { changes } = this.#delete.run(id);
      if (changes > 0) this.#changed.run();
      return changes > 0;
    });
  }

  async listEntries(
    offset: number,
    limit: number,
  ): Promise<{ readonly entries: readonly DirectoryEntry[]; readonly total: number }> {
    return this.#database.read(() => ({
      entries: this.#list.all(limit, offset),
      total: onlyRow(this.#total.get()).total,
    }));
  }

  async purgeExpired(nowS: number): Promise<readonly string[]> {
    // Before every look into the directory, which should not cost a write.
    if (this.#database.read(() => this.#expired.get(nowS)) === undefined) return [];
    return this.#database.transaction(() => {
      const rows = this.#purge.all(nowS);
      this.#changed.run();
      return rows.map(({ id }) => id).sort();
    });
  }

  async revision(): Promise<string> {
    return this.#database.read(() => onlyRow(this.#revision.get()).revision);
  }
}
