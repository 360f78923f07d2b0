/**
 * A checkpoint as a household keeps it: with the membership list that names its meter, so that the root's certificate is
 * all that it takes to check it.
 */
import { decodeStrict, encode } from '../crypto/cbor.js';
import type { Certificate, VerifiedCertificate } from '../crypto/certificate.js';
import { assertSignedBy } from '../crypto/envelope/chain.js';
import { parseCheckpoint, type Checkpoint } from '../crypto/envelope/checkpoint.js';
import { parseSign1 } from '../crypto/cose.js';
import { arrayOf, bytesOf } from '../crypto/fields.js';
import { limits } from '../crypto/limits.js';
import { certificateOf, lastValidS, verifyMembership } from '../crypto/membership.js';
import { suiteP256, suiteX25519 } from '../crypto/suite-node.js';
import type { Suite } from '../crypto/suite.js';

/** CBOR `[ checkpoint, membership bundle ]`. */
export const encodeCheckpointFile = (checkpoint: Uint8Array, bundle: Uint8Array): Uint8Array =>
  encode([checkpoint, bundle]);

export const maxCheckpointFileBytes = limits.membership + limits.statement + 16;

export interface KeptCheckpoint {
  readonly checkpoint: Checkpoint;
  readonly meter: VerifiedCertificate;
}

/**
 * Checks list and signature, as at the last moment of the list's validity where that is over: what the meter has signed
 * outlives the list.
 * @throws MalformedError, VerificationError
 */
export function verifyCheckpointFile(
  {
    suite,
    trustedRoots,
    nowS,
  }: { readonly suite: Suite; readonly trustedRoots: readonly Certificate[]; readonly nowS: number },
  bytes: Uint8Array,
): KeptCheckpoint {
  const { signed, bundle } = parseFile(bytes);
  const checkpoint = parseCheckpoint(suite, signed);
  const thenS = Math.min(nowS, lastValidS(bundle));
  const membership = verifyMembership({ suite, trustedRoots, nowS: thenS }, bundle);
  const meter = certificateOf(membership, checkpoint.meter, 'member', thenS);
  assertSignedBy(suite, meter, checkpoint, signed);
  return { checkpoint, meter };
}

/** The suite whose signatures it holds; whatever that is, everything must verify under it. @throws MalformedError */
export function suiteOfCheckpointFile(bytes: Uint8Array): Suite {
  const { algorithm } = parseSign1(parseFile(bytes).signed, limits.statement);
  return algorithm === suiteX25519.signatureAlgorithm ? suiteX25519 : suiteP256;
}

function parseFile(bytes: Uint8Array): { readonly signed: Uint8Array; readonly bundle: Uint8Array } {
  const what = 'kept checkpoint';
  const [signed, bundle] = arrayOf(decodeStrict(bytes, maxCheckpointFileBytes), what, 2);
  return { signed: bytesOf(signed, what), bundle: bytesOf(bundle, what) };
}
