import { createHmac, hkdfSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromHex, toHex } from '../../crypto/bytes.js';
import { hkdfExpand, hkdfExtract, publicHmac } from '../../crypto/hash.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { allSuites, vectors } from './suite-pairs.js';

interface Derivation {
  readonly name: string;
  readonly inputKey: string;
  readonly salt: string;
  readonly info: string;
  readonly length: number;
  readonly prk: string;
  readonly output: string;
}
const { derivations } = vectors('rfc5869') as { readonly derivations: readonly Derivation[] };

describe.each(allSuites)('HKDF over $on', ({ suite }) => {
  it.each(derivations)('gives what RFC 5869 $name gives', ({ inputKey, salt, info, length, prk, output }) => {
    const extracted = hkdfExtract(suite, fromHex(salt), fromHex(inputKey));
    expect(toHex(extracted)).toBe(prk);
    expect(toHex(hkdfExpand(suite, extracted, fromHex(info), length))).toBe(output);
  });

  it('gives at most 255 blocks', () => {
    const prk = new Uint8Array(32);
    expect(hkdfExpand(suite, prk, new Uint8Array(0), 255 * 32)).toHaveLength(8160);
    expect(() => hkdfExpand(suite, prk, new Uint8Array(0), 255 * 32 + 1)).toThrow(RangeError);
  });
});

describe.each(allSuites)('publicHmac over $on', ({ suite }) => {
  it('agrees with the HMAC of OpenSSL on any key and data of at most a block, one after the other', () => {
    const block = fc.uint8Array({ maxLength: 64 });
    fc.assert(
      fc.property(block, block, (key, data) => {
        const expected = createHmac('sha256', key).update(data).digest('hex');
        expect(toHex(publicHmac(suite, key, data))).toBe(expected);
      }),
    );
  });

  it('throws on more than a block, instead of giving what is no HMAC', () => {
    const [block, more] = [new Uint8Array(64), new Uint8Array(65)];
    expect(() => publicHmac(suite, more, block)).toThrow(RangeError);
    expect(() => publicHmac(suite, block, more)).toThrow(RangeError);
  });
});

describe('HKDF', () => {
  it('agrees with the HKDF of OpenSSL on any salt, key, info and length', () => {
    const bytes = fc.uint8Array({ maxLength: 100 });
    fc.assert(
      fc.property(bytes, bytes, bytes, fc.integer({ min: 1, max: 200 }), (salt, inputKey, info, length) => {
        const ours = hkdfExpand(suiteX25519, hkdfExtract(suiteX25519, salt, inputKey), info, length);
        expect(toHex(ours)).toBe(toHex(new Uint8Array(hkdfSync('sha256', inputKey, salt, info, length))));
      }),
      { numRuns: 50 },
    );
  });
});
