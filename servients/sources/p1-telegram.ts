/**
 * Telegrams of a P1 port (DSMR P1 companion standard 5.0.2 §5.12, on IEC 62056-21 mode D; also 2.2, 3 and 4, and what
 * Belgium, Hungary, Ireland, Luxembourg and Sweden make of it): bytes in, telegrams out. A telegram begins with `/`, ends
 * with `!` and, from version 4 on, the CRC-16 of all bytes from the one to the other. Whatever is not one is passed over.
 */
import { limits } from '../../crypto/limits.js';

export interface Telegram {
  readonly kind: 'telegram';
  /** False where it carries no checksum. */
  readonly isChecked: boolean;
  /** What stands between the brackets after each OBIS code. */
  readonly objects: ReadonlyMap<string, readonly string[]>;
}

/** A telegram that came damaged, or cut off. */
interface Garbled {
  readonly kind: 'garbled';
}

export type P1Item = Telegram | Garbled;

/** Finds telegrams in a stream of bytes that may begin, break off and go on anywhere. */
export class TelegramSplitter {
  #bytes = Buffer.alloc(0);

  push(chunk: Uint8Array): readonly P1Item[] {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    const items: P1Item[] = [];
    for (let item = this.#next(); item; item = this.#next()) items.push(item);
    return items;
  }

  /** Undefined until more has come. */
  #next(): P1Item | undefined {
    this.#drop(this.#bytes.indexOf('/'));
    const restart = this.#bytes.indexOf('\n/') + 1;
    const last = this.#bytes.indexOf('!');
    if (restart > 0 && (last < 0 || restart < last)) return this.#garbled(restart);
    const end = last < 0 ? -1 : this.#bytes.indexOf('\n', last);
    if (end < 0) return this.#bytes.length > limits.p1Telegram ? this.#garbled(-1) : undefined;
    const telegram = parseTelegram(this.#bytes.subarray(0, last + 1), this.#bytes.subarray(last + 1, end));
    // Another one may have begun in the midst of a line that broke off.
    if (!telegram) return this.#garbled(this.#bytes.lastIndexOf('/', last) || end);
    this.#drop(end + 1);
    return telegram;
  }

  #garbled(from: number): P1Item {
    this.#drop(from);
    return { kind: 'garbled' };
  }

  /** All before an offset; everything when it is negative. */
  #drop(from: number): void {
    this.#bytes = from < 0 ? Buffer.alloc(0) : this.#bytes.subarray(from);
  }
}

/** @param body from `/` to `!` @param rest of the line after it */
function parseTelegram(body: Buffer, rest: Buffer): Telegram | undefined {
  const checksum = rest.toString('latin1').replace(/\r$/, '');
  const isChecked = checksum !== '';
  // Some meters leave out leading zeros.
  if (isChecked && !(/^[0-9A-Fa-f]{1,4}$/.test(checksum) && parseInt(checksum, 16) === crc16(body))) return undefined;
  const objects = parseObjects(body.toString('latin1'), isChecked);
  // From version 4 on there is a checksum, and a clock: such a telegram without one has lost it on the way.
  if (!objects || (!isChecked && (objects.has(obis.version) || objects.has(obis.time)))) return undefined;
  return { kind: 'telegram', isChecked, objects };
}

/** Codes that say something of the telegram and are no registers. */
export const obis = { version: '1-3:0.2.8', time: '0-0:1.0.0' } as const;

const objectForm = /^(\d{1,3}-\d{1,3}:\d{1,3}\.\d{1,3}\.\d{1,3})((?:\([^()]*\))+)$/;
const moreForm = /^(?:\([^()]*\))+$/;

/** Lines that say something else are passed over where a checksum says that they came as they were sent. */
function parseObjects(text: string, isChecked: boolean): Telegram['objects'] | undefined {
  const objects = new Map<string, readonly string[]>();
  let last: string | undefined;
  const [, ...lines] = text.split(/\r?\n/);
  for (const line of lines) {
    if (line === '' || line === '!') continue;
    const [, code, values] = objectForm.exec(line) ?? [];
    if (code !== undefined && values !== undefined && !objects.has(code)) {
      objects.set(code, groupsOf(values));
      last = code;
    } else if (last !== undefined && moreForm.test(line)) {
      // Up to version 3, the value of a gas meter stands on a line of its own.
      objects.set(last, [...(objects.get(last) ?? []), ...groupsOf(line)]);
    } else if (!isChecked) return undefined;
  }
  return objects.size === 0 ? undefined : objects;
}

const groupsOf = (text: string): readonly string[] => text.slice(1, -1).split(')(');

/** CRC-16/ARC: x¹⁶ + x¹⁵ + x² + 1, least significant bit first, from 0. */
function crc16(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >> 1) ^ 0xa001 : crc >> 1;
  }
  return crc;
}
