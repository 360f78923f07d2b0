/** `gridring backup`: a role's configuration, identities and databases in one sealed file, while the role runs. */
import { existsSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { utf8 } from '../../crypto/bytes.js';
import { SetupError } from '../../crypto/errors.js';
import { isPostgresUrl } from '../database-url.js';
import { syncFolder } from '../durable-file.js';
import { softwareVersion } from '../version.js';
import type { StoreRole } from '../stores/sqlite/migrate.js';
import { ArchiveWriter, type Row } from './archive.js';
import { configName, contentsOf, type Contents, type NamedStore } from './contents.js';
import { sealFile, type Protection } from './sealing.js';
import { withoutKeys } from './session-state.js';
import { openSnapshot } from './tables.js';

export interface BackupPlan {
  readonly role: StoreRole;
  readonly configFile: string;
  /** In the place of the one that the configuration names. */
  readonly databaseUrl: string | undefined;
  readonly out: string;
  readonly protection: Protection;
  /** Unix seconds. */
  readonly nowS: number;
  /** Hears of the rows so far, now and then. */
  readonly onProgress: (rows: number) => void;
}

export interface BackupSummary {
  readonly role: StoreRole;
  readonly out: string;
  readonly bytes: number;
  readonly files: number;
  readonly stores: number;
  readonly rows: number;
}

/**
 * Writes a backup; the file is there whole or not at all.
 * @throws SetupError `file-exists`, `file-unreadable`, `recipient-unusable`, those of `readConfig` and of the database;
 * UnavailableError `disk-full`
 */
export async function writeBackup(plan: BackupPlan): Promise<BackupSummary> {
  const { role, configFile, databaseUrl, out, protection } = plan;
  if (existsSync(out)) throw new SetupError('file-exists', `${out} is there already; choose another name`);
  const contents = contentsOf(role, configFile, databaseUrl);
  const counter = { rows: 0 };
  const unfinished = `${out}.${process.pid}.new`;
  try {
    const bytes = await sealFile(unfinished, plaintextOf(plan, contents, counter), protection);
    renameSync(unfinished, out);
    syncFolder(dirname(out));
    const { files, stores } = contents;
    return { role, out, bytes, files: files.length + 1, stores: stores.length, rows: counter.rows };
  } catch (error) {
    rmSync(unfinished, { force: true });
    throw error;
  }
}

async function* plaintextOf(
  { role, nowS, onProgress }: BackupPlan,
  { suite, config, files, stores }: Contents,
  counter: { rows: number },
): AsyncGenerator<Uint8Array> {
  const writer = new ArchiveWriter();
  yield writer.record({ kind: 'header', role, suite, createdS: nowS, software: softwareVersion() });
  yield writer.record({ kind: 'file', name: configName, content: utf8(config) });
  for (const { name, path } of files) yield writer.record({ kind: 'file', name, content: readFile(path) });
  for (const store of stores) {
    yield* storeRecords(writer, role, store, () => {
      counter.rows += 1;
      if (counter.rows % rowsOfProgress === 0) onProgress(counter.rows);
    });
  }
  yield writer.end();
}

const rowsOfProgress = 10_000;

async function* storeRecords(
  writer: ArchiveWriter,
  role: StoreRole,
  { place, database }: NamedStore,
  onRow: () => void,
): AsyncGenerator<Uint8Array> {
  const snapshot = isPostgresUrl(database)
    ? await (await import('./postgres-tables.js')).openPostgresSnapshot(database)
    : openSnapshot(database, role);
  try {
    yield writer.record({ kind: 'store', place, schema: snapshot.schema });
    for (const table of snapshot.tables) {
      const { name, columns } = table;
      const change = withoutKeys(role, name, columns);
      yield* writer.table(name, columns, changed(snapshot.rows(table), change, onRow));
    }
  } finally {
    await snapshot.close();
  }
}

async function* changed(rows: AsyncIterable<Row>, change: (row: Row) => Row, onRow: () => void): AsyncGenerator<Row> {
  for await (const row of rows) {
    onRow();
    yield change(row);
  }
}

function readFile(path: string): Uint8Array {
  try {
    return new Uint8Array(readFileSync(path));
  } catch (cause) {
    throw new SetupError('file-unreadable', `${path} cannot be read; check the path and its permissions`, cause);
  }
}
