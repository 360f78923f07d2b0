/** Any entry of a meter's chain, of whatever kind, as gateway, backend and readers take it. */
import type { VerifiedCertificate } from '../certificate.js';
import type { Suite } from '../suite.js';
import { assertSignedBy, entryKindOf } from './chain.js';
import { parseCheckpoint, type Checkpoint } from './checkpoint.js';
import { parseGapReport, type GapReport } from './gap-report.js';
import { parseReading, type SealedReading } from './reading.js';

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

/** @throws MalformedError, VerificationError `wrong-signer`, `algorithm-mismatch`, `signature-invalid` */
export function verifyEntry(suite: Suite, meter: VerifiedCertificate, bytes: Uint8Array): Entry {
  const entry = parseEntry(suite, bytes);
  assertSignedBy(suite, meter, entry, bytes);
  return entry;
}
