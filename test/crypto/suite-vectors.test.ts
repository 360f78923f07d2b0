import { describe, expect, it } from 'vitest';
import { concatBytes, fromHex, toHex, utf8 } from '../../crypto/bytes.js';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import { nobleSuiteP256 } from '../../crypto/suite-noble.js';
import { bigEndian, expectRefused, p256Suites, vectors, x25519Suites } from './suite-pairs.js';

const groupOrder = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

interface Rfc7748 {
  readonly scalarMultiplication: readonly [ScalarMultiplication, ScalarMultiplication];
  readonly iterated: { readonly start: string; readonly after1: string; readonly after1000: string };
  readonly diffieHellman: Readonly<
    Record<'aliceSecret' | 'alicePublic' | 'bobSecret' | 'bobPublic' | 'shared', string>
  >;
}
type ScalarMultiplication = Readonly<Record<'scalar' | 'u' | 'output', string>>;
const rfc7748 = vectors('rfc7748') as Rfc7748;

describe.each(x25519Suites)('X25519 on $on', ({ suite }) => {
  const agree = (secret: string, peer: string): string =>
    toHex(suite.agreementKey(fromHex(secret)).agree(fromHex(peer)));

  it('multiplies as in RFC 7748 §5.2', () => {
    const [first] = rfc7748.scalarMultiplication;
    expect(agree(first.scalar, first.u)).toBe(first.output);
  });

  it('refuses the u of RFC 7748 §5.2 whose top bit is set, and multiplies it once the bit is cleared', () => {
    const [, second] = rfc7748.scalarMultiplication;
    expectRefused(() => agree(second.scalar, second.u), 'key-invalid');
    const masked = fromHex(second.u).map((byte, i) => (i === 31 ? byte & 0x7f : byte));
    expect(agree(second.scalar, toHex(masked))).toBe(second.output);
  });

  it('takes the first step of the iteration of RFC 7748 §5.2', () => {
    expect(agree(rfc7748.iterated.start, rfc7748.iterated.start)).toBe(rfc7748.iterated.after1);
  });

  it('agrees as Alice and Bob do in RFC 7748 §6.1', () => {
    const { aliceSecret, alicePublic, bobSecret, bobPublic, shared } = rfc7748.diffieHellman;
    expect(toHex(suite.agreementKey(fromHex(aliceSecret)).publicKey)).toBe(alicePublic);
    expect(toHex(suite.agreementKey(fromHex(bobSecret)).hpkePublicKey)).toBe(bobPublic);
    expect(agree(aliceSecret, bobPublic)).toBe(shared);
    expect(agree(bobSecret, alicePublic)).toBe(shared);
  });
});

describe('X25519 on node:crypto', () => {
  it('arrives where RFC 7748 §5.2 does after 1,000 iterations', () => {
    let u = fromHex(rfc7748.iterated.start);
    let k = u;
    for (let i = 0; i < 1000; i++) [k, u] = [suiteX25519.agreementKey(k).agree(u), k];
    expect(toHex(k)).toBe(rfc7748.iterated.after1000);
  });
});

type Signature8032 = Readonly<Record<'name' | 'secret' | 'publicKey' | 'message' | 'signature', string>>;
const { signatures: signatures8032 } = vectors('rfc8032') as { readonly signatures: readonly Signature8032[] };

describe.each(x25519Suites)('Ed25519 on $on', ({ suite }) => {
  it.each(signatures8032)('signs and verifies RFC 8032 §7.1 $name', ({ secret, publicKey, message, signature }) => {
    const signer = suite.signer(fromHex(secret));
    expect(toHex(signer.publicKey)).toBe(publicKey);
    expect(toHex(signer.sign(fromHex(message)))).toBe(signature);
    expect(suite.verifier(fromHex(publicKey)).verify(fromHex(message), fromHex(signature))).toBe(true);
  });
});

type Agreement = Readonly<Record<'secret' | 'publicKey' | 'peerPublicKey' | 'shared', string>>;
const { agreements } = vectors('cavp-ecdh-p256') as { readonly agreements: readonly Agreement[] };
interface Rfc6979 {
  readonly secret: string;
  readonly publicKey: string;
  readonly signatures: readonly Readonly<Record<'message' | 'r' | 's', string>>[];
}
const rfc6979 = vectors('rfc6979') as Rfc6979;

describe.each(p256Suites)('P-256 on $on', ({ suite }) => {
  it.each(agreements)(
    'agrees on $shared as NIST does, from x alone',
    ({ secret, publicKey, peerPublicKey, shared }) => {
      const key = suite.agreementKey(fromHex(secret));
      expect(toHex(key.hpkePublicKey)).toBe(publicKey);
      expect(toHex(key.publicKey)).toBe(publicKey.slice(2, 66));
      expect(toHex(key.agree(suite.hpkeToWire(fromHex(peerPublicKey))))).toBe(shared);
    },
  );

  it('has the public key of RFC 6979 A.2.5', () => {
    expect(toHex(suite.signer(fromHex(rfc6979.secret)).publicKey)).toBe(rfc6979.publicKey);
  });

  it.each(rfc6979.signatures)('verifies "$message" of RFC 6979 A.2.5 with s low, and refuses it high', (vector) => {
    const verifier = suite.verifier(fromHex(rfc6979.publicKey));
    const { low, high } = bothSignatures(vector.r, vector.s);
    expect(verifier.verify(utf8(vector.message), low)).toBe(true);
    expect(verifier.verify(utf8(vector.message), high)).toBe(false);
  });

  it('signs with s low, each time', () => {
    const signer = suite.signer(fromHex(rfc6979.secret));
    for (let i = 0; i < 16; i++) {
      const signature = signer.sign(Uint8Array.of(i));
      expect(BigInt(`0x${toHex(signature.subarray(32))}`)).toBeLessThanOrEqual(groupOrder / 2n);
      expect(suiteP256.verifier(signer.publicKey).verify(Uint8Array.of(i), signature)).toBe(true);
    }
  });
});

describe('ECDSA on noble', () => {
  it.each(rfc6979.signatures)('is deterministic: "$message" as in RFC 6979 A.2.5, s made low', ({ message, r, s }) => {
    const signature = nobleSuiteP256.signer(fromHex(rfc6979.secret)).sign(utf8(message));
    expect(toHex(signature)).toBe(toHex(bothSignatures(r, s).low));
  });
});

function bothSignatures(r: string, s: string): { readonly low: Uint8Array; readonly high: Uint8Array } {
  const published = BigInt(`0x${s}`);
  const [low, high] = [published, groupOrder - published].sort((a, b) => (a < b ? -1 : 1));
  const withS = (value = 0n): Uint8Array => concatBytes(fromHex(r), bigEndian(value));
  return { low: withS(low), high: withS(high) };
}
