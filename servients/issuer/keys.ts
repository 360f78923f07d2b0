/**
 * The issuer's signing keys. Each process makes its own when it starts and keeps the private half in memory; the database
 * has the public halves, which every process on it serves and verifies under. Nothing that lies on a disk signs a token.
 */
import { generateKeyPairSync } from 'node:crypto';
import {
  calculateJwkThumbprint,
  createLocalJWKSet,
  errors,
  type JSONWebKeySet,
  type JWK,
  type JWTVerifyGetKey,
} from 'jose';
import type { IssuerStore } from '../../things/issuer-store.js';

/** A public key is served for so long after its process was last seen, seconds. */
export const keyLifetimeS = 2 * 86_400;

export interface SigningKey {
  readonly kid: string;
  /** With its private part. */
  readonly jwk: JWK;
  /** Tells that the process still signs with it; well within `keyLifetimeS`. */
  publish(nowS: number): Promise<void>;
}

/** A fresh ES256 key; `publish` it before anything is signed. */
export async function makeSigningKey(store: IssuerStore): Promise<SigningKey> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const publicJwk = publicKey.export({ format: 'jwk' }) as JWK;
  const kid = await calculateJwkThumbprint(publicJwk);
  const common = { kid, alg: 'ES256', use: 'sig' };
  const published = JSON.stringify({ ...publicJwk, ...common });
  return {
    kid,
    jwk: { ...(privateKey.export({ format: 'jwk' }) as JWK), ...common },
    publish: (nowS) => store.putKey({ kid, jwk: published, expiresS: nowS + keyLifetimeS }),
  };
}

/** The public keys of all processes on the database. */
export async function publicKeys(store: IssuerStore, nowS: number): Promise<JSONWebKeySet> {
  const keys = await store.keys(nowS);
  return { keys: keys.map(({ jwk }) => JSON.parse(jwk) as JWK) };
}

/** A key that is not known is looked for in the database no more often than this, seconds. */
const lookAgainS = 2;

/** For `jwtVerify`: the keys as they were, and anew where a token names one that is not among them. */
export function makeKeyLookup(store: IssuerStore, nowS: () => number): JWTVerifyGetKey {
  let known = createLocalJWKSet({ keys: [] });
  let lookedAtS = Number.NEGATIVE_INFINITY;
  return async (header, token) => {
    try {
      return await known(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey) || nowS() - lookedAtS < lookAgainS) throw error;
    }
    lookedAtS = nowS();
    known = createLocalJWKSet(await publicKeys(store, nowS()));
    return known(header, token);
  };
}
