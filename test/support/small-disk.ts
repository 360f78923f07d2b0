/** A disk under one folder of a process that a test can fill, and make room on again. */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

export interface SmallDisk {
  readonly kind: string;
  /** From now on nothing more can be written there, by the process of this id at least. */
  fill(pid: number): void;
  makeRoom(pid: number): void;
  remove(): void;
}

const succeeds = (command: string, ...args: readonly string[]): boolean => spawnSync(command, args).status === 0;

/** A file system of its own where this user may mount one; elsewhere the kernel's limit on the size of a process's files. */
export function makeSmallDisk(folder: string, megabytes = 4): SmallDisk {
  mkdirSync(folder, { recursive: true });
  return succeeds('mount', '-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', folder) ? mountedOn(folder) : limited;
}

function mountedOn(folder: string): SmallDisk {
  const ballast = join(folder, 'ballast');
  return {
    kind: 'a full file system',
    fill: () => {
      const file = openSync(ballast, 'w');
      try {
        for (;;) writeSync(file, new Uint8Array(4_096));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      } finally {
        closeSync(file);
      }
    },
    makeRoom: () => {
      rmSync(ballast);
    },
    remove: () => {
      if (!succeeds('umount', folder)) throw new Error(`${folder} is still in use`);
    },
  };
}

const limitFiles = (pid: number, limit: string): void => {
  if (!succeeds('prlimit', '--pid', String(pid), `--fsize=${limit}:`)) throw new Error('prlimit failed');
};

const limited: SmallDisk = {
  kind: 'a limit of file sizes',
  fill: (pid) => {
    limitFiles(pid, '0');
  },
  makeRoom: (pid) => {
    limitFiles(pid, 'unlimited');
  },
  remove: () => undefined,
};
