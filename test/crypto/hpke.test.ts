import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromHex, toHex, utf8 } from '../../crypto/bytes.js';
import { deriveKeyPair, hpkeOpen, hpkeSeal } from '../../crypto/hpke.js';
import type { SuiteName } from '../../crypto/suite.js';
import { allSuites, expectRefused, filled, pairs, vectors } from './suite-pairs.js';

type Hex = 'name' | 'info' | 'ikmE' | 'skEm' | 'ikmR' | 'pkRm' | 'skRm' | 'enc' | 'aad' | 'plaintext' | 'ciphertext';
type Exchange = Readonly<Record<Hex, string>> & { readonly suite: SuiteName };
const { exchanges } = vectors('rfc9180') as { readonly exchanges: readonly Exchange[] };

describe.each(allSuites)('HPKE with $on', ({ suite }) => {
  it.each(exchanges.filter((exchange) => exchange.suite === suite.name))(
    'gives what RFC 9180 $name gives',
    (vector) => {
      const recipient = deriveKeyPair(suite, fromHex(vector.ikmR));
      expect(toHex(recipient.secret)).toBe(vector.skRm);
      expect(toHex(recipient.key.hpkePublicKey)).toBe(vector.pkRm);
      expect(toHex(deriveKeyPair(suite, fromHex(vector.ikmE)).secret)).toBe(vector.skEm);

      const [info, aad, plaintext] = [fromHex(vector.info), fromHex(vector.aad), fromHex(vector.plaintext)];
      const sealed = hpkeSeal(suite, fromHex(vector.pkRm), info, aad, plaintext, () => fromHex(vector.ikmE));
      expect(toHex(sealed.enc)).toBe(vector.enc);
      expect(toHex(sealed.ciphertext)).toBe(vector.ciphertext);
      expect(toHex(hpkeOpen(suite, recipient.key, sealed.enc, info, aad, sealed.ciphertext))).toBe(vector.plaintext);
    },
  );

  const recipient = deriveKeyPair(suite, filled(32, 1)).key;
  const [info, aad, plaintext] = [utf8('info'), utf8('aad'), utf8('a reading')];
  const sealed = hpkeSeal(suite, recipient.hpkePublicKey, info, aad, plaintext, (length) => filled(length, 2));
  const open = (changed: Partial<typeof sealed & { info: Uint8Array; aad: Uint8Array }>): Uint8Array => {
    const all = { info, aad, ...sealed, ...changed };
    return hpkeOpen(suite, recipient, all.enc, all.info, all.aad, all.ciphertext);
  };

  it('opens for the recipient', () => {
    expect(toHex(open({}))).toBe(toHex(plaintext));
  });

  it('opens for nobody else', () => {
    const other = deriveKeyPair(suite, filled(32, 3)).key;
    expectRefused(() => hpkeOpen(suite, other, sealed.enc, info, aad, sealed.ciphertext), 'hpke-open-failed');
  });

  it('opens under no other info, associated data, ciphertext or ephemeral key', () => {
    const otherEnc = deriveKeyPair(suite, filled(32, 4)).key.hpkePublicKey;
    expectRefused(() => open({ info: utf8('other') }), 'hpke-open-failed');
    expectRefused(() => open({ aad: utf8('other') }), 'hpke-open-failed');
    expectRefused(
      () => open({ ciphertext: sealed.ciphertext.map((byte, i) => (i === 3 ? byte ^ 1 : byte)) }),
      'hpke-open-failed',
    );
    expectRefused(() => open({ ciphertext: sealed.ciphertext.subarray(1) }), 'hpke-open-failed');
    expectRefused(() => open({ ciphertext: new Uint8Array(0) }), 'hpke-open-failed');
    expectRefused(() => open({ enc: otherEnc }), 'hpke-open-failed');
  });

  it('refuses an ephemeral or a recipient key that is none', () => {
    const bad = [
      new Uint8Array(0),
      new Uint8Array(suite.hpke.publicKeyBytes),
      new Uint8Array(suite.hpke.publicKeyBytes).fill(0xff),
      sealed.enc.subarray(1),
    ];
    for (const key of bad) {
      expectRefused(() => open({ enc: key }), 'key-invalid');
      expectRefused(() => hpkeSeal(suite, key, info, aad, plaintext, (length) => filled(length, 5)), 'key-invalid');
    }
  });
});

describe('HPKE with p256', () => {
  it.each(allSuites.filter(({ suite }) => suite.name === 'p256'))(
    'does not open when the ephemeral point is mirrored, though the agreement is the same ($on)',
    ({ suite }) => {
      const recipient = deriveKeyPair(suite, filled(32, 6)).key;
      const none = new Uint8Array(0);
      const { enc, ciphertext } = hpkeSeal(suite, recipient.hpkePublicKey, none, none, none, (n) => filled(n, 7));
      const mirrored = mirror(enc);
      expect(toHex(recipient.agree(suite.hpkeToWire(mirrored)))).toBe(toHex(recipient.agree(suite.hpkeToWire(enc))));
      expectRefused(() => hpkeOpen(suite, recipient, mirrored, none, none, ciphertext), 'hpke-open-failed');
    },
  );
});

describe.each(pairs)('HPKE with $name', ({ node, noble }) => {
  it('opens on one implementation what was sealed on the other', () => {
    const bytes = fc.uint8Array({ maxLength: 120 });
    const seed = fc.uint8Array({ minLength: 32, maxLength: 32 });
    fc.assert(
      fc.property(seed, seed, bytes, bytes, bytes, (ikmR, ikmE, info, aad, plaintext) => {
        const [nodeKey, nobleKey] = [deriveKeyPair(node, ikmR).key, deriveKeyPair(noble, ikmR).key];
        const byNode = hpkeSeal(node, nobleKey.hpkePublicKey, info, aad, plaintext, () => ikmE);
        const byNoble = hpkeSeal(noble, nodeKey.hpkePublicKey, info, aad, plaintext, () => ikmE);
        expect(toHex(byNode.ciphertext)).toBe(toHex(byNoble.ciphertext));
        expect(toHex(hpkeOpen(noble, nobleKey, byNode.enc, info, aad, byNode.ciphertext))).toBe(toHex(plaintext));
        expect(toHex(hpkeOpen(node, nodeKey, byNoble.enc, info, aad, byNoble.ciphertext))).toBe(toHex(plaintext));
      }),
      { numRuns: 6 },
    );
  });
});

/** (x, y) → (x, p − y). */
function mirror(point: Uint8Array): Uint8Array {
  const p = 2n ** 256n - 2n ** 224n + 2n ** 192n + 2n ** 96n - 1n;
  const y = (p - BigInt(`0x${toHex(point.subarray(33))}`)).toString(16).padStart(64, '0');
  return fromHex(toHex(point.subarray(0, 33)) + y);
}
