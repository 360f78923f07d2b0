import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  compareBytes,
  concatBytes,
  equalBytes,
  equalSecret,
  fromBase64Url,
  fromHex,
  toBase64Url,
  toHex,
  utf8,
  xorBytes,
} from '../../crypto/bytes.js';

const bytes = fc.uint8Array({ maxLength: 100 });
const bufferOf = (value: Uint8Array): Buffer => Buffer.from(value);

describe('hex and base64url', () => {
  it('are those of Node, both ways', () => {
    fc.assert(
      fc.property(bytes, (value) => {
        expect(toHex(value)).toBe(bufferOf(value).toString('hex'));
        expect(toBase64Url(value)).toBe(bufferOf(value).toString('base64url'));
        expect(fromHex(toHex(value).toUpperCase())).toEqual(value);
        expect(fromBase64Url(toBase64Url(value))).toEqual(value);
      }),
    );
  });

  it('hold for a quarter of a megabyte', () => {
    const large = new Uint8Array(256_000).fill(0xa5);
    expect(equalBytes(fromHex(toHex(large)), large)).toBe(true);
    expect(equalBytes(fromBase64Url(toBase64Url(large)), large)).toBe(true);
  });

  it.each(['0', '0g', 'abc', ' 00', '00\n', '0x00'])('hex is not %j', (text) => {
    expect(() => fromHex(text)).toThrow(TypeError);
  });

  it.each([
    ['a single letter', 'A'],
    ['five letters', 'AAAAA'],
    ['padding', 'AA=='],
    ['the alphabet of plain Base64', '+/8'],
    ['white space', 'AA AA'],
    ['a line end', 'AAAA\n'],
    ['bits that no byte uses', 'AB'],
    ['bits that no byte uses, after two bytes', 'AAB'],
    ['letters that are not ASCII', 'ÄÄÄÄ'],
  ])('base64url is not what has %s', (_, text) => {
    expect(() => fromBase64Url(text)).toThrow(TypeError);
  });

  it('base64url has one text for each byte string: whatever decodes is what encodes', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[\w\-+/= ]{0,12}$/), (text) => {
        try {
          expect(toBase64Url(fromBase64Url(text))).toBe(text);
        } catch (error) {
          expect(error).toBeInstanceOf(TypeError);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe('comparison', () => {
  it('is the order of Node’s Buffer.compare', () => {
    fc.assert(
      fc.property(bytes, bytes, (a, b) => {
        expect(Math.sign(compareBytes(a, b))).toBe(Buffer.compare(a, b));
        expect(Math.sign(compareBytes(concatBytes(a, b), a))).toBe(b.length === 0 ? 0 : 1);
      }),
    );
  });

  it('finds equal what is equal, and nothing else, with a secret or without', () => {
    fc.assert(
      fc.property(bytes, fc.nat(), fc.integer({ min: 1, max: 255 }), (a, at, change) => {
        const copy = a.slice();
        expect([equalBytes(a, copy), equalSecret(a, copy)]).toEqual([true, true]);
        const longer = concatBytes(a, Uint8Array.of(0));
        expect([equalBytes(a, longer), equalSecret(a, longer), equalSecret(longer, a)]).toEqual([false, false, false]);
        longer[at % longer.length]! ^= change;
        const other = concatBytes(a, Uint8Array.of(0));
        expect([equalBytes(other, longer), equalSecret(other, longer)]).toEqual([false, false]);
      }),
    );
  });
});

describe('concatenation and XOR', () => {
  it('joins in order, into memory of its own', () => {
    fc.assert(
      fc.property(fc.array(bytes, { maxLength: 5 }), (parts) => {
        expect(concatBytes(...parts)).toEqual(Uint8Array.from(Buffer.concat(parts)));
      }),
    );
    const part = Uint8Array.of(1);
    const joined = concatBytes(part);
    part[0] = 2;
    expect(joined).toEqual(Uint8Array.of(1));
  });

  it('XOR undoes itself, and gives zeros of a string with itself', () => {
    const pair = fc
      .nat(64)
      .chain((length) =>
        fc.tuple(
          fc.uint8Array({ minLength: length, maxLength: length }),
          fc.uint8Array({ minLength: length, maxLength: length }),
        ),
      );
    fc.assert(
      fc.property(pair, ([a, b]) => {
        expect(xorBytes(xorBytes(a, b), b)).toEqual(a);
        expect(xorBytes(a, a)).toEqual(new Uint8Array(a.length));
      }),
    );
  });

  it('XOR refuses different lengths, rather than to leave a rest uncovered', () => {
    expect(() => xorBytes(new Uint8Array(32), new Uint8Array(31))).toThrow(RangeError);
    expect(() => xorBytes(new Uint8Array(31), new Uint8Array(32))).toThrow(RangeError);
  });
});

it('utf8 is UTF-8', () => {
  expect(toHex(utf8('grün 水 𐅑'))).toBe(Buffer.from('grün 水 𐅑').toString('hex'));
});
