/** The outbox that a meter and a gateway have alike. */
import type { Outbox, OutboxItem, OutboxStatus } from '../../../things/stores.js';
import { onlyRow, type Database, type Statement } from './database.js';

export abstract class SqliteOutbox implements Outbox {
  readonly #database: Database;
  readonly #nextPosition: Statement<[], { readonly next: number }>;
  readonly #add: Statement<[position: number, kind: string, message: Uint8Array, nowS: number]>;
  readonly #remove: Statement<[position: number]>;
  readonly #added: Statement<[count: number, sameCount: number]>;
  readonly #removed: Statement<[count: number]>;
  readonly #pending: Statement<[maxItems: number, maxBytes: number], OutboxItem>;
  readonly #status: Statement<[], OutboxStatus>;

  constructor(database: Database) {
    this.#database = database;
    this.#nextPosition = database.prepare('SELECT next_position AS next FROM outbox_state');
    this.#add = database.prepare('INSERT INTO outbox (position, kind, message, added_s) VALUES (?, ?, ?, ?)');
    this.#remove = database.prepare('DELETE FROM outbox WHERE position = ?');
    this.#added = database.prepare('UPDATE outbox_state SET next_position = next_position + ?, depth = depth + ?');
    this.#removed = database.prepare('UPDATE outbox_state SET depth = depth - ?');
    this.#pending = database.prepare(
      `WITH head AS (
         SELECT position, kind, message, sum(length(message)) OVER (ORDER BY position) AS bytes
         FROM (SELECT * FROM outbox ORDER BY position LIMIT ?)
       )
       SELECT position, kind, message FROM head
       WHERE bytes <= ? OR position = (SELECT min(position) FROM outbox)
       ORDER BY position`,
    );
    this.#status = database.prepare(
      `SELECT depth, (SELECT added_s FROM outbox ORDER BY position LIMIT 1) AS oldestS FROM outbox_state`,
    );
  }

  async pending(maxItems: number, maxBytes: number): Promise<readonly OutboxItem[]> {
    return this.#database.read(() => this.#pending.all(maxItems, maxBytes));
  }

  async acknowledge(positions: readonly number[]): Promise<void> {
    this.#database.transaction(() => {
      this.remove(positions);
    });
  }

  /** Within a transaction of the caller. */
  protected remove(positions: readonly number[]): void {
    let removed = 0;
    for (const position of positions) removed += this.#remove.run(position).changes;
    if (removed > 0) this.count(-removed);
  }

  /** Items that came or went, in their places. Within a transaction of the caller. */
  protected count(change: number): void {
    this.#removed.run(-change);
  }

  async outboxStatus(): Promise<OutboxStatus> {
    return this.#database.read(() => onlyRow(this.#status.get()));
  }

  /** Within a transaction of the caller. */
  protected add(items: readonly Omit<OutboxItem, 'position'>[], nowS: number): void {
    if (items.length === 0) return;
    let position = onlyRow(this.#nextPosition.get()).next;
    for (const { kind, message } of items) this.#add.run(position++, kind, message, nowS);
    this.#added.run(items.length, items.length);
  }
}
