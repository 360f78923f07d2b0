/** An issuer of access tokens on a loopback port, which says what a test wants it to say, and whoever shows its tokens. */
import { createHash, createPrivateKey, generateKeyPairSync, randomUUID, type KeyObject } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { calculateJwkThumbprint, exportJWK, SignJWT, type JWK, type JWTPayload } from 'jose';
import type { Suite } from '../../crypto/suite.js';
import { jwk } from '../../servients/bindings/token.js';
import type { Principal } from './neighbourhood.js';

export interface TokenKey {
  readonly privateKey: KeyObject;
  readonly jwk: JWK;
  /** Base64url. */
  readonly thumbprint: string;
  readonly alg: 'ES256' | 'EdDSA';
}

export async function makeTokenKey(alg: 'ES256' | 'EdDSA'): Promise<TokenKey> {
  const { privateKey, publicKey } =
    alg === 'ES256' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('ed25519');
  const jwk = await exportJWK(publicKey);
  return { privateKey, jwk, thumbprint: await calculateJwkThumbprint(jwk), alg };
}

/** That of a certificate. */
export async function tokenKeyOf(
  suite: Suite,
  { secret, signer }: Pick<Principal, 'secret' | 'signer'>,
): Promise<TokenKey> {
  const publicJwk = jwk(suite, signer.publicKey);
  const privateKey = createPrivateKey({
    key: { ...publicJwk, d: Buffer.from(secret).toString('base64url') },
    format: 'jwk',
  });
  const alg = suite.id === 1 ? 'EdDSA' : 'ES256';
  return { privateKey, jwk: publicJwk, thumbprint: await calculateJwkThumbprint(publicJwk), alg };
}

export interface Issuer {
  readonly url: string;
  readonly key: TokenKey;
  /** How often its keys were asked for. */
  readonly asked: number;
  /** What it answers instead of keys. */
  failing: boolean;
  /** A token as it should be, but for what differs. */
  token(claims: JWTPayload, header?: Readonly<Record<string, unknown>>): Promise<string>;
  close(): Promise<void>;
}

export async function startIssuer(audience: string, nowS: () => number): Promise<Issuer> {
  const key = await makeTokenKey('ES256');
  const state = { asked: 0, failing: false };
  const server = createServer((request, response) => {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    if (request.url === '/jwks') state.asked += 1;
    const answer =
      request.url === '/jwks'
        ? { keys: [{ ...key.jwk, kid: 'one', alg: key.alg, use: 'sig' }] }
        : { issuer: url, jwks_uri: `${url}/jwks` };
    response.writeHead(state.failing ? 503 : 200, { 'content-type': 'application/json', connection: 'close' });
    response.end(JSON.stringify(answer));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return Object.assign(state, {
    url,
    key,
    token: (claims: JWTPayload, header: Readonly<Record<string, unknown>> = {}) =>
      new SignJWT({
        ...{ iss: url, aud: audience, iat: nowS(), exp: nowS() + 600, jti: randomUUID(), client_id: 'test' },
        ...claims,
      })
        .setProtectedHeader({ alg: key.alg, kid: 'one', typ: 'at+jwt', ...header })
        .sign(key.privateKey),
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  });
}

/** A proof of possession as it should be, but for what differs. */
export const proofFor = (
  key: TokenKey,
  { method, url, token, iat }: { method: string; url: string; token: string; iat: number },
  claims: JWTPayload = {},
  header: Readonly<Record<string, unknown>> = {},
): Promise<string> =>
  new SignJWT({
    ...{ htm: method, htu: url, iat, jti: randomUUID(), ath: createHash('sha256').update(token).digest('base64url') },
    ...claims,
  })
    .setProtectedHeader({ alg: key.alg, typ: 'dpop+jwt', jwk: key.jwk, ...header })
    .sign(key.privateKey);
