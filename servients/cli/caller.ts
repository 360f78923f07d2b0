/** Who asks a backend, as commands that look at a community are told. */
import type { Command } from 'commander';
import { readReaderFile, type ReaderKeys } from '../reader-file.js';
import { baseUrl } from './options.js';

export interface CallerOptions {
  readonly reader: string;
  readonly backend?: string;
}

export const withCaller = (command: Command): Command =>
  command
    .option('--reader <file>', 'key file of who asks', 'gridring-data/readers/utility.json')
    .option('--backend <url>', 'another backend than the one in the key file', baseUrl);

/** @throws SetupError `file-unreadable`, `reader-file-unusable` */
export function callerKeys({ reader, backend }: CallerOptions): ReaderKeys {
  const keys = readReaderFile(reader);
  return backend === undefined ? keys : { ...keys, backend: { ...keys.backend, url: backend } };
}
