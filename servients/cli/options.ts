/** Option values as they are parsed and checked, with errors that say what would be right. */
import { isIP } from 'node:net';
import { InvalidArgumentError, Option } from 'commander';
import { parseDuration } from '../membership/durations.js';
import type { Range } from '../sim/random.js';

/** Of a backend, and the first of those of the demonstration. */
export const defaultPort = 8470;

/** A parser of whole numbers in a range. */
export const wholeNumber =
  (min: number, max: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw new InvalidArgumentError(`a whole number from ${min} to ${max} is needed.`);
    }
    return value;
  };

/** A parser of numbers of at least `min`. */
export const numberFrom =
  (min: number) =>
  (text: string): number => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isFinite(value) || value < min) {
      throw new InvalidArgumentError(`a number of at least ${min} is needed.`);
    }
    return value;
  };

/** A day, as `2026-01-31`. @returns days since 1970-01-01, UTC */
export function day(text: string): number {
  const ms = /^\d{4}-\d\d-\d\d$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : Number.NaN;
  if (Number.isNaN(ms) || ms < 0) throw new InvalidArgumentError('a day such as 2026-01-31 is needed.');
  return ms / 86_400_000;
}

/** A web address as a base: without the slash at its end, which most addresses are copied with. */
export function baseUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !['http:', 'https:'].includes(url.protocol) || url.search !== '' || url.hash !== '') {
    throw new InvalidArgumentError('an address such as http://127.0.0.1:8470 is needed.');
  }
  return url.href.replace(/\/+$/, '');
}

/** A parser of shares such as `20%`. @returns the rate, from 0 to 1 */
export function rate(text: string): number {
  const percent = /^(\d+(?:\.\d+)?)%$/.exec(text)?.[1];
  if (percent === undefined || Number(percent) > 100) {
    throw new InvalidArgumentError('a share such as 20% is needed, from 0% to 100%.');
  }
  return Number(percent) / 100;
}

/** A parser of times such as `300ms` or `50..400ms`. @returns the range in milliseconds */
export function timeRange(text: string): Range {
  const [, from, to, unit] = /^(\d+(?:\.\d+)?)(?:\.\.(\d+(?:\.\d+)?))?(ms|s)$/.exec(text) ?? [];
  const [min, max] = [Number(from), Number(to ?? from)].map((value) => value * (unit === 's' ? 1_000 : 1));
  if (min === undefined || max === undefined || Number.isNaN(min) || min > max || max > longestMs) {
    throw new InvalidArgumentError(
      'a time or a range such as 300ms, 50..400ms or 10..30s is needed, of at most 3600s.',
    );
  }
  return { min, max };
}

const longestMs = 3_600_000;

/** A group's id in hex. */
export function groupId(text: string): string {
  if (!/^[0-9a-f]{32}$/i.test(text)) throw new InvalidArgumentError('32 hex digits are needed.');
  return text.toLowerCase();
}

/** A length of time such as `15m`. @returns seconds */
export function durationOption(text: string): number {
  const seconds = parseDuration(text);
  if (seconds === undefined || seconds > 0xffff_ffff)
    throw new InvalidArgumentError('a duration such as 90s, 15m, 12h or 7d is needed.');
  return seconds;
}

/** `--wait` for as long as it usually takes, or `--wait 10m`. */
export const waitOption = (what: string): Option =>
  new Option('--wait [time]', `wait ${what}, for 2m where no time is given`).preset('2m').argParser(durationOption);

/** Of an option that may be given several times. */
export const collect = (value: string, all: readonly string[] = []): readonly string[] => [...all, value];

export const suiteOption = (): Option =>
  new Option('--suite <name>', 'key types').choices(['x25519', 'p256']).default('x25519');
/** An IP address, for an option that may be given again. */
export function ipAddress(text: string, before: readonly string[]): readonly string[] {
  if (isIP(text) === 0) throw new InvalidArgumentError('an IP address is needed.');
  return [...before, text];
}
