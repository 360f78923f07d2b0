/** Real processes, killed while they write. */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { compileScript, killChild, lastLines, startChild } from './stores/child.js';
import { makeTemporaryFolder, removeFolder } from './stores/sqlite-places.js';
import { itemsPerCommit, openWriter, type WriterRole } from './stores/writers.js';

let compiled: string;
let writer: string;
beforeAll(() => {
  compiled = makeTemporaryFolder();
  writer = compileScript(new URL('./stores/writer.ts', import.meta.url), compiled);
});
afterAll(() => {
  removeFolder(compiled);
});

let folder: string;
beforeEach(() => {
  // On a disk, where a commit takes nearly all of the time, so that it is a commit that is cut off.
  folder = makeTemporaryFolder(tmpdir());
});
afterEach(() => {
  removeFolder(folder);
});

/** Opens the store anew, adds to it, and returns how many items it had before. */
async function reopen(role: WriterRole, path: string): Promise<number> {
  const store = openWriter[role](path);
  const count = await store.count();
  await store.write(count);
  expect(await store.count()).toBe(count + itemsPerCommit);
  store.close();
  return count;
}

describe.each(['meter', 'gateway', 'backend'] as const)('the store of a %s', (role) => {
  it('has all that was acknowledged, and nothing half, each time its process is killed', async () => {
    const path = join(folder, 'store.db');
    for (const commits of [1, 12]) {
      const child = startChild(writer, [role, path]);
      let acknowledged = 0;
      for (let i = 0; i < commits; i++) acknowledged = Number((await child.lines.next()).value);
      const rest = await killChild(child);
      acknowledged = Number(rest.at(-1) ?? acknowledged);
      const found = await reopen(role, path);
      expect(found % itemsPerCommit).toBe(0);
      // The last commit may have been made and not yet been told.
      expect([acknowledged, acknowledged + itemsPerCommit]).toContain(found);
    }
  });
});

it('a write that the file system has no room for is refused as disk-full, and what was acknowledged stays', async () => {
  const path = join(folder, 'store.db');
  const child = startChild(writer, ['gateway', path], 700);
  const lines = await lastLines(child);
  expect(lines.at(-1)).toBe('disk-full');
  expect(await reopen('gateway', path)).toBe(Number(lines.at(-2)));
});
