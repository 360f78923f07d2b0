import { createPrivateKey, createPublicKey, diffieHellman } from 'node:crypto';
import { ED25519_TORSION_SUBGROUP, ed25519 } from '@noble/curves/ed25519.js';
import { p256 } from '@noble/curves/nist.js';
import { bytesToNumberLE } from '@noble/curves/utils.js';
import { sha256, sha512 } from '@noble/hashes/sha2.js';
import { describe, expect, it } from 'vitest';
import { concatBytes, fromHex, toBase64Url, toHex, utf8 } from '../../crypto/bytes.js';
import { nobleSuiteP256, nobleSuiteX25519 } from '../../crypto/suite-noble.js';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import { bigEndian, expectRefused, filled, littleEndian, p256Suites, x25519Suites } from './suite-pairs.js';

const topBit = 1n << 255n;
const p25519 = (1n << 255n) - 19n;
const p256Prime = 2n ** 256n - 2n ** 224n + 2n ** 192n + 2n ** 96n - 1n;
const n256 = p256.Point.Fn.ORDER;

const orderEight = [
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
].map((hex) => bytesToNumberLE(fromHex(hex)));
const lowOrderU = [0n, 1n, p25519 - 1n, ...orderEight];

describe.each(x25519Suites)('X25519 on $on refuses', ({ suite }) => {
  const key = suite.agreementKey(filled(32, 1));
  const refuses = (u: Uint8Array): void => {
    expectRefused(() => key.agree(u), 'key-invalid');
    expectRefused(() => suite.hpkeToWire(u), 'key-invalid');
  };

  it('every u of low order', () => {
    for (const u of lowOrderU) refuses(littleEndian(u));
  });

  it('every u that is not below p, whatever point it stands for', () => {
    for (let u = p25519; u < topBit; u++) refuses(littleEndian(u));
  });

  it('every u with its top bit set, good as the rest may be', () => {
    for (const u of [9n, p25519 - 2n, ...lowOrderU]) refuses(littleEndian(u + topBit));
  });

  it('a u of another length', () => {
    for (const length of [0, 31, 33]) refuses(filled(length, 2));
  });

  it('a secret of another length', () => {
    for (const length of [0, 31, 33]) expectRefused(() => suite.agreementKey(filled(length, 3)), 'key-invalid');
  });

  it('nothing of the greatest canonical u', () => {
    const greatest = littleEndian(p25519 - 2n);
    expect(key.agree(greatest)).toHaveLength(32);
    expect(toHex(suite.hpkeToWire(greatest))).toBe(toHex(greatest));
  });
});

describe('OpenSSL alone', () => {
  it('agrees with no u of the low-order list either', () => {
    const okp = { kty: 'OKP', crv: 'X25519' };
    const privateKey = createPrivateKey({ key: { ...okp, d: toBase64Url(filled(32, 4)), x: '' }, format: 'jwk' });
    for (const u of lowOrderU) {
      const publicKey = createPublicKey({ key: { ...okp, x: toBase64Url(littleEndian(u)) }, format: 'jwk' });
      expect(() => diffieHellman({ privateKey, publicKey })).toThrow();
    }
  });
});

describe.each(x25519Suites)('Ed25519 on $on', ({ suite }) => {
  const refuses = (publicKey: Uint8Array): void => {
    expectRefused(() => suite.verifier(publicKey), 'key-invalid');
  };

  it('refuses the identity as a public key, under which one signature would fit every message', () => {
    const identity = littleEndian(1n);
    const universal = concatBytes(identity, new Uint8Array(32));
    expect(ed25519.verify(universal, utf8('any message'), identity, { zip215: true })).toBe(true);
    refuses(identity);
  });

  it('refuses every other point of small order too', () => {
    expect(new Set(ED25519_TORSION_SUBGROUP).size).toBe(8);
    for (const point of ED25519_TORSION_SUBGROUP) refuses(fromHex(point));
  });

  it('refuses every encoding that is not canonical', () => {
    for (let y = p25519; y < topBit; y++) {
      refuses(littleEndian(y));
      refuses(littleEndian(y + topBit));
    }
    // x = 0 has no sign.
    for (const y of [1n, p25519 - 1n]) refuses(littleEndian(y + topBit));
  });

  it('refuses a y to which there is no x, and another length', () => {
    refuses(littleEndian(2n));
    for (const length of [0, 31, 33, 64]) refuses(filled(length, 5));
  });

  it('refuses a seed of another length', () => {
    for (const length of [0, 31, 33]) expectRefused(() => suite.signer(filled(length, 6)), 'key-invalid');
  });

  it('refuses a signature whose S is not below the group order', () => {
    const signer = suite.signer(filled(32, 7));
    const message = utf8('a share');
    const signature = signer.sign(message);
    const s = bytesToNumberLE(signature.subarray(32));
    const malleated = concatBytes(signature.subarray(0, 32), littleEndian(s + ed25519.Point.Fn.ORDER));
    expect(suite.verifier(signer.publicKey).verify(message, signature)).toBe(true);
    expect(suite.verifier(signer.publicKey).verify(message, malleated)).toBe(false);
  });

  it('refuses a signature whose R carries a point of small order, which noble alone would take', () => {
    const message = utf8('two-faced');
    const { publicKey, signature } = craftSignature(message, { onKey: 0, onR: 1, nonce: 5n });
    expect(ed25519.verify(signature, message, publicKey, { zip215: false })).toBe(true);
    expect(suite.verifier(publicKey).verify(message, signature)).toBe(false);
  });

  it('refuses a signature whose R is the identity, of which releases of Node differ', () => {
    const message = utf8('two-faced');
    const { publicKey, signature } = craftSignature(message, { onKey: 0, onR: 0, nonce: 0n });
    expect(ed25519.verify(signature, message, publicKey, { zip215: false })).toBe(true);
    expect(suite.verifier(publicKey).verify(message, signature)).toBe(false);
  });
});

describe('Ed25519 on node:crypto and on noble', () => {
  it('gives one verdict on the signatures of a key that carries a point of small order', () => {
    const verdicts = Array.from({ length: 12 }, (_, i) => {
      const message = Uint8Array.of(i);
      const { publicKey, signature } = craftSignature(message, { onKey: 4, onR: 0, nonce: 5n });
      const [onNode, onNoble] = [suiteX25519, nobleSuiteX25519].map((suite) =>
        suite.verifier(publicKey).verify(message, signature),
      );
      expect(onNoble).toBe(onNode);
      return onNode;
    });
    expect(new Set(verdicts)).toEqual(new Set([true, false]));
  });
});

/** An insider's signature, with points of small order (indices into the torsion subgroup) added to its key and R. */
function craftSignature(
  message: Uint8Array,
  wanted: { readonly onKey: number; readonly onR: number; readonly nonce: bigint },
): { readonly publicKey: Uint8Array; readonly signature: Uint8Array } {
  const { Point, utils } = ed25519;
  const torsion = (index: number): InstanceType<typeof Point> => Point.fromHex(ED25519_TORSION_SUBGROUP[index] ?? '');
  const { scalar, point } = utils.getExtendedPublicKey(filled(32, 8));
  const publicKey = point.add(torsion(wanted.onKey)).toBytes();
  const R = Point.BASE.multiplyUnsafe(wanted.nonce).add(torsion(wanted.onR)).toBytes();
  const k = Point.Fn.create(bytesToNumberLE(sha512(concatBytes(R, publicKey, message))));
  const S = Point.Fn.create(wanted.nonce + k * scalar);
  return { publicKey, signature: concatBytes(R, Point.Fn.toBytes(S)) };
}

describe.each(p256Suites)('P-256 on $on', ({ suite }) => {
  const key = suite.agreementKey(filled(32, 9));
  const point = key.hpkePublicKey;
  const [x, y] = [point.slice(1, 33), point.slice(33)];
  const refusesPoint = (publicKey: Uint8Array): void => {
    expectRefused(() => suite.hpkeToWire(publicKey), 'key-invalid');
    expectRefused(() => suite.verifier(publicKey), 'key-invalid');
  };

  it('refuses the scalars 0, n, n + 1 and 2^256 − 1, and takes 1 and n − 1', () => {
    for (const scalar of [0n, n256, n256 + 1n, 2n ** 256n - 1n]) {
      expectRefused(() => suite.agreementKey(bigEndian(scalar)), 'key-invalid');
      expectRefused(() => suite.signer(bigEndian(scalar)), 'key-invalid');
    }
    expect(toHex(suite.agreementKey(bigEndian(1n)).publicKey)).toBe(
      toHex(suite.agreementKey(bigEndian(n256 - 1n)).publicKey),
    );
  });

  it('refuses a scalar of another length', () => {
    for (const length of [0, 31, 33]) {
      expectRefused(() => suite.agreementKey(filled(length, 10)), 'key-invalid');
      expectRefused(() => suite.signer(filled(length, 10)), 'key-invalid');
    }
  });

  it('refuses an x that is not on the curve', () => {
    const offCurve = [1n, 2n, 3n, 4n, 7n, 10n].filter((candidate) => !isOnCurve(candidate));
    expect(offCurve.length).toBeGreaterThan(0);
    for (const candidate of offCurve) expectRefused(() => key.agree(bigEndian(candidate)), 'key-invalid');
  });

  it('refuses an x that is not below p, though x − p be on the curve', () => {
    const small = [0n, 5n, 6n, 8n].filter(isOnCurve);
    expect(small.length).toBeGreaterThan(0);
    for (const onCurve of small) {
      expect(key.agree(bigEndian(onCurve))).toHaveLength(32);
      expectRefused(() => key.agree(bigEndian(onCurve + p256Prime)), 'key-invalid');
      const yOfSmall = p256.Point.fromBytes(concatBytes(Uint8Array.of(2), bigEndian(onCurve))).toAffine().y;
      refusesPoint(concatBytes(Uint8Array.of(4), bigEndian(onCurve + p256Prime), bigEndian(yOfSmall)));
    }
    for (const beyond of [p256Prime, 2n ** 256n - 1n]) expectRefused(() => key.agree(bigEndian(beyond)), 'key-invalid');
  });

  it('refuses a wire key of another length, infinity among them', () => {
    for (const wireKey of [new Uint8Array(0), Uint8Array.of(0), x.subarray(1), point.subarray(0, 33), point]) {
      expectRefused(() => key.agree(wireKey), 'key-invalid');
    }
  });

  it('refuses the peer whose point makes the agreement zero', () => {
    // x = 0 is on the curve; only one who knows the scalar can aim at it.
    const scalar = BigInt(`0x${toHex(filled(32, 9))}`);
    const zeroX = p256.Point.fromBytes(concatBytes(Uint8Array.of(2), bigEndian(0n)));
    const peer = zeroX.multiply(p256.Point.Fn.inv(scalar)).toBytes(false).slice(1, 33);
    expectRefused(() => key.agree(peer), 'key-invalid');
  });

  it('refuses as a point infinity, the compressed and the hybrid form, and any other length', () => {
    const parity = (y[31] ?? 0) & 1;
    refusesPoint(Uint8Array.of(0));
    refusesPoint(new Uint8Array(65));
    refusesPoint(concatBytes(Uint8Array.of(2 + parity), x));
    refusesPoint(concatBytes(Uint8Array.of(6 + parity), x, y));
    refusesPoint(point.subarray(0, 64));
    refusesPoint(concatBytes(point, Uint8Array.of(0)));
  });

  it('refuses a point off the curve, by x and by y', () => {
    for (const i of [1, 32, 33, 64]) refusesPoint(point.map((byte, at) => (at === i ? byte ^ 1 : byte)));
    refusesPoint(concatBytes(Uint8Array.of(4), new Uint8Array(64)));
  });

  it('refuses r and s that are 0 or not below the group order', () => {
    const signer = suite.signer(filled(32, 11));
    const verifier = suite.verifier(signer.publicKey);
    const signature = signer.sign(utf8('a token'));
    const [r, s] = [signature.slice(0, 32), signature.slice(32)];
    expect(verifier.verify(utf8('a token'), concatBytes(r, s))).toBe(true);
    for (const bad of [0n, n256, n256 + 1n, 2n ** 256n - 1n]) {
      expect(verifier.verify(utf8('a token'), concatBytes(bigEndian(bad), s))).toBe(false);
      expect(verifier.verify(utf8('a token'), concatBytes(r, bigEndian(bad)))).toBe(false);
    }
  });

  it('draws the line between low and high s at half the group order exactly', () => {
    const message = utf8('on the line');
    const { publicKey, r } = keyThatSigns(message, n256 / 2n);
    const verifier = suite.verifier(publicKey);
    expect(verifier.verify(message, concatBytes(r, bigEndian(n256 / 2n)))).toBe(true);
    expect(verifier.verify(message, concatBytes(r, bigEndian(n256 / 2n + 1n)))).toBe(false);
  });

  it('refuses a signature in which s was replaced by n − s', () => {
    const signer = suite.signer(filled(32, 12));
    const signature = signer.sign(utf8('malleable'));
    const s = BigInt(`0x${toHex(signature.subarray(32))}`);
    const high = concatBytes(signature.subarray(0, 32), bigEndian(n256 - s));
    expect(p256.verify(high, utf8('malleable'), signer.publicKey, { lowS: false })).toBe(true);
    expect(suite.verifier(signer.publicKey).verify(utf8('malleable'), high)).toBe(false);
  });
});

describe('P-256 on node:crypto and on noble', () => {
  it('gives the same output for the point and for its mirror image, whose x is the same', () => {
    const scalar = filled(32, 13);
    const mirrored = bigEndian(n256 - BigInt(`0x${toHex(scalar)}`));
    const peer = suiteP256.agreementKey(filled(32, 14)).publicKey;
    for (const suite of [suiteP256, nobleSuiteP256]) {
      expect(toHex(suite.agreementKey(mirrored).publicKey)).toBe(toHex(suite.agreementKey(scalar).publicKey));
      expect(toHex(suite.agreementKey(mirrored).agree(peer))).toBe(toHex(suite.agreementKey(scalar).agree(peer)));
    }
  });
});

function isOnCurve(x: bigint): boolean {
  try {
    p256.Point.fromBytes(concatBytes(Uint8Array.of(2), bigEndian(x)));
    return true;
  } catch {
    return false;
  }
}

/** Solves s = k⁻¹(e + r·d) for d: a key under which (r, s) signs the message with the s that is wanted. */
function keyThatSigns(message: Uint8Array, s: bigint): { readonly publicKey: Uint8Array; readonly r: Uint8Array } {
  const { Fn, BASE } = p256.Point;
  const k = 5n;
  const r = Fn.create(BASE.multiply(k).toAffine().x);
  const e = Fn.create(BigInt(`0x${toHex(sha256(message))}`));
  const d = Fn.mul(Fn.sub(Fn.mul(s, k), e), Fn.inv(r));
  return { publicKey: BASE.multiply(d).toBytes(false), r: bigEndian(r) };
}
