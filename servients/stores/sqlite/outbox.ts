/** The outbox that a meter and a gateway have alike. */
import type { DiskStatus, NewItem, Outbox, OutboxItem, OutboxStatus, SetAside } from '../../../things/stores.js';
import { onlyRow, type Database, type Statement } from './database.js';

/** Columns that a role's outbox has beside those that all have. */
type Extra = readonly ('meter' | 'sequence')[];
/** What is in them. */
type OwnItem = NewItem & { readonly meter?: number };

export abstract class SqliteOutbox implements Outbox {
  readonly #extra: Extra;
  readonly #database: Database;
  readonly #nextPosition: Statement<[], { readonly next: number }>;
  readonly #add: Statement<
    [position: number, kind: string, message: Uint8Array, nowS: number, ...extra: (number | null)[]]
  >;
  readonly #remove: Statement<[position: number], { readonly bytes: number }>;
  readonly #added: Statement<[count: number, sameCount: number, bytes: number]>;
  readonly #removed: Statement<[count: number, bytes: number]>;
  readonly #pending: Statement<[after: number, maxItems: number, maxBytes: number], OutboxItem>;
  readonly #status: Statement<[], OutboxStatus>;
  readonly #setAside: Statement<[code: string, position: number]>;
  readonly #setAsideStatus: Statement<[], SetAside>;
  readonly #putBack: readonly Statement<[]>[];

  constructor(database: Database, extra: Extra) {
    this.#database = database;
    this.#extra = extra;
    const columns = ['position', 'kind', 'message', 'added_s', ...extra].join(', ');
    this.#nextPosition = database.prepare('SELECT next_position AS next FROM outbox_state');
    this.#add = database.prepare(`INSERT INTO outbox (${columns}) VALUES (?, ?, ?, ?${', ?'.repeat(extra.length)})`);
    this.#remove = database.prepare('DELETE FROM outbox WHERE position = ? RETURNING length(message) AS bytes');
    this.#added = database.prepare(
      'UPDATE outbox_state SET next_position = next_position + ?, depth = depth + ?, bytes = bytes + ?',
    );
    this.#removed = database.prepare('UPDATE outbox_state SET depth = depth - ?, bytes = bytes - ?');
    this.#pending = database.prepare(
      `WITH head AS (
         SELECT position, kind, message, sum(length(message)) OVER (ORDER BY position) AS bytes,
           row_number() OVER (ORDER BY position) AS place
         FROM (SELECT * FROM outbox WHERE position > ? ORDER BY position LIMIT ?)
       )
       SELECT position, kind, message FROM head WHERE bytes <= ? OR place = 1 ORDER BY position`,
    );
    this.#status = database.prepare(
      `SELECT depth, bytes, (SELECT added_s FROM outbox ORDER BY position LIMIT 1) AS oldestS FROM outbox_state`,
    );
    this.#setAside = database.prepare(
      `INSERT INTO set_aside (code, ${columns}) SELECT ?, ${columns} FROM outbox WHERE position = ?`,
    );
    this.#setAsideStatus = database.prepare(
      `SELECT (SELECT count(*) FROM set_aside) AS count,
         (SELECT code FROM set_aside ORDER BY position DESC LIMIT 1) AS lastCode`,
    );
    this.#putBack = [
      `INSERT INTO outbox (${columns}) SELECT ${columns} FROM set_aside`,
      `UPDATE outbox_state SET depth = depth + (SELECT count(*) FROM set_aside),
         bytes = bytes + (SELECT coalesce(sum(length(message)), 0) FROM set_aside)`,
      'DELETE FROM set_aside',
    ].map((sql) => database.prepare(sql));
  }

  async pending(maxItems: number, maxBytes: number, afterPosition = 0): Promise<readonly OutboxItem[]> {
    return this.#database.read(() => this.#pending.all(afterPosition, maxItems, maxBytes));
  }

  async acknowledge(positions: readonly number[]): Promise<void> {
    this.#database.transaction(() => {
      this.remove(positions);
    });
  }

  async outboxStatus(): Promise<OutboxStatus> {
    return this.#database.read(() => onlyRow(this.#status.get()));
  }

  async setAside(position: number, code: string): Promise<void> {
    this.#database.transaction(() => {
      if (this.#setAside.run(code, position).changes > 0) this.remove([position]);
    });
  }

  async setAsideStatus(): Promise<SetAside> {
    return this.#database.read(() => onlyRow(this.#setAsideStatus.get()));
  }

  async putBack(): Promise<void> {
    if ((await this.setAsideStatus()).count === 0) return;
    this.#database.transaction(() => {
      for (const statement of this.#putBack) statement.run();
    });
  }

  async diskStatus(): Promise<DiskStatus> {
    return this.#database.diskStatus();
  }

  /** Within a transaction of the caller. @throws UnavailableError `disk-full` */
  protected add(items: readonly OwnItem[], nowS: number): void {
    if (items.length === 0) return;
    const bytes = items.reduce((sum, { message }) => sum + message.length, 0);
    this.#database.assertRoom(bytes);
    let position = onlyRow(this.#nextPosition.get()).next;
    for (const item of items) {
      this.#add.run(position++, item.kind, item.message, nowS, ...this.#extra.map((column) => item[column] ?? null));
    }
    this.#added.run(items.length, items.length, bytes);
  }

  /** Items that came back to their places. Within a transaction of the caller. */
  protected cameBack(count: number, bytes: number): void {
    this.#removed.run(-count, -bytes);
  }

  /** Within a transaction of the caller. */
  protected remove(positions: readonly number[]): void {
    const removed = positions.flatMap((position) => this.#remove.get(position)?.bytes ?? []);
    const bytes = removed.reduce((sum, each) => sum + each, 0);
    if (removed.length > 0) this.#removed.run(removed.length, bytes);
  }
}
