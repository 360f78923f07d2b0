/**
 * Both suites on noble: the reference, and what runs in a browser. It gives the same verdict as `suite-node.ts` on
 * every key and signature, at 10 to 40 times the cost.
 */
import { gcm } from '@noble/ciphers/aes.js';
import { chacha20poly1305 } from '@noble/ciphers/chacha.js';
import { ed25519, x25519 } from '@noble/curves/ed25519.js';
import { p256 } from '@noble/curves/nist.js';
import { bytesToNumberLE } from '@noble/curves/utils.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256, sha512 } from '@noble/hashes/sha2.js';
import { concatBytes, equalBytes, equalSecret } from './bytes.js';
import { VerificationError } from './errors.js';
import {
  assertEd25519PublicKey,
  assertKeyLength,
  assertX25519PublicKey,
  invalidKey,
  isEd25519Signature,
} from './keys.js';
import type { AgreementKey, Signer, Suite, Verifier } from './suite.js';

const zeroSecret = new Uint8Array(32);

const hashes = {
  sha256: (data: Uint8Array): Uint8Array => sha256(data),
  publicSha256: (data: Uint8Array): Uint8Array => sha256(data),
  hmacSha256: (key: Uint8Array, data: Uint8Array): Uint8Array => hmac(sha256, key, data),
};

export const nobleSuiteX25519: Suite = {
  id: 1,
  name: 'x25519',
  signatureAlgorithm: -19,
  aeadAlgorithm: 24,
  aeadKeyBytes: 32,
  hpke: { kemId: 0x20, aeadId: 3, publicKeyBytes: 32 },
  ...hashes,
  ...aead(chacha20poly1305),
  agreementKey: x25519Key,
  hpkeToWire(publicKey) {
    assertX25519PublicKey(publicKey);
    return publicKey.slice();
  },
  signer: ed25519Signer,
  verifier: ed25519Verifier,
};

export const nobleSuiteP256: Suite = {
  id: 2,
  name: 'p256',
  signatureAlgorithm: -9,
  aeadAlgorithm: 1,
  aeadKeyBytes: 16,
  hpke: { kemId: 0x10, aeadId: 1, publicKeyBytes: 65 },
  ...hashes,
  ...aead(gcm),
  agreementKey: p256Key,
  hpkeToWire(publicKey) {
    assertP256PublicKey(publicKey);
    return publicKey.slice(1, 33);
  },
  signer: p256Signer,
  verifier: p256Verifier,
};

function aead(cipher: typeof gcm | typeof chacha20poly1305): Pick<Suite, 'seal' | 'open'> {
  return {
    seal: (key, nonce, aad, plaintext) => cipher(key, nonce, aad).encrypt(plaintext),
    open(key, nonce, aad, sealed) {
      const opener = cipher(key, nonce, aad);
      try {
        return opener.decrypt(sealed);
      } catch (cause) {
        throw new VerificationError('seal-invalid', 'the AEAD tag does not fit', cause);
      }
    },
  };
}

function x25519Key(secret: Uint8Array): AgreementKey {
  assertKeyLength(secret, 32);
  const scalar = secret.slice();
  const publicKey = x25519.getPublicKey(scalar);
  return {
    publicKey,
    hpkePublicKey: publicKey,
    agree(peerPublicKey) {
      assertX25519PublicKey(peerPublicKey);
      return x25519.getSharedSecret(scalar, peerPublicKey);
    },
  };
}

function ed25519Signer(secret: Uint8Array): Signer {
  assertKeyLength(secret, 32);
  const seed = secret.slice();
  return { publicKey: ed25519.getPublicKey(seed), sign: (data) => ed25519.sign(data, seed) };
}

function ed25519Verifier(publicKey: Uint8Array): Verifier {
  assertEd25519PublicKey(publicKey);
  const key = publicKey.slice();
  const point = ed25519.Point.fromBytes(key, false);
  const verify: Verifier['verify'] = (data, signature) =>
    isEd25519Signature(signature) &&
    ed25519.verify(signature, data, key, { zip215: false }) &&
    isCofactorless(point, key, data, signature);
  return { publicKey: key, verify, verifyAside: async (data, signature) => verify(data, signature) };
}

/**
 * noble verifies 8·S·B = 8·R + 8·k·A, OpenSSL S·B = R + k·A; RFC 8032 §5.1.7 allows both. Without this, a signer could
 * add a small-order point to R and be believed in the browser and refused by the backend.
 */
function isCofactorless(
  point: InstanceType<typeof ed25519.Point>,
  publicKey: Uint8Array,
  data: Uint8Array,
  signature: Uint8Array,
): boolean {
  const { BASE, Fn } = ed25519.Point;
  const r = signature.subarray(0, 32);
  const k = Fn.create(bytesToNumberLE(sha512(concatBytes(r, publicKey, data))));
  const s = bytesToNumberLE(signature.subarray(32));
  return equalBytes(BASE.multiplyUnsafe(s).subtract(point.multiplyUnsafe(k)).toBytes(), r);
}

function p256Scalar(secret: Uint8Array): Uint8Array {
  if (!p256.utils.isValidSecretKey(secret)) throw invalidKey('the scalar is 0 or not below the group order');
  return secret.slice();
}

function p256Key(secret: Uint8Array): AgreementKey {
  const scalar = p256Scalar(secret);
  const hpkePublicKey = p256.getPublicKey(scalar, false);
  return {
    publicKey: hpkePublicKey.slice(1, 33),
    hpkePublicKey,
    agree: (peerPublicKey) => p256Agree(scalar, peerPublicKey),
  };
}

/** Either y gives the same x of the shared point, so the even one stands for both. */
function p256Agree(scalar: Uint8Array, peerPublicKey: Uint8Array): Uint8Array {
  let shared: Uint8Array;
  try {
    shared = p256.getSharedSecret(scalar, concatBytes(Uint8Array.of(2), peerPublicKey)).slice(1);
  } catch (cause) {
    throw invalidKey('x is not that of a point of P-256', cause);
  }
  if (equalSecret(shared, zeroSecret)) throw invalidKey('the agreement gives zero');
  return shared;
}

function assertP256PublicKey(publicKey: Uint8Array): void {
  assertKeyLength(publicKey, 65);
  try {
    p256.Point.fromBytes(publicKey);
  } catch (cause) {
    throw invalidKey('not an uncompressed point of P-256', cause);
  }
}

function p256Signer(secret: Uint8Array): Signer {
  const scalar = p256Scalar(secret);
  return { publicKey: p256.getPublicKey(scalar, false), sign: (data) => p256.sign(data, scalar, { lowS: true }) };
}

function p256Verifier(publicKey: Uint8Array): Verifier {
  assertP256PublicKey(publicKey);
  const key = publicKey.slice();
  const verify: Verifier['verify'] = (data, signature) =>
    signature.length === 64 && p256.verify(signature, data, key, { lowS: true });
  return { publicKey: key, verify, verifyAside: async (data, signature) => verify(data, signature) };
}
