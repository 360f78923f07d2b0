import { changeBetween } from '../../../things/directory-entry.js';
import type { DirectoryEntry, DirectoryEvent, DirectoryStore, EntryContent } from '../../../things/stores.js';
import { keptEvents } from '../event-reference.js';
import { onlyRow, type Database, type Statement } from './database.js';
import type { SqliteEvents } from './events.js';

const columns =
  'id, td, created_s AS createdS, modified_s AS modifiedS, ttl_s AS ttlS, expires_s AS expiresS, owner, revision';
const expiry = 'coalesce(modified_s + ttl_s, expires_s)';

export class SqliteDirectoryStore implements DirectoryStore {
  readonly life: string;
  readonly #database: Database;
  readonly #events: SqliteEvents;
  readonly #advance: Statement<[], { readonly position: number }>;
  readonly #position: Statement<[], { readonly position: number }>;
  readonly #append: Statement<[position: number, kind: string, id: string, change: string | null]>;
  readonly #forget: Statement<[position: number]>;
  readonly #after: Statement<[position: number, limit: number], DirectoryEvent>;
  readonly #put: Statement<
    [
      id: string,
      td: string,
      createdS: number,
      modifiedS: number,
      ttlS: number | null,
      expiresS: number | null,
      owner: string,
      revision: number,
    ]
  >;
  readonly #entry: Statement<[id: string], DirectoryEntry>;
  readonly #delete: Statement<[id: string]>;
  readonly #list: Statement<[limit: number, offset: number], DirectoryEntry>;
  readonly #total: Statement<[], { readonly total: number }>;
  readonly #nextAfter: Statement<[id: string, limit: number], DirectoryEntry>;
  readonly #nextOf: Statement<[ids: string, id: string, limit: number], DirectoryEntry>;
  readonly #listOf: Statement<[ids: string, limit: number, offset: number], DirectoryEntry>;
  readonly #totalOf: Statement<[ids: string], { readonly total: number }>;
  readonly #someExpired: Statement<[nowS: number], { readonly id: string }>;
  readonly #expired: Statement<[nowS: number], { readonly id: string }>;
  readonly #serial: Statement<[id: string], { readonly serial: number }>;
  readonly #putSerial: Statement<[id: string, serial: number]>;

  constructor(database: Database, events: SqliteEvents) {
    this.#database = database;
    this.#events = events;
    this.life = events.life;
    this.#advance = database.prepare(
      `UPDATE backend_state SET directory_revision = directory_revision + 1 RETURNING directory_revision AS position`,
    );
    this.#position = database.prepare('SELECT directory_revision AS position FROM backend_state');
    this.#append = database.prepare('INSERT INTO directory_event (position, kind, id, change) VALUES (?, ?, ?, ?)');
    this.#forget = database.prepare('DELETE FROM directory_event WHERE position <= ?');
    this.#after = database.prepare(
      'SELECT position, kind, id, change FROM directory_event WHERE position > ? ORDER BY position LIMIT ?',
    );
    this.#put = database.prepare(
      `INSERT INTO directory_entry (id, td, created_s, modified_s, ttl_s, expires_s, owner, revision)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET td = excluded.td, modified_s = excluded.modified_s, ttl_s = excluded.ttl_s,
         expires_s = excluded.expires_s, owner = excluded.owner, revision = excluded.revision`,
    );
    this.#entry = database.prepare(`SELECT ${columns} FROM directory_entry WHERE id = ?`);
    this.#delete = database.prepare('DELETE FROM directory_entry WHERE id = ?');
    // SQLite skips in the index alone, and looks a row up when one of its columns is wanted.
    this.#list = database.prepare(`SELECT ${columns} FROM directory_entry ORDER BY id LIMIT ? OFFSET ?`);
    this.#nextAfter = database.prepare(`SELECT ${columns} FROM directory_entry WHERE id > ? ORDER BY id LIMIT ?`);
    this.#total = database.prepare('SELECT count(*) AS total FROM directory_entry');
    const ofIds = 'FROM directory_entry WHERE id IN (SELECT value FROM json_each(?))';
    this.#nextOf = database.prepare(`SELECT ${columns} ${ofIds} AND id > ? ORDER BY id LIMIT ?`);
    this.#listOf = database.prepare(`SELECT ${columns} ${ofIds} ORDER BY id LIMIT ? OFFSET ?`);
    this.#totalOf = database.prepare(`SELECT count(*) AS total ${ofIds}`);
    this.#serial = database.prepare('SELECT serial FROM directory_serial WHERE id = ?');
    this.#putSerial = database.prepare(
      'INSERT INTO directory_serial (id, serial) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET serial = excluded.serial',
    );
    // Without an order, which would have it go through all by their ids.
    this.#someExpired = database.prepare(`SELECT id FROM directory_entry WHERE ${expiry} <= ? LIMIT 1`);
    this.#expired = database.prepare(`SELECT id FROM directory_entry WHERE ${expiry} <= ? ORDER BY id`);
  }

  async changeEntry(
    id: string,
    step: (known: DirectoryEntry | undefined, serial: number | null) => EntryContent,
  ): Promise<'created' | 'replaced'> {
    const outcome = this.#database.transaction(() => {
      const known = this.#entry.get(id);
      const content = step(known, this.#serial.get(id)?.serial ?? null);
      const createdS = known?.createdS ?? content.modifiedS;
      const change = known ? changeBetween(known, { ...known, ...content }) : null;
      const revision = this.#happened(known ? 'updated' : 'created', id, change);
      const { td, modifiedS, ttlS, expiresS, owner, serial } = content;
      this.#put.run(id, td, createdS, modifiedS, ttlS, expiresS, owner, revision);
      if (serial !== undefined) this.#putSerial.run(id, serial);
      return known ? 'replaced' : 'created';
    });
    this.#events.wake();
    return outcome;
  }

  async entry(id: string): Promise<DirectoryEntry | undefined> {
    return this.#database.read(() => this.#entry.get(id));
  }

  async deleteEntry(id: string, admit: (known: DirectoryEntry) => void): Promise<boolean> {
    const isGone = this.#database.transaction(() => {
      const known = this.#entry.get(id);
      if (!known) return false;
      admit(known);
      this.#remove(id);
      return true;
    });
    if (isGone) this.#events.wake();
    return isGone;
  }

  async listEntries(
    offset: number,
    limit: number,
    ids?: readonly string[],
  ): Promise<{ readonly entries: readonly DirectoryEntry[]; readonly total: number }> {
    return this.#database.read(() => {
      if (ids === undefined) {
        return { entries: this.#list.all(limit, offset), total: onlyRow(this.#total.get()).total };
      }
      const among = JSON.stringify(ids);
      return { entries: this.#listOf.all(among, limit, offset), total: onlyRow(this.#totalOf.get(among)).total };
    });
  }

  async entriesAfter(id: string, limit: number, ids?: readonly string[]): Promise<readonly DirectoryEntry[]> {
    return this.#database.read(() =>
      ids === undefined ? this.#nextAfter.all(id, limit) : this.#nextOf.all(JSON.stringify(ids), id, limit),
    );
  }

  async purgeExpired(nowS: number): Promise<readonly string[]> {
    // Before every look into the directory, which should not cost a write.
    if (this.#database.read(() => this.#someExpired.get(nowS)) === undefined) return [];
    const ids = this.#database.transaction(() => {
      const expired = this.#expired.all(nowS).map(({ id }) => id);
      for (const id of expired) this.#remove(id);
      return expired;
    });
    this.#events.wake();
    return ids;
  }

  async position(): Promise<number> {
    return this.#database.read(() => onlyRow(this.#position.get()).position);
  }

  async eventsAfter(position: number, limit: number): Promise<readonly DirectoryEvent[]> {
    return this.#database.read(() => this.#after.all(position, limit));
  }

  #remove(id: string): void {
    this.#delete.run(id);
    this.#happened('deleted', id);
  }

  /** @returns its position */
  #happened(kind: DirectoryEvent['kind'], id: string, change: string | null = null): number {
    const { position } = onlyRow(this.#advance.get());
    this.#append.run(position, kind, id, change);
    this.#forget.run(position - keptEvents);
    return position;
  }
}
