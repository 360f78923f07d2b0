/** Any entry of a meter's chain, of whatever kind, as gateway, backend and readers take it. */
import { equalBytes } from '../bytes.js';
import type { VerifiedCertificate } from '../certificate.js';
import { parseSign1, type Sign1 } from '../cose.js';
import { VerificationError } from '../errors.js';
import { limits } from '../limits.js';
import type { Suite } from '../suite.js';
import { assertSignedBy, entryKindOf, kindOfPayload } from './chain.js';
import { parseCheckpoint, type Checkpoint } from './checkpoint.js';
import { parseGapReport, type GapReport } from './gap-report.js';
import { parseReading, readingIn, type SealedReading } from './reading.js';

export type Entry = SealedReading | GapReport | Checkpoint;

/** Parses without verifying. @throws MalformedError */
export function parseEntry(suite: Suite, bytes: Uint8Array): Entry {
  switch (entryKindOf(bytes)) {
    case 'reading':
      return parseReading(suite, bytes);
    case 'gap':
      return parseGapReport(suite, bytes);
    case 'checkpoint':
      return parseCheckpoint(suite, bytes);
  }
}

/** An entry and the message that it came in: parsed, its signature still to be checked. */
export interface UnverifiedEntry {
  readonly entry: Entry;
  readonly message: Sign1;
}

/** As `parseEntry`; a reading, which most are, is parsed once. @throws MalformedError */
export function openEntry(suite: Suite, bytes: Uint8Array): UnverifiedEntry {
  const message = parseSign1(bytes, limits.envelope);
  const isReading = kindOfPayload(message.payload) === 'reading';
  return { entry: isReading ? readingIn(suite, message) : parseEntry(suite, bytes), message };
}

/**
 * The same of a meter that has signed stretches of its chain with several certificates, the oldest first.
 * @throws as `verifyEntry`
 */
export function verifyEntryOf(suite: Suite, line: readonly VerifiedCertificate[], bytes: Uint8Array): Entry {
  const entry = parseEntry(suite, bytes);
  assertSignedBy(suite, signerIn(line, entry.meter, entry.kind), entry, bytes);
  return entry;
}

/** The certificate of a line that something names. @throws VerificationError `wrong-signer` */
export function signerIn(
  line: readonly VerifiedCertificate[],
  certHash: Uint8Array,
  what: string,
): VerifiedCertificate {
  const signer = line.find((certificate) => equalBytes(certificate.certHash, certHash));
  if (!signer) throw new VerificationError('wrong-signer', `a ${what} of another meter`);
  return signer;
}

/** @throws MalformedError, VerificationError `wrong-signer`, `algorithm-mismatch`, `signature-invalid` */
export function verifyEntry(suite: Suite, meter: VerifiedCertificate, bytes: Uint8Array): Entry {
  const entry = parseEntry(suite, bytes);
  assertSignedBy(suite, meter, entry, bytes);
  return entry;
}
