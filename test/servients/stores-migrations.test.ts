/** Every database that an earlier version has left is brought to the newest schema, with what was in it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import { afterAll, describe, expect, it } from 'vitest';
import { openBackendStore } from '../../servients/stores/sqlite/backend-store.js';
import { openGatewayStore } from '../../servients/stores/sqlite/gateway-store.js';
import { openMeterStore } from '../../servients/stores/sqlite/meter-store.js';
import { migrate, migrationsOf, type StoreRole } from '../../servients/stores/sqlite/migrate.js';
import { newestTables } from '../../servients/backup/tables.js';

const folder = mkdtempSync(join(tmpdir(), 'gridring-migrations-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const open = { backend: openBackendStore, gateway: openGatewayStore, meter: openMeterStore };
const roles = ['backend', 'gateway', 'meter'] as const;
const versions = roles.flatMap((role) => migrationsOf(role).map((_, i) => ({ role, version: i + 1 })));

interface Column {
  readonly name: string;
  readonly type: string;
  readonly pk: number;
}

const tablesOf = (database: InstanceType<typeof DatabaseSync>): readonly string[] =>
  (
    database
      .prepare(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name`)
      .all() as readonly { readonly name: string }[]
  ).map(({ name }) => name);

const columnsOf = (database: InstanceType<typeof DatabaseSync>, table: string): readonly Column[] =>
  database.prepare(`SELECT name, type, pk FROM pragma_table_info('${table}')`).all() as readonly Column[];

/** Values that fit every rule of the tables of all versions. */
const known: Readonly<Record<string, string | number>> = {
  kind: 'reading',
  reason: 'founding',
  meter: 1,
  id: 1,
  account: 1,
};
const inDepartures: Readonly<Record<string, string>> = { kind: 'left' };

function valueOf(table: string, { name, type }: Column): string | number | Uint8Array {
  if (table === 'departure' && name in inDepartures) return inDepartures[name] ?? '';
  // Where such a name is of bytes, it is a hash.
  const value = type === 'BLOB' ? undefined : known[name];
  if (value !== undefined) return value;
  if (type === 'BLOB') return new Uint8Array(name === 'gid' ? 16 : 32).fill(name.length);
  return type === 'TEXT' ? `some ${name}` : 1;
}

/** One row in every table; those that have one from the migrations keep it. */
function fill(database: InstanceType<typeof DatabaseSync>): ReadonlyMap<string, Readonly<Record<string, unknown>>> {
  const rows = new Map<string, Readonly<Record<string, unknown>>>();
  const tables = [...tablesOf(database)].sort((a, b) => Number(b === 'meter') - Number(a === 'meter'));
  for (const table of tables) {
    const columns = columnsOf(database, table);
    const names = columns.map(({ name }) => name).join(', ');
    if (database.prepare(`SELECT 1 FROM ${table}`).get() === undefined) {
      const places = columns.map(() => '?').join(', ');
      const values = columns.map((column) => valueOf(table, column));
      database.prepare(`INSERT INTO ${table} (${names}) VALUES (${places})`).run(...values);
    }
    rows.set(table, database.prepare(`SELECT * FROM ${table}`).get() as Readonly<Record<string, unknown>>);
  }
  return rows;
}

function databaseOf(role: StoreRole, version: number, path: string) {
  const database = new DatabaseSync(path);
  migrate(database, path, role, migrationsOf(role).slice(0, version));
  const rows = fill(database);
  database.close();
  return rows;
}

/** What a migration works out anew from the rest; everything else must come through as it was. */
const derived: ReadonlySet<string> = new Set(['outbox_state', 'backend_state']);
const dropped: ReadonlySet<string> = new Set(['command_reported']);

describe.each(versions)('a database of a $role, schema $version', ({ role, version }) => {
  it('comes forward with every row as it was, and refuses to go back', () => {
    const path = join(folder, `${role}-${version}.db`);
    const before = databaseOf(role, version, path);
    open[role](path).close();
    const database = new DatabaseSync(path);
    expect(database.prepare('PRAGMA foreign_key_check').all()).toEqual([]);
    expect(database.prepare('PRAGMA integrity_check').all()).toEqual([{ integrity_check: 'ok' }]);
    expect(database.prepare('PRAGMA user_version').get()).toEqual({ user_version: migrationsOf(role).length });
    expect(tablesOf(database)).toEqual(newestTables(role).map(({ name }) => name));
    for (const [table, row] of before) {
      if (dropped.has(table)) continue;
      const { count } = database.prepare(`SELECT count(*) AS count FROM ${table}`).get() as { readonly count: number };
      expect(count, table).toBe(1);
      if (!derived.has(table)) expect(database.prepare(`SELECT * FROM ${table}`).get(), table).toMatchObject(row);
    }
    const older = migrationsOf(role).slice(0, -1);
    expect(() => {
      migrate(database, path, role, older);
    }).toThrow(expect.objectContaining({ code: 'data-version' }) as Error);
    database.close();
  });
});
