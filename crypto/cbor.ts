/**
 * CBOR in the core deterministic encoding of RFC 8949 §4.2.1, and nothing else: what decodes here re-encodes to the
 * same bytes, so indefinite lengths, longer-than-needed heads, unsorted or duplicate keys, odd floats and broken
 * UTF-8 are all refused by one comparison. Tags are handled by their only user, `cose.ts`. Where RFC 8949 leaves a
 * choice: a whole number within ±(2^53 − 1) is an integer, never a float; and cborg writes the subnormals of half
 * precision (below 2^-14) in 32 bits, so that is their one form here. A text may not begin with a byte order mark.
 */
import { decode, encode as cborgEncode, rfc8949EncodeOptions } from 'cborg';
import { equalBytes } from './bytes.js';
import { MalformedError } from './errors.js';
import { limits } from './limits.js';

export type CborItem = number | string | boolean | null | Uint8Array | readonly CborItem[] | CborMap;
export type CborMap = ReadonlyMap<number | string, CborItem>;

const encodeOptions = {
  ...rfc8949EncodeOptions,
  typeEncoders: {
    undefined: neverEncoded,
    number: (value: number) => (Number.isFinite(value) ? null : neverEncoded(value)),
  },
};

function neverEncoded(value: unknown): never {
  throw new TypeError(`${String(value)} is never encoded`);
}

/**
 * A copy, for cborg hands out views of Node's shared Buffer pool, whose `slice` shares memory.
 * @throws TypeError for undefined, NaN and infinities, which no peer would accept (a bug of ours, not of a peer)
 */
export const encode = (item: CborItem): Uint8Array => new Uint8Array(cborgEncode(item, encodeOptions));

const decodeOptions = {
  strict: true,
  useMaps: true,
  rejectDuplicateMapKeys: true,
  allowIndefinite: false,
  allowUndefined: false,
  allowInfinity: false,
  allowNaN: false,
  allowBigInt: false,
};

/** `protocol`: no floats, no maps. `maps`: integers only, maps allowed. `senml`: floats and maps (RFC 8428 §6). */
export type CborProfile = 'protocol' | 'maps' | 'senml';

/**
 * The strict gate for untrusted bytes.
 * @throws MalformedError `too-large`, `cbor-malformed`, `cbor-not-deterministic`
 */
export function decodeStrict(bytes: Uint8Array, maxBytes: number, profile: CborProfile = 'protocol'): CborItem {
  if (bytes.length > maxBytes) {
    throw new MalformedError('too-large', `${bytes.length} bytes where at most ${maxBytes} are allowed`);
  }
  let item: CborItem;
  try {
    item = decode(bytes, decodeOptions) as CborItem;
  } catch (cause) {
    throw new MalformedError('cbor-malformed', 'not well-formed CBOR of the kinds allowed here', cause);
  }
  assertProfile(item, profile, limits.cborDepth);
  if (!equalBytes(encode(item), bytes)) {
    throw new MalformedError('cbor-not-deterministic', 'not in the core deterministic encoding of RFC 8949');
  }
  return item;
}

function assertProfile(item: CborItem, profile: CborProfile, depthLeft: number): void {
  if (depthLeft === 0) throw new MalformedError('cbor-malformed', `nested deeper than ${limits.cborDepth} levels`);
  if (item instanceof Uint8Array) return;
  if (Array.isArray(item)) {
    for (const inner of item as readonly CborItem[]) assertProfile(inner, profile, depthLeft - 1);
  } else if (item instanceof Map) {
    if (profile === 'protocol') throw new MalformedError('cbor-malformed', 'a map where none is allowed');
    for (const [key, inner] of item as CborMap) {
      assertKey(key);
      assertProfile(inner, profile, depthLeft - 1);
    }
  } else if (typeof item === 'number' && profile !== 'senml' && !Number.isSafeInteger(item)) {
    throw new MalformedError('cbor-malformed', 'a float where none is allowed');
  }
}

/** Keys of any other type are compared by identity in a `Map`, so duplicates of them would pass. */
function assertKey(key: CborItem): void {
  if (typeof key === 'string' || Number.isSafeInteger(key)) return;
  throw new MalformedError('cbor-malformed', 'a map key that is neither an integer nor a text');
}
