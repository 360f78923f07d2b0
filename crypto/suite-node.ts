/**
 * Both suites on `node:crypto` (OpenSSL 3). Key objects are imported once and kept: importing one costs up to fifteen
 * times the operation itself. JWK is the cheapest import; P-256 agreement uses the ECDH class, which takes a
 * compressed point and so needs no y.
 */
import {
  createCipheriv,
  createDecipheriv,
  createECDH,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  ECDH,
  hash,
  sign,
  verify,
  type CipherGCMTypes,
  type ECDH as EcdhKey,
  type KeyObject,
} from 'node:crypto';
import { compareBytes, equalSecret, fromHex } from './bytes.js';
import { MalformedError, SetupError, VerificationError } from './errors.js';
import {
  assertEd25519PublicKey,
  assertKeyLength,
  assertX25519PublicKey,
  invalidKey,
  isEd25519Signature,
} from './keys.js';
import type { AgreementKey, Signer, Suite, Verifier } from './suite.js';

const tagBytes = 16;
const curve = 'prime256v1';
const order = fromHex('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551');
const halfOrder = fromHex('7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8');
const zeroSecret = new Uint8Array(32);

/** A Buffer's `slice` and `subarray` share memory and its `map` makes Buffers: nothing outside may meet one. */
const plain = (buffer: Buffer): Uint8Array => new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);

/** A digest costs less than half as a string of one character a byte; but strings cannot be overwritten. */
function fromBinary(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

const base64Url = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url');

const hashes = {
  sha256: (data: Uint8Array): Uint8Array => plain(hash('sha256', data, 'buffer')),
  publicSha256: (data: Uint8Array): Uint8Array => fromBinary(hash('sha256', data, 'binary')),
  hmacSha256: (key: Uint8Array, data: Uint8Array): Uint8Array => plain(createHmac('sha256', key).update(data).digest()),
};

export const suiteX25519: Suite = {
  id: 1,
  name: 'x25519',
  signatureAlgorithm: -19,
  aeadAlgorithm: 24,
  aeadKeyBytes: 32,
  hpke: { kemId: 0x20, aeadId: 3, publicKeyBytes: 32 },
  ...hashes,
  ...aead('chacha20-poly1305'),
  agreementKey: x25519Key,
  hpkeToWire(publicKey) {
    assertX25519PublicKey(publicKey);
    return publicKey.slice();
  },
  signer: ed25519Signer,
  verifier: ed25519Verifier,
};

export const suiteP256: Suite = {
  id: 2,
  name: 'p256',
  signatureAlgorithm: -9,
  aeadAlgorithm: 1,
  aeadKeyBytes: 16,
  hpke: { kemId: 0x10, aeadId: 1, publicKeyBytes: 65 },
  ...hashes,
  ...aead('aes-128-gcm'),
  agreementKey: p256Key,
  hpkeToWire: p256WireKey,
  signer: p256Signer,
  verifier: p256Verifier,
};

/** @throws SetupError `suite-unknown` */
export function suiteByName(name: string): Suite {
  const suite = [suiteX25519, suiteP256].find((known) => known.name === name);
  if (suite === undefined) throw new SetupError('suite-unknown', `no suite "${name}": use x25519 or p256`);
  return suite;
}

/** @throws MalformedError `suite-unknown` */
export function suiteById(id: number): Suite {
  const suite = [suiteX25519, suiteP256].find((known) => known.id === id);
  if (suite === undefined) throw new MalformedError('suite-unknown', `no suite has the number ${id}`);
  return suite;
}

function aead(algorithm: 'chacha20-poly1305' | 'aes-128-gcm'): Pick<Suite, 'seal' | 'open'> {
  // The calls are the same for both; only their declared types differ.
  const cipherName = algorithm as CipherGCMTypes;
  return {
    seal(key, nonce, aad, plaintext) {
      const cipher = createCipheriv(cipherName, key, nonce, { authTagLength: tagBytes });
      cipher.setAAD(aad);
      const sealed = new Uint8Array(plaintext.length + tagBytes);
      sealed.set(cipher.update(plaintext));
      cipher.final();
      sealed.set(cipher.getAuthTag(), plaintext.length);
      return sealed;
    },
    open(key, nonce, aad, sealed) {
      if (sealed.length < tagBytes) throw new VerificationError('seal-invalid', 'shorter than an AEAD tag');
      const decipher = createDecipheriv(cipherName, key, nonce, { authTagLength: tagBytes });
      decipher.setAAD(aad);
      decipher.setAuthTag(sealed.subarray(-tagBytes));
      const plaintext = plain(decipher.update(sealed.subarray(0, -tagBytes)));
      try {
        decipher.final();
      } catch (cause) {
        throw new VerificationError('seal-invalid', 'the AEAD tag does not fit', cause);
      }
      return plaintext;
    },
  };
}

/** RFC 8037. Node takes `d`, computes the public key itself, and wants `x` only to be a string. */
function octetPrivateKey(crv: 'X25519' | 'Ed25519', secret: Uint8Array): KeyObject {
  assertKeyLength(secret, 32);
  return createPrivateKey({ key: { kty: 'OKP', crv, d: base64Url(secret), x: '' }, format: 'jwk' });
}

const octetPublicKey = (crv: 'X25519' | 'Ed25519', publicKey: Uint8Array): KeyObject =>
  createPublicKey({ key: { kty: 'OKP', crv, x: base64Url(publicKey) }, format: 'jwk' });

const exportedX = (key: KeyObject): Uint8Array =>
  Uint8Array.from(Buffer.from(key.export({ format: 'jwk' }).x ?? '', 'base64url'));

function x25519Key(secret: Uint8Array): AgreementKey {
  const privateKey = octetPrivateKey('X25519', secret);
  const publicKey = exportedX(privateKey);
  return {
    publicKey,
    hpkePublicKey: publicKey,
    agree(peerPublicKey) {
      assertX25519PublicKey(peerPublicKey);
      return plain(diffieHellman({ privateKey, publicKey: octetPublicKey('X25519', peerPublicKey) }));
    },
  };
}

function ed25519Signer(secret: Uint8Array): Signer {
  const privateKey = octetPrivateKey('Ed25519', secret);
  return { publicKey: exportedX(privateKey), sign: (data) => plain(sign(null, data, privateKey)) };
}

/** In libuv's pool of threads. */
const aside = (start: (done: (error: Error | null, isValid: boolean) => void) => void): Promise<boolean> =>
  new Promise((resolve) => {
    start((error, isValid) => {
      resolve(error === null && isValid);
    });
  });

function ed25519Verifier(publicKey: Uint8Array): Verifier {
  assertEd25519PublicKey(publicKey);
  const key = octetPublicKey('Ed25519', publicKey);
  return {
    publicKey: publicKey.slice(),
    verify: (data, signature) => isEd25519Signature(signature) && verify(null, data, key, signature),
    verifyAside: async (data, signature) =>
      isEd25519Signature(signature) &&
      (await aside((done) => {
        verify(null, data, key, signature, done);
      })),
  };
}

function ecdhKey(secret: Uint8Array): EcdhKey {
  assertKeyLength(secret, 32);
  const key = createECDH(curve);
  try {
    key.setPrivateKey(secret);
  } catch (cause) {
    throw invalidKey('the scalar is 0 or not below the group order', cause);
  }
  return key;
}

function p256Key(secret: Uint8Array): AgreementKey {
  const key = ecdhKey(secret);
  const hpkePublicKey = plain(key.getPublicKey());
  return {
    publicKey: hpkePublicKey.slice(1, 33),
    hpkePublicKey,
    agree: (peerPublicKey) => p256Agree(key, peerPublicKey),
  };
}

/** Either y gives the same x of the shared point, so the even one stands for both. */
function p256Agree(key: EcdhKey, peerPublicKey: Uint8Array): Uint8Array {
  assertKeyLength(peerPublicKey, 32);
  const compressed = new Uint8Array(33);
  compressed[0] = 2;
  compressed.set(peerPublicKey, 1);
  let shared: Uint8Array;
  try {
    shared = plain(key.computeSecret(compressed));
  } catch (cause) {
    throw invalidKey('x is not that of a point of P-256', cause);
  }
  if (equalSecret(shared, zeroSecret)) throw invalidKey('the agreement gives zero');
  return shared;
}

function p256WireKey(publicKey: Uint8Array): Uint8Array {
  assertUncompressed(publicKey);
  try {
    ECDH.convertKey(publicKey, curve, undefined, undefined, 'compressed');
  } catch (cause) {
    throw invalidKey('not a point of P-256', cause);
  }
  return publicKey.slice(1, 33);
}

/** Only 04 ‖ x ‖ y: OpenSSL would take infinity, compressed and hybrid forms too. */
function assertUncompressed(publicKey: Uint8Array): void {
  assertKeyLength(publicKey, 65);
  if (publicKey[0] !== 4) throw invalidKey('not an uncompressed point');
}

const p256Coordinates = (
  publicKey: Uint8Array,
): { readonly kty: 'EC'; readonly crv: 'P-256'; readonly x: string; readonly y: string } => ({
  kty: 'EC',
  crv: 'P-256',
  x: base64Url(publicKey.subarray(1, 33)),
  y: base64Url(publicKey.subarray(33)),
});

function p256Signer(secret: Uint8Array): Signer {
  const publicKey = plain(ecdhKey(secret).getPublicKey());
  const key = createPrivateKey({ key: { ...p256Coordinates(publicKey), d: base64Url(secret) }, format: 'jwk' });
  const signingKey = { key, dsaEncoding: 'ieee-p1363' } as const;
  return { publicKey, sign: (data) => lowerS(plain(sign('sha256', data, signingKey))) };
}

function p256Verifier(publicKey: Uint8Array): Verifier {
  assertUncompressed(publicKey);
  const verifyingKey = { key: p256PublicKey(publicKey), dsaEncoding: 'ieee-p1363' } as const;
  return {
    publicKey: publicKey.slice(),
    verify: (data, signature) =>
      signature.length === 64 && isLowS(signature) && verify('sha256', data, verifyingKey, signature),
    verifyAside: async (data, signature) =>
      signature.length === 64 &&
      isLowS(signature) &&
      (await aside((done) => {
        verify('sha256', data, verifyingKey, signature, done);
      })),
  };
}

function p256PublicKey(publicKey: Uint8Array): KeyObject {
  try {
    return createPublicKey({ key: p256Coordinates(publicKey), format: 'jwk' });
  } catch (cause) {
    throw invalidKey('not a point of P-256', cause);
  }
}

const isLowS = (signature: Uint8Array): boolean => compareBytes(signature.subarray(32), halfOrder) <= 0;

/** r ‖ n − s verifies wherever r ‖ s does, so one of the two must be the signature (protocol §2). */
function lowerS(signature: Uint8Array): Uint8Array {
  if (isLowS(signature)) return signature;
  let borrow = 0;
  for (let i = 31; i >= 0; i--) {
    const difference = (order[i] ?? 0) - (signature[32 + i] ?? 0) - borrow;
    signature[32 + i] = difference;
    borrow = difference < 0 ? 1 : 0;
  }
  return signature;
}
