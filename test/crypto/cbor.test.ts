import { readFileSync } from 'node:fs';
import { decode as cborXDecode, Encoder as CborXEncoder } from 'cbor-x';
import { decode as cbor2Decode, encode as cbor2Encode } from 'cbor2';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { concatBytes, fromHex, toHex } from '../../crypto/bytes.js';
import { decodeStrict, encode, type CborItem, type CborProfile } from '../../crypto/cbor.js';
import { MalformedError } from '../../crypto/errors.js';
import { limits } from '../../crypto/limits.js';
import { refusal } from './refusal.js';

const profiles: readonly CborProfile[] = ['protocol', 'maps', 'senml'];
const malformed = 'MalformedError cbor-malformed';
const notDeterministic = 'MalformedError cbor-not-deterministic';
const big = 300_000;

const verdict = (hex: string, profile: CborProfile = 'protocol'): string =>
  refusal(() => decodeStrict(fromHex(hex), big, profile));

type Example = Readonly<Record<'hex' | 'diagnostic' | CborProfile, string>>;
const appendixA = JSON.parse(
  readFileSync(new URL('../vectors/cbor/rfc8949-appendix-a.json', import.meta.url), 'utf8'),
) as { readonly examples: readonly Example[] };

describe('RFC 8949 Appendix A', () => {
  it.each(appendixA.examples)('$hex is $diagnostic: protocol $protocol, maps $maps, senml $senml', (example) => {
    for (const profile of profiles) {
      const expected = example[profile] === 'accepted' ? 'accepted' : `MalformedError ${example[profile]}`;
      expect(verdict(example.hex, profile)).toBe(expected);
    }
  });

  it('re-encodes what is accepted, and cbor2 reads the same value in it', () => {
    const accepted = appendixA.examples.filter(({ senml }) => senml === 'accepted');
    expect(accepted.length).toBeGreaterThan(30);
    for (const { hex } of accepted) {
      const item = decodeStrict(fromHex(hex), big, 'senml');
      expect(toHex(encode(item))).toBe(hex);
      expect(cbor2Decode(fromHex(hex), { cde: true, preferMap: true })).toEqual(item);
    }
  });
});

describe('the gate refuses', () => {
  it.each([
    ['nothing at all', '', malformed],
    ['an integer that fits its first byte, in two', '1800', malformed],
    ['an integer in more bytes than it needs', '1900ff', malformed],
    ['a 32-bit head for 16 bits', '1a0000ffff', malformed],
    ['a 64-bit head for 32 bits', '1b00000000ffffffff', malformed],
    ['a negative integer in more bytes than it needs', '3817', malformed],
    ['a byte string with a long head', '580100', malformed],
    ['a text with a long head', '7900026161', malformed],
    ['an array with a long head', '980100', malformed],
    ['an array of indefinite length', '9f01ff', malformed],
    ['a byte string of indefinite length', '5f4101ff', malformed],
    ['a text of indefinite length', '7f6161ff', malformed],
    ['a break alone', 'ff', malformed],
    ['a break in an array', '81ff', malformed],
    ['a reserved head', '1c', malformed],
    ['a tag inside', '82c001', malformed],
    ['a tag of COSE inside', '81d28440a04040', malformed],
    ['a bignum', '81c24101', malformed],
    ['a record tag, as cbor-x makes functions of', '81d9dfff8301028101', malformed],
    ['an integer above 2^53 - 1', '1b0020000000000000', malformed],
    ['an integer below 1 - 2^53', '3b001fffffffffffff', malformed],
    ['undefined', '81f7', malformed],
    ['a simple value', '81e0', malformed],
    ['false in two bytes', 'f814', malformed],
    ['a map', 'a0', malformed],
    ['a float', 'f93e00', malformed],
    ['1 as a float', 'f93c00', notDeterministic],
    ['-0', 'f98000', notDeterministic],
    ['NaN', 'f97e00', malformed],
    ['Infinity', 'f97c00', malformed],
    ['a text that is not UTF-8', '61ff', notDeterministic],
    ['a text with a surrogate in it', '63eda080', notDeterministic],
    ['a text with an overlong form', '62c080', notDeterministic],
    ['a text that begins with a byte order mark, which text decoders drop', '64efbbbf61', notDeterministic],
  ])('%s', (_, hex, expected) => {
    expect(verdict(hex)).toBe(expected);
  });

  it.each<readonly [string, string, string]>([
    ['the same key twice', 'a201000101', malformed],
    ['the same text key twice', 'a2616100616101', malformed],
    ['keys out of order', 'a202000100', notDeterministic],
    ['keys in the order of RFC 7049, shorter ones first', 'a22000181800', notDeterministic],
    ['a byte string as key, whose duplicates no Map would see', 'a2410001410002', malformed],
    ['an array as key', 'a2800180 02'.replace(' ', ''), malformed],
    ['a boolean as key', 'a1f500', malformed],
    ['a float as key', 'a1fb3ff199999999999a00', malformed],
    ['a map of indefinite length', 'bf0100ff', malformed],
    ['a map that ends after a key', 'a101', malformed],
    ['undefined as value', 'a101f7', malformed],
  ])('%s, where maps are allowed', (_, hex, expected) => {
    expect(verdict(hex, 'maps')).toBe(expected);
    expect(verdict(hex, 'senml')).toBe(expected);
  });

  it.each([
    ['1 as a float', 'f93c00'],
    ['100000 as a float', 'fa47c35000'],
    ['1.5 in 32 bits', 'fa3fc00000'],
    ['1.1 in 64 bits that 32 could hold', 'fb3ff19999a0000000'],
    ['2^-24 in 32 bits, which the least subnormal of 16 holds', 'fa33800000'],
    ['-0', 'f98000'],
  ])('%s, where floats are allowed', (_, hex) => {
    expect(verdict(hex, 'senml')).toBe(notDeterministic);
  });

  it('a float in a map, where only maps are allowed', () => {
    expect(verdict('a101f93e00', 'maps')).toBe(malformed);
    expect(verdict('a101f93e00', 'senml')).toBe('accepted');
  });

  const message = encode([new Uint8Array(8), 7, -300, 'reason', null, true, [70_000, new Uint8Array(300)]]);

  it('a message cut short at every byte', () => {
    for (let length = 0; length < message.length; length++) {
      expect(refusal(() => decodeStrict(message.subarray(0, length), big))).toBe(malformed);
    }
  });

  it('whatever follows a message', () => {
    expect(refusal(() => decodeStrict(message, big))).toBe('accepted');
    for (let byte = 0; byte <= 0xff; byte++) {
      expect(refusal(() => decodeStrict(concatBytes(message, Uint8Array.of(byte)), big))).toBe(malformed);
    }
  });

  it('what is larger than allowed, before it looks at it', () => {
    expect(refusal(() => decodeStrict(new Uint8Array(11).fill(0xff), 10))).toBe('MalformedError too-large');
    const exact = encode(new Uint8Array(8));
    expect(refusal(() => decodeStrict(exact, exact.length))).toBe('accepted');
    expect(refusal(() => decodeStrict(exact, exact.length - 1))).toBe('MalformedError too-large');
  });

  it('one level of nesting more than allowed', () => {
    const nested = (levels: number): string => '81'.repeat(levels) + '00';
    expect(verdict(nested(limits.cborDepth - 1))).toBe('accepted');
    expect(verdict(nested(limits.cborDepth))).toBe(malformed);
    const maps = (levels: number): string => 'a100'.repeat(levels) + '00';
    expect(verdict(maps(limits.cborDepth - 1), 'maps')).toBe('accepted');
    expect(verdict(maps(limits.cborDepth), 'maps')).toBe(malformed);
  });

  it.each([
    ['arrays', '81', '00'],
    ['arrays that never end', '81', ''],
    ['maps', 'a100', '00'],
    ['maps in their keys', 'a1', '0000'],
    ['tags', 'c1', '00'],
    ['arrays of indefinite length', '9f', '00'],
  ])('100,000 nested %s, and lives on', (_, head, end) => {
    expect(verdict(head.repeat(100_000) + end, 'senml')).toBe(malformed);
  });

  it.each([
    ['bytes', '5'],
    ['text', '7'],
    ['items', '9'],
    ['map entries', 'b'],
  ])('2^31, 2^32 - 1, 2^53 - 1 and 2^63 %s that never come, without room made for them', (_, major) => {
    const lengths = ['a80000000', 'affffffff', 'b001fffffffffffff', 'b8000000000000000', 'bffffffffffffffff'];
    const before = process.memoryUsage();
    for (const length of lengths) expect(verdict(major + length + '00', 'senml')).toBe(malformed);
    const after = process.memoryUsage();
    expect(after.arrayBuffers - before.arrayBuffers + (after.heapUsed - before.heapUsed)).toBeLessThan(64_000_000);
  });
});

describe('decoded bytes', () => {
  it('are the receiver’s own: changing the input afterwards changes nothing', () => {
    const input = encode([Uint8Array.of(1, 2, 3)]);
    const item = decodeStrict(input, 100);
    input.fill(0);
    expect(item).toEqual([Uint8Array.of(1, 2, 3)]);
  });

  it('are plain Uint8Arrays, from a Buffer too', () => {
    const [bytes] = decodeStrict(Buffer.from('8143010203', 'hex'), 100) as readonly CborItem[];
    expect(Buffer.isBuffer(bytes)).toBe(false);
    expect(bytes).toEqual(Uint8Array.of(1, 2, 3));
  });
});

describe('encode', () => {
  it('gives plain bytes with memory of their own, however long', () => {
    for (let length = 0; length < 600; length += 7) {
      const bytes = encode(['text', 5_000_000_000, new Uint8Array(length), 'ü'.repeat(30)]);
      expect(bytes.constructor).toBe(Uint8Array);
      expect(bytes.buffer.byteLength).toBe(bytes.length);
    }
  });

  it('writes every number of half precision in 16 bits, or as an integer, and the gate reads it', () => {
    const values = Array.from({ length: 0x7c00 }, (_, bits) => {
      const [exponent, mantissa] = [bits >> 10, bits & 0x3ff];
      return exponent === 0 ? mantissa * 2 ** -24 : (1 + mantissa / 1024) * 2 ** (exponent - 15);
    });
    const isRead = (value: number): boolean => decodeStrict(encode(value), 3, 'senml') === value;
    expect(values.filter((value) => !isRead(value) || !isRead(-value))).toEqual([]);
  });

  it.each([
    ['undefined', [undefined]],
    ['undefined in a map', new Map([[1, undefined]])],
    ['NaN', [Number.NaN]],
    ['Infinity', new Map([[1, -Infinity]])],
  ])('throws on %s, which no peer would accept', (_, item) => {
    expect(() => encode(item as unknown as CborItem)).toThrow(TypeError);
  });

  it('is not disturbed by having thrown', () => {
    expect(() => encode(['before', Number.NaN])).toThrow(TypeError);
    expect(toHex(encode([1, 'a']))).toBe('82016161');
  });
});

const text = fc.string({ unit: 'binary' }).filter((value) => !value.startsWith('\ufeff'));
const leaf = fc.oneof(
  fc.maxSafeInteger(),
  fc.integer({ min: -300, max: 300 }),
  text,
  fc.boolean(),
  fc.constant(null),
  fc.uint8Array({ maxLength: 40 }),
);
/** Where dCBOR and we agree on the form of a number: from 2^53 to 2^64 it writes integers, which we do not have. */
const isCommonNumber = (value: number): boolean => Math.abs(value) < 2 ** 53;
const float = fc
  .oneof(fc.double({ noNaN: true }), fc.float({ noNaN: true }))
  .filter(isCommonNumber)
  .map((value) => (Object.is(value, -0) ? 0 : value));
const key = fc.oneof(fc.integer({ min: -70_000, max: 70_000 }), text);

function items(scalar: fc.Arbitrary<CborItem>, withMaps: boolean): fc.Arbitrary<CborItem> {
  return fc.letrec<{ item: CborItem }>((tie) => ({
    item: fc.oneof(
      { maxDepth: 4 },
      scalar,
      fc.array(tie('item'), { maxLength: 5 }),
      ...(withMaps ? [fc.array(fc.tuple(key, tie('item')), { maxLength: 5 }).map((all) => new Map(all))] : []),
    ),
  })).item;
}

const arbitrary: Readonly<Record<CborProfile, fc.Arbitrary<CborItem>>> = {
  protocol: items(leaf, false),
  maps: items(leaf, true),
  senml: items(fc.oneof(leaf, float), true),
};
/** dCBOR is deterministic CBOR that writes a whole number as an integer, as we do. */
const deterministic = { dcbor: true, rejectStringsNotNormalizedAs: null, preferMap: true } as const;
const cborX = new CborXEncoder({ useRecords: false, mapsAsObjects: false });
const readByCborX = (bytes: Uint8Array): unknown => asOurs(cborX.decode(bytes));

/** cbor-x makes Buffers of byte strings, and BigInts of all integers of 64 bits. */
function asOurs(item: unknown): unknown {
  if (typeof item === 'bigint') return Number(item);
  if (item instanceof Uint8Array) return Uint8Array.from(item);
  if (Array.isArray(item)) return item.map(asOurs);
  if (item instanceof Map) return new Map([...item].map(([name, value]) => [asOurs(name), asOurs(value)]));
  return item;
}

describe.each(profiles)('what encode makes of anything of the %s profile', (profile) => {
  it('the gate accepts and gives back', () => {
    fc.assert(
      fc.property(arbitrary[profile], (item) => {
        expect(decodeStrict(encode(item), 1_000_000, profile)).toEqual(item);
      }),
    );
  });

  it('cbor2 makes too, byte for byte, and reads; cbor-x reads the same', () => {
    fc.assert(
      fc.property(arbitrary[profile], (item) => {
        const bytes = encode(item);
        expect(toHex(cbor2Encode(item, { dcbor: true, stringNormalization: null }))).toBe(toHex(bytes));
        expect(cbor2Decode(bytes, deterministic)).toEqual(item);
        expect(readByCborX(bytes)).toEqual(item);
      }),
    );
  });
});

describe('against other decoders', () => {
  /** Short strings over few bytes meet valid and nearly valid CBOR often. */
  const nearlyCbor = fc.oneof(
    fc.array(fc.constantFrom(0, 1, 0x18, 0x20, 0x41, 0x61, 0x80, 0x82, 0xa0, 0xa1, 0xa2, 0xc1, 0xf4, 0xf9, 0xff), {
      maxLength: 8,
    }),
    fc.tuple(arbitrary.senml, fc.nat(), fc.integer({ min: 0, max: 255 })).map(([item, at, byte]) => {
      const bytes = encode(item);
      bytes[at % bytes.length] = byte;
      return [...bytes];
    }),
  );

  it('what the gate accepts of any bytes, cbor2’s strictest reading and cbor-x take for the same value', () => {
    fc.assert(
      fc.property(nearlyCbor, (bytes) => {
        const input = Uint8Array.from(bytes);
        if (refusal(() => decodeStrict(input, 10_000, 'senml')) !== 'accepted') return;
        const item = decodeStrict(input, 10_000, 'senml');
        if (!isOurKind(item)) return;
        expect(cbor2Decode(input, deterministic)).toEqual(item);
        expect(readByCborX(input)).toEqual(item);
      }),
      { numRuns: 2000 },
    );
  });

  it('what the gate accepts of any bytes, encode writes as the same bytes', () => {
    fc.assert(
      fc.property(nearlyCbor, fc.constantFrom(...profiles), (bytes, profile) => {
        const input = Uint8Array.from(bytes);
        if (refusal(() => decodeStrict(input, 10_000, profile)) !== 'accepted') return;
        expect(toHex(encode(decodeStrict(input, 10_000, profile)))).toBe(toHex(input));
      }),
      { numRuns: 2000 },
    );
  });

  it('what cbor2’s strictest reading accepts, the gate accepts too unless it is of a kind it does not have', () => {
    fc.assert(
      fc.property(nearlyCbor, (bytes) => {
        const input = Uint8Array.from(bytes);
        const item = readByCbor2(input);
        if (item === undefined || !isOurKind(item)) return;
        expect(decodeStrict(input, 10_000, 'senml')).toEqual(item);
      }),
      { numRuns: 2000 },
    );
  });

  it('nothing but a MalformedError ever comes out of arbitrary bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.constantFrom(...profiles), (input, profile) => {
        try {
          decodeStrict(input, 10_000, profile);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('cbor-x alone would take duplicate keys, which the gate does not', () => {
    const twice = fromHex('a201000101');
    expect(cborXDecode(twice)).toEqual({ 1: 1 });
    expect(refusal(() => decodeStrict(twice, 10, 'maps'))).toBe(malformed);
  });
});

function readByCbor2(input: Uint8Array): unknown {
  try {
    return cbor2Decode(input, { ...deterministic, maxDepth: limits.cborDepth - 1 });
  } catch {
    return undefined;
  }
}

function isOurKind(item: unknown): boolean {
  if (Array.isArray(item)) return item.every(isOurKind);
  if (item instanceof Map) {
    return [...item].every(
      ([name, value]) => (typeof name === 'string' || Number.isSafeInteger(name)) && isOurKind(value),
    );
  }
  if (typeof item === 'number') return isCommonNumber(item);
  if (typeof item === 'string') return !item.startsWith('\ufeff');
  return item === null || typeof item === 'boolean' || (item instanceof Uint8Array && item.constructor === Uint8Array);
}
