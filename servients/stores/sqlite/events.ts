import type { BackendEvents, EventPositions, PublishedList, RecordedEpoch } from '../../../things/stores.js';
import { keptEvents, type EventReference } from '../event-reference.js';
import { onlyRow, type Database, type Statement } from './database.js';

type After<Row> = Statement<[position: number, limit: number], Row>;

/** The outbox of events. One process has the database, so it wakes itself. */
export class SqliteEvents implements BackendEvents {
  readonly life: string;
  readonly #database: Database;
  readonly #listeners = new Set<() => void>();
  readonly #append: Statement<
    [
      topic: string,
      gid: Uint8Array,
      epoch: number | null,
      attempt: number | null,
      listHash: Uint8Array | null,
      sameTopic: string,
    ],
    { readonly position: number }
  >;
  readonly #forget: Statement<[topic: string, position: number]>;
  readonly #positions: Statement<[], EventPositions>;
  readonly #epochs: After<RecordedEpoch>;
  readonly #lists: After<PublishedList>;

  constructor(database: Database) {
    this.#database = database;
    const state = database.prepare<[], { readonly life: string }>('SELECT life FROM backend_state');
    this.life = onlyRow(state.get()).life;
    this.#append = database.prepare(
      `INSERT INTO event (topic, position, gid, epoch, attempt, list_hash)
       SELECT ?, coalesce(max(position), 0) + 1, ?, ?, ?, ? FROM event WHERE topic = ? RETURNING position`,
    );
    this.#forget = database.prepare('DELETE FROM event WHERE topic = ? AND position <= ?');
    this.#positions = database.prepare(
      `SELECT coalesce((SELECT max(position) FROM event WHERE topic = 'epochs'), 0) AS epochs,
         coalesce((SELECT max(position) FROM event WHERE topic = 'lists'), 0) AS lists`,
    );
    this.#epochs = database.prepare(
      `SELECT position, gid, epoch, attempt, th2, list_hash AS listHash, version AS listVersion,
         revision AS listRevision, members, reason, recorded_s AS recordedS
       FROM (SELECT position, gid, epoch, attempt FROM event
             WHERE topic = 'epochs' AND position > ? ORDER BY position LIMIT ?) AS happened
       JOIN epoch USING (gid, epoch, attempt) JOIN membership_list USING (gid, list_hash)
       ORDER BY position`,
    );
    this.#lists = database.prepare(
      `SELECT position, gid, version, revision, list_hash AS listHash, published_s AS publishedS
       FROM event JOIN membership_list USING (gid, list_hash)
       WHERE topic = 'lists' AND position > ? ORDER BY position LIMIT ?`,
    );
  }

  /** Within a transaction of the caller, who then calls `wake`. */
  append(reference: EventReference): void {
    const { topic, gid } = reference;
    const { position } = onlyRow(
      reference.topic === 'epochs'
        ? this.#append.get(topic, gid, reference.epoch, reference.attempt, null, topic)
        : this.#append.get(topic, gid, null, null, reference.listHash, topic),
    );
    this.#forget.run(topic, position - keptEvents);
  }

  /** After the commit. */
  wake(): void {
    for (const listener of this.#listeners) listener();
  }

  async positions(): Promise<EventPositions> {
    return this.#database.read(() => onlyRow(this.#positions.get()));
  }

  async epochsAfter(position: number, limit: number): Promise<readonly RecordedEpoch[]> {
    return this.#database.read(() => this.#epochs.all(position, limit));
  }

  async listsAfter(position: number, limit: number): Promise<readonly PublishedList[]> {
    return this.#database.read(() => this.#lists.all(position, limit));
  }

  onWake(wake: () => void): () => void {
    this.#listeners.add(wake);
    return () => {
      this.#listeners.delete(wake);
    };
  }
}
