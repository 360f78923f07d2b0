/** Reads the fixed arrays of the protocol out of decoded CBOR: parse once, then everything is typed. */
import type { CborItem } from './cbor.js';
import { MalformedError } from './errors.js';

const malformed = (what: string): MalformedError => new MalformedError('message-malformed', `not a valid ${what}`);

export const uint32Max = 0xffff_ffff;

/** @throws MalformedError `message-malformed` unless `item` is an array of exactly `length` (any, when omitted) */
export function arrayOf(item: CborItem | undefined, what: string, length?: number): readonly CborItem[] {
  if (!Array.isArray(item)) throw malformed(what);
  if (length !== undefined && item.length !== length) throw malformed(what);
  return item as readonly CborItem[];
}

/** @throws MalformedError `message-malformed` unless `item` is a byte string of one of these lengths (any, when none) */
export function bytesOf(item: CborItem | undefined, what: string, ...lengths: readonly number[]): Uint8Array {
  if (!(item instanceof Uint8Array)) throw malformed(what);
  if (lengths.length > 0 && !lengths.includes(item.length)) throw malformed(what);
  return item;
}

/** @throws MalformedError `message-malformed` unless `item` is an integer from `min` to `max` */
export function uintOf(item: CborItem | undefined, what: string, max = uint32Max, min = 0): number {
  if (typeof item !== 'number' || !Number.isSafeInteger(item) || item < min || item > max) throw malformed(what);
  return item;
}

/** @throws MalformedError `message-malformed` unless `item` is a boolean */
export function booleanOf(item: CborItem | undefined, what: string): boolean {
  if (typeof item !== 'boolean') throw malformed(what);
  return item;
}

/** `null` stays null; anything else goes through `parse`. */
export const nullOr = <T>(item: CborItem | undefined, parse: (item: CborItem | undefined) => T): T | null =>
  item === null ? null : parse(item);

/** @throws MalformedError `message-malformed` unless `item` is one of the given values */
export function oneOf<T extends number>(item: CborItem | undefined, what: string, values: readonly T[]): T {
  const found = values.find((value) => value === item);
  if (found === undefined) throw malformed(what);
  return found;
}
