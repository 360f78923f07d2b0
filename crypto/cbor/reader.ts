/**
 * Reads one CBOR item (RFC 8949) and checks, while it reads, that every part has its one deterministic form. What is of
 * no kind that is allowed here ends the reading at once; another form of what is allowed is refused at the end.
 */
import { compareBytes, equalBytes, utf8 } from '../bytes.js';
import type { CborItem, CborMap, CborProfile } from '../cbor.js';
import { MalformedError } from '../errors.js';
import { limits } from '../limits.js';
import { decodeFloat, encodeFloat } from './float.js';

const malformed = (why: string): MalformedError => new MalformedError('cbor-malformed', why);

export class Reader {
  readonly #bytes: Uint8Array;
  readonly #profile: CborProfile;
  #at = 0;
  #isDeterministic = true;

  /** Byte strings that are read share memory with `bytes`. */
  constructor(bytes: Uint8Array, profile: CborProfile) {
    this.#bytes = bytes;
    this.#profile = profile;
  }

  /** The one item that the bytes are. @throws MalformedError `cbor-malformed`, `cbor-not-deterministic` */
  readAll(): CborItem {
    const item = this.#item(limits.cborDepth);
    if (this.#at < this.#bytes.length) throw malformed('bytes follow the item');
    if (this.#isDeterministic) return item;
    throw new MalformedError('cbor-not-deterministic', 'not in the core deterministic encoding of RFC 8949');
  }

  #item(depthLeft: number): CborItem {
    if (depthLeft === 0) throw malformed(`nested deeper than ${limits.cborDepth} levels`);
    const head = this.#byte();
    switch (head >> 5) {
      case 0:
        return this.#argument(head);
      case 1:
        return this.#negative(head);
      case 2:
        return this.#take(this.#argument(head));
      case 3:
        return this.#text(this.#argument(head));
      case 4:
        return this.#array(this.#argument(head), depthLeft - 1);
      case 5:
        return this.#map(this.#argument(head), depthLeft - 1);
      case 7:
        return this.#simpleOrFloat(head);
      default:
        throw malformed('a tag');
    }
  }

  #byte(): number {
    const byte = this.#bytes[this.#at++];
    if (byte === undefined) throw malformed('the bytes end within the item');
    return byte;
  }

  #take(length: number): Uint8Array {
    const start = this.#at;
    if (length > this.#bytes.length - start) throw malformed('the bytes end within the item');
    this.#at = start + length;
    return this.#bytes.subarray(start, this.#at);
  }

  /** The number in a head (RFC 8949 §3): at most 2^53 − 1, in the fewest bytes that hold it. */
  #argument(head: number): number {
    const info = head & 0x1f;
    if (info < 24) return info;
    if (info > 27) throw malformed('an indefinite length or a reserved head');
    let value = 0;
    for (let left = 2 ** (info - 24); left > 0; left--) value = value * 256 + this.#byte();
    if (value < (leastOf[info - 24] ?? 0)) throw malformed('a head that is longer than needed');
    if (value > Number.MAX_SAFE_INTEGER) throw malformed('a number beyond 2^53 - 1');
    return value;
  }

  #negative(head: number): number {
    const value = -1 - this.#argument(head);
    if (value < Number.MIN_SAFE_INTEGER) throw malformed('a number below 1 - 2^53');
    return value;
  }

  /** The decoder replaces what is not UTF-8 and drops a byte order mark: either way the bytes do not come back. */
  #text(length: number): string {
    const bytes = this.#take(length);
    const text = textDecoder.decode(bytes);
    this.#require(equalBytes(utf8(text), bytes));
    return text;
  }

  #array(length: number, depthLeft: number): readonly CborItem[] {
    const items: CborItem[] = [];
    for (let i = 0; i < length; i++) items.push(this.#item(depthLeft));
    return items;
  }

  /** Keys ascend by their bytes. Keys of other types are compared by identity in a `Map`: duplicates would pass. */
  #map(size: number, depthLeft: number): CborMap {
    if (this.#profile === 'protocol') throw malformed('a map where none is allowed');
    const map = new Map<number | string, CborItem>();
    let last: Uint8Array | undefined;
    for (let i = 0; i < size; i++) {
      const start = this.#at;
      const key = this.#item(depthLeft);
      if (typeof key !== 'string' && !isInteger(key))
        throw malformed('a map key that is neither an integer nor a text');
      if (map.has(key)) throw malformed('a map key that stands twice');
      const keyBytes = this.#bytes.subarray(start, this.#at);
      this.#require(last === undefined || compareBytes(last, keyBytes) < 0);
      last = keyBytes;
      map.set(key, this.#item(depthLeft));
    }
    return map;
  }

  #simpleOrFloat(head: number): number | boolean | null {
    switch (head) {
      case 0xf4:
        return false;
      case 0xf5:
        return true;
      case 0xf6:
        return null;
      case 0xf9:
      case 0xfa:
      case 0xfb:
        return this.#float(2 ** (head - 0xf8));
      default:
        throw malformed('undefined or another simple value');
    }
  }

  #float(size: number): number {
    const bytes = this.#take(size);
    const value = decodeFloat(bytes);
    if (!Number.isFinite(value)) throw malformed('NaN or an infinity');
    const isWhole = Number.isSafeInteger(value);
    if (!isWhole && this.#profile !== 'senml') throw malformed('a float where none is allowed');
    this.#require(!isWhole && encodeFloat(value).length === 1 + size);
    return value;
  }

  #require(isDeterministic: boolean): void {
    this.#isDeterministic &&= isDeterministic;
  }
}

/** The least number that needs 1, 2, 4 and 8 bytes after the head. */
const leastOf = [24, 0x100, 0x1_0000, 0x1_0000_0000];

const isInteger = (item: CborItem): item is number => Number.isSafeInteger(item);

const textDecoder = new TextDecoder();
