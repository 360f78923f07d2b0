/** Files that are there whole or not at all, and on the disk before anything relies on them. */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** Puts a file into the place of whatever was there. Errors are those of the file system. */
export function writeDurably(path: string, content: string | Uint8Array, mode: number): void {
  const temporary = `${path}.${process.pid}.new`;
  // Made anew, with its mode: never through what somebody else has put there.
  rmSync(temporary, { force: true });
  writeSynced(temporary, content, mode, 'wx');
  renameSync(temporary, path);
  syncFolder(dirname(path));
}

export function writeSynced(path: string, content: string | Uint8Array, mode: number, flags: 'w' | 'wx' = 'w'): void {
  const file = openSync(path, flags, mode);
  try {
    writeFileSync(file, content);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** What was written to a file without waiting for the disk. */
export function syncFile(path: string): void {
  const file = openSync(path, 'r+');
  fsyncSync(file);
  closeSync(file);
}

/** Windows opens no folders, and needs no such thing. */
export function syncFolder(folder: string): void {
  if (process.platform === 'win32') return;
  const file = openSync(folder, 'r');
  fsyncSync(file);
  closeSync(file);
}
