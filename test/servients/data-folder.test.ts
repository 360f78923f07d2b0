import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { SetupError } from '../../crypto/errors.js';
import { openDataFolder } from '../../servients/data-folder.js';
import { openMeterStore } from '../../servients/stores/sqlite/meter-store.js';
import { compileScript, killChild, startChild } from './stores/child.js';
import { makeTemporaryFolder, removeFolder } from './stores/sqlite-places.js';

let parent: string;
let path: string;
beforeEach(() => {
  parent = makeTemporaryFolder();
  path = join(parent, 'meters', '1');
});
afterEach(() => {
  removeFolder(parent);
});

const marker = (): Record<string, unknown> =>
  JSON.parse(readFileSync(join(path, 'gridring.json'), 'utf8')) as Record<string, unknown>;

function refusal(work: () => unknown): SetupError {
  try {
    work();
  } catch (error) {
    if (error instanceof SetupError) return error;
    throw error;
  }
  throw new Error('was not refused');
}

it('a missing folder is made, for its owner alone, and marked', () => {
  const folder = openDataFolder(path, 'meter', 'x25519');
  expect(statSync(path).mode & 0o777).toBe(0o700);
  expect(marker()).toEqual({ format: 1, role: 'meter', suite: 'x25519', created: folder.created });
  for (const name of readdirSync(path)) expect(statSync(join(path, name)).mode & 0o777).toBe(0o600);
  folder.close();
});

it('a folder with provisioned files becomes a data folder, and opens again', () => {
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, 'device-key.pem'), 'key');
  const first = openDataFolder(path, 'meter', 'p256');
  openMeterStore(first.databasePath).close();
  first.close();
  const again = openDataFolder(path, 'meter', 'p256');
  expect(again.created).toBe(first.created);
  openMeterStore(again.databasePath).close();
  again.close();
});

it('a folder of another role, suite or format is refused by name, and stays as it was', () => {
  openDataFolder(path, 'gateway', 'x25519').close();
  const before = marker();
  expect(refusal(() => openDataFolder(path, 'meter', 'x25519'))).toMatchObject({ code: 'data-other-role' });
  const suite = refusal(() => openDataFolder(path, 'gateway', 'p256'));
  expect(suite).toMatchObject({ code: 'data-suite' });
  expect(suite.message).toContain(path);
  expect(marker()).toEqual(before);
  writeFileSync(join(path, 'gridring.json'), JSON.stringify({ ...before, format: 2 }));
  expect(refusal(() => openDataFolder(path, 'gateway', 'x25519'))).toMatchObject({ code: 'data-version' });
  writeFileSync(join(path, 'gridring.json'), JSON.stringify(before));
  openDataFolder(path, 'gateway', 'x25519').close();
});

it('a damaged marker, or a database whose marker is missing, is refused as damage', () => {
  openDataFolder(path, 'meter', 'x25519').close();
  for (const text of ['', '{"format":1', 'null', '{"format":1,"role":"meter"}']) {
    writeFileSync(join(path, 'gridring.json'), text);
    expect(refusal(() => openDataFolder(path, 'meter', 'x25519'))).toMatchObject({ code: 'data-corrupt' });
  }
  removeFolder(join(path, 'gridring.json'));
  openMeterStore(join(path, 'meter.db')).close();
  expect(refusal(() => openDataFolder(path, 'meter', 'x25519'))).toMatchObject({ code: 'data-corrupt' });
  expect(existsSync(join(path, 'gridring.json'))).toBe(false);
});

it('a folder is open once in a process, until it is closed', () => {
  const folder = openDataFolder(path, 'meter', 'x25519');
  const error = refusal(() => openDataFolder(path, 'meter', 'x25519'));
  expect(error).toMatchObject({ code: 'data-locked' });
  expect(error.message).toContain(path);
  folder.close();
  openDataFolder(path, 'meter', 'x25519').close();
});

it('a folder stays locked when nobody refers to it any more', async () => {
  openDataFolder(path, 'meter', 'x25519');
  setFlagsFromString('--expose_gc');
  const collectGarbage = runInNewContext('gc') as () => void;
  collectGarbage();
  // Finalizers run after the collection.
  await setImmediate();
  expect(refusal(() => openDataFolder(path, 'meter', 'x25519'))).toMatchObject({ code: 'data-locked' });
});

it('a folder of a living process is refused, and free at once when that process is killed', async () => {
  const holder = compileScript(new URL('./stores/holder.ts', import.meta.url), join(parent, 'compiled'));
  const child = startChild(holder, [path]);
  expect((await child.lines.next()).value).toBe(path);
  expect(refusal(() => openDataFolder(path, 'meter', 'x25519'))).toMatchObject({ code: 'data-locked' });
  await killChild(child);
  openDataFolder(path, 'meter', 'x25519').close();
});

it('a path that is no folder is refused as unreadable', () => {
  mkdirSync(join(parent, 'meters'));
  writeFileSync(path, '');
  const error = refusal(() => openDataFolder(path, 'meter', 'x25519'));
  expect(error).toMatchObject({ code: 'data-unreadable' });
  expect(error.message).toContain(path);
});

it('a folder of another user is refused as unreadable', () => {
  openDataFolder(path, 'meter', 'x25519').close();
  const isRoot = process.geteuid?.() === 0;
  if (isRoot) process.seteuid?.('nobody');
  else chmodSync(path, 0o000);
  try {
    const error = refusal(() => openDataFolder(path, 'meter', 'x25519'));
    expect(error).toMatchObject({ code: 'data-unreadable' });
    expect(error.message).toContain(path);
  } finally {
    if (isRoot) process.seteuid?.(0);
    else chmodSync(path, 0o700);
  }
});
