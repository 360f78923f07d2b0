/** Opens the source that a meter's configuration, or the command line, names. */
import { pathToFileURL } from 'node:url';
import { resolve } from 'node:path';
import { SetupError } from '../../crypto/errors.js';
import { csvReplay, type ReplayOptions } from './csv.js';
import { readRecording, shippedReadings, type Recording } from './csv-file.js';
import { p1Source, type OnTrouble, type P1Options } from './p1.js';
import type { Clock } from './replay-clock.js';
import type { ReadingSource } from './source.js';

export type SourceConfig =
  | ({ readonly kind: 'csv'; readonly path?: string } & Partial<ReplayOptions>)
  | ({ readonly kind: 'p1' } & Pick<P1Options, 'port'> & Partial<P1Options>)
  | {
      readonly kind: 'module';
      /** An ES module; docs/sources.md says what it exports. */
      readonly path: string;
      /** Handed to it as it is. */
      readonly argument?: string;
    };

/** What a module is given. */
interface SourceParts {
  readonly argument: string;
  readonly clock: Clock;
  /** For the log. */
  readonly onTrouble: OnTrouble;
}

const p1Defaults = { serial: '115200-8n1', intervalS: 60, zoneMinutes: 60 } as const;

/** Recordings, each read once: all meters of a demo replay the same. */
export function sharedRecordings(): (path?: string) => Promise<Recording> {
  const recordings = new Map<string, Promise<Recording>>();
  return (path = shippedReadings()) => {
    const recording = recordings.get(path) ?? readRecording(path);
    recordings.set(path, recording);
    return recording;
  };
}

/** @throws SetupError with the code of the kind of source */
export async function openSource(
  config: SourceConfig,
  recordingOf: ReturnType<typeof sharedRecordings>,
  clock: Clock,
  onTrouble: OnTrouble,
): Promise<ReadingSource> {
  switch (config.kind) {
    case 'csv':
      return csvReplay(await recordingOf(config.path), { dayIndex: 0, speed: 1, ...config }, clock);
    case 'p1':
      return p1Source({ ...p1Defaults, ...config }, clock, onTrouble);
    case 'module':
      return openModule(config.path, { argument: config.argument ?? '', clock, onTrouble });
  }
}

/** `p1:/dev/ttyUSB0`, `p1:tcp://host:port`, `csv:file` or `module:file`. @throws SetupError `source-unknown` */
export function parseSource(text: string): SourceConfig {
  const [, kind, place = ''] = /^(p1|csv|module):(.+)$/.exec(text) ?? [];
  switch (kind) {
    case 'p1':
      return { kind, port: place };
    case 'csv':
      return { kind, path: resolve(place) };
    case 'module':
      return { kind, path: resolve(place) };
    default:
      throw new SetupError('source-unknown', `${text} is no source: p1:/dev/ttyUSB0, csv:FILE and module:FILE are`);
  }
}

async function openModule(path: string, parts: SourceParts): Promise<ReadingSource> {
  try {
    const module = (await import(pathToFileURL(path).href)) as { readonly default?: unknown };
    if (typeof module.default !== 'function') throw new TypeError('it has no default export that is a function');
    const source = (await (module.default as (parts: SourceParts) => unknown)(parts)) as ReadingSource;
    if (typeof source.readings !== 'function') throw new TypeError('what it returns has no readings');
    return source;
  } catch (cause) {
    throw new SetupError('source-module', `the source ${path} cannot be used: ${String(cause)}`, cause);
  }
}
