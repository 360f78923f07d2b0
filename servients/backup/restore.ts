/** `gridring restore`: a role from a sealed file into a new folder, checked before anything can use it. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import { MalformedError, SetupError } from '../../crypto/errors.js';
import type { SuiteName } from '../../crypto/suite.js';
import { suiteByName } from '../../crypto/suite-node.js';
import { readConfig } from '../config.js';
import { openDataFolder, type DataFolder } from '../data-folder.js';
import { syncFile, syncFolder, writeSynced } from '../durable-file.js';
import { readIdentity, type IdentityFiles } from '../identity-files.js';
import type { StoreRole } from '../stores/sqlite/migrate.js';
import { fileError, storeError } from '../stores/sqlite/store-error.js';
import { malformed, readArchive, type ArchiveRecord } from './archive.js';
import { assertPlain, configName } from './contents.js';
import { openFile, type Opening } from './sealing.js';
import { startAnew } from './session-state.js';
import { openSnapshot, TablesToFill } from './tables.js';
import { nothingChecked, verifyIdentity, verifyStore, type Checked } from './verify.js';
import { readTrust } from '../trust-files.js';

export interface RestorePlan {
  readonly file: string;
  readonly opening: Opening;
  /** A folder that is not there yet, or empty; undefined to verify only, and keep nothing. */
  readonly to: string | undefined;
  readonly verify: boolean;
  /** Where a backend's data goes instead of SQLite. */
  readonly databaseUrl: string | undefined;
  /** Unix seconds. */
  readonly nowS: number;
  readonly onProgress: (rows: number) => void;
}

export interface RestoreSummary {
  readonly role: StoreRole;
  readonly suite: SuiteName;
  /** Of the backup, Unix seconds. */
  readonly createdS: number;
  /** Of the program that made it. */
  readonly software: string;
  /** The restored configuration; undefined where nothing was kept. */
  readonly config: string | undefined;
  readonly files: number;
  readonly stores: number;
  readonly rows: number;
  /** Undefined where it was not asked for. */
  readonly checked: Checked | undefined;
}

/**
 * Restores into a folder beside, and gives it its name when all of it is there and right: whatever goes wrong, nothing is
 * half restored. A database of PostgreSQL is filled before, in one transaction.
 * @throws SetupError `folder-not-empty`, `backup-version`, `file-unreadable`, `identity-unusable`, `database-not-empty`;
 * MalformedError `backup-malformed`, `backup-truncated`; VerificationError `backup-key-wrong`, `backup-altered`,
 * `backup-unverified`; ConflictError `clock-behind`; UnavailableError `disk-full`
 */
export async function restoreBackup(plan: RestorePlan): Promise<RestoreSummary> {
  const to = plan.to === undefined ? undefined : resolve(plan.to);
  if (to !== undefined) assertUnused(to);
  const unfinished = to === undefined ? mkdtempSync(join(tmpdir(), 'gridring-verify-')) : `${to}.${process.pid}.new`;
  try {
    makeFolder(unfinished);
    const restored = await Restoration.read(plan, unfinished);
    const checked = plan.verify ? await restored.verify() : undefined;
    const { role, suite, createdS, software, files, stores, rows } = restored;
    const summary = { role, suite, createdS, software, files, stores, rows, checked };
    if (to === undefined) return { ...summary, config: undefined };
    await restored.finish(plan);
    if (existsSync(to)) rmdirSync(to);
    renameSync(unfinished, to);
    syncFolder(dirname(to));
    return { ...summary, config: join(to, configName) };
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
}

function assertUnused(folder: string): void {
  if (!existsSync(folder)) return;
  let isEmpty = false;
  try {
    isEmpty = readdirSync(folder).length === 0;
  } catch {
    // No folder.
  }
  if (!isEmpty) throw new SetupError('folder-not-empty', `${folder} is not empty: name a folder that is not there yet`);
}

function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw fileError(path, cause);
  }
}

interface RestoredStore {
  readonly folder: DataFolder;
  readonly tables: TablesToFill;
}

/** What the records of a backup make, one after the other. */
class Restoration {
  readonly role: StoreRole;
  readonly suite: SuiteName;
  readonly createdS: number;
  readonly software: string;
  readonly #folder: string;
  readonly #stores: string[] = [];
  readonly #nowS: number;
  #open: RestoredStore | undefined;
  files = 0;
  rows = 0;

  private constructor(folder: string, nowS: number, header: ArchiveRecord) {
    if (header.kind !== 'header') throw malformed('it does not begin as one');
    this.#folder = folder;
    this.#nowS = nowS;
    this.role = roleOf(header.role);
    this.suite = suiteByName(header.suite).name;
    this.createdS = header.createdS;
    this.software = header.software;
  }

  static async read({ file, opening, nowS, onProgress }: RestorePlan, folder: string): Promise<Restoration> {
    const records = readArchive(openFile(file, opening));
    try {
      const first = await records.next();
      if (first.done === true) throw malformed('it is empty');
      const restoration = new Restoration(folder, nowS, first.value);
      await restoration.#takeAll(records, onProgress);
      return restoration;
    } catch (error) {
      throw asMalformed(error);
    }
  }

  get stores(): number {
    return this.#stores.length;
  }

  async #takeAll(records: AsyncIterable<ArchiveRecord>, onProgress: RestorePlan['onProgress']): Promise<void> {
    try {
      for await (const record of records) {
        this.#take(record);
        if (record.kind === 'rows') onProgress(this.rows);
      }
    } finally {
      this.#abandon();
    }
  }

  #take(record: ArchiveRecord): void {
    switch (record.kind) {
      case 'header':
      case 'tableEnd':
        return;
      case 'file':
        this.#writeFile(record.name, record.content);
        return;
      case 'store':
        this.#closeStore();
        this.#openStore(record.place, record.schema);
        return;
      case 'table':
        this.#openedTables().table(record);
        return;
      case 'rows':
        this.#openedTables().rows(record.rows);
        this.rows += record.rows.length;
        return;
      case 'end':
        this.#closeStore();
        return;
      default:
        record satisfies never;
    }
  }

  #writeFile(name: string, content: Uint8Array): void {
    assertPlain(name);
    const path = join(this.#folder, name);
    makeFolder(dirname(path));
    try {
      writeSynced(path, content, 0o600);
    } catch (cause) {
      throw fileError(path, cause);
    }
    this.files += 1;
  }

  #openStore(place: string, schema: number): void {
    assertPlain(place);
    if (this.#stores.includes(place)) throw malformed('it holds a database twice');
    this.#stores.push(place);
    const folder = openDataFolder(
      join(this.#folder, place),
      this.role,
      this.suite,
      new Date(this.#nowS * 1000).toISOString(),
    );
    try {
      this.#open = { folder, tables: new TablesToFill(folder.databasePath, this.role, schema) };
    } catch (cause) {
      folder.close();
      throw cause;
    }
  }

  #openedTables(): TablesToFill {
    if (!this.#open) throw malformed('it has tables of no database');
    return this.#open.tables;
  }

  /** A database is finished when the next record is none of its own. */
  #closeStore(): void {
    this.#open?.tables.finish();
    this.#abandon();
  }

  #abandon(): void {
    this.#open?.tables.close();
    this.#open?.folder.close();
    this.#open = undefined;
  }

  /** @throws VerificationError `backup-unverified`; SetupError for files that do not fit together */
  async verify(): Promise<Checked> {
    const suite = suiteByName(this.suite);
    const config = readRoleConfig(this.role, join(this.#folder, configName));
    const trust = { suite, ...readTrust(suite, config.root), nowS: this.#nowS };
    for (const files of config.identities) verifyIdentity(trust, this.role, readIdentity(suite, files).certificates);
    let total = nothingChecked;
    for (const place of this.#stores) {
      const snapshot = openSnapshot(this.#database(place), this.role);
      try {
        total = sum(total, await verifyStore(trust, this.role, snapshot));
      } finally {
        await snapshot.close();
      }
    }
    return total;
  }

  /** Lets nothing be used a second time, and brings a backend's data where it belongs. */
  async finish({ databaseUrl, onProgress }: RestorePlan): Promise<void> {
    for (const place of this.#stores) {
      restart(this.#database(place), this.role, this.#nowS);
    }
    const [place] = this.#stores;
    if (databaseUrl === undefined || place === undefined) return;
    if (this.role !== 'backend') throw new SetupError('database-url', `a ${this.role} has no database of that kind`);
    const { fillPostgres } = await import('./postgres-tables.js');
    const source = openSnapshot(this.#database(place), this.role);
    try {
      await fillPostgres(databaseUrl, this.suite, source, onProgress);
    } finally {
      await source.close();
    }
    // One database is the truth; a second one would only be mistaken for it.
    rmSync(join(this.#folder, place), { recursive: true });
  }

  #database(place: string): string {
    return join(this.#folder, place, `${this.role}.db`);
  }
}

/** What was written under another name than its own, or by a newer program, has its own code already. */
function asMalformed(error: unknown): unknown {
  if (!(error instanceof MalformedError) || error.code.startsWith('backup-')) return error;
  return new MalformedError('backup-malformed', `no backup: ${error.message}`, error);
}

function roleOf(name: string): StoreRole {
  const role = (['backend', 'gateway', 'meter'] as const).find((known) => known === name);
  if (!role) throw malformed(`of a role that is not known: ${name.slice(0, 32)}`);
  return role;
}

function readRoleConfig(
  role: StoreRole,
  path: string,
): { readonly root: string; readonly identities: readonly IdentityFiles[] } {
  if (role === 'meter') {
    const { root, meters } = readConfig(role, path);
    return { root, identities: meters };
  }
  const config = readConfig(role, path);
  return { root: config.root, identities: [config] };
}

const sum = (a: Checked, b: Checked): Checked => ({
  lists: a.lists + b.lists,
  epochs: a.epochs + b.epochs,
  readings: a.readings + b.readings,
  grants: a.grants + b.grants,
  gaps: a.gaps + b.gaps,
  unlisted: a.unlisted + b.unlisted,
});

function restart(database: string, role: StoreRole, nowS: number): void {
  const connection = new DatabaseSync(database);
  try {
    connection.exec('BEGIN');
    startAnew(role, connection, nowS);
    connection.exec('COMMIT');
  } catch (cause) {
    throw storeError(database, cause);
  } finally {
    connection.close();
  }
  syncFile(database);
}
