/**
 * How callers of a backend get tokens of its issuer, and show them: each request with a proof of possession (RFC 9449).
 * Where a backend has no issuer, a device shows a token that it signs itself.
 */
import { createHash, randomUUID, type KeyObject } from 'node:crypto';
import { SignJWT, type JWK } from 'jose';
import type { Configuration } from 'openid-client';
import { GridringError, UnavailableError, VerificationError } from '../crypto/errors.js';
import {
  certificateChain,
  identityOf,
  jwk,
  makeTokenSource,
  privateKey,
  tokenHolder,
  type TokenHolder,
} from './bindings/token.js';
import { makeFetch, type Fetch, type TlsParty } from './bindings/tls-fetch.js';
import { inTrace } from './bindings/trace.js';

/** A token that counts only with proofs by its key. */
export interface BoundToken {
  readonly accessToken: string;
  readonly key: KeyObject;
  readonly publicJwk: JWK;
  readonly algorithm: 'ES256' | 'EdDSA';
}

/** Renewed when this much of its life is left, seconds. */
const renewalS = 60;
const timeoutMs = 10_000;

/** Where the issuer of a backend is (RFC 9728); undefined where it has none. @throws UnavailableError `backend-unreachable` */
export async function findIssuer(send: Fetch, url: string): Promise<string | undefined> {
  try {
    const signal = AbortSignal.timeout(timeoutMs);
    const response = await send(`${url}/.well-known/oauth-protected-resource`, { signal });
    if (response.status === 404) return undefined;
    if (!response.ok) throw new Error(`status ${response.status}`);
    const { authorization_servers: servers } = (await response.json()) as { readonly authorization_servers?: unknown };
    const [issuer] = Array.isArray(servers) ? (servers as readonly unknown[]) : [];
    return typeof issuer === 'string' ? issuer : undefined;
  } catch (cause) {
    throw new UnavailableError('backend-unreachable', `the backend at ${url} does not answer`, cause);
  }
}

/** Headers of one request with this token, and a proof for it that is made at `nowS`. */
export async function boundHeaders(
  { accessToken, key, publicJwk, algorithm }: BoundToken,
  { method, url, nowS }: { readonly method: string; readonly url: string; readonly nowS: number },
): Promise<{ readonly authorization: string; readonly dpop: string }> {
  const { origin, pathname } = new URL(url);
  const ath = createHash('sha256').update(accessToken).digest('base64url');
  const dpop = await new SignJWT({ htm: method, htu: origin + pathname, ath, jti: randomUUID() })
    .setProtectedHeader({ alg: algorithm, typ: 'dpop+jwt', jwk: publicJwk })
    .setIssuedAt(nowS)
    .sign(key);
  return { authorization: `DPoP ${accessToken}`, dpop };
}

/** Sends each request with the token of that moment, and a proof for it. `nowS` is the clock of the proofs. */
export const makeBoundFetch =
  (send: Fetch, token: () => Promise<BoundToken>, nowS: () => number): Fetch =>
  async (url, init = {}) => {
    const bound = await boundHeaders(await token(), { method: init.method ?? 'GET', url, nowS: nowS() });
    const headers = new Headers(init.headers);
    for (const [name, value] of Object.entries(bound)) headers.set(name, value);
    return send(url, { ...init, headers });
  };

export interface DeviceCaller {
  readonly send: Fetch;
  /** Of the backend, without a slash at its end. */
  readonly url: string;
  readonly audience: string;
  readonly holder: TokenHolder;
  readonly nowS: () => number;
}

/** Sends requests with tokens that a certificate's key signs itself. Gateways use these only where there is no issuer. */
function makeOwnFetch({ send, audience, holder, nowS }: Omit<DeviceCaller, 'url'>): Fetch {
  const token = makeTokenSource(holder, audience, nowS, { bound: true });
  const bound = boundToKeyOf(holder);
  return makeBoundFetch(send, async () => ({ ...bound, accessToken: await token() }), nowS);
}

/** A certificate with its key, and the chain above it: DER, the leaf first. */
export type CertifiedKey = Parameters<typeof tokenHolder>[0];

/** `makeOwnFetch` to servers under these roots, to which the certificate is shown in the handshake too. */
export const fetchAs = (key: CertifiedKey, audience: string, roots: TlsParty['roots'], nowS: () => number): Fetch =>
  makeOwnFetch({ send: makeFetch({ roots, identity: key }), audience, holder: tokenHolder(key), nowS });

/**
 * Sends requests as a device: with tokens of the backend's issuer, asked for with `private_key_jwt` and bound to the key of
 * the certificate; where it has no issuer, with a token that the device signs.
 */
export function makeDeviceFetch(caller: DeviceCaller): Fetch {
  const { send, url, nowS } = caller;
  const sendOwn = makeOwnFetch(caller);
  // Undefined until it is looked for; then the tokens of the issuer, where there is one.
  let issued: Promise<(() => Promise<BoundToken>) | undefined> | undefined;
  const lookForIssuer = async () => {
    const issuer = await findIssuer(send, url);
    return issuer === undefined ? undefined : makeDeviceTokens(caller, issuer);
  };
  const sendAs = async (target: string, init: RequestInit): Promise<Response> => {
    issued ??= lookForIssuer().catch((error: unknown) => {
      issued = undefined;
      throw error;
    });
    const tokens = await issued;
    return (tokens ? makeBoundFetch(send, tokens, nowS) : sendOwn)(target, init);
  };
  return (target, init = {}) =>
    // Asking for a token is a part of it.
    inTrace(undefined, async () => {
      const response = await sendAs(target, init);
      // The token may have been revoked, or the backend may have got an issuer, or lost it.
      if (response.status === 401) issued = undefined;
      return response;
    });
}

function makeDeviceTokens({ send, holder, nowS }: DeviceCaller, issuer: string): () => Promise<BoundToken> {
  const { certificate } = holder;
  const bound = boundToKeyOf(holder);
  let token: Promise<BoundToken> | undefined;
  let untilS = Number.NEGATIVE_INFINITY;
  let askedS = 0;
  const ask = async (): Promise<BoundToken> => {
    const oidc = await import('openid-client');
    const keys = await deviceKeys(holder);
    const x5c = certificateChain(holder);
    const authentication = oidc.PrivateKeyJwt(keys.privateKey, {
      [oidc.modifyAssertion]: (header) => {
        Object.assign(header, { x5c });
      },
    });
    try {
      const config = await discover(send, issuer, identityOf(certificate), authentication);
      const DPoP = oidc.getDPoPHandle(config, keys);
      const { access_token: accessToken, expires_in: lifeS = 0 } = await oidc.clientCredentialsGrant(
        config,
        {},
        { DPoP },
      );
      untilS = askedS + lifeS - renewalS;
      return { ...bound, accessToken };
    } catch (cause) {
      throw refusedBy(issuer, cause);
    }
  };
  return () => {
    const now = nowS();
    // Also where the clock was set back.
    if (token === undefined || now >= untilS || now < askedS) {
      askedS = now;
      untilS = Number.POSITIVE_INFINITY;
      token = ask();
      token.catch(() => {
        token = undefined;
      });
    }
    return token;
  };
}

/** How proofs are made for tokens that are bound to the key of a certificate. */
const boundToKeyOf = (holder: TokenHolder): Omit<BoundToken, 'accessToken'> => ({
  key: privateKey(holder),
  publicJwk: jwk(holder.suite, holder.certificate.verifier.publicKey),
  algorithm: holder.suite.id === 1 ? 'EdDSA' : 'ES256',
});

async function deviceKeys(holder: TokenHolder) {
  const { suite, secret, certificate } = holder;
  const algorithm = suite.id === 1 ? { name: 'Ed25519' } : { name: 'ECDSA', namedCurve: 'P-256' };
  const publicJwk = jwk(suite, certificate.verifier.publicKey);
  const d = Buffer.from(secret).toString('base64url');
  const { subtle } = globalThis.crypto;
  return {
    privateKey: await subtle.importKey('jwk', { ...publicJwk, d }, algorithm, false, ['sign']),
    publicKey: await subtle.importKey('jwk', publicJwk, algorithm, true, ['verify']),
  };
}

/** openid-client's configuration of an issuer that `send` reaches. Plain HTTP is the choice of who gave the address. */
export async function discover(
  send: Fetch,
  issuer: string,
  clientId: string,
  authentication: ReturnType<typeof import('openid-client').None>,
): Promise<Configuration> {
  const oidc = await import('openid-client');
  return oidc.discovery(new URL(issuer), clientId, undefined, authentication, {
    [oidc.customFetch]: send,
    // eslint-disable-next-line @typescript-eslint/no-deprecated -- a backend on this machine, or one that insists on it
    execute: issuer.startsWith('http:') ? [oidc.allowInsecureRequests] : [],
  });
}

/** What an OAuth error says is for good; whatever else happened may pass. */
export function refusedBy(issuer: string, cause: unknown): GridringError {
  if (cause instanceof GridringError) return cause;
  const { error, error_description: description } = cause as { error?: unknown; error_description?: unknown };
  if (typeof error === 'string') {
    const why = typeof description === 'string' ? `: ${description}` : '';
    return new VerificationError('issuer-refused', `${issuer} gives no token (${error}${why})`, cause);
  }
  return new UnavailableError('issuer-unreachable', `${issuer} does not answer as an issuer does`, cause);
}
