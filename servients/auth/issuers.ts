/**
 * Issuers elsewhere (OpenID Connect Discovery 1.0, RFC 8414): their keys are fetched when a token of theirs comes, and kept.
 * One that cannot be reached is no reason to call a token bad, and keeps nobody else waiting.
 */
import { createRemoteJWKSet, customFetch, errors, type FetchImplementation, type JWTVerifyGetKey } from 'jose';
import { SetupError, UnavailableError } from '../../crypto/errors.js';
import { limits } from '../../crypto/limits.js';
import type { TrustedIssuer } from './access-token.js';

export interface IssuerConfig {
  /** As in `iss`. */
  readonly issuer: string;
  /** Default: that of the backend. */
  readonly audience?: string;
  /** Default: what the issuer's `/.well-known/openid-configuration` says. */
  readonly jwksUri?: string;
  readonly rolesClaim?: string;
}

const fetchTimeoutMs = 5_000;
/** After a failure, the next one to ask waits for this. */
const retryAfterS = 5;
const keysMaxAgeMs = 600_000;

/** @throws SetupError `issuer-insecure` for addresses that are neither https nor on loopback */
export function trustIssuer(
  { issuer, audience, jwksUri, rolesClaim }: IssuerConfig,
  ownAudience: string,
): TrustedIssuer {
  for (const url of [issuer, jwksUri ?? issuer]) requireSecure(url);
  return {
    name: issuer,
    url: () => issuer,
    audience: audience ?? ownAudience,
    keys: remoteKeys(issuer, jwksUri),
    ...(rolesClaim !== undefined && { rolesClaim }),
  };
}

function remoteKeys(issuer: string, jwksUri: string | undefined): JWTVerifyGetKey {
  let keys: Promise<JWTVerifyGetKey> | undefined;
  let failedAtMs = Number.NEGATIVE_INFINITY;
  const load = async (): Promise<JWTVerifyGetKey> =>
    createRemoteJWKSet(new URL(jwksUri ?? (await discover(issuer))), {
      timeoutDuration: fetchTimeoutMs,
      cacheMaxAge: keysMaxAgeMs,
      [customFetch]: boundedFetch,
    });
  return async (header, token) => {
    if (performance.now() - failedAtMs < retryAfterS * 1_000) throw unreachable(issuer);
    try {
      keys ??= load();
      return await (
        await keys
      )(header, token);
    } catch (cause) {
      // What is wrong with the token, or with all keys that fit it, is not a matter of reaching the issuer.
      if (cause instanceof errors.JWKSNoMatchingKey || cause instanceof errors.JWKSMultipleMatchingKeys) throw cause;
      keys = undefined;
      failedAtMs = performance.now();
      throw unreachable(issuer, cause);
    }
  };
}

/** @returns where the keys are. @throws Error of whatever kind */
async function discover(issuer: string): Promise<string> {
  const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
  const headers = new Headers({ accept: 'application/json' });
  const signal = AbortSignal.timeout(fetchTimeoutMs);
  const response = await boundedFetch(url, { headers, method: 'GET', redirect: 'manual', signal });
  if (response.status !== 200) throw new Error(`${url} answers ${response.status}`);
  const { issuer: named, jwks_uri: jwksUri } = (await response.json()) as Readonly<Record<string, unknown>>;
  if (named !== issuer || typeof jwksUri !== 'string') throw new Error(`${url} is not of ${issuer}`);
  requireSecure(jwksUri);
  return jwksUri;
}

const boundedFetch: FetchImplementation = async (url, options) => {
  const response = await fetch(url, options);
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > limits.issuerDocument) throw new Error(`${url} gives more than ${limits.issuerDocument} bytes`);
    chunks.push(chunk);
  }
  return new Response(Buffer.concat(chunks), { status: response.status, headers: response.headers });
};

function requireSecure(url: string): void {
  const { protocol, hostname } = new URL(url);
  if (protocol === 'https:' || /^(?:127(?:\.\d+){3}|\[::1\]|localhost)$/.test(hostname)) return;
  throw new SetupError('issuer-insecure', `${url} is plain: an issuer's keys are fetched by https, or on this machine`);
}

const unreachable = (issuer: string, cause?: unknown): UnavailableError =>
  new UnavailableError('issuer-unreachable', `the keys of ${issuer} cannot be fetched now`, cause, retryAfterS);
