/** Brings a database forward to the schema that this version knows; never back. */
import { readdirSync, readFileSync } from 'node:fs';
import type { DatabaseSyncInstance } from '@photostructure/sqlite';
import { SetupError } from '../../../crypto/errors.js';

/** Recognises a database of ours and its role: https://sqlite.org/fileformat2.html#application_id ("GRm", "GRg", "GRb"). */
const applicationIds = { meter: 0x4752_6d01, gateway: 0x4752_6701, backend: 0x4752_6201 } as const;
export type StoreRole = keyof typeof applicationIds;

/** The SQL of a role's migrations in order; the first makes version 1. */
export function migrationsOf(role: StoreRole): readonly string[] {
  const folder = new URL(`../migrations/sqlite/${role}/`, import.meta.url);
  return readdirSync(folder)
    .sort()
    .map((name) => readFileSync(new URL(name, folder), 'utf8'));
}

/**
 * Applies, in one transaction, the migrations that the database has not had.
 * @throws SetupError `data-other-role`, `data-version`
 */
export function migrate(
  connection: DatabaseSyncInstance,
  path: string,
  role: StoreRole,
  migrations: readonly string[],
): void {
  if (versionOf(connection, path, role, migrations.length) === migrations.length) return;
  connection.exec('BEGIN IMMEDIATE');
  try {
    // Read again: another process may have migrated in the meantime.
    const version = versionOf(connection, path, role, migrations.length);
    for (const sql of migrations.slice(version)) connection.exec(sql);
    connection.exec(`PRAGMA application_id = ${applicationIds[role]}`);
    connection.exec(`PRAGMA user_version = ${migrations.length}`);
    connection.exec('COMMIT');
  } catch (cause) {
    if (connection.isTransaction) connection.exec('ROLLBACK');
    throw cause;
  }
}

/**
 * Of a database as it is, without changing it; 0 for a new one.
 * @throws SetupError `data-other-role`, `data-version`
 */
export const schemaVersion = (connection: DatabaseSyncInstance, path: string, role: StoreRole): number =>
  versionOf(connection, path, role, migrationsOf(role).length);

/** 0 for a new file. */
function versionOf(connection: DatabaseSyncInstance, path: string, role: StoreRole, newest: number): number {
  const { applicationId, version, objects } = connection
    .prepare(
      `SELECT application_id AS applicationId, user_version AS version, (SELECT count(*) FROM sqlite_schema) AS objects
       FROM pragma_application_id, pragma_user_version`,
    )
    .get() as { readonly applicationId: number; readonly version: number; readonly objects: number };
  if (applicationId === 0 && version === 0 && objects === 0) return 0;
  if (applicationId !== applicationIds[role]) {
    const other = Object.entries(applicationIds).find(([, id]) => id === applicationId)?.[0] ?? 'another program';
    throw new SetupError(
      'data-other-role',
      `${path} belongs to a ${other}, not a ${role}: name the folder of a ${role}`,
    );
  }
  if (version > newest) {
    throw new SetupError(
      'data-version',
      `${path} was written by a newer version (schema ${version}, known here: ${newest}): update this program`,
    );
  }
  return version;
}
