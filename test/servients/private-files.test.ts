/** Files with keys, and who else may open them on their way to the disk. */
import {
  chmodSync,
  existsSync,
  openSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { writePrivate } from '../../servients/identity-files.js';
import { makeTemporaryFolder, removeFolder } from './stores/sqlite-places.js';

let folder: string;
beforeEach(() => {
  folder = makeTemporaryFolder();
});
afterEach(() => {
  removeFolder(folder);
});

const modeOf = (path: string): number => statSync(path).mode & 0o777;

it('a private file is its owner’s alone, and so are the folders that are made for it', () => {
  const path = join(folder, 'a/b/key.pem');
  writePrivate(path, 'secret');
  expect([modeOf(path), modeOf(join(folder, 'a')), readFileSync(path, 'utf8')]).toEqual([0o600, 0o700, 'secret']);
});

it('a private file takes the place of one that others may read, who learn nothing by having it open', () => {
  const path = join(folder, 'key.pem');
  writeFileSync(path, 'theirs');
  chmodSync(path, 0o666);
  const open = openSync(path, 'r');
  writePrivate(path, 'secret');
  expect([modeOf(path), readFileSync(path, 'utf8'), readFileSync(open, 'utf8')]).toEqual([0o600, 'secret', 'theirs']);
});

it('a private file goes through no link that somebody has laid under the name that it has until it is whole', () => {
  const path = join(folder, 'key.pem');
  symlinkSync(join(folder, 'elsewhere'), `${path}.${String(process.pid)}.new`);
  writePrivate(path, 'secret');
  expect([existsSync(join(folder, 'elsewhere')), readdirSync(folder)]).toEqual([false, ['key.pem']]);
});
