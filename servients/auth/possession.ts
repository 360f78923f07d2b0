/**
 * Proofs of possession (DPoP, RFC 9449): whoever shows a bound token signs each request with the token's key. A proof is for
 * one method, one address and one token, is good for some minutes, and counts once in all processes on a database. Not
 * here: nonces of the server (§8).
 */
import { hash } from 'node:crypto';
import {
  calculateJwkThumbprint,
  errors,
  importJWK,
  jwtVerify,
  type CryptoKey,
  type JWK,
  type JWTHeaderParameters,
} from 'jose';
import { VerificationError } from '../../crypto/errors.js';
import { limits } from '../../crypto/limits.js';
import { tokenAlgorithms } from './access-token.js';

export interface Proof {
  /** Names it among all others: 32 bytes. */
  readonly name: Uint8Array;
  /** When it has no longer to be remembered, Unix seconds. */
  readonly expiresS: number;
}

export interface ProofOf {
  readonly method: string;
  /** Without query and fragment; one of the names of the server. */
  readonly addresses: readonly string[];
  readonly token: string;
  /** Of the token's key, base64url. */
  readonly keyThumbprint: string;
}

interface KnownKey {
  readonly key: CryptoKey;
  readonly thumbprint: string;
}

const rememberedKeys = 1_024;

/**
 * Verifies all of a proof but that it is shown for the first time. Callers use one key for long: the keys are remembered.
 * The function throws VerificationError `proof-malformed`, `proof-algorithm`, `proof-signature`, `proof-claims`,
 * `proof-key`, `proof-expired`.
 */
export function makeProofVerifier(): (proof: string | undefined, of: ProofOf, nowS: number) => Promise<Proof> {
  const keys = new Map<string, KnownKey>();
  const keyOf = async ({ jwk, alg }: JWTHeaderParameters): Promise<KnownKey> => {
    const publicJwk = publicKeyOf(jwk);
    const name = `${alg} ${JSON.stringify(publicJwk)}`;
    const known = keys.get(name);
    if (known) return known;
    const imported = { key: await importedKey(publicJwk, alg), thumbprint: await calculateJwkThumbprint(publicJwk) };
    keys.set(name, imported);
    const oldest = keys.keys().next();
    if (keys.size > rememberedKeys && oldest.done !== true) keys.delete(oldest.value);
    return imported;
  };
  return async (proof, of, nowS) => {
    if (proof === undefined) throw refused('proof-missing', 'a bound token without a proof');
    if (proof.length > limits.possessionProof) throw refused('proof-malformed', 'too long');
    let shown: KnownKey | undefined;
    const { payload } = await jwtVerify(
      proof,
      async (header) => {
        shown = await keyOf(header);
        return shown.key;
      },
      {
        algorithms: [...tokenAlgorithms],
        typ: 'dpop+jwt',
        currentDate: new Date(nowS * 1000),
        clockTolerance: limits.clockSkewS,
      },
    ).catch((cause: unknown) => {
      throw cause instanceof errors.JOSEError ? refused(codeOf(cause), cause.message, cause) : cause;
    });
    if (shown?.thumbprint !== of.keyThumbprint) throw refused('proof-key', 'by another key than the token’s');
    return checkedClaims(payload, of, nowS);
  };
}

function checkedClaims(
  { jti, htm, htu, iat, ath }: Readonly<Record<string, unknown>>,
  { method, addresses, token, keyThumbprint }: ProofOf,
  nowS: number,
): Proof {
  if (typeof jti !== 'string' || jti === '' || jti.length > 256) throw refused('proof-claims', 'it has no jti');
  if (htm !== method) throw refused('proof-claims', `for ${String(htm)} where ${method} is asked for`);
  const address = addressOf(htu);
  if (!addresses.includes(address)) throw refused('proof-claims', `for ${address}, not ${addresses.join(' or ')}`);
  if (ath !== hash('sha256', token, 'base64url')) throw refused('proof-claims', 'for another token');
  if (typeof iat !== 'number' || Math.abs(nowS - iat) > limits.clockSkewS) {
    throw refused('proof-expired', `made at ${String(iat)}, and now it is ${nowS}`);
  }
  // By clocks of other processes too.
  const expiresS = Math.ceil(iat) + 2 * limits.clockSkewS;
  return { name: new Uint8Array(hash('sha256', `${keyThumbprint} ${jti}`, 'buffer')), expiresS };
}

/** RFC 9449 §4.3: the private part must not be there; others are left out of the thumbprint anyway. */
function publicKeyOf(jwk: JWK | undefined): JWK {
  const { kty, crv, x, y } = jwk ?? {};
  const isPublic = jwk && !('d' in jwk) && typeof crv === 'string' && typeof x === 'string';
  if (isPublic && kty === 'EC' && typeof y === 'string') return { kty, crv, x, y };
  if (isPublic && kty === 'OKP') return { kty, crv, x };
  throw refused('proof-malformed', 'its header has no public key');
}

async function importedKey(jwk: JWK, alg: string): Promise<CryptoKey> {
  try {
    return (await importJWK(jwk, alg)) as CryptoKey;
  } catch (cause) {
    throw refused('proof-malformed', 'its key cannot be used', cause);
  }
}

/** As URLs are compared: without query and fragment (§4.3). */
export function addressOf(url: unknown): string {
  if (typeof url !== 'string' || !URL.canParse(url)) throw refused('proof-claims', 'its htu is no address');
  const { origin, pathname } = new URL(url);
  return origin + pathname;
}

function codeOf(error: errors.JOSEError): string {
  if (error instanceof errors.JOSEAlgNotAllowed || error instanceof errors.JOSENotSupported) return 'proof-algorithm';
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'proof-signature';
  return error instanceof errors.JWTExpired ? 'proof-expired' : 'proof-malformed';
}

const refused = (code: string, reason: string, cause?: unknown): VerificationError =>
  new VerificationError(code, `the proof of possession is refused: ${reason}`, cause);
