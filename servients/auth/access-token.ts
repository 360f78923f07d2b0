/**
 * Access tokens of issuers (RFC 9068): JWTs of people and devices, for this service, under keys that their issuer publishes.
 * Nothing in one is believed before its signature is, but whose it claims to be, to find the key. Not here: opaque tokens and
 * introspection; whether the account or certificate is still good, which is asked at every request.
 */
import { hash } from 'node:crypto';
import { calculateJwkThumbprint, decodeJwt, errors, jwtVerify, type JWTPayload, type JWTVerifyGetKey } from 'jose';
import {
  parseCertificate,
  verifyChain,
  type CaCertificate,
  type VerifiedCertificate,
} from '../../crypto/certificate.js';
import { GridringError, VerificationError } from '../../crypto/errors.js';
import { limits } from '../../crypto/limits.js';
import type { Suite } from '../../crypto/suite.js';
import { certificatesClaim } from './certificates-claim.js';
import { identityOf, jwk } from '../bindings/token.js';

export const tokenAlgorithms: readonly string[] = ['ES256', 'EdDSA', 'Ed25519'];

const maxChain = 3;

/** Names the accounts of the issuer that this deployment has itself; their subjects are their ids. */
export const embeddedIssuerName = 'embedded';

/** An issuer whose tokens count. */
export interface TrustedIssuer {
  /** Names its accounts: the URL, or `embedded`. */
  readonly name: string;
  /** `iss` of its tokens. The embedded one knows it when the server listens. */
  readonly url: () => string;
  /** What its tokens must be for. */
  readonly audience: string;
  readonly keys: JWTVerifyGetKey;
  /** The claim with the person's roles, where the issuer may give any. */
  readonly rolesClaim?: string;
}

/** What a token says, verified. */
export interface AccessToken {
  /** Name of the issuer. */
  readonly issuer: string;
  readonly subject: string;
  readonly tokenId: string;
  readonly issuedS: number;
  readonly expiresS: number;
  /** Undefined where the token is for all that its holder may. */
  readonly granted?: ReadonlySet<string>;
  /** Thumbprint of the key that whoever shows the token must prove to have (RFC 9449 §6.1), base64url. */
  readonly keyThumbprint?: string;
  /** SHA-256 of the TLS certificate to be shown with it (RFC 8705 §3.1), base64url. */
  readonly tlsThumbprint?: string;
  /** Of a device. */
  readonly certificate?: VerifiedCertificate;
  /** Those that the issuer gives to a person; undefined where it may give none. */
  readonly issuerRoles?: readonly string[];
}

export interface AccessTokenChecks {
  readonly issuers: readonly TrustedIssuer[];
  readonly suite: Suite;
  readonly trustedRoots: readonly CaCertificate[];
}

/**
 * @throws VerificationError `token-malformed`, `token-issuer`, `token-algorithm`, `token-signature`, `token-audience`,
 * `token-claims`, `token-expired`, `token-untrusted`, `token-unbound`; UnavailableError `issuer-unreachable`
 */
async function verifyAccessToken(checks: AccessTokenChecks, token: string, nowS: number): Promise<AccessToken> {
  const issuer = issuerOf(checks.issuers, token);
  const claims = await verifiedClaims(issuer, token, nowS);
  const { sub, jti, iat, exp } = claims;
  if (!isText(sub) || !isText(jti) || iat === undefined || exp === undefined) throw badClaims('sub, jti, iat or exp');
  if (exp - iat > limits.accessTokenLifetimeS) throw badClaims('its life is too long');
  const { jkt, x5t } = confirmationOf(claims['cnf']);
  const certificate = await certificateOf(checks, claims, jkt, nowS);
  const granted = claims['scope'];
  return {
    issuer: issuer.name,
    subject: sub,
    tokenId: jti,
    issuedS: iat,
    expiresS: exp,
    ...(granted !== undefined && { granted: new Set(typeof granted === 'string' ? granted.split(' ') : []) }),
    ...(jkt !== undefined && { keyThumbprint: jkt }),
    ...(x5t !== undefined && { tlsThumbprint: x5t }),
    ...(certificate && { certificate }),
    ...(issuer.rolesClaim !== undefined && { issuerRoles: textsIn(claims[issuer.rolesClaim]) }),
  };
}

const rememberedTokens = 4_096;

/** `verifyAccessToken` that remembers what it has accepted until it expires, by the hash of all of it. */
export function makeAccessTokenVerifier(
  checks: AccessTokenChecks,
): (token: string, nowS: number) => Promise<AccessToken> {
  const accepted = new Map<string, AccessToken>();
  return async (token, nowS) => {
    const key = hash('sha256', token, 'base64');
    const known = accepted.get(key);
    if (known && nowS <= known.expiresS && nowS <= (known.certificate?.notAfterS ?? nowS)) return known;
    accepted.delete(key);
    const verified = await verifyAccessToken(checks, token, nowS);
    accepted.set(key, verified);
    const oldest = accepted.keys().next();
    if (accepted.size > rememberedTokens && oldest.done !== true) accepted.delete(oldest.value);
    return verified;
  };
}

function issuerOf(issuers: readonly TrustedIssuer[], token: string): TrustedIssuer {
  if (token.length > limits.accessToken) throw malformed();
  let iss: unknown;
  try {
    ({ iss } = decodeJwt(token));
  } catch (cause) {
    throw malformed(cause);
  }
  const issuer = issuers.find(({ url }) => url() === iss);
  if (!issuer)
    throw new VerificationError('token-issuer', `no tokens of ${JSON.stringify(iss ?? null).slice(0, 200)} here`);
  return issuer;
}

async function verifiedClaims(issuer: TrustedIssuer, token: string, nowS: number): Promise<JWTPayload> {
  try {
    const { payload } = await jwtVerify(token, issuer.keys, {
      algorithms: [...tokenAlgorithms],
      typ: 'at+jwt',
      issuer: issuer.url(),
      audience: issuer.audience,
      requiredClaims: ['exp', 'iat', 'sub', 'jti'],
      currentDate: new Date(nowS * 1000),
      clockTolerance: limits.clockSkewS,
      maxTokenAge: limits.accessTokenLifetimeS,
    });
    return payload;
  } catch (cause) {
    if (!(cause instanceof errors.JOSEError)) throw cause;
    throw new VerificationError(codeOf(cause), `the token is refused: ${cause.message}`, cause);
  }
}

function codeOf(error: errors.JOSEError): string {
  if (error instanceof errors.JWTExpired) return 'token-expired';
  if (error instanceof errors.JOSEAlgNotAllowed || error instanceof errors.JOSENotSupported) return 'token-algorithm';
  if (error instanceof errors.JWSSignatureVerificationFailed || error instanceof errors.JWKSNoMatchingKey)
    return 'token-signature';
  if (error instanceof errors.JWTClaimValidationFailed)
    return error.claim === 'aud' ? 'token-audience' : 'token-claims';
  return 'token-malformed';
}

/** A confirmation of a kind that is not known here could not be checked. */
function confirmationOf(cnf: unknown): { readonly jkt?: string; readonly x5t?: string } {
  if (cnf === undefined) return {};
  if (typeof cnf !== 'object' || cnf === null) throw badClaims('cnf');
  const { jkt, 'x5t#S256': x5t, ...others } = cnf as Readonly<Record<string, unknown>>;
  const isThumbprint = (value: unknown): value is string | undefined =>
    value === undefined || (typeof value === 'string' && /^[\w-]{43}$/.test(value));
  if (Object.keys(others).length > 0 || !isThumbprint(jkt) || !isThumbprint(x5t)) throw badClaims('cnf');
  return { ...(jkt !== undefined && { jkt }), ...(x5t !== undefined && { x5t }) };
}

/** A device is who its certificate says; the token must be bound to the certificate's key, whoever issued it. */
async function certificateOf(
  { suite, trustedRoots }: AccessTokenChecks,
  { [certificatesClaim]: chain, sub }: JWTPayload,
  jkt: string | undefined,
  nowS: number,
): Promise<VerifiedCertificate | undefined> {
  if (chain === undefined) return undefined;
  if (jkt === undefined) throw new VerificationError('token-unbound', 'a device’s token that is bound to no key');
  const certificate = verifiedLeaf(suite, trustedRoots, chain, nowS);
  const thumbprint = await calculateJwkThumbprint(jwk(suite, certificate.verifier.publicKey));
  if (thumbprint !== jkt || identityOf(certificate) !== sub) {
    throw new VerificationError('token-untrusted', 'the certificate in the token is not that of its holder');
  }
  return certificate;
}

function verifiedLeaf(
  suite: Suite,
  trustedRoots: readonly CaCertificate[],
  chain: unknown,
  nowS: number,
): VerifiedCertificate {
  if (!Array.isArray(chain) || chain.length > maxChain || !chain.every(isBase64)) throw badClaims(certificatesClaim);
  try {
    const [leaf, ...above] = chain.map((text) => parseCertificate(suite, new Uint8Array(Buffer.from(text, 'base64'))));
    if (leaf === undefined) throw badClaims(certificatesClaim);
    return verifyChain(suite, leaf, above, trustedRoots, nowS);
  } catch (cause) {
    if (!(cause instanceof GridringError)) throw cause;
    throw new VerificationError('token-untrusted', `the certificate is refused: ${cause.message}`, cause);
  }
}

const isBase64 = (value: unknown): value is string => typeof value === 'string' && /^[A-Za-z0-9+/]+={0,2}$/.test(value);
const isText = (value: unknown): value is string =>
  typeof value === 'string' && value.length > 0 && value.length <= 256;
const textsIn = (value: unknown): readonly string[] =>
  [value].flat().filter((each): each is string => typeof each === 'string');
const malformed = (cause?: unknown): VerificationError =>
  new VerificationError('token-malformed', 'not a token of the expected form', cause);
const badClaims = (which: string): VerificationError =>
  new VerificationError('token-claims', `the token’s claims are refused: ${which}`);
