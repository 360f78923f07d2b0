/**
 * Registers of a device as it shows them, in one SenML pack: what a P1 port sends, or another source of ours.
 *
 * | record            | unit | fields                                                                            |
 * | ----------------- | ---- | --------------------------------------------------------------------------------- |
 * | a register's name | its  | v, or vs for a text; t: seconds from the reading's time, where it was taken before |
 * | a quality flag    |      | vb: true; absent otherwise                                                        |
 * | `source`          |      | vs: where the reading comes from; ut: the interval at which readings are taken, s |
 *
 * A register is named as the device names it, by its OBIS code (IEC 62056-61) where it has one: `1-0:1.8.1` is cumulative,
 * since its fourth part is 8, and stays so. Units are primary ones (RFC 8428 §12.1, RFC 8798 §2): energy in J and vars,
 * which keeps whole watt-hours whole numbers. What a device does not show is absent.
 */
import { MalformedError } from '../errors.js';
import type { Label, ResolvedRecord } from './senml-pack.js';

/** One SenML record under its JSON labels. */
export type SenmlJsonRecord = { readonly [label in Label]?: number | string | boolean };

export interface Register {
  /** Letters, digits and `-:./_`, at most 32; none of the names of quality flags, and not `source`. */
  readonly name: string;
  /** A primary unit of SenML; null for a text, or a number that has none. */
  readonly unit: string | null;
  readonly value: number | string;
  /** When it was taken, Unix seconds; absent: at the reading's time. */
  readonly timeS?: number;
}

/** What is known to be less than sure about a reading. */
const qualityFlags = [
  /** The device sends no checksum. */
  'unchecked',
  /** The device shows no time: it is that of reception, by the meter's clock. */
  'received-time',
  /** A register's own time came without telling whether it is summer time, and was taken for standard time. */
  'local-time',
] as const;
export type QualityFlag = (typeof qualityFlags)[number];

export interface RegisterReading {
  /** When the device showed the registers, in seconds since 1970-01-01T00:00Z. */
  readonly timeS: number;
  /** Readings are taken so often. */
  readonly intervalS: number;
  readonly source: string;
  readonly missing: false;
  readonly quality: readonly QualityFlag[];
  /** At least one, each name once. */
  readonly registers: readonly Register[];
}

const sourceForm = /^[a-z][a-z0-9-]{0,31}$/;
const registerForm = /^[A-Za-z0-9][\w\-:./]{0,31}$/;
const reserved: ReadonlySet<string> = new Set([...qualityFlags, 'source']);

/** @throws TypeError for registers that no receiver takes */
export function registerRecords(reading: RegisterReading): readonly SenmlJsonRecord[] {
  const { timeS, intervalS, source, quality, registers } = reading;
  const names = new Set(registers.map(({ name }) => name));
  const areNamed = names.size === registers.length && [...names].every(isRegisterName);
  if (!areNamed || registers.length === 0 || !sourceForm.test(source)) throw new TypeError('registers with names');
  return [
    ...registers.map(({ name, unit, value, timeS: takenS = timeS }) => ({
      n: name,
      ...(unit !== null && { u: unit }),
      ...(typeof value === 'number' ? { v: value } : { vs: value }),
      ...(takenS !== timeS && { t: takenS - timeS }),
    })),
    ...quality.map((flag) => ({ n: flag, vb: true })),
    { n: 'source', vs: source, ut: intervalS },
  ];
}

const isRegisterName = (name: string): boolean => registerForm.test(name) && !reserved.has(name);

/**
 * The reading of a pack whose `source` tells an interval; undefined for another pack. Names are without the base name.
 * @throws MalformedError `reading-malformed`
 */
export function registersOf(records: readonly ResolvedRecord[]): RegisterReading | undefined {
  const last = records.at(-1);
  if (last?.name !== 'source' || last.updateTimeS === undefined) return undefined;
  const { timeS, updateTimeS: intervalS } = last;
  if (!Number.isSafeInteger(intervalS) || intervalS < 1) throw malformed('no interval');
  const others = records.slice(0, -1);
  if (new Set(others.map(({ name }) => name)).size !== others.length) throw malformed('a register twice');
  const quality = qualityFlags.filter((flag) => others.some(({ name }) => name === flag));
  for (const record of others) {
    if (record.sum !== undefined || record.updateTimeS !== undefined) throw malformed(`a sum of ${record.name}`);
    if (isFlag(record.name) && record.value !== true) throw malformed(`${record.name} is true, or absent`);
  }
  const registers = others.filter(({ name }) => !isFlag(name)).map((record) => toRegister(record, timeS));
  if (registers.length === 0) throw malformed('no register');
  return { timeS, intervalS, source: sourceOf(last), missing: false, quality, registers };
}

const isFlag = (name: string): boolean => qualityFlags.some((flag) => flag === name);

function toRegister({ name, unit: given, value, timeS: takenS }: ResolvedRecord, timeS: number): Register {
  const unit = given ?? null;
  if (!isRegisterName(name) || (typeof value !== 'number' && typeof value !== 'string')) {
    throw malformed(`${name} is no register`);
  }
  if (typeof value === 'string' && unit !== null) throw malformed(`${name} is a text with a unit`);
  if (!Number.isSafeInteger(takenS) || takenS < 0) throw malformed('a time in fractions of a second');
  return { name, unit, value, ...(takenS !== timeS && { timeS: takenS }) };
}

/** @throws MalformedError `reading-malformed` */
export function sourceOf(record: ResolvedRecord | undefined): string {
  const source = record?.value;
  if (typeof source !== 'string' || !sourceForm.test(source) || record?.unit !== undefined)
    throw malformed('no source');
  return source;
}

const malformed = (message: string): MalformedError => new MalformedError('reading-malformed', message);
