import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { MalformedError, SetupError } from '../../crypto/errors.js';
import { generateAgreementKey, generateSigner } from '../../crypto/keys.js';
import { suiteById, suiteByName, suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import { allSuites, expectRefused, filled, pairs } from './suite-pairs.js';

const secret = fc.uint8Array({ minLength: 32, maxLength: 32 });
const data = fc.uint8Array({ maxLength: 200 });
const few = { numRuns: 12 };

describe.each(pairs)('$name on node:crypto and on noble', ({ node, noble }) => {
  it('has the same numbers', () => {
    const numbers = ({ id, name, signatureAlgorithm, aeadAlgorithm, aeadKeyBytes, hpke }: typeof node): unknown => ({
      id,
      name,
      signatureAlgorithm,
      aeadAlgorithm,
      aeadKeyBytes,
      hpke,
    });
    expect(numbers(noble)).toEqual(numbers(node));
  });

  it('makes the same keys of the same secret, and agrees across implementations', () => {
    fc.assert(
      fc.property(secret, secret, (a, b) => {
        const [nodeA, nobleA] = [node.agreementKey(a), noble.agreementKey(a)];
        const nobleB = noble.agreementKey(b);
        expect(toHex(nodeA.publicKey)).toBe(toHex(nobleA.publicKey));
        expect(toHex(nodeA.hpkePublicKey)).toBe(toHex(nobleA.hpkePublicKey));
        expect(toHex(nodeA.agree(nobleB.publicKey))).toBe(toHex(nobleB.agree(nodeA.publicKey)));
        expect(toHex(node.hpkeToWire(nobleA.hpkePublicKey))).toBe(toHex(noble.hpkeToWire(nodeA.hpkePublicKey)));
      }),
      few,
    );
  });

  it('verifies the signatures of the other, and no altered one', () => {
    fc.assert(
      fc.property(secret, data, fc.nat(511), (seed, message, bit) => {
        const [nodeSigner, nobleSigner] = [node.signer(seed), noble.signer(seed)];
        expect(toHex(nodeSigner.publicKey)).toBe(toHex(nobleSigner.publicKey));
        const signature = nodeSigner.sign(message);
        const [nodeVerifier, nobleVerifier] = [
          node.verifier(nobleSigner.publicKey),
          noble.verifier(nodeSigner.publicKey),
        ];
        expect(nobleVerifier.verify(message, signature)).toBe(true);
        expect(nodeVerifier.verify(message, nobleSigner.sign(message))).toBe(true);
        const altered = flipBit(signature, bit);
        expect(nobleVerifier.verify(message, altered)).toBe(false);
        expect(nodeVerifier.verify(message, altered)).toBe(false);
      }),
      few,
    );
  });

  it('says aside what it says at once, whatever the signature', async () => {
    const message = filled(100, 7);
    const signer = node.signer(filled(32, 9));
    const right = signer.sign(message);
    for (const { verifier } of [node, noble].map((suite) => ({ verifier: suite.verifier(signer.publicKey) }))) {
      for (const signature of [right, flipBit(right, 0), flipBit(right, 511), right.slice(1), new Uint8Array(64)]) {
        expect(await verifier.verifyAside(message, signature)).toBe(verifier.verify(message, signature));
      }
      expect(await verifier.verifyAside(message, right)).toBe(true);
    }
  });

  it('gives one verdict, and never throws, on whatever is said to be a signature', () => {
    const key = node.signer(filled(32, 1)).publicKey;
    const [nodeVerifier, nobleVerifier] = [node.verifier(key), noble.verifier(key)];
    const anything = fc.oneof(fc.uint8Array({ maxLength: 130 }), fc.uint8Array({ minLength: 64, maxLength: 64 }));
    fc.assert(
      fc.property(data, anything, (message, signature) => {
        expect(nodeVerifier.verify(message, signature)).toBe(false);
        expect(nobleVerifier.verify(message, signature)).toBe(false);
      }),
      { numRuns: 40 },
    );
  });

  it('hashes alike', () => {
    fc.assert(
      fc.property(data, data, (key, message) => {
        expect(toHex(node.sha256(message))).toBe(toHex(noble.sha256(message)));
        expect(toHex(node.publicSha256(message))).toBe(toHex(noble.sha256(message)));
        expect(toHex(node.hmacSha256(key, message))).toBe(toHex(noble.hmacSha256(key, message)));
      }),
    );
  });

  it('opens what the other sealed', () => {
    fc.assert(
      fc.property(
        secret,
        fc.uint8Array({ minLength: 12, maxLength: 12 }),
        data,
        data,
        (bytes, nonce, aad, plaintext) => {
          const key = bytes.slice(0, node.aeadKeyBytes);
          const sealed = node.seal(key, nonce, aad, plaintext);
          expect(toHex(noble.seal(key, nonce, aad, plaintext))).toBe(toHex(sealed));
          expect(toHex(noble.open(key, nonce, aad, sealed))).toBe(toHex(plaintext));
          expect(toHex(node.open(key, nonce, aad, sealed))).toBe(toHex(plaintext));
        },
      ),
      { numRuns: 40 },
    );
  });
});

describe.each(allSuites)('$on', ({ suite }) => {
  it('opens nothing of which one bit of key, nonce, associated data, ciphertext or tag is another', () => {
    const [key, nonce, aad, plaintext] = [filled(suite.aeadKeyBytes, 2), filled(12, 3), filled(9, 4), filled(20, 5)];
    const sealed = suite.seal(key, nonce, aad, plaintext);
    expect(toHex(suite.open(key, nonce, aad, sealed))).toBe(toHex(plaintext));
    for (let bit = 0; bit < sealed.length * 8; bit += 7) {
      expectRefused(() => suite.open(key, nonce, aad, flipBit(sealed, bit)), 'seal-invalid');
    }
    expectRefused(() => suite.open(flipBit(key, 5), nonce, aad, sealed), 'seal-invalid');
    expectRefused(() => suite.open(key, flipBit(nonce, 5), aad, sealed), 'seal-invalid');
    expectRefused(() => suite.open(key, nonce, flipBit(aad, 5), sealed), 'seal-invalid');
    expectRefused(() => suite.open(key, nonce, aad.subarray(1), sealed), 'seal-invalid');
  });

  it('opens nothing that was cut short, down to no byte at all', () => {
    const [key, nonce, aad] = [filled(suite.aeadKeyBytes, 6), filled(12, 7), filled(9, 8)];
    const sealed = suite.seal(key, nonce, aad, filled(4, 9));
    for (let length = 0; length < sealed.length; length++) {
      expectRefused(() => suite.open(key, nonce, aad, sealed.subarray(0, length)), 'seal-invalid');
    }
  });

  it('keeps its keys when the caller wipes what they were made from', () => {
    const [agreementSecret, signingSecret] = [filled(32, 10), filled(32, 11)];
    const [key, signer] = [suite.agreementKey(agreementSecret), suite.signer(signingSecret)];
    const publicKey = signer.publicKey.slice();
    const verifier = suite.verifier(publicKey);
    for (const bytes of [agreementSecret, signingSecret, publicKey]) bytes.fill(0);
    const peer = suite.agreementKey(filled(32, 12));
    expect(toHex(key.agree(peer.publicKey))).toBe(toHex(peer.agree(key.publicKey)));
    expect(verifier.verify(filled(5, 13), signer.sign(filled(5, 13)))).toBe(true);
    expect(toHex(verifier.publicKey)).toBe(toHex(signer.publicKey));
  });

  it('hands out plain Uint8Arrays, whose slices are copies', () => {
    const key = suite.agreementKey(filled(32, 14));
    const signer = suite.signer(filled(32, 15));
    const [aeadKey, nonce, none] = [filled(suite.aeadKeyBytes, 16), filled(12, 17), new Uint8Array(0)];
    const sealed = suite.seal(aeadKey, nonce, none, filled(3, 18));
    const outputs = [
      suite.sha256(none),
      suite.hmacSha256(none, none),
      key.publicKey,
      key.hpkePublicKey,
      key.agree(suite.agreementKey(filled(32, 19)).publicKey),
      suite.hpkeToWire(key.hpkePublicKey),
      signer.publicKey,
      signer.sign(none),
      suite.verifier(signer.publicKey).publicKey,
      sealed,
      suite.open(aeadKey, nonce, none, sealed),
    ];
    for (const bytes of outputs) expect(Object.getPrototypeOf(bytes)).toBe(Uint8Array.prototype);
  });

  it('makes fresh keys from the randomness it is given', () => {
    let drawn = 0;
    const random = (length: number): Uint8Array => filled(length, 20 + drawn++);
    const fresh = generateAgreementKey(suite, random);
    expect(toHex(fresh.secret)).toBe(toHex(filled(32, 20)));
    expect(toHex(fresh.key.publicKey)).toBe(toHex(suite.agreementKey(fresh.secret).publicKey));
    const { secret: seed, signer } = generateSigner(suite, random);
    expect(toHex(seed)).toBe(toHex(filled(32, 21)));
    expect(toHex(signer.publicKey)).toBe(toHex(suite.signer(seed).publicKey));
  });
});

describe('a fresh P-256 key', () => {
  const zeroFirst = (): ((length: number) => Uint8Array) => {
    let drawn = 0;
    return (length) => (drawn++ === 0 ? new Uint8Array(length) : filled(length, 30));
  };

  it('is drawn again when the random bytes are no scalar', () => {
    expect(toHex(generateAgreementKey(suiteP256, zeroFirst()).secret)).toBe(toHex(filled(32, 30)));
    expect(toHex(generateSigner(suiteP256, zeroFirst()).secret)).toBe(toHex(filled(32, 30)));
  });

  it('is given up when the source of randomness yields only zeros', () => {
    const broken = (length: number): Uint8Array => new Uint8Array(length);
    expectRefused(() => generateAgreementKey(suiteP256, broken), 'key-invalid');
    expectRefused(() => generateSigner(suiteP256, broken), 'key-invalid');
  });
});

describe('a suite', () => {
  it('is found by its name and by its number', () => {
    expect(suiteByName('x25519')).toBe(suiteX25519);
    expect(suiteByName('p256')).toBe(suiteP256);
    expect(suiteById(1)).toBe(suiteX25519);
    expect(suiteById(2)).toBe(suiteP256);
  });

  it('that nobody knows is an error of the configuration by name, of the message by number', () => {
    expect(() => suiteByName('x448')).toThrow(SetupError);
    expect(() => suiteById(3)).toThrow(MalformedError);
  });
});

function flipBit(bytes: Uint8Array, bit: number): Uint8Array {
  return bytes.map((byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));
}
