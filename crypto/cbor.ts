/**
 * CBOR in the core deterministic encoding of RFC 8949 §4.2.1, and nothing else: what decodes here re-encodes to the
 * same bytes. Indefinite lengths, longer-than-needed heads, unsorted or duplicate keys, odd floats and broken UTF-8 are
 * refused. Tags are handled by their only user, `cose.ts`. Where RFC 8949 leaves a choice: a whole number within
 * ±(2^53 − 1) is an integer, never a float. A text may not begin with a byte order mark.
 */
import { compareBytes, utf8 } from './bytes.js';
import { encodeFloat } from './cbor/float.js';
import { Reader } from './cbor/reader.js';
import { MalformedError } from './errors.js';

export type CborItem = number | string | boolean | null | Uint8Array | readonly CborItem[] | CborMap;
export type CborMap = ReadonlyMap<number | string, CborItem>;
type Encodable = CborItem | Embedded | readonly (CborItem | Embedded)[];

/** To encode: a byte string whose content is an encoded item. Written in place, it needs no memory of its own. */
export class Embedded {
  readonly item: CborItem;

  constructor(item: CborItem) {
    this.item = item;
  }
}

/**
 * What is being written, and how far. One for all calls, since a member of a ring encodes hundreds of times an epoch;
 * it may hold secrets, so it is overwritten after each.
 */
let scratch = new Uint8Array(1_024);
let written = 0;

/**
 * Plain bytes with memory of their own.
 * @throws TypeError for undefined, NaN and infinities, which no peer would accept (a bug of ours, not of a peer)
 */
export const encode = (item: CborItem): Uint8Array => withEncoded(item, (bytes) => bytes.slice());

/**
 * What `use` makes of the encoding, which it may not keep, since it is overwritten afterwards: for what is only hashed
 * or signed. `use` encodes nothing itself.
 * @throws TypeError as `encode`
 */
export function withEncoded<T>(item: Encodable, use: (bytes: Uint8Array) => T): T {
  written = 0;
  try {
    write(item);
    return use(scratch.subarray(0, written));
  } finally {
    scratch.fill(0, 0, written);
  }
}

function write(item: Encodable): void {
  if (item instanceof Uint8Array) writeString(2, item);
  else if (typeof item === 'number') writeNumber(item);
  else if (typeof item === 'string') writeText(item);
  else if (Array.isArray(item)) {
    writeHead(4, item.length);
    for (const inner of item as readonly Encodable[]) write(inner);
  } else if (item instanceof Map) writeMap(item as CborMap);
  else if (item instanceof Embedded) writeEmbedded(item.item);
  else writeSimple(item);
}

/** The shortest head; `value` is at most 2^53 − 1. */
function writeHead(major: number, value: number): void {
  reserve(9);
  const type = major << 5;
  if (value < 24) {
    scratch[written++] = type | value;
    return;
  }
  const size = value < 0x100 ? 0 : value < 0x1_0000 ? 1 : value <= 0xffff_ffff ? 2 : 3;
  scratch[written++] = type | (24 + size);
  for (let shift = 8 * 2 ** size - 8; shift >= 0; shift -= 8) scratch[written++] = Math.floor(value / 2 ** shift);
}

/** The length is known only afterwards: the content is moved to make room for its head. */
function writeEmbedded(item: CborItem): void {
  const start = written;
  write(item);
  const end = written;
  writeHead(2, end - start);
  const headBytes = written - end;
  scratch.copyWithin(start + headBytes, start, end);
  written = start;
  writeHead(2, end - start);
  written = end + headBytes;
}

function writeString(major: number, bytes: Uint8Array): void {
  writeHead(major, bytes.length);
  append(bytes);
}

/** The protocol's texts are ASCII, which needs no encoder. */
function writeText(text: string): void {
  const start = written;
  writeHead(3, text.length);
  reserve(text.length);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 0x7f) {
      written = start;
      writeString(3, utf8(text));
      return;
    }
    scratch[written++] = code;
  }
}

function writeNumber(value: number): void {
  if (!Number.isFinite(value)) neverEncoded(value);
  if (!Number.isSafeInteger(value)) append(encodeFloat(value));
  else if (value >= 0) writeHead(0, value);
  else writeHead(1, -1 - value);
}

function writeMap(map: CborMap): void {
  writeHead(5, map.size);
  if (!hasAscendingLabels(map)) {
    writeSorted(map);
    return;
  }
  for (const [label, value] of map) {
    write(label);
    write(value);
  }
}

/** The labels of a COSE header are in order already, and sorting costs more than all the rest of it. */
function hasAscendingLabels(map: CborMap): boolean {
  let last = -1;
  for (const label of map.keys()) {
    if (typeof label !== 'number' || !Number.isSafeInteger(label) || label <= last) return false;
    last = label;
  }
  return true;
}

/** By the bytes of the encoded keys. */
function writeSorted(map: CborMap): void {
  const start = written;
  const entries = [...map].map(([name, value]) => {
    write(name);
    const key = scratch.slice(start, written);
    written = start;
    return { key, value };
  });
  for (const { key, value } of entries.sort((a, b) => compareBytes(a.key, b.key))) {
    append(key);
    write(value);
  }
}

function writeSimple(value: unknown): void {
  if (value !== null && typeof value !== 'boolean') neverEncoded(value);
  reserve(1);
  scratch[written++] = value === null ? 0xf6 : value ? 0xf5 : 0xf4;
}

function append(bytes: Uint8Array): void {
  reserve(bytes.length);
  scratch.set(bytes, written);
  written += bytes.length;
}

function reserve(length: number): void {
  if (written + length <= scratch.length) return;
  const grown = new Uint8Array(2 * (written + length));
  grown.set(scratch);
  scratch.fill(0);
  scratch = grown;
}

function neverEncoded(value: unknown): never {
  throw new TypeError(`${String(value)} is never encoded`);
}

/** `protocol`: no floats, no maps. `maps`: integers only, maps allowed. `senml`: floats and maps (RFC 8428 §6). */
export type CborProfile = 'protocol' | 'maps' | 'senml';

/**
 * The strict gate for untrusted bytes. The byte strings of the item share one copy of them.
 * @throws MalformedError `too-large`, `cbor-malformed`, `cbor-not-deterministic`
 */
export function decodeStrict(bytes: Uint8Array, maxBytes: number, profile: CborProfile = 'protocol'): CborItem {
  if (bytes.length > maxBytes) {
    throw new MalformedError('too-large', `${bytes.length} bytes where at most ${maxBytes} are allowed`);
  }
  return new Reader(new Uint8Array(bytes), profile).readAll();
}
