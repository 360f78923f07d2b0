/**
 * Checkpoints of an audit log: a backend signs how far the chain has come, with the key of its certificate. Whoever keeps
 * one can tell later, with nothing but the root's certificate, whether the log still holds what it held then.
 */
import { equalBytes } from '../bytes.js';
import { decodeStrict, encode } from '../cbor.js';
import { parseCertificate, verifyChain, type Certificate, type VerifiedCertificate } from '../certificate.js';
import { parseSign1, sign1, verifySign1, type SignatureContext } from '../cose.js';
import { MalformedError, VerificationError } from '../errors.js';
import { arrayOf, bytesOf, uint32Max, uintOf } from '../fields.js';
import { limits } from '../limits.js';
import type { Signer, Suite } from '../suite.js';
import type { AuditPlace } from './entry.js';

export interface AuditCheckpoint extends AuditPlace {
  /** From 1, without a gap: none can be left out unseen. */
  readonly number: number;
  /** 16 bytes, of the log. */
  readonly log: Uint8Array;
  /** Unix seconds. */
  readonly timeS: number;
}

export interface VerifiedAuditCheckpoint extends AuditCheckpoint {
  readonly backend: VerifiedCertificate;
}

const what = 'audit checkpoint';
const contextOf = (log: Uint8Array): SignatureContext => ({ type: 'audit-checkpoint', context: log });

/** CBOR `[COSE_Sign1, certificates]`, the backend's own first: it verifies with the root's certificate alone. */
export function signAuditCheckpoint(
  suite: Suite,
  backend: { readonly kid: Uint8Array; readonly signer: Signer; readonly certificates: readonly Uint8Array[] },
  { number, log, sequence, hash, timeS }: AuditCheckpoint,
): Uint8Array {
  const payload = encode([log, number, sequence, hash, timeS]);
  return encode([sign1(suite, backend.signer, backend.kid, contextOf(log), payload), backend.certificates]);
}

function parseBundle(bytes: Uint8Array): { readonly signed: Uint8Array; readonly certificates: readonly Uint8Array[] } {
  const [signed, certificates] = arrayOf(decodeStrict(bytes, limits.endorsement), what, 2);
  return {
    signed: bytesOf(signed, what),
    certificates: arrayOf(certificates, what).map((der) => bytesOf(der, what)),
  };
}

/** COSE algorithm of the signature; whatever suite that is of, everything must verify under it. @throws MalformedError */
export const algorithmOfAuditCheckpoint = (bytes: Uint8Array): number =>
  parseSign1(parseBundle(bytes).signed, limits.memberMessage).algorithm;

/** Parses without verifying. @throws MalformedError */
export function parseAuditCheckpoint(bytes: Uint8Array): AuditCheckpoint {
  const { payload } = parseSign1(parseBundle(bytes).signed, limits.memberMessage);
  const [log, number, sequence, hash, timeS] = arrayOf(decodeStrict(payload, limits.memberMessage), what, 5);
  return {
    log: bytesOf(log, what, 16),
    number: uintOf(number, what, uint32Max, 1),
    sequence: uintOf(sequence, what, Number.MAX_SAFE_INTEGER, 1),
    hash: bytesOf(hash, what, 32),
    timeS: uintOf(timeS, what),
  };
}

/**
 * Checks chain, role `backend` and signature, as at the time of the checkpoint: it outlives the certificate.
 * @throws MalformedError; VerificationError `wrong-signer`, `signature-invalid`, `algorithm-mismatch`, and those of
 * `verifyChain`
 */
export function verifyAuditCheckpoint(
  { suite, trustedRoots }: { readonly suite: Suite; readonly trustedRoots: readonly Certificate[] },
  bytes: Uint8Array,
): VerifiedAuditCheckpoint {
  const { signed, certificates } = parseBundle(bytes);
  const checkpoint = parseAuditCheckpoint(bytes);
  const [leaf, ...intermediates] = certificates.map((der) => parseCertificate(suite, der));
  if (!leaf) throw new MalformedError('message-malformed', 'an audit checkpoint without a certificate');
  const backend = verifyChain(suite, leaf, intermediates, trustedRoots, checkpoint.timeS, 'backend');
  const message = parseSign1(signed, limits.memberMessage);
  if (!equalBytes(backend.kid, message.kid)) {
    throw new VerificationError('wrong-signer', 'the audit checkpoint is signed by another');
  }
  verifySign1(suite, backend.verifier, message, contextOf(checkpoint.log));
  return { ...checkpoint, backend };
}
