/** Requests of the command line to a backend as the person who is logged in there. */
import { createPrivateKey } from 'node:crypto';
import type { JWK } from 'jose';
import { SetupError } from '../../crypto/errors.js';
import type { Authorize } from '../bindings/http-client.js';
import { makeFetch, type Fetch } from '../bindings/tls-fetch.js';
import { boundHeaders, discover, makeBoundFetch, refusedBy, type BoundToken } from '../issuer-client.js';
import { systemNowS } from '../runtime.js';
import { holdingLogins, loginUrls, readLogin, writeLogin, type StoredLogin } from './login-file.js';

export const commandLineClientId = 'gridring-cli';

/** An access token that ends sooner is renewed first, seconds. */
const renewalS = 30;

/**
 * `fetch` with the token of `gridring login --url`, renewed where it is due.
 * @throws SetupError `login-missing`, `login-ended`; UnavailableError `issuer-unreachable`
 */
export const authorizedFetch = (url: string): Fetch =>
  makeBoundFetch(fetchUnder(readLogin(url).roots), () => tokenOf(url), systemNowS);

/** Who is logged in at a server, if anybody is: for a directory there, and for the Things that it serves. */
export function loginAt(url: string): { readonly fetch?: Fetch; readonly authorize?: Authorize } {
  if (!loginUrls().includes(url)) return {};
  const { origin } = new URL(url);
  return {
    fetch: authorizedFetch(url),
    // A Thing elsewhere learns no token.
    authorize: async (method, target) =>
      new URL(target).origin === origin
        ? boundHeaders(await tokenOf(url), { method, url: target, nowS: systemNowS() })
        : undefined,
  };
}

async function tokenOf(url: string): Promise<BoundToken> {
  const login = readLogin(url);
  const { accessToken } = isFresh(login) ? login : await holdingLogins(() => renewed(url, fetchUnder(login.roots)));
  return { ...boundTo(login.key), accessToken };
}

const isFresh = ({ expiresS }: StoredLogin): boolean => expiresS - renewalS > systemNowS();

/** Another command may have renewed it while this one waited. */
async function renewed(url: string, send: Fetch): Promise<StoredLogin> {
  const login = readLogin(url);
  return isFresh(login) ? login : renew(url, login, send);
}

/** `fetch` with the token that a login has now, for as long as that lasts. */
export const fetchWithin = ({ key, roots, accessToken }: StoredLogin): Fetch =>
  makeBoundFetch(fetchUnder(roots), async () => ({ ...boundTo(key), accessToken }), systemNowS);

const boundTo = (key: JWK) =>
  ({ key: createPrivateKey({ key, format: 'jwk' }), publicJwk: publicPart(key), algorithm: 'ES256' }) as const;

export const fetchUnder = (roots: readonly string[]): Fetch =>
  makeFetch({ roots: roots.map((root) => new Uint8Array(Buffer.from(root, 'base64'))) });

async function renew(url: string, login: StoredLogin, send: Fetch): Promise<StoredLogin> {
  const oidc = await import('openid-client');
  try {
    const config = await discover(send, login.issuer, commandLineClientId, oidc.None());
    const DPoP = oidc.getDPoPHandle(config, await importedKeys(login.key));
    const tokens = await oidc.refreshTokenGrant(config, login.refreshToken, undefined, { DPoP });
    const current = { ...login, ...tokenFields(tokens, login.refreshToken) };
    writeLogin(url, current);
    return current;
  } catch (cause) {
    const error = refusedBy(login.issuer, cause);
    if (error.code !== 'issuer-refused') throw error;
    throw new SetupError('login-ended', `the login at ${url} has ended: "gridring login --url ${url}"`, cause);
  }
}

interface Tokens {
  readonly access_token: string;
  readonly refresh_token?: string;
  readonly expires_in?: number;
}

export const tokenFields = (tokens: Tokens, refreshToken = '') => ({
  accessToken: tokens.access_token,
  refreshToken: tokens.refresh_token ?? refreshToken,
  expiresS: systemNowS() + (tokens.expires_in ?? 0),
});

export async function importedKeys(key: JWK) {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
  const { subtle } = globalThis.crypto;
  return {
    privateKey: await subtle.importKey('jwk', key, algorithm, false, ['sign']),
    publicKey: await subtle.importKey('jwk', publicPart(key), algorithm, true, ['verify']),
  };
}

function publicPart({ kty = '', crv = '', x = '', y = '' }: JWK) {
  return { kty, crv, x, y };
}
