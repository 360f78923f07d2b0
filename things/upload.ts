/** Uploads: packed alike by meter and gateway, verified alike by gateway and backend. */
import { equalBytes, toHex } from '../crypto/bytes.js';
import { parseGrant, verifyGrant } from '../crypto/envelope/grant.js';
import { parseEntry, verifyEntry } from '../crypto/envelope/entry.js';
import { encodeUpload, parseUpload } from '../crypto/envelope/reading.js';
import { readersOf } from '../crypto/envelope/sealing.js';
import { GridringError, VerificationError } from '../crypto/errors.js';
import { limits } from '../crypto/limits.js';
import { certificateOf, type Membership } from '../crypto/membership.js';
import type { Suite } from '../crypto/suite.js';
import type { Outbox, StoredItem } from './stores.js';

/** Some of an outbox, packed for the next station. */
export interface PreparedUpload {
  readonly message: Uint8Array;
  readonly positions: readonly number[];
}

/** More never fit into the bytes. */
export const uploadItems = 256;

/** The oldest of what the next station does not have yet, after a position; undefined when it has everything. */
export async function packUpload(
  outbox: Outbox,
  maxItems = uploadItems,
  afterPosition = 0,
): Promise<PreparedUpload | undefined> {
  const items = await outbox.pending(maxItems, limits.readingsBatch - limits.envelope, afterPosition);
  if (items.length === 0) return undefined;
  const [grants, entries] = [true, false].map((areGrants) =>
    items.filter(({ kind }) => (kind === 'grant') === areGrants).map(({ message }) => message),
  );
  return {
    message: encodeUpload({ grants: grants ?? [], readings: entries ?? [] }),
    positions: items.map(({ position }) => position),
  };
}

export interface UploadCheck {
  readonly suite: Suite;
  readonly nowS: number;
  /** The lists that an item of this group and epoch may rest on, the best first. */
  readonly membershipFor: (gid: Uint8Array, epoch: number, attempt: number) => Iterable<Membership>;
}

export interface VerifiedUpload {
  readonly items: readonly StoredItem[];
  /** certHashes of those who signed, each once. */
  readonly meters: readonly Uint8Array[];
}

/**
 * Checks signature and membership of every item, and that grants go to readers of the signed policy only.
 * @throws MalformedError, VerificationError `not-listed`, `reader-not-granted`, `signature-invalid`
 */
export function verifyUpload(check: UploadCheck, message: Uint8Array): VerifiedUpload {
  const { grants, readings } = parseUpload(message);
  const items = [
    ...grants.map((grant) => verifiedGrant(check, grant)),
    ...readings.map((entry) => verifiedEntry(check, entry)),
  ];
  const meters = new Map(items.map(({ meter }) => [toHex(meter), meter]));
  return { items, meters: [...meters.values()] };
}

function verifiedGrant(check: UploadCheck, message: Uint8Array): StoredItem {
  const { name, meter } = parseGrant(message);
  return underFirst(check, name, (membership) => {
    const certificate = certificateOf(membership, meter, 'member', check.nowS);
    const { reader, keyHash } = verifyGrant(check.suite, certificate, message);
    if (!readersOf(membership, meter).some(({ certHash }) => equalBytes(certHash, reader))) {
      throw new VerificationError('reader-not-granted', 'the policy does not let that reader read this meter');
    }
    const { gid, epoch, attempt } = name;
    return { kind: 'grant', meter, reader, gid, epoch, attempt, keyHash, message };
  });
}

function verifiedEntry(check: UploadCheck, message: Uint8Array): StoredItem {
  const parsed = parseEntry(check.suite, message);
  return underFirst(check, parsed, (membership) => {
    const certificate = certificateOf(membership, parsed.meter, 'member', check.nowS);
    const entry = verifyEntry(check.suite, certificate, message);
    const { kind, meter, sequence, gid, epoch, attempt, hash, previousHash } = entry;
    return { kind, meter, sequence, gid, epoch, attempt, hash, previousHash, message };
  });
}

interface Coordinates {
  readonly gid: Uint8Array;
  readonly epoch: number;
  readonly attempt: number;
}

/** What one list of the group allows is allowed: a member that has left may still deliver what it sealed before. */
function underFirst<T>(
  check: UploadCheck,
  { gid, epoch, attempt }: Coordinates,
  verify: (membership: Membership) => T,
): T {
  let refusal: GridringError = new VerificationError('wrong-group', 'an item of a group that is not known here');
  for (const membership of check.membershipFor(gid, epoch, attempt)) {
    if (!equalBytes(membership.list.gid, gid)) continue;
    try {
      return verify(membership);
    } catch (error) {
      if (!(error instanceof GridringError)) throw error;
      refusal = error;
    }
  }
  throw refusal;
}
