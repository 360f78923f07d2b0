/** One SQLite file, opened for one role. Transactions are synchronous: when one has returned, it is on the disk. */
import { closeSync, openSync } from 'node:fs';
import { resolve } from 'node:path';
import { DatabaseSync, type DatabaseSyncInstance } from '@photostructure/sqlite';
import { migrate, migrationsOf, type StoreRole } from './migrate.js';
import type { DiskStatus } from '../../../things/stores.js';
import { diskFull, fileError, storeError } from './store-error.js';

export interface StoreOptions {
  /**
   * Quota of the database file; beyond it a write is refused with UnavailableError `disk-full`, and what goes into an
   * outbox some time before. Default: none. The log beside the file is not counted.
   */
  readonly maxBytes?: number;
}

/** What an outbox leaves of a quota, so that rings and epochs can go on: their states, records, and lists of members. */
const reserveBytes = (maxBytes: number): number => Math.min(4_194_304, Math.floor(maxBytes / 4));

export interface Closable {
  /** Waits for nothing: every method has finished when its promise exists. */
  close(): void;
}

type SqlValue = number | string | null | Uint8Array;

export interface Statement<Parameters extends readonly SqlValue[], Row = never> {
  run(...parameters: Parameters): { readonly changes: number };
  get(...parameters: Parameters): Row | undefined;
  all(...parameters: Parameters): readonly Row[];
}

const busyTimeoutMs = 2_000;

/**
 * Opens or creates the database of a role and makes a store on it; the folder must exist.
 * @throws SetupError `data-other-role`, `data-version`, `data-corrupt`, `data-unreadable`;
 * UnavailableError `disk-full`, `disk-failed`, `data-busy`
 */
export function openStore<Store>(
  path: string,
  role: StoreRole,
  options: StoreOptions,
  makeStore: (database: Database) => Store,
): Store {
  // Absolute, for SQLite would take a relative `file:…` for a URI.
  const absolute = resolve(path);
  createPrivateFile(absolute);
  let connection: DatabaseSyncInstance | undefined;
  try {
    connection = new DatabaseSync(absolute, { timeout: busyTimeoutMs, enableForeignKeyConstraints: true });
    prepareConnection(connection, absolute, role, options);
    return makeStore(new Database(absolute, connection, options));
  } catch (cause) {
    connection?.close();
    throw storeError(absolute, cause);
  }
}

export class Database implements Closable {
  readonly #path: string;
  readonly #connection: DatabaseSyncInstance;
  readonly #budgetBytes: number | null;
  readonly #usedBytes: Statement<[], { readonly bytes: number }>;

  constructor(path: string, connection: DatabaseSyncInstance, { maxBytes }: StoreOptions) {
    this.#path = path;
    this.#connection = connection;
    this.#budgetBytes = maxBytes === undefined ? null : maxBytes - reserveBytes(maxBytes);
    this.#usedBytes = this.prepare(
      `SELECT (page_count - freelist_count) * page_size AS bytes
       FROM pragma_page_count, pragma_freelist_count, pragma_page_size`,
    );
  }

  prepare<Parameters extends readonly SqlValue[], Row = never>(sql: string): Statement<Parameters, Row> {
    return this.#connection.prepare(sql);
  }

  /** Runs `work` alone, and all of it or nothing. @throws what `work` throws, and the errors of `storeError` */
  transaction<Result>(work: () => Result): Result {
    return this.read(() => {
      this.#connection.exec('BEGIN IMMEDIATE');
      try {
        const result = work();
        this.#connection.exec('COMMIT');
        return result;
      } catch (cause) {
        // A full disk has rolled back already.
        if (this.#connection.isTransaction) this.#connection.exec('ROLLBACK');
        throw cause;
      }
    });
  }

  /** Runs what reads only, or a single statement, which is a transaction by itself. */
  read<Result>(work: () => Result): Result {
    try {
      return work();
    } catch (cause) {
      throw storeError(this.#path, cause);
    }
  }

  /**
   * A transaction that does not wait for the disk (https://sqlite.org/pragma.html#pragma_synchronous): a crash of the
   * process loses nothing of it, a loss of power may.
   */
  withoutSync<Result>(work: () => Result): Result {
    this.#connection.exec('PRAGMA synchronous = NORMAL');
    try {
      return this.transaction(work);
    } finally {
      this.#connection.exec('PRAGMA synchronous = FULL');
    }
  }

  /** Also within a transaction. */
  diskStatus(): DiskStatus {
    return { usedBytes: this.read(() => onlyRow(this.#usedBytes.get())).bytes, budgetBytes: this.#budgetBytes };
  }

  /** @throws UnavailableError `disk-full` when so many more bytes would leave no reserve */
  assertRoom(bytes: number): void {
    const { usedBytes, budgetBytes } = this.diskStatus();
    if (budgetBytes !== null && usedBytes + bytes > budgetBytes) throw diskFull(this.#path);
  }

  /** Moves the write-ahead log into the database and empties it, and with it what has been overwritten since. */
  emptyLog(): void {
    this.read(() => {
      this.#connection.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    });
  }

  /**
   * The library cannot finalize statements, so SQLite keeps the files open until they are garbage. Nothing may depend on
   * that: no transaction is open, and the log is emptied here, so that the database file alone has everything.
   */
  close(): void {
    if (!this.#connection.isOpen) return;
    try {
      this.emptyLog();
    } catch {
      // No room: the log stays beside the database, and the next start reads it.
    }
    this.#connection.close();
  }
}

/** The row of a query that cannot be without one. */
export function onlyRow<Row>(row: Row | undefined): Row {
  if (row === undefined) throw new Error('a query that always gives a row gave none');
  return row;
}

/**
 * SQLite gives its journals the mode of the database file. An existing file is not opened here: closing it would drop
 * the locks that another connection of this process has on it (https://sqlite.org/howtocorrupt.html §2.2).
 * @throws SetupError `data-unreadable`; UnavailableError `disk-full`
 */
export function createPrivateFile(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw fileError(path, cause);
  }
}

function prepareConnection(
  connection: DatabaseSyncInstance,
  path: string,
  role: StoreRole,
  { maxBytes }: StoreOptions,
): void {
  connection.exec('PRAGMA synchronous = FULL');
  migrate(connection, path, role, migrationsOf(role));
  // Only now that it is known to be ours: this writes.
  connection.exec('PRAGMA journal_mode = WAL');
  // Group keys live in the meter's database: what is deleted or replaced there is overwritten with zeros.
  if (role === 'meter') connection.exec('PRAGMA secure_delete = ON');
  if (maxBytes !== undefined) limitSize(connection, maxBytes);
}

function limitSize(connection: DatabaseSyncInstance, maxBytes: number): void {
  const { pageBytes } = connection.prepare('SELECT page_size AS pageBytes FROM pragma_page_size').get() as {
    readonly pageBytes: number;
  };
  connection.exec(`PRAGMA max_page_count = ${Math.floor(maxBytes / pageBytes)}`);
}
