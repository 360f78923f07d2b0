/** What a telegram says, as registers: OBIS codes, SenML units, times in UTC. What it does not say is absent. */
import type { QualityFlag, Register, RegisterReading } from '../../crypto/envelope/senml-registers.js';
import { obis, type Telegram } from './p1-telegram.js';

export interface P1Clock {
  /** Minutes that standard (winter) time is ahead of UTC where the meter stands. */
  readonly zoneMinutes: number;
  /** When the telegram was received, Unix seconds. */
  readonly receivedS: number;
}

/** SenML unit, and by what a value is multiplied, by the unit of a telegram. */
const units: Readonly<Record<string, readonly [unit: string, factor: bigint]>> = {
  Wh: ['J', 3_600n],
  kWh: ['J', 3_600_000n],
  varh: ['vars', 3_600n],
  kvarh: ['vars', 3_600_000n],
  MJ: ['J', 1_000_000n],
  GJ: ['J', 1_000_000_000n],
  W: ['W', 1n],
  kW: ['W', 1_000n],
  var: ['var', 1n],
  kvar: ['var', 1_000n],
  VA: ['VA', 1n],
  kVA: ['VA', 1_000n],
  V: ['V', 1n],
  A: ['A', 1n],
  Hz: ['Hz', 1n],
  m3: ['m3', 1n],
};

/** Counters of failures, sags and swells. */
const counterForm = /^(?:0-0:96\.7\.\d+|1-0:(?:32|52|72)\.(?:32|36)\.0)$/;
/** Switch and valve positions, kinds of attached meters, power factors. */
const numberForm = /^(?:0-\d:96\.3\.10|0-\d:24\.4\.0|0-\d:24\.1\.0|1-0:(?:13|33|53|73)\.7\.0)$/;
/** Tariff, and whose registers these are: another device under the same code must not pass for the same. */
const textForm = /^(?:0-0:96\.14\.0|0-\d:96\.1\.[01]|0-0:42\.0\.0)$/;
/** Gas, water or heat up to version 3: time, and on the next line the value, with code and unit before it. */
const oldMbusForm = /^0-\d:24\.3\.0$/;

/** @returns undefined where it shows no register */
export function readingOf(telegram: Telegram, intervalS: number, clock: P1Clock): RegisterReading | undefined {
  const shown = timeOf(telegram.objects.get(obis.time)?.[0], clock);
  const timeS = shown?.timeS ?? clock.receivedS;
  const quality = new Set<QualityFlag>();
  if (!telegram.isChecked) quality.add('unchecked');
  if (!shown) quality.add('received-time');
  const registers: Register[] = [];
  for (const [code, values] of telegram.objects) {
    const found = registerOf(code, values, clock);
    if (!found) continue;
    const { name, unit, value, timeS: takenS = timeS, isLocal } = found;
    // A time ahead of the telegram's own is that of a device that has never been read.
    if (takenS > timeS + aheadS) continue;
    if (isLocal) quality.add('local-time');
    registers.push({ name, unit, value, ...(takenS !== timeS && { timeS: takenS }) });
  }
  if (registers.length === 0) return undefined;
  return { timeS, intervalS, source: 'p1', missing: false, quality: [...quality], registers };
}

/** Devices on the M-Bus have clocks of their own. */
const aheadS = 3_600;

type Found = Register & { readonly isLocal?: true };

function registerOf(name: string, values: readonly string[], clock: P1Clock): Found | undefined {
  const [first = '', second] = values;
  if (oldMbusForm.test(name)) return oldMbus(values, clock);
  if (textForm.test(name)) return first === '' ? undefined : { name, unit: null, value: first };
  if (second !== undefined) {
    const taken = timeOf(first, clock);
    const value = values.length === 2 ? quantity(name, second) : undefined;
    return taken && value && { ...value, timeS: taken.timeS };
  }
  if (counterForm.test(name)) return plain(name, first, 'count');
  return numberForm.test(name) ? plain(name, first, null) : quantity(name, first);
}

function oldMbus(values: readonly string[], clock: P1Clock): Found | undefined {
  const [time, , , , code = '', unit = '', value = ''] = values;
  const taken = timeOf(time, clock);
  const found = quantity(code, `${value}*${unit}`);
  if (!taken || !found || !/^0-\d:24\.2\.1$/.test(code)) return undefined;
  return { ...found, timeS: taken.timeS, ...(taken.isLocal && { isLocal: true }) };
}

function plain(name: string, text: string, unit: string | null): Register | undefined {
  return /^\d{1,15}(?:\.\d{1,6})?$/.test(text) ? { name, unit, value: Number(text) } : undefined;
}

function quantity(name: string, text: string): Register | undefined {
  const [, whole, fraction = '', of = ''] = /^(\d{1,12})(?:\.(\d{1,6}))?\*(\w{1,5})$/.exec(text) ?? [];
  const known = Object.hasOwn(units, of) ? units[of] : undefined;
  if (whole === undefined || !known) return undefined;
  const [unit, factor] = known;
  return { name, unit, value: scaled(`${whole}${fraction}`, factor, fraction.length) };
}

/** Exact where the result is a whole number: a float times a factor is not. */
function scaled(digits: string, factor: bigint, decimals: number): number {
  const [numerator, denominator] = [BigInt(digits) * factor, 10n ** BigInt(decimals)];
  return numerator % denominator === 0n ? Number(numerator / denominator) : Number(numerator) / Number(denominator);
}

/** `YYMMDDhhmmss` in local time, then S in summer and W in winter; neither, up to version 3. */
function timeOf(
  text: string | undefined,
  { zoneMinutes }: P1Clock,
): { readonly timeS: number; readonly isLocal: boolean } | undefined {
  const [, digits, season = ''] = /^(\d{12})([SW]?)$/.exec(text ?? '') ?? [];
  if (digits === undefined) return undefined;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = (digits.match(/\d\d/g) ?? []).map(Number);
  const ms = Date.UTC(2000 + year, month - 1, day, hour, minute, second);
  // Date takes a 63rd of the 25th month for a day years later.
  const isReal = new Date(ms).toISOString().replace(/\D/g, '').slice(2, 14) === digits;
  const aheadMinutes = zoneMinutes + (season === 'S' ? 60 : 0);
  return isReal ? { timeS: ms / 1000 - 60 * aheadMinutes, isLocal: season === '' } : undefined;
}
