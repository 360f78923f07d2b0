/**
 * Readings of a meter as SenML (RFC 8428): the plaintext of a reading envelope, in CBOR, and as JSON for other programs.
 * Means over an interval are here, and registers of devices in `senml-registers.ts`.
 *
 * Names are `urn:gridring:meter:<id>:` (the base name, the URI of the meter's certificate) and one of
 *
 * | record     | unit | fields                                                                             |
 * | ---------- | ---- | ---------------------------------------------------------------------------------- |
 * | `power`    | W    | v: mean over the interval; s: the energy register in W·s = J; ut: the interval in s |
 * | `reactive` | var  | v: mean over the interval                                                          |
 * | `voltage`  | V    | v: mean over the interval                                                          |
 * | `current`  | A    | v: mean over the interval                                                          |
 * | `missing`  |      | vb: true; then `power` has no v, and the other three are left out                  |
 * | `source`   |      | vs: where the reading comes from                                                   |
 *
 * W, var, V and A are primary units (RFC 8428 §12.1, RFC 8798 §2). Wh is a secondary one, which would ask every consumer
 * for SenML version 26 (RFC 9100 §4), and needs fractions where joules are whole numbers. The interval's energy is
 * power × interval by definition, so it is not sent. Whole numbers travel as CBOR integers, all others in the shortest
 * float that is exact.
 */
import { decodeStrict, encode, type CborItem } from '../cbor.js';
import { LimitError, MalformedError } from '../errors.js';
import { limits } from '../limits.js';
import { labels, resolvePack, type Label, type ResolvedRecord } from './senml-pack.js';
import {
  registerRecords,
  registersOf,
  sourceOf,
  type RegisterReading,
  type SenmlJsonRecord,
} from './senml-registers.js';

interface ReadingBase {
  /** End of the interval, in seconds since 1970-01-01T00:00Z; the register is that of this moment. */
  readonly timeS: number;
  readonly intervalS: number;
  /** The meter's cumulative register; a whole number of joules / 3600. */
  readonly energyTotalWh: number;
  /** Where the reading comes from, such as `replay`; whoever shows a reading shows this beside it. */
  readonly source: string;
}

/** Means over the interval that ends at `timeS`. */
export interface MeasuredReading extends ReadingBase {
  readonly missing: false;
  readonly powerW: number;
  /** `intervalEnergyWh(powerW, intervalS)` */
  readonly energyWh: number;
  readonly reactivePowerVar: number;
  readonly voltageV: number;
  readonly currentA: number;
}

/** An interval of which the meter says that it was not measured; the register stands still. */
export interface MissingReading extends ReadingBase {
  readonly missing: true;
}

/** Of one interval, as whoever knows the mean power gives it. */
export type IntervalReading = MeasuredReading | MissingReading;

export type Reading = IntervalReading | RegisterReading;

export interface MeterReadings {
  readonly meterId: string;
  /** Of intervals at least one, in ascending order of time; of registers one alone. */
  readonly readings: readonly Reading[];
}

export const joulesPerWh = 3600;

/** The energy in Wh of a mean power over an interval. */
export const intervalEnergyWh = (powerW: number, intervalS: number): number => (powerW * intervalS) / joulesPerWh;

/**
 * Readings of one meter, ascending in time, as one SenML pack in deterministic CBOR.
 * @throws LimitError `too-large` above `limits.envelope`
 * @throws TypeError for what no meter of ours makes: another id, a time before 1978-07-04 or out of order, a fraction of
 * a joule
 */
export function encodeSenml({ meterId, readings }: MeterReadings): Uint8Array {
  const records = toSenmlJson({ meterId, readings });
  const bytes = encode(records.map(toCborRecord));
  if (bytes.length > limits.envelope) {
    throw new LimitError('too-large', `${readings.length} readings make ${bytes.length} bytes of SenML`);
  }
  return bytes;
}

/** The same pack as application/senml+json has it, to be serialized. @throws TypeError as `encodeSenml` */
export function toSenmlJson({ meterId, readings }: MeterReadings): readonly SenmlJsonRecord[] {
  const [first] = readings;
  if (first === undefined || !meterIdForm.test(meterId)) throw new TypeError('readings of a meter with an id');
  const records: SenmlJsonRecord[] = [];
  let previousTimeS = absoluteTimeS - 1;
  for (const reading of readings) {
    if (!isTime(reading.timeS) || reading.timeS <= previousTimeS) throw new TypeError('times must ascend');
    previousTimeS = reading.timeS;
    if ('registers' in reading) {
      if (readings.length > 1) throw new TypeError('registers are in a pack of their own');
      records.push(...registerRecords(reading));
      continue;
    }
    const offsetS = reading.timeS - first.timeS;
    for (const record of recordsOf(reading)) records.push(offsetS === 0 ? record : { ...record, t: offsetS });
  }
  records[0] = { bn: `${namePrefix}${meterId}:`, bt: first.timeS, ...records[0] };
  return records;
}

/**
 * The readings of a pack that this schema describes, and no other; the caller compares `meterId` with the signer.
 * @throws MalformedError of the CBOR gate, of `resolvePack`, and `reading-malformed`
 */
export function decodeSenml(bytes: Uint8Array): MeterReadings {
  const records = resolvePack(decodeStrict(bytes, limits.envelope, 'senml'));
  const [meterId] = parseName(records[0]);
  const ofRegisters = registersOf(records.map((record) => ({ ...record, name: quantityOf(record, meterId) })));
  if (ofRegisters) {
    if (!isTime(ofRegisters.timeS)) throw malformed('a time that is not absolute, in whole seconds');
    return { meterId, readings: [ofRegisters] };
  }
  const readings: Reading[] = [];
  for (const group of groupByTime(records)) readings.push(toReading(group, meterId));
  return { meterId, readings };
}

const namePrefix = 'urn:gridring:meter:';
const meterIdForm = /^[A-Za-z0-9._-]{1,64}$/;
const nameForm = /^urn:gridring:meter:([A-Za-z0-9._-]{1,64}):([A-Za-z0-9][\w\-:./]{0,31})$/;

/** Below this, a SenML time is relative to now (RFC 8428 §4.5.3). */
const absoluteTimeS = 2 ** 28;
const isTime = (timeS: number): boolean => Number.isInteger(timeS) && timeS >= absoluteTimeS && timeS < 2 ** 32;

function recordsOf(reading: IntervalReading): readonly SenmlJsonRecord[] {
  const register = { u: 'W', s: toJoules(reading.energyTotalWh), ut: reading.intervalS };
  const source = { n: 'source', vs: reading.source };
  if (reading.missing) return [{ n: 'power', ...register }, { n: 'missing', vb: true }, source];
  return [
    { n: 'power', ...register, v: reading.powerW },
    { n: 'reactive', u: 'var', v: reading.reactivePowerVar },
    { n: 'voltage', u: 'V', v: reading.voltageV },
    { n: 'current', u: 'A', v: reading.currentA },
    source,
  ];
}

/** A register in whole joules, of its value in Wh. @throws TypeError when it is none */
export function toJoules(energyTotalWh: number): number {
  const joules = Math.round(energyTotalWh * joulesPerWh);
  if (joules < 0 || joules / joulesPerWh !== energyTotalWh) throw new TypeError('a register of whole joules');
  return joules;
}

const toCborRecord = (record: SenmlJsonRecord): CborItem =>
  new Map(Object.entries(record).map(([label, value]) => [labels[label as Label], value] as const));

function* groupByTime(records: readonly ResolvedRecord[]): Generator<readonly ResolvedRecord[]> {
  let group: ResolvedRecord[] = [];
  for (const record of records) {
    const timeS = group[0]?.timeS;
    if (timeS !== undefined && record.timeS !== timeS) {
      if (record.timeS < timeS) throw malformed('times do not ascend');
      yield group;
      group = [];
    }
    group.push(record);
  }
  yield group;
}

function toReading(group: readonly ResolvedRecord[], meterId: string): IntervalReading {
  const records = byQuantity(group, meterId);
  const { timeS, sum, updateTimeS: intervalS, unit } = records.get('power') ?? refuseWithout('power');
  if (!isTime(timeS)) throw malformed('a time that is not absolute, in whole seconds');
  if (unit !== 'W' || sum === undefined || !Number.isSafeInteger(sum) || sum < 0) throw malformed('no register in W·s');
  if (intervalS === undefined || !Number.isSafeInteger(intervalS) || intervalS < 1) throw malformed('no interval');
  const base = { timeS, intervalS, energyTotalWh: sum / joulesPerWh, source: sourceOf(records.get('source')) };
  if (records.has('missing')) return { ...base, ...toMissing(records) };
  if (records.size !== 5) throw malformed('records that do not belong to a reading');
  const powerW = quantity(records, 'power', 'W');
  return {
    ...base,
    missing: false,
    powerW,
    energyWh: intervalEnergyWh(powerW, intervalS),
    reactivePowerVar: quantity(records, 'reactive', 'var'),
    voltageV: quantity(records, 'voltage', 'V'),
    currentA: quantity(records, 'current', 'A'),
  };
}

function byQuantity(group: readonly ResolvedRecord[], meterId: string): ReadonlyMap<string, ResolvedRecord> {
  const records = new Map<string, ResolvedRecord>();
  for (const record of group) {
    const name = quantityOf(record, meterId);
    if (records.has(name)) throw malformed(`${name} twice at one time`);
    if (name !== 'power' && (record.sum ?? record.updateTimeS) !== undefined) throw malformed(`a sum of ${name}`);
    records.set(name, record);
  }
  return records;
}

function toMissing(records: ReadonlyMap<string, ResolvedRecord>): { readonly missing: true } {
  const missing = records.get('missing');
  if (missing?.value !== true || missing.unit !== undefined) throw malformed('missing is true, or absent');
  if (records.size !== 3 || records.get('power')?.value !== undefined) throw malformed('values in a missing reading');
  return { missing: true };
}

function quantity(records: ReadonlyMap<string, ResolvedRecord>, name: string, unit: string): number {
  const record = records.get(name) ?? refuseWithout(name);
  if (typeof record.value !== 'number' || record.unit !== unit) throw malformed(`${name} is not a number of ${unit}`);
  return record.value;
}

function quantityOf(record: ResolvedRecord, meterId: string): string {
  const [id, name] = parseName(record);
  if (id !== meterId) throw malformed('readings of more than one meter');
  return name;
}

function parseName(record: ResolvedRecord | undefined): readonly [meterId: string, name: string] {
  const [, meterId, name] = nameForm.exec(record?.name ?? '') ?? [];
  if (meterId === undefined || name === undefined) throw malformed('not the name of a meter and a quantity');
  return [meterId, name];
}

function refuseWithout(name: string): never {
  throw malformed(`a reading without ${name}`);
}

const malformed = (message: string): MalformedError => new MalformedError('reading-malformed', message);
