/**
 * A folder that one process of one role owns: its marker says what made it, its lock that nobody else is in it. The
 * lock is SQLite's on an empty file: the kernel drops it with the process, however that ends, and it holds within one
 * process too.
 */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { DatabaseSync, type DatabaseSyncInstance } from '@photostructure/sqlite';
import { GridringError, SetupError } from '../crypto/errors.js';
import type { SuiteName } from '../crypto/suite.js';
import { syncFolder, writeDurably } from './durable-file.js';
import { createPrivateFile, type Closable } from './stores/sqlite/database.js';
import type { StoreRole } from './stores/sqlite/migrate.js';
import { fileError, storeError } from './stores/sqlite/store-error.js';

const format = 1;
const markerName = 'gridring.json';
const lockName = 'gridring.lock';

interface Marker {
  readonly format: number;
  readonly role: string;
  readonly suite: string;
  /** ISO 8601. */
  readonly created: string;
  /** ISO 8601; absent where its state did not come from a backup. */
  readonly restored?: string;
}

export interface DataFolder extends Closable {
  readonly path: string;
  /** For the store of the folder's role. */
  readonly databasePath: string;
  readonly created: string;
  /** When its state came from a backup, Unix seconds; undefined where it did not. */
  readonly restoredS: number | undefined;
}

/** A connection that nobody refers to is closed by the garbage collector, and its lock with it. */
const held = new Set<DatabaseSyncInstance>();

/**
 * Opens a data folder, or makes an empty or missing one into a data folder, and keeps every other process out until it
 * is closed or the process ends. The folder may hold other files, such as provisioned keys.
 * @throws SetupError `data-locked`, `data-version`, `data-other-role`, `data-suite`, `data-corrupt`, `data-unreadable`;
 * UnavailableError `disk-full`
 */
export function openDataFolder(
  path: string,
  role: StoreRole,
  suite: SuiteName,
  /** Of a new folder for the state in a backup: the time of this, ISO 8601. */
  restored?: string,
): DataFolder {
  const folder = resolve(path);
  const databasePath = join(folder, `${role}.db`);
  attempt(folder, () => mkdirSync(folder, { recursive: true, mode: 0o700 }));
  const lock = takeLock(folder);
  try {
    const created = new Date().toISOString();
    const fresh = { format, role, suite, created, ...(restored !== undefined && { restored }) };
    const marker = readMarker(folder) ?? writeMarker(folder, databasePath, fresh);
    assertFits(folder, marker, role, suite);
    return {
      path: folder,
      databasePath,
      created: marker.created,
      restoredS: marker.restored === undefined ? undefined : Math.floor(Date.parse(marker.restored) / 1000),
      close: () => {
        releaseLock(lock);
      },
    };
  } catch (cause) {
    releaseLock(lock);
    throw cause;
  }
}

/** POSIX drops the lock when this process closes any other descriptor of the file: nothing else may open it. */
function takeLock(folder: string): DatabaseSyncInstance {
  const path = join(folder, lockName);
  createPrivateFile(path);
  let lock: DatabaseSyncInstance | undefined;
  try {
    lock = new DatabaseSync(path, { timeout: 0 });
    lock.exec('BEGIN EXCLUSIVE');
  } catch (cause) {
    lock?.close();
    const error = storeError(path, cause);
    if (!(error instanceof GridringError && error.code === 'data-busy')) throw error;
    throw new SetupError(
      'data-locked',
      `the data folder ${folder} is in use by another process: end that one, or name another folder`,
      cause,
    );
  }
  held.add(lock);
  return lock;
}

function releaseLock(lock: DatabaseSyncInstance): void {
  held.delete(lock);
  if (lock.isOpen) lock.close();
}

function readMarker(folder: string): Marker | undefined {
  const path = join(folder, markerName);
  if (!existsSync(path)) return undefined;
  const text = attempt(path, () => readFileSync(path, 'utf8'));
  try {
    return parseMarker(JSON.parse(text));
  } catch (cause) {
    throw new SetupError('data-corrupt', `${path} is damaged: put back a backup of ${folder}`, cause);
  }
}

function parseMarker(value: unknown): Marker {
  const { format, role, suite, created, restored } = value as Readonly<Record<keyof Marker, unknown>>;
  if (typeof format !== 'number' || typeof role !== 'string') throw new TypeError('format or role is missing');
  if (typeof suite !== 'string' || typeof created !== 'string') throw new TypeError('suite or created is missing');
  if (restored === undefined) return { format, role, suite, created };
  if (typeof restored !== 'string' || Number.isNaN(Date.parse(restored))) throw new TypeError('restored is no time');
  return { format, role, suite, created, restored };
}

/** Whole or not at all, and on the disk before anything relies on it. */
function writeMarker(folder: string, databasePath: string, marker: Marker): Marker {
  const path = join(folder, markerName);
  if (existsSync(databasePath)) {
    throw new SetupError('data-corrupt', `${path} is missing beside ${databasePath}: put back a backup of ${folder}`);
  }
  attempt(path, () => {
    writeDurably(path, `${JSON.stringify(marker, null, 2)}\n`, 0o600);
    syncFolder(dirname(folder));
  });
  return marker;
}

function assertFits(folder: string, marker: Marker, role: StoreRole, suite: SuiteName): void {
  if (marker.format !== format) {
    throw new SetupError(
      'data-version',
      `the data folder ${folder} has format ${marker.format}, known here is ${format}: use the version that made it`,
    );
  }
  if (marker.role !== role) {
    throw new SetupError(
      'data-other-role',
      `the data folder ${folder} belongs to a ${marker.role}, not a ${role}: name the folder of a ${role}`,
    );
  }
  if (marker.suite !== suite) {
    throw new SetupError(
      'data-suite',
      `the data folder ${folder} was made for suite ${marker.suite}, not ${suite}: choose that suite, or another folder`,
    );
  }
}

function attempt<Result>(path: string, work: () => Result): Result {
  try {
    return work();
  } catch (cause) {
    throw fileError(path, cause);
  }
}
