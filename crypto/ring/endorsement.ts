/**
 * What the backend signs once it has verified the whole record of an epoch (protocol §7): with it, an epoch under the
 * profile `constrained` is no longer provisional. It travels with the backend's certificates, for members know only the
 * root.
 */
import { equalBytes } from '../bytes.js';
import { decodeStrict, encode } from '../cbor.js';
import { parseCertificate, verifyChain, type Certificate, type VerifiedCertificate } from '../certificate.js';
import { parseSign1, sign1, verifySign1, type SignatureContext } from '../cose.js';
import { MalformedError, VerificationError } from '../errors.js';
import { arrayOf, bytesOf, uint32Max, uintOf } from '../fields.js';
import { hash } from '../hash.js';
import { limits } from '../limits.js';
import type { Signer, Suite } from '../suite.js';
import type { KeyName } from './schedule.js';

/** Which key, and which record of it. */
interface Endorsement extends KeyName {
  /** H(record, the record's bytes), 32 bytes. */
  readonly recordHash: Uint8Array;
}

export interface VerifiedEndorsement extends Endorsement {
  readonly backend: VerifiedCertificate;
}

const contextOf = (gid: Uint8Array): SignatureContext => ({ type: 'endorsement', context: gid });

/** H(record, …) of an encoded record, 32 bytes. */
export const recordHashOf = (suite: Suite, record: Uint8Array): Uint8Array => hash(suite, 'record', record);

/** The backend signs that this record, of the key of this name, verifies: a COSE_Sign1, at most 220 bytes. */
export function signEndorsement(
  suite: Suite,
  backend: { readonly kid: Uint8Array; readonly signer: Signer },
  { gid, epoch, attempt, th2 }: KeyName,
  record: Uint8Array,
): Uint8Array {
  const payload = encode([gid, epoch, attempt, th2, recordHashOf(suite, record)]);
  return sign1(suite, backend.signer, backend.kid, contextOf(gid), payload);
}

/** @throws MalformedError */
function parseEndorsement(payload: Uint8Array): Endorsement {
  const what = 'endorsement';
  const [gid, epoch, attempt, th2, recordHash] = arrayOf(decodeStrict(payload, limits.memberMessage), what, 5);
  return {
    gid: bytesOf(gid, what, 16),
    epoch: uintOf(epoch, what, uint32Max, 1),
    attempt: uintOf(attempt, what, 255, 1),
    th2: bytesOf(th2, what, 32),
    recordHash: bytesOf(recordHash, what, 32),
  };
}

/** What is sent to gateways and members: the endorsement, and the backend's certificates as DER, its own first. */
export const encodeEndorsementBundle = (endorsement: Uint8Array, certificates: readonly Uint8Array[]): Uint8Array =>
  encode([endorsement, certificates]);

/** @throws MalformedError `message-malformed` and those of the CBOR gate */
export function parseEndorsementBundle(bytes: Uint8Array): {
  readonly endorsement: Uint8Array;
  readonly certificates: readonly Uint8Array[];
} {
  const what = 'endorsement bundle';
  const [endorsement, certificates] = arrayOf(decodeStrict(bytes, limits.endorsement), what, 2);
  return {
    endorsement: bytesOf(endorsement, what),
    certificates: arrayOf(certificates, what).map((der) => bytesOf(der, what)),
  };
}

/**
 * As at which time a backend's certificate is judged, for an epoch of a time: a record may reach the backend late, and the
 * backend may have got its certificate after the epoch.
 * @throws MalformedError
 */
export function endorsedAtS(
  { suite, nowS }: { readonly suite: Suite; readonly nowS: number },
  epochS: number,
  bundle: Uint8Array,
): number {
  const [leaf] = parseEndorsementBundle(bundle).certificates;
  return Math.min(nowS, Math.max(epochS, leaf ? parseCertificate(suite, leaf).notBeforeS : epochS));
}

/**
 * Checks chain, role `backend` and signature; whether it is about the key or record at hand is for the caller to see.
 * @throws MalformedError; VerificationError `wrong-signer`, `signature-invalid`, `algorithm-mismatch` and those of
 * `verifyChain`
 */
export function verifyEndorsement(
  check: { readonly suite: Suite; readonly trustedRoots: readonly Certificate[]; readonly nowS: number },
  bundle: Uint8Array,
): VerifiedEndorsement {
  const { suite, trustedRoots, nowS } = check;
  const { endorsement, certificates } = parseEndorsementBundle(bundle);
  const message = parseSign1(endorsement, limits.memberMessage);
  const parsed = parseEndorsement(message.payload);
  const [leaf, ...intermediates] = certificates.map((der) => parseCertificate(suite, der));
  if (!leaf) throw new MalformedError('message-malformed', 'an endorsement without a certificate');
  const backend = verifyChain(suite, leaf, intermediates, trustedRoots, nowS, 'backend');
  if (!equalBytes(backend.kid, message.kid)) {
    throw new VerificationError('wrong-signer', 'the endorsement is signed by another');
  }
  verifySign1(suite, backend.verifier, message, contextOf(parsed.gid));
  return { ...parsed, backend };
}
