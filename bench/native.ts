/**
 * The native operations of one member in one epoch, as node:crypto offers them, on key objects that are made before: the
 * limit that the ring is measured against. Verifications are under n different keys, as in the ring.
 */
import {
  createECDH,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  randomBytes,
  sign,
  verify,
  type KeyObject,
} from 'node:crypto';
import type { SuiteName } from '../crypto/suite.js';

export interface NativeOperations {
  /** 2 key pairs, 2 agreements with kept keys, 3 signatures, n + 3 verifications. */
  readonly member: () => void;
  /** One agreement with kept keys. */
  readonly agreement: () => void;
  /** One with the peer's public key as it comes on the wire: X25519 imported, P-256 decompressed. */
  readonly agreementWithFreshKey: () => void;
}

/** About as long as the Sig_structure of a confirmation. */
const signedBytes = 180;

/** @throws TypeError when a signature does not verify */
export function nativeOperations(suite: SuiteName, memberCount: number): NativeOperations {
  const { generate, agree, agreeFresh, signer } = suite === 'x25519' ? x25519() : p256();
  const signers = Array.from({ length: memberCount }, () => {
    const keys = signer();
    const data = randomBytes(signedBytes);
    return { ...keys, data, signature: keys.sign(data) };
  });
  const member = (): void => {
    for (let i = 0; i < 2; i++) {
      generate();
      agree();
    }
    for (let i = 0; i < memberCount + 3; i++) {
      const of = signers[i % memberCount];
      if (!of?.verify(of.data, of.signature)) throw new TypeError('a signature does not verify');
      if (i < 3) of.sign(of.data);
    }
  };
  return { member, agreement: agree, agreementWithFreshKey: agreeFresh };
}

interface Primitives {
  readonly generate: () => unknown;
  readonly agree: () => unknown;
  readonly agreeFresh: () => unknown;
  readonly signer: () => NativeSigner;
}

interface NativeSigner {
  sign(data: Buffer): Buffer;
  verify(data: Buffer, signature: Buffer): boolean;
}

function x25519(): Primitives {
  const { privateKey } = generateKeyPairSync('x25519');
  const { publicKey } = generateKeyPairSync('x25519');
  const wireKey = publicKey.export({ format: 'jwk' });
  return {
    generate: () => generateKeyPairSync('x25519'),
    agree: () => diffieHellman({ privateKey, publicKey }),
    agreeFresh: () => diffieHellman({ privateKey, publicKey: createPublicKey({ key: wireKey, format: 'jwk' }) }),
    signer: () => {
      const keys = generateKeyPairSync('ed25519');
      return {
        sign: (data) => sign(null, data, keys.privateKey),
        verify: (data, signature) => verify(null, data, keys.publicKey, signature),
      };
    },
  };
}

function p256(): Primitives {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const ecdh = createECDH('prime256v1');
  ecdh.generateKeys();
  const peer = createECDH('prime256v1');
  peer.generateKeys();
  const wireKey = peer.getPublicKey(null, 'compressed');
  const of = (key: KeyObject) => ({ key, dsaEncoding: 'ieee-p1363' }) as const;
  return {
    generate: () => createECDH('prime256v1').generateKeys(),
    agree: () => diffieHellman({ privateKey, publicKey }),
    agreeFresh: () => ecdh.computeSecret(wireKey),
    signer: () => {
      const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      return {
        sign: (data) => sign('sha256', data, of(keys.privateKey)),
        verify: (data, signature) => verify('sha256', data, of(keys.publicKey), signature),
      };
    },
  };
}
