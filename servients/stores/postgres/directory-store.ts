import { changeBetween } from '../../../things/directory-entry.js';
import type { DirectoryEntry, DirectoryEvent, DirectoryStore, EntryContent } from '../../../things/stores.js';
import { keptEvents } from '../event-reference.js';
import { onlyRow, type Database, type Session } from './database.js';
import { wakeAll } from './events.js';

const columns =
  'id, td, created_s AS "createdS", modified_s AS "modifiedS", ttl_s AS "ttlS", expires_s AS "expiresS", owner, revision';
const isExpired = 'coalesce(modified_s + ttl_s, expires_s) <= $1::bigint';
/** Of a query that asks for one id. */
const entrySql = `SELECT ${columns} FROM directory_entry WHERE id = $1`;

export class PostgresDirectoryStore implements DirectoryStore {
  readonly life: string;
  readonly #database: Database;

  constructor(database: Database, life: string) {
    this.#database = database;
    this.life = life;
  }

  changeEntry(
    id: string,
    step: (known: DirectoryEntry | undefined, serial: number | null) => EntryContent,
  ): Promise<'created' | 'replaced'> {
    return this.#database.transaction(async (session) => {
      await alone(session);
      const [known] = await session.rows<DirectoryEntry>(entrySql, [id]);
      const [mark] = await session.rows<{ readonly serial: number }>(
        'SELECT serial FROM directory_serial WHERE id = $1',
        [id],
      );
      const content = step(known, mark?.serial ?? null);
      const change = known ? changeBetween(known, { ...known, ...content }) : null;
      const revision = await happened(session, known ? 'updated' : 'created', id, change);
      const { td, modifiedS, ttlS, expiresS, owner, serial } = content;
      await session.run(
        `INSERT INTO directory_entry (id, td, created_s, modified_s, ttl_s, expires_s, owner, revision)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (id) DO UPDATE SET td = excluded.td, modified_s = excluded.modified_s, ttl_s = excluded.ttl_s,
           expires_s = excluded.expires_s, owner = excluded.owner, revision = excluded.revision`,
        [id, td, known?.createdS ?? modifiedS, modifiedS, ttlS, expiresS, owner, revision],
      );
      if (serial !== undefined) {
        await session.run(
          `INSERT INTO directory_serial (id, serial) VALUES ($1, $2)
           ON CONFLICT (id) DO UPDATE SET serial = excluded.serial`,
          [id, serial],
        );
      }
      return known ? 'replaced' : 'created';
    });
  }

  async entry(id: string): Promise<DirectoryEntry | undefined> {
    return (await this.#database.rows<DirectoryEntry>(entrySql, [id]))[0];
  }

  deleteEntry(id: string, admit: (known: DirectoryEntry) => void): Promise<boolean> {
    return this.#database.transaction(async (session) => {
      await alone(session);
      const [known] = await session.rows<DirectoryEntry>(entrySql, [id]);
      if (!known) return false;
      admit(known);
      await remove(session, id);
      return true;
    });
  }

  async listEntries(
    offset: number,
    limit: number,
    ids?: readonly string[],
  ): Promise<{ readonly entries: readonly DirectoryEntry[]; readonly total: number }> {
    const values = ids === undefined ? [] : [ids];
    const among = (parameter: string): string => (ids === undefined ? 'true' : `id = ANY(${parameter}::text[])`);
    const [entries, total] = await Promise.all([
      this.#database.rows<DirectoryEntry>(
        `SELECT ${columns} FROM directory_entry
         WHERE ${among('$3')} AND id >= (
           SELECT id FROM directory_entry WHERE ${among('$3')} ORDER BY id LIMIT 1 OFFSET $2::bigint
         ) ORDER BY id LIMIT $1::bigint`,
        [limit, offset, ...values],
      ),
      this.#database.rows<{ readonly total: number }>(
        `SELECT count(*) AS total FROM directory_entry WHERE ${among('$1')}`,
        values,
      ),
    ]);
    return { entries, total: onlyRow(total).total };
  }

  entriesAfter(id: string, limit: number, ids?: readonly string[]): Promise<readonly DirectoryEntry[]> {
    const among = ids === undefined ? '' : 'AND id = ANY($3::text[])';
    return this.#database.rows<DirectoryEntry>(
      `SELECT ${columns} FROM directory_entry WHERE id > $1 ${among} ORDER BY id LIMIT $2::bigint`,
      [id, limit, ...(ids === undefined ? [] : [ids])],
    );
  }

  async purgeExpired(nowS: number): Promise<readonly string[]> {
    // Before every look into the directory, which should keep nobody waiting.
    const some = await this.#database.rows(`SELECT 1 FROM directory_entry WHERE ${isExpired} LIMIT 1`, [nowS]);
    if (some.length === 0) return [];
    return this.#database.transaction(async (session) => {
      await alone(session);
      const rows = await session.rows<{ readonly id: string }>(
        `SELECT id FROM directory_entry WHERE ${isExpired} ORDER BY id`,
        [nowS],
      );
      for (const { id } of rows) await remove(session, id);
      return rows.map(({ id }) => id);
    });
  }

  async position(): Promise<number> {
    const rows = await this.#database.rows<{ readonly position: number }>(
      'SELECT directory_revision AS position FROM backend_state',
    );
    return onlyRow(rows).position;
  }

  eventsAfter(position: number, limit: number): Promise<readonly DirectoryEvent[]> {
    return this.#database.rows<DirectoryEvent>(
      'SELECT position, kind, id, change FROM directory_event WHERE position > $1 ORDER BY position LIMIT $2',
      [position, limit],
    );
  }
}

/** One change of the directory at a time, in all processes: so the positions are those of the commits. */
const alone = (session: Session): Promise<unknown> =>
  session.run('SELECT directory_revision FROM backend_state FOR UPDATE');

async function remove(session: Session, id: string): Promise<void> {
  await session.run('DELETE FROM directory_entry WHERE id = $1', [id]);
  await happened(session, 'deleted', id, null);
}

/** @returns its position */
async function happened(
  session: Session,
  kind: DirectoryEvent['kind'],
  id: string,
  change: string | null,
): Promise<number> {
  const { position } = onlyRow(
    await session.rows<{ readonly position: number }>(
      `UPDATE backend_state SET directory_revision = directory_revision + 1 RETURNING directory_revision AS position`,
    ),
  );
  await session.run('INSERT INTO directory_event (position, kind, id, change) VALUES ($1, $2, $3, $4)', [
    position,
    kind,
    id,
    change,
  ]);
  await session.run('DELETE FROM directory_event WHERE position <= $1', [position - keptEvents]);
  await wakeAll(session);
  return position;
}
