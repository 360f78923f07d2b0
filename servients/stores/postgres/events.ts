/** The outbox of events, and PostgreSQL's NOTIFY, which only wakes: one that is lost delays an event and loses none. */
import type pg from 'pg';
import type { BackendEvents, EventPositions, PublishedList, RecordedEpoch } from '../../../things/stores.js';
import { keptEvents, type EventReference } from '../event-reference.js';
import { onlyRow, type Database, type Session } from './database.js';

const channel = 'gridring_event';
const reconnectMs = 1_000;

/** Within a transaction of the caller that holds the lock `groups`: so the positions are those of the commits. */
export async function appendEvent(session: Session, reference: EventReference): Promise<void> {
  const { topic, gid } = reference;
  const subject =
    reference.topic === 'epochs' ? [reference.epoch, reference.attempt, null] : [null, null, reference.listHash];
  const { position } = onlyRow(
    await session.rows<{ readonly position: number }>(
      `INSERT INTO event (topic, position, gid, epoch, attempt, list_hash)
       SELECT $1, coalesce(max(position), 0) + 1, $2::bytea, $3::bigint, $4::integer, $5::bytea FROM event WHERE topic = $1
       RETURNING position`,
      [topic, gid, ...subject],
    ),
  );
  await session.run('DELETE FROM event WHERE topic = $1 AND position <= $2', [topic, position - keptEvents]);
  await wakeAll(session);
}

/** All processes, when the caller's transaction is committed. */
export async function wakeAll(session: Session): Promise<void> {
  await session.run(`SELECT pg_notify('${channel}', '')`);
}

export class PostgresEvents implements BackendEvents {
  readonly life: string;
  readonly #database: Database;
  readonly #listeners = new Set<() => void>();
  #listening: pg.Client | undefined;
  #reconnect: NodeJS.Timeout | undefined;
  #closed = false;

  private constructor(database: Database, life: string) {
    this.#database = database;
    this.life = life;
  }

  static async load(database: Database): Promise<PostgresEvents> {
    const { life } = onlyRow(await database.rows<{ readonly life: string }>('SELECT life FROM backend_state'));
    return new PostgresEvents(database, life);
  }

  async positions(): Promise<EventPositions> {
    return onlyRow(
      await this.#database.rows<EventPositions>(
        `SELECT coalesce((SELECT max(position) FROM event WHERE topic = 'epochs'), 0) AS epochs,
           coalesce((SELECT max(position) FROM event WHERE topic = 'lists'), 0) AS lists`,
      ),
    );
  }

  epochsAfter(position: number, limit: number): Promise<readonly RecordedEpoch[]> {
    return this.#database.rows(
      `SELECT position, gid, epoch, attempt, th2, list_hash AS "listHash", version AS "listVersion",
         revision AS "listRevision", members, reason, recorded_s AS "recordedS"
       FROM (SELECT position, gid, epoch, attempt FROM event
             WHERE topic = 'epochs' AND position > $1 ORDER BY position LIMIT $2) AS happened
       JOIN epoch USING (gid, epoch, attempt) JOIN membership_list USING (gid, list_hash)
       ORDER BY position`,
      [position, limit],
    );
  }

  listsAfter(position: number, limit: number): Promise<readonly PublishedList[]> {
    return this.#database.rows(
      `SELECT position, gid, version, revision, list_hash AS "listHash", published_s AS "publishedS"
       FROM event JOIN membership_list USING (gid, list_hash)
       WHERE topic = 'lists' AND position > $1 ORDER BY position LIMIT $2`,
      [position, limit],
    );
  }

  onWake(wake: () => void): () => void {
    this.#listeners.add(wake);
    if (this.#listeners.size === 1) void this.#listen();
    return () => {
      this.#listeners.delete(wake);
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#reconnect);
    await this.#listening?.end().catch(() => undefined);
  }

  /** On a connection of its own, which is made anew whenever it breaks. */
  async #listen(): Promise<void> {
    if (this.#closed || this.#listening) return;
    const client = this.#database.newClient();
    this.#listening = client;
    const broken = (): void => {
      if (this.#listening !== client) return;
      this.#listening = undefined;
      void client.end().catch(() => undefined);
      if (!this.#closed) this.#reconnect = setTimeout(() => void this.#listen(), reconnectMs).unref();
    };
    client
      .on('error', broken)
      .on('end', broken)
      .on('notification', () => {
        this.#wake();
      });
    try {
      await client.connect();
      await client.query(`LISTEN ${channel}`);
      this.#wake();
    } catch {
      broken();
    }
  }

  #wake(): void {
    for (const listener of this.#listeners) listener();
  }
}
