/**
 * How a caller with a certificate shows who it is over HTTP: a short-lived JWT (RFC 7519) signed with the certificate's
 * key, the chain in `x5c` (RFC 7515 §4.1.6), bound to that key (RFC 9449 §6.1) or sent as a bearer token (RFC 6750). Not
 * here: the proofs of bound ones; revocation, for which whoever lets a caller in looks up its `certHash` in the current
 * membership list at every request.
 */
import { createPrivateKey, createPublicKey, hash, randomUUID, type KeyObject } from 'node:crypto';
import {
  calculateJwkThumbprint,
  decodeProtectedHeader,
  errors,
  jwtVerify,
  SignJWT,
  type JWK,
  type JWTVerifyOptions,
} from 'jose';
import { equalBytes } from '../../crypto/bytes.js';
import {
  parseCertificate,
  verifyChain,
  type CaCertificate,
  type LeafCertificate,
  type VerifiedCertificate,
} from '../../crypto/certificate.js';
import { GridringError, SetupError, VerificationError } from '../../crypto/errors.js';
import { limits } from '../../crypto/limits.js';
import type { Suite } from '../../crypto/suite.js';

/** The longest life of a token, seconds. */
export const tokenLifetimeS = 300;
/** A source renews a token when this much of its life is left, seconds. */
const renewalS = 60;
/** Three certificates of the largest size, in base64 twice over. */
const maxTokenLength = 12_000;
const maxChain = 3;

export interface TokenHolder {
  readonly suite: Suite;
  /** 32 bytes, as `Suite.signer` takes them. */
  readonly secret: Uint8Array;
  readonly certificate: LeafCertificate;
  /** The CAs above it, without the root. */
  readonly intermediates: readonly CaCertificate[];
}

/** Whose certificates are DER, the leaf first. */
export function tokenHolder({
  suite,
  certificate,
  certificates,
  secret,
}: Omit<TokenHolder, 'intermediates'> & { readonly certificates: readonly Uint8Array[] }): TokenHolder {
  const intermediates = certificates
    .slice(1)
    .map((der) => parseCertificate(suite, der))
    .filter((above): above is CaCertificate => above.role === 'ca');
  return { suite, certificate, secret, intermediates };
}

/**
 * Gives a token for the audience, the same one until it is about to expire. `now` is in seconds; `bound`: it counts with
 * proofs by the certificate's key alone.
 * @throws SetupError `token-key` when the secret is not that of the certificate
 */
export function makeTokenSource(
  holder: TokenHolder,
  audience: string,
  now: () => number,
  { bound = false } = {},
): () => Promise<string> {
  const key = privateKey(holder);
  const usableForS = tokenLifetimeS - renewalS;
  let token: Promise<string> | undefined;
  let signedAtS = 0;
  return () => {
    const ageS = now() - signedAtS;
    // A clock that was set back would otherwise keep a token from the future.
    if (token === undefined || ageS < 0 || ageS >= usableForS) {
      signedAtS = now();
      token = sign(holder, key, { aud: audience, nowS: signedAtS, bound });
    }
    return token;
  };
}

/** As `x5c` has it (RFC 7515 §4.1.6). */
export const certificateChain = ({ certificate, intermediates }: TokenHolder): readonly string[] =>
  [certificate, ...intermediates].map(({ der }) => Buffer.from(der).toString('base64'));

async function sign(
  holder: TokenHolder,
  key: KeyObject,
  { aud, nowS, bound }: { readonly aud: string; readonly nowS: number; readonly bound: boolean },
): Promise<string> {
  const { suite, certificate } = holder;
  const subject = identityOf(certificate);
  const x5c = [...certificateChain(holder)];
  return new SignJWT(bound ? { cnf: { jkt: await keyThumbprintOf(suite, certificate) } } : {})
    .setProtectedHeader({ alg: algorithmOf(suite), typ: 'JWT', x5c })
    .setIssuer(subject)
    .setSubject(subject)
    .setAudience(aud)
    .setIssuedAt(nowS)
    .setExpirationTime(nowS + tokenLifetimeS)
    .setJti(randomUUID())
    .sign(key);
}

export interface TokenVerifier {
  /** The only suite whose algorithm is accepted. */
  readonly suite: Suite;
  readonly trustedRoots: readonly CaCertificate[];
  /** This service, as its configuration names it to callers. */
  readonly audience: string;
}

/** Who sent a request. */
export interface Caller {
  readonly certificate: VerifiedCertificate;
  /** `urn:gridring:<role>:<id>` */
  readonly subject: string;
  readonly tokenId: string;
  readonly expiresS: number;
  /** Of the certificate's key, base64url, where the token is bound to it. */
  readonly keyThumbprint?: string;
}

/**
 * Verifies algorithm, chain, signature, audience and times; nothing in the token is believed before the chain is.
 * @throws VerificationError `token-malformed`, `token-algorithm`, `token-untrusted`, `token-signature`,
 * `token-audience`, `token-claims`, `token-expired`
 */
export async function verifyToken(verifier: TokenVerifier, token: string, nowS: number): Promise<Caller> {
  const certificate = trustedSigner(verifier, token, nowS);
  const subject = identityOf(certificate);
  const { jti, iat, exp, cnf } = await verifiedClaims(
    token,
    publicKey(verifier.suite, certificate.verifier.publicKey),
    {
      algorithms: [algorithmOf(verifier.suite)],
      audience: verifier.audience,
      issuer: subject,
      subject,
      requiredClaims: ['exp', 'iat', 'jti'],
      currentDate: new Date(nowS * 1000),
      clockTolerance: limits.clockSkewS,
      maxTokenAge: tokenLifetimeS,
    },
  );
  if (typeof jti !== 'string' || iat === undefined || exp === undefined || exp - iat > tokenLifetimeS) {
    throw new VerificationError('token-claims', `no token id, or a life of more than ${tokenLifetimeS} s`);
  }
  const bound = cnf !== undefined && { keyThumbprint: await confirmedKey(verifier.suite, certificate, cnf) };
  return { certificate, subject, tokenId: jti, expiresS: exp, ...bound };
}

async function confirmedKey(suite: Suite, certificate: LeafCertificate, cnf: unknown): Promise<string> {
  const thumbprint = await keyThumbprintOf(suite, certificate);
  if (JSON.stringify(cnf) === JSON.stringify({ jkt: thumbprint })) return thumbprint;
  throw new VerificationError('token-claims', 'bound to another key than that of its certificate');
}

/** RFC 7638, of the key of a certificate. */
const keyThumbprintOf = (suite: Suite, { verifier }: LeafCertificate): Promise<string> =>
  calculateJwkThumbprint(jwk(suite, verifier.publicKey));

/** Verified tokens that are remembered; a caller has one at a time. */
const rememberedTokens = 1_024;

/**
 * `verifyToken` that remembers what it has accepted, since a chain costs milliseconds: a repeated token is looked up
 * until it expires, by the hash of all of it.
 */
export function makeTokenVerifier(verifier: TokenVerifier): (token: string, nowS: number) => Promise<Caller> {
  const accepted = new Map<string, Caller>();
  return async (token, nowS) => {
    const key = hash('sha256', token, 'base64');
    const known = accepted.get(key);
    if (known && nowS <= known.expiresS && nowS <= known.certificate.notAfterS) return known;
    accepted.delete(key);
    const caller = await verifyToken(verifier, token, nowS);
    accepted.set(key, caller);
    const oldest = accepted.keys().next();
    if (accepted.size > rememberedTokens && oldest.done !== true) accepted.delete(oldest.value);
    return caller;
  };
}

export interface Authorization {
  /** RFC 6750 or RFC 9449. */
  readonly scheme: 'bearer' | 'dpop';
  readonly token: string;
}

/** @throws VerificationError `token-missing` when the header is absent or of another scheme */
export function parseAuthorization(authorization: string | undefined): Authorization {
  const [, scheme, token] = /^(Bearer|DPoP) +([\w.~+/-]+=*) *$/i.exec(authorization ?? '') ?? [];
  if (scheme === undefined || token === undefined) {
    throw new VerificationError('token-missing', 'no token in Authorization');
  }
  return { scheme: scheme.toLowerCase() === 'dpop' ? 'dpop' : 'bearer', token };
}

function trustedSigner(verifier: TokenVerifier, token: string, nowS: number): VerifiedCertificate {
  const { alg } = headerOf(token);
  const expected = algorithmOf(verifier.suite);
  if (alg !== expected) {
    throw new VerificationError('token-algorithm', `signed with ${String(alg)} where ${expected} is required`);
  }
  return certificateOf(verifier, token, nowS);
}

/**
 * The certificate that a JWT shows in `x5c`, with its chain verified; whether its key has signed the JWT is not checked.
 * @throws VerificationError `token-malformed`, `token-untrusted`
 */
export function certificateOf(
  { suite, trustedRoots }: Pick<TokenVerifier, 'suite' | 'trustedRoots'>,
  token: string,
  nowS: number,
): VerifiedCertificate {
  const { x5c } = headerOf(token);
  if (!Array.isArray(x5c) || x5c.length === 0 || x5c.length > maxChain) throw malformed();
  try {
    const [leaf, ...above] = x5c.map((text) => parseCertificate(suite, certificateBytes(text)));
    if (leaf === undefined) throw malformed();
    return verifyChain(suite, leaf, above, trustedRoots, nowS);
  } catch (cause) {
    if (!(cause instanceof GridringError)) throw cause;
    throw new VerificationError('token-untrusted', `the certificate is refused: ${cause.message}`, cause);
  }
}

function headerOf(token: string): { readonly alg?: unknown; readonly x5c?: unknown } {
  if (token.length > maxTokenLength) throw malformed();
  try {
    return decodeProtectedHeader(token);
  } catch (cause) {
    throw malformed(cause);
  }
}

function certificateBytes(text: unknown): Uint8Array {
  if (typeof text !== 'string' || !/^[A-Za-z0-9+/]+={0,2}$/.test(text)) throw malformed();
  return new Uint8Array(Buffer.from(text, 'base64'));
}

async function verifiedClaims(token: string, key: KeyObject, options: JWTVerifyOptions) {
  try {
    return (await jwtVerify(token, key, options)).payload;
  } catch (cause) {
    if (!(cause instanceof errors.JOSEError)) throw cause;
    throw new VerificationError(codeOf(cause), `the token is refused: ${cause.message}`, cause);
  }
}

function codeOf(error: errors.JOSEError): string {
  if (error instanceof errors.JWTExpired) return 'token-expired';
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'token-signature';
  if (error instanceof errors.JOSEAlgNotAllowed) return 'token-algorithm';
  if (error instanceof errors.JWTClaimValidationFailed)
    return error.claim === 'aud' ? 'token-audience' : 'token-claims';
  return 'token-malformed';
}

const malformed = (cause?: unknown): VerificationError =>
  new VerificationError('token-malformed', 'not a token of the expected form', cause);

/** `urn:gridring:<role>:<id>` */
export const identityOf = ({ role, id }: LeafCertificate): string => `urn:gridring:${role}:${id}`;

/** RFC 8037 §3.1 and RFC 7518 §3.4. */
const algorithmOf = (suite: Suite): 'EdDSA' | 'ES256' => (suite.id === 1 ? 'EdDSA' : 'ES256');

/** @throws SetupError `token-key` when the secret is not that of the certificate */
export function privateKey({ suite, secret, certificate }: TokenHolder): KeyObject {
  const signer = suite.signer(secret);
  if (!equalBytes(signer.publicKey, certificate.verifier.publicKey)) {
    throw new SetupError('token-key', "the private key is not that of the certificate: check the node's key files");
  }
  return createPrivateKey({ key: { ...jwk(suite, signer.publicKey), d: base64Url(secret) }, format: 'jwk' });
}

const publicKey = (suite: Suite, bytes: Uint8Array): KeyObject =>
  createPublicKey({ key: jwk(suite, bytes), format: 'jwk' });

/** A public signing key, as `Suite.verifier` takes it. */
export function jwk(suite: Suite, key: Uint8Array): JWK & { readonly kty: string } {
  return suite.id === 1
    ? { kty: 'OKP', crv: 'Ed25519', x: base64Url(key) }
    : { kty: 'EC', crv: 'P-256', x: base64Url(key.slice(1, 33)), y: base64Url(key.slice(33)) };
}

const base64Url = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');
