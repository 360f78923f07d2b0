/** Uploads: packed alike by meter and gateway, verified alike by gateway and backend. */
import { equalBytes, toHex } from '../crypto/bytes.js';
import type { VerifiedCertificate } from '../crypto/certificate.js';
import { parseSign1, verifySign1Aside, type Sign1 } from '../crypto/cose.js';
import { parseGrant } from '../crypto/envelope/grant.js';
import { openEntry } from '../crypto/envelope/entry.js';
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
  /** Those who signed, each once. */
  readonly meters: readonly VerifiedCertificate[];
}

/**
 * Checks membership of every item, that grants go to readers of the signed policy only, and then all signatures at once,
 * on other threads where there are any.
 * @throws MalformedError, VerificationError `not-listed`, `reader-not-granted`, `signature-invalid`
 */
export async function verifyUpload(check: UploadCheck, message: Uint8Array): Promise<VerifiedUpload> {
  const { grants, readings } = parseUpload(message);
  const listed = [
    ...grants.map((grant) => listedGrant(check, grant)),
    ...readings.map((entry) => listedEntry(check, entry)),
  ];
  await Promise.all(
    listed.map(({ item, certificate, signed }) =>
      verifySign1Aside(check.suite, certificate.verifier, signed, { type: item.kind, context: item.gid }),
    ),
  );
  const meters = new Map(listed.map(({ certificate }) => [toHex(certificate.certHash), certificate]));
  return { items: listed.map(({ item }) => item), meters: [...meters.values()] };
}

/** An item that may be where it is, if it is its meter's. */
interface ListedItem {
  readonly item: StoredItem;
  readonly certificate: VerifiedCertificate;
  readonly signed: Sign1;
}

function listedGrant(check: UploadCheck, message: Uint8Array): ListedItem {
  const { name, meter, reader, keyHash } = parseGrant(message);
  const certificate = underFirst(check, name, (membership) => {
    const found = certificateOf(membership, meter, 'member', check.nowS);
    if (readersOf(membership, meter).some(({ certHash }) => equalBytes(certHash, reader))) return found;
    throw new VerificationError('reader-not-granted', 'the policy does not let that reader read this meter');
  });
  const { gid, epoch, attempt } = name;
  const item = { kind: 'grant', meter, reader, gid, epoch, attempt, keyHash, message } as const;
  return { item, certificate, signed: parseSign1(message, limits.envelope) };
}

function listedEntry(check: UploadCheck, message: Uint8Array): ListedItem {
  const { entry, message: signed } = openEntry(check.suite, message);
  const { kind, meter, sequence, gid, epoch, attempt, hash, previousHash } = entry;
  const certificate = underFirst(check, entry, (membership) => certificateOf(membership, meter, 'member', check.nowS));
  return { item: { kind, meter, sequence, gid, epoch, attempt, hash, previousHash, message }, certificate, signed };
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
  allow: (membership: Membership) => T,
): T {
  let refusal: GridringError | undefined;
  for (const membership of check.membershipFor(gid, epoch, attempt)) {
    if (!equalBytes(membership.list.gid, gid)) continue;
    try {
      return allow(membership);
    } catch (error) {
      if (!(error instanceof GridringError)) throw error;
      refusal = error;
    }
  }
  throw refusal ?? new VerificationError('wrong-group', 'an item of a group that is not known here');
}
