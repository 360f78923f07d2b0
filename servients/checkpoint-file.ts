/**
 * A checkpoint as a household keeps it: with the membership list that names its meter, so that the root's certificate is
 * all that it takes to check it.
 */
import { decodeStrict, encode } from '../crypto/cbor.js';
import { vouchedCertificate, type Certificate, type VerifiedCertificate } from '../crypto/certificate.js';
import { assertSignedBy } from '../crypto/envelope/chain.js';
import { parseCheckpoint, type Checkpoint } from '../crypto/envelope/checkpoint.js';
import { parseSign1 } from '../crypto/cose.js';
import { arrayOf, bytesOf } from '../crypto/fields.js';
import { limits } from '../crypto/limits.js';
import { certificateOf, lastValidS, successorOf, verifyMembership } from '../crypto/membership.js';
import { suiteP256, suiteX25519 } from '../crypto/suite-node.js';
import type { Suite } from '../crypto/suite.js';

/** CBOR `[ checkpoint, membership bundle ]`, and the meter's certificate of then where the list has a newer one. */
export const encodeCheckpointFile = (
  checkpoint: Uint8Array,
  bundle: Uint8Array,
  certificateOfThen?: Uint8Array,
): Uint8Array => encode([checkpoint, bundle, ...(certificateOfThen ? [certificateOfThen] : [])]);

export const maxCheckpointFileBytes = limits.membership + limits.statement + limits.certificate + 16;

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
  const { signed, bundle, certificateOfThen } = parseFile(bytes);
  const checkpoint = parseCheckpoint(suite, signed);
  const thenS = Math.min(nowS, lastValidS(bundle));
  const membership = verifyMembership({ suite, trustedRoots, nowS: thenS }, bundle);
  const heir = successorOf(membership.list, checkpoint.meter);
  const holder = certificateOf(membership, heir?.certHash ?? checkpoint.meter, 'member', thenS);
  const meter = heir ? vouchedCertificate(suite, certificateOfThen ?? holder.der, checkpoint.meter, holder) : holder;
  assertSignedBy(suite, meter, checkpoint, signed);
  return { checkpoint, meter };
}

/** The suite whose signatures it holds; whatever that is, everything must verify under it. @throws MalformedError */
export function suiteOfCheckpointFile(bytes: Uint8Array): Suite {
  const { algorithm } = parseSign1(parseFile(bytes).signed, limits.statement);
  return algorithm === suiteX25519.signatureAlgorithm ? suiteX25519 : suiteP256;
}

interface CheckpointFile {
  readonly signed: Uint8Array;
  readonly bundle: Uint8Array;
  readonly certificateOfThen: Uint8Array | undefined;
}

function parseFile(bytes: Uint8Array): CheckpointFile {
  const what = 'kept checkpoint';
  const items = arrayOf(decodeStrict(bytes, maxCheckpointFileBytes), what);
  const [signed, bundle, certificate] = arrayOf(items, what, items.length === 2 ? 2 : 3);
  const certificateOfThen = items.length === 2 ? undefined : bytesOf(certificate, what);
  return { signed: bytesOf(signed, what), bundle: bytesOf(bundle, what), certificateOfThen };
}
