/** Tables of SQLite, out of a database that is in use and into one that is being made. */
import { resolve } from 'node:path';
import { DatabaseSync, type DatabaseSyncInstance, type StatementSyncInstance } from '@photostructure/sqlite';
import { SetupError } from '../../crypto/errors.js';
import { syncFile } from '../durable-file.js';
import { migrate, migrationsOf, schemaVersion, type StoreRole } from '../stores/sqlite/migrate.js';
import { storeError } from '../stores/sqlite/store-error.js';
import { malformed, type Row } from './archive.js';

export interface Table {
  readonly name: string;
  readonly columns: readonly string[];
}

export interface Snapshot {
  /** Number of migrations that made the tables. */
  readonly schema: number;
  readonly tables: readonly Table[];
  rows(table: Table): AsyncIterable<Row>;
  close(): Promise<void>;
}

export interface SqliteSnapshot extends Snapshot {
  /** Ascending by the first columns. */
  ascending(table: Table, byColumns: number): AsyncIterable<Row>;
}

/**
 * All of a database as it is now, whatever its owner writes meanwhile: one read transaction, which in WAL mode keeps
 * nobody from writing; only the log grows until it is closed.
 * @throws SetupError `data-other-role`, `data-version`, `data-corrupt`, `data-unreadable`
 */
export function openSnapshot(path: string, role: StoreRole): SqliteSnapshot {
  const absolute = resolve(path);
  let connection: DatabaseSyncInstance | undefined;
  try {
    connection = new DatabaseSync(absolute, { readOnly: true, timeout: 2_000 });
    connection.exec('BEGIN');
    const schema = schemaVersion(connection, absolute, role);
    if (schema === 0) throw new SetupError('data-unreadable', `${absolute} is empty: there is nothing to back up`);
    return snapshotOf(connection, schema);
  } catch (cause) {
    connection?.close();
    throw storeError(absolute, cause);
  }
}

function snapshotOf(connection: DatabaseSyncInstance, schema: number): SqliteSnapshot {
  const read = async function* ({ name, columns }: Table, order: string): AsyncGenerator<Row> {
    const rows = connection.prepare(`SELECT ${columns.join(', ')} FROM ${name} ${order}`).iterate();
    for (const row of rows) yield Object.values(row as Readonly<Record<string, Row[number]>>);
  };
  return {
    schema,
    tables: tablesOf(connection),
    rows: (table) => read(table, ''),
    ascending: (table, byColumns) => read(table, `ORDER BY ${table.columns.slice(0, byColumns).join(', ')}`),
    close: async () => {
      // The library cannot finalize statements: the lock would last until they are garbage.
      if (connection.isTransaction) connection.exec('ROLLBACK');
      connection.close();
    },
  };
}

/** Of this version: what every backup has that it makes. */
export function newestTables(role: StoreRole): readonly Table[] {
  const connection = new DatabaseSync(':memory:');
  try {
    for (const sql of migrationsOf(role)) connection.exec(sql);
    return tablesOf(connection);
  } finally {
    connection.close();
  }
}

function tablesOf(connection: DatabaseSyncInstance): readonly Table[] {
  const columns = connection
    .prepare(
      `SELECT t.name AS name, c.name AS columnName FROM sqlite_schema AS t, pragma_table_info(t.name) AS c
       WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY t.name, c.cid`,
    )
    .all() as readonly { readonly name: string; readonly columnName: string }[];
  return [...new Set(columns.map(({ name }) => name))].map((name) => ({
    name,
    columns: columns.filter((column) => column.name === name).map(({ columnName }) => columnName),
  }));
}

/** A new database with the tables of a schema, empty, and no constraint between them until it is finished. */
export class TablesToFill {
  readonly #path: string;
  readonly #role: StoreRole;
  readonly #connection: DatabaseSyncInstance;
  readonly #tables: readonly Table[];
  #insert: StatementSyncInstance | undefined;
  #columns = 0;

  /** @throws SetupError `backup-version` for tables of a newer program; UnavailableError `disk-full` */
  constructor(path: string, role: StoreRole, schema: number) {
    const migrations = migrationsOf(role);
    if (schema > migrations.length) {
      const known = `it holds tables of version ${schema}, known here is ${migrations.length}`;
      throw new SetupError('backup-version', `the backup was made by a newer version (${known}): update this program`);
    }
    this.#path = path;
    this.#role = role;
    this.#connection = new DatabaseSync(path, { enableForeignKeyConstraints: false });
    // Nothing reads it before all of it is there and on the disk.
    this.#connection.exec('PRAGMA synchronous = OFF');
    this.#run(() => {
      migrate(this.#connection, path, role, migrations.slice(0, schema));
    });
    this.#tables = tablesOf(this.#connection);
    // Migrations make rows too, which stand in the backup as they became.
    for (const { name } of this.#tables) this.#connection.exec(`DELETE FROM ${name}`);
    this.#connection.exec('BEGIN');
  }

  /** Rows that follow are of this table. @throws MalformedError `backup-malformed` when the schema has no such table */
  table({ name, columns }: Table): void {
    const known = this.#tables.find((table) => table.name === name);
    if (!known || columns.length === 0 || !columns.every((column) => known.columns.includes(column))) {
      throw malformed(`its schema has no table ${name} of these columns`);
    }
    const places = columns.map(() => '?').join(', ');
    this.#insert = this.#connection.prepare(`INSERT INTO ${name} (${columns.join(', ')}) VALUES (${places})`);
    this.#columns = columns.length;
  }

  /** @throws MalformedError `backup-malformed` when a row does not fit; UnavailableError `disk-full` */
  rows(rows: readonly Row[]): void {
    for (const row of rows) {
      if (row.length !== this.#columns) throw malformed('a row has not the columns of its table');
      this.#run(() => this.#insert?.run(...row));
    }
  }

  /** Brings the tables forward to this version, on the disk. @throws MalformedError `backup-malformed`; UnavailableError */
  finish(): void {
    this.#run(() => {
      this.#connection.exec('COMMIT');
      const dangling = this.#connection.prepare('PRAGMA foreign_key_check').all();
      if (dangling.length > 0) throw malformed('rows in it refer to rows that are not there');
      migrate(this.#connection, this.#path, this.#role, migrationsOf(this.#role));
    });
    this.close();
    syncFile(this.#path);
  }

  close(): void {
    if (this.#connection.isOpen) this.#connection.close();
  }

  #run(work: () => unknown): void {
    try {
      work();
    } catch (cause) {
      const error = storeError(this.#path, cause);
      throw error === cause && isConstraint(cause) ? malformed('a row does not fit its table') : error;
    }
  }
}

/** https://sqlite.org/rescode.html: SQLITE_CONSTRAINT, SQLITE_MISMATCH */
const isConstraint = (cause: unknown): boolean =>
  cause instanceof Error && 'errcode' in cause && [19, 20].includes(Number(cause.errcode) & 0xff);
