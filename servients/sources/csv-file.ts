/**
 * The file of recorded minutes: comma-separated, no quotes, columns found by their names in the first line, one row a
 * minute without a hole, whole days. A row whose values are all empty is a minute that was not measured.
 * `data/README.md` says what the columns mean.
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { SetupError } from '../../crypto/errors.js';
import { readCsv } from '../csv.js';

/** Seconds from row to row. */
export const intervalS = 60;
export const minutesPerDay = 1440;

/** Means over the minute; power in whole units, so that its energy is a whole number of joules. */
export interface RecordedMinute {
  readonly powerW: number;
  readonly reactivePowerVar: number;
  readonly voltageV: number;
  readonly currentA: number;
}

export interface Recording {
  /** Whole days from midnight; undefined where nothing was measured. */
  readonly minutes: readonly (RecordedMinute | undefined)[];
}

const columns = ['local_time', 'active_power_kw', 'reactive_power_kvar', 'voltage_v', 'current_a'] as const;

/** The path of the readings that ship with the package, seen from the sources and from `dist/` alike. */
export function shippedReadings(): string {
  const candidates = ['../../', '../../../'].map((root) =>
    fileURLToPath(new URL(`${root}data/household-power/household-power.csv`, import.meta.url)),
  );
  const found = candidates.find((path) => existsSync(path));
  if (found === undefined) {
    throw new SetupError('source-unreadable', `the readings that ship are not at ${candidates.join(' nor at ')}`);
  }
  return found;
}

/**
 * Reads a recording.
 * @throws SetupError `source-unreadable`, `source-empty`, `source-column-missing`, `source-row-malformed`,
 * `source-not-whole-days`
 */
export async function readRecording(path: string): Promise<Recording> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new SetupError('source-unreadable', `the readings at ${path} cannot be read: ${String(cause)}`, cause);
  }
  return parseRecording(text, path);
}

/** Parses the text of a recording; `path` is for the messages. @throws SetupError as `readRecording`, but `source-unreadable` */
export function parseRecording(text: string, path: string): Recording {
  const { header, columns: names, lines } = readCsv(text);
  if (lines.length === 0) throw new SetupError('source-empty', `${path} holds no readings`);
  const positions = findColumns(header, names, path);
  let startMinute: number | undefined;
  const minutes = lines.map(({ number, text: line, fields }, index) => {
    const refuse = (reason: string) =>
      new SetupError('source-row-malformed', `${path}, line ${number}: ${reason} (${line})`);
    const [time = '', ...values] = positions.map((position) => fields[position] ?? '');
    const minute = parseLocalMinute(time);
    if (minute === undefined) throw refuse('local_time is not of the form 2006-12-17T00:00:00');
    startMinute ??= minute;
    if (minute !== startMinute + index) throw refuse('local_time is not one minute after the line before');
    return parseMinute(values, refuse);
  });
  if ((startMinute ?? 0) % minutesPerDay !== 0 || minutes.length % minutesPerDay !== 0) {
    const reason = `${minutes.length} rows where whole days of ${minutesPerDay}, from midnight, are needed`;
    throw new SetupError('source-not-whole-days', `${path} holds ${reason}`);
  }
  return { minutes };
}

function findColumns(header: string, names: readonly string[], path: string): readonly number[] {
  return columns.map((column) => {
    const position = names.indexOf(column);
    if (position < 0) throw new SetupError('source-column-missing', `${path} has no column ${column}, only: ${header}`);
    return position;
  });
}

/** Minutes since 1970-01-01T00:00, in the wall time of the data; undefined for another form. */
function parseLocalMinute(text: string): number | undefined {
  const ms = /^\d{4}-\d\d-\d\dT\d\d:\d\d:00$/.test(text) ? Date.parse(`${text}Z`) : Number.NaN;
  return Number.isNaN(ms) ? undefined : ms / (intervalS * 1000);
}

function parseMinute(values: readonly string[], refuse: (reason: string) => SetupError): RecordedMinute | undefined {
  if (values.every((value) => value === '')) return undefined;
  const [powerKw = 0, reactivePowerKvar = 0, voltageV = 0, currentA = 0] = values.map((value, index) => {
    if (!/^\d+(\.\d+)?$/.test(value)) throw refuse(`${columns[index + 1] ?? ''} is not a number from 0`);
    return Number(value);
  });
  return {
    powerW: Math.round(powerKw * 1000),
    reactivePowerVar: Math.round(reactivePowerKvar * 1000),
    voltageV,
    currentA,
  };
}
