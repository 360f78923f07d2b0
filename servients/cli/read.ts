/** `gridring read`: opens readings from the backend's ciphertext with a reader's key file. */
import { Option, type Command } from 'commander';
import type { IntervalReading, Reading } from '../../crypto/envelope/senml.js';
import { VerificationError } from '../../crypto/errors.js';
import { readReaderFile } from '../reader-file.js';
import { Reader, type OpenedReading } from '../reader.js';
import { baseUrl, wholeNumber } from './options.js';
import { printJson, printLine, table } from './output.js';

interface Options {
  readonly meter: string;
  readonly reader: string;
  readonly backend?: string;
  readonly last: number;
  readonly csv?: true;
  readonly json?: true;
}

export function addRead(program: Command): void {
  program
    .command('read')
    .description('open readings of a meter with the key of a reader')
    .requiredOption('--meter <id>', 'the meter, as in "gridring things"')
    .requiredOption('--reader <file>', 'key file of the reader')
    .option('--backend <url>', 'another backend than the one in the key file', baseUrl)
    .option('--last <n>', 'how many, the newest', wholeNumber(1, 500), 10)
    .addOption(new Option('--csv', 'print comma-separated values').conflicts('json'))
    .option('--json', 'print one JSON object a reading')
    .action(async ({ meter, reader: file, backend, last, csv, json }: Options) => {
      const keys = readReaderFile(file);
      const reader = new Reader(backend === undefined ? keys : { ...keys, backend: { ...keys.backend, url: backend } });
      const id = meter.replace(/^urn:gridring:meter:/, '');
      const { opened, closed } = await reader.read(id, { last });
      if (json) for (const reading of opened) printJson(toJson(id, reading));
      else if (csv) for (const row of rowsOf(opened)) printLine(row.join(','));
      else if (opened.length > 0) printLine(table(rowsOf(opened)));
      else if (closed === 0) printLine(`${id} has no readings yet`);
      if (closed > 0) {
        const advice = 'this key was not granted those epochs; the membership authority decides who reads';
        throw new VerificationError(
          'not-granted',
          `${closed} of ${closed + opened.length} readings stay closed: ${advice}`,
        );
      }
    });
}

const columns = [
  'sequence',
  'time',
  'power_w',
  'energy_wh',
  'energy_total_wh',
  'voltage_v',
  'current_a',
  'source',
  'epoch',
];

/** Means of intervals one a line, or registers one a line: a meter has the one or the other. */
function rowsOf(opened: readonly OpenedReading[]): readonly (readonly string[])[] {
  const intervals = opened.flatMap(({ reading, ...place }) => ('registers' in reading ? [] : [{ ...place, reading }]));
  if (intervals.length === opened.length) return [columns, ...intervals.map(toRow)];
  return [registerColumns, ...opened.flatMap(toRegisterRows)];
}

const registerColumns = ['sequence', 'time', 'register', 'value', 'unit', 'taken', 'quality', 'source', 'epoch'];

function toRegisterRows({ sequence, epoch, reading }: OpenedReading): readonly (readonly string[])[] {
  if (!('registers' in reading)) return [];
  return reading.registers.map(({ name, value, unit, timeS = reading.timeS }) => [
    ...[String(sequence), isoTime(reading), name, String(value), unit ?? ''],
    ...[isoTime({ timeS }), reading.quality.join(' '), reading.source, String(epoch)],
  ]);
}

const isoTime = ({ timeS }: Pick<Reading, 'timeS'>): string => new Date(timeS * 1000).toISOString();
const decimals = (value: number, digits: number): string => value.toFixed(digits);

function toRow({
  sequence,
  epoch,
  reading,
}: Omit<OpenedReading, 'reading'> & { readonly reading: IntervalReading }): readonly string[] {
  const values = reading.missing
    ? ['missing', '', decimals(reading.energyTotalWh, 1), '', '']
    : [
        decimals(reading.powerW, 0),
        decimals(reading.energyWh, 2),
        decimals(reading.energyTotalWh, 1),
        decimals(reading.voltageV, 2),
        decimals(reading.currentA, 1),
      ];
  return [String(sequence), isoTime(reading), ...values, reading.source, String(epoch)];
}

const toJson = (meter: string, { sequence, epoch, reading }: OpenedReading): object => ({
  meter,
  sequence,
  epoch,
  time: isoTime(reading),
  ...reading,
});
