/** The tables of a backend in PostgreSQL, which have the names that they have in SQLite: out of one in use, and into an empty one. */
import { SetupError } from '../../crypto/errors.js';
import type { SuiteName } from '../../crypto/suite.js';
import { Database, onlyRow, type Transaction } from '../stores/postgres/database.js';
import { migrate, migrations } from '../stores/postgres/migrate.js';
import { Partitions } from '../stores/postgres/partitions.js';
import { migrationsOf } from '../stores/sqlite/migrate.js';
import type { Cell, Row } from './archive.js';
import { newestTables, type Snapshot, type Table } from './tables.js';

const fetchedRows = 500;

/**
 * All of a database as it is now, whatever its backends write meanwhile: one transaction in REPEATABLE READ.
 * @throws SetupError `data-version`, `database-url`, `database-refused`; UnavailableError `database-unreachable`
 */
export async function openPostgresSnapshot(url: string): Promise<Snapshot> {
  const database = new Database(url);
  let close = (): void => undefined;
  const closed = new Promise<void>((resolve) => {
    close = resolve;
  });
  let ended: Promise<void> | undefined;
  try {
    const transaction = await new Promise<Transaction>((resolve, reject) => {
      ended = database.transaction(async (opened) => {
        await opened.script(
          `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;
           SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0`,
        );
        await assertNewest(opened, database.place);
        resolve(opened);
        await closed;
      });
      ended.catch(reject);
    });
    return {
      schema: migrationsOf('backend').length,
      tables: newestTables('backend'),
      rows: (table) => rowsOf(transaction, table),
      close: async () => {
        close();
        await ended;
        await database.close();
      },
    };
  } catch (cause) {
    close();
    await database.close();
    throw cause;
  }
}

async function assertNewest(transaction: Transaction, place: string): Promise<void> {
  const exists = onlyRow(
    await transaction.rows<{ readonly exists: boolean }>(
      `SELECT to_regclass('gridring_backend') IS NOT NULL AS exists`,
    ),
  );
  if (!exists.exists) throw new SetupError('data-other-role', `${place} holds no backend's data`);
  const { version } = onlyRow(
    await transaction.rows<{ readonly version: number }>('SELECT version FROM gridring_backend'),
  );
  if (version === migrations().length) return;
  throw new SetupError(
    'data-version',
    `${place} has schema ${version}, known here is ${migrations().length}: back it up with the version of its backends`,
  );
}

async function* rowsOf(transaction: Transaction, { name, columns }: Table): AsyncGenerator<Row> {
  await transaction.script(`DECLARE backup_${name} CURSOR FOR SELECT ${columns.join(', ')} FROM ${name}`);
  for (;;) {
    const rows = await transaction.rows<Readonly<Record<string, Cell>>>(`FETCH ${fetchedRows} FROM backup_${name}`);
    for (const row of rows) yield columns.map((column) => row[column] ?? null);
    if (rows.length < fetchedRows) break;
  }
  await transaction.script(`CLOSE backup_${name}`);
}

/**
 * Copies all tables of a snapshot into an empty database, in one transaction.
 * @throws SetupError `data-other-role`, `database-not-empty` and those of the database
 */
export async function fillPostgres(
  url: string,
  suite: SuiteName,
  source: Pick<Snapshot, 'tables' | 'rows'>,
  onRows: (rows: number) => void,
): Promise<void> {
  const database = new Database(url);
  try {
    await migrate(database, suite, migrations());
    await assertEmpty(database);
    await makePartitions(database, source);
    await database.transaction(async (transaction) => {
      await transaction.script('SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0');
      let written = 0;
      for (const name of filledByMigrations) await transaction.script(`DELETE FROM ${name}`);
      for (const table of inOrder(source.tables)) {
        const sql = await insertion(transaction, table);
        for await (const rows of inGroups(source.rows(table))) {
          await transaction.run(
            sql,
            table.columns.map((_, i) => rows.map((row) => row[i] ?? null)),
          );
          written += rows.length;
          onRows(written);
        }
      }
      await transaction.script(derived);
    });
  } finally {
    await database.close();
  }
}

/** What PostgreSQL keeps beside the tables, and SQLite does not. */
const derived = `
  UPDATE meter SET last_hash = coalesce(
    (SELECT hash FROM reading WHERE reading.meter = meter.id AND sequence = last_sequence),
    (SELECT hash FROM dropped_stretch WHERE dropped_stretch.meter = meter.id AND last = last_sequence)
  );
  SELECT setval(pg_get_serial_sequence('meter', 'id'), coalesce((SELECT max(id) FROM meter), 0) + 1, false);
  SELECT setval(pg_get_serial_sequence('reader_grant', 'id'), coalesce((SELECT max(id) FROM reader_grant), 0) + 1, false)`;

const filledByMigrations: readonly string[] = ['backend_state', 'audit_state', 'access_state', 'command_state'];

async function assertEmpty(database: Database): Promise<void> {
  for (const { name } of newestTables('backend')) {
    if (filledByMigrations.includes(name)) continue;
    const { filled } = onlyRow(
      await database.rows<{ readonly filled: boolean }>(`SELECT EXISTS (SELECT FROM ${name}) AS filled`),
    );
    if (filled) throw new SetupError('database-not-empty', `${database.place} holds data already: name an empty one`);
  }
}

/** What others refer to comes first. */
const inOrder = (tables: readonly Table[]): readonly Table[] =>
  [...tables].sort((a, b) => Number(b.name === 'meter') - Number(a.name === 'meter'));

async function* inGroups(rows: AsyncIterable<Row>): AsyncGenerator<readonly Row[]> {
  let group: Row[] = [];
  for await (const row of rows) {
    group.push(row);
    if (group.length < fetchedRows) continue;
    yield group;
    group = [];
  }
  if (group.length > 0) yield group;
}

/** Before the transaction, which would keep them from being made. */
async function makePartitions(database: Database, source: Pick<Snapshot, 'rows'>): Promise<void> {
  const partitions = new Partitions(database);
  for await (const [receivedS] of source.rows({ name: 'reading', columns: ['received_s'] })) {
    await partitions.with(Number(receivedS), async () => undefined);
  }
}

async function insertion(transaction: Transaction, { name, columns }: Table): Promise<string> {
  const types = await transaction.rows<{ readonly column: string; readonly type: string }>(
    `SELECT attname AS column, format_type(atttypid, NULL) AS type FROM pg_attribute WHERE attrelid = $1::regclass`,
    [name],
  );
  const typeOf = (column: string): string => onlyRow(types.filter((each) => each.column === column)).type;
  const values = columns.map((column, i) => `$${i + 1}::${typeOf(column)}[]`);
  return `INSERT INTO ${name} (${columns.join(', ')}) OVERRIDING SYSTEM VALUE SELECT * FROM unnest(${values.join(', ')})`;
}
