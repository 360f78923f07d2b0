/**
 * The authority's file: the membership bundle in force, and beside it every list that was ever signed from it, by
 * version. The newer one is made from what the file holds, so two that are made at once cannot both be kept.
 */
import { existsSync, linkSync, readFileSync, rmSync } from 'node:fs';
import { extname } from 'node:path';
import { equalBytes, toHex } from '../../crypto/bytes.js';
import { issuersOf, parseCertificate, type CaCertificate, type Certificate } from '../../crypto/certificate.js';
import { CertificateCache } from '../../crypto/certificate/cache.js';
import { signDelegation, type Delegation } from '../../crypto/delegation.js';
import { GridringError, SetupError } from '../../crypto/errors.js';
import { limits } from '../../crypto/limits.js';
import {
  encodeMembershipBundle,
  lastValidS,
  parseMembershipBundle,
  parseMembershipList,
  signMembershipList,
  verifyMembership,
  type AuthorityList,
  type ListOrder,
  type Membership,
} from '../../crypto/membership.js';
import { parseSign1 } from '../../crypto/cose.js';
import type { Suite } from '../../crypto/suite.js';
import { suiteById } from '../../crypto/suite-node.js';
import type { Identity } from '../../things/parts.js';
import { writeDurably, writeSynced } from '../durable-file.js';
import { fileError } from '../stores/sqlite/store-error.js';
import { readCertificates } from '../identity-files.js';

/** A bundle, and what it says. */
export interface SignedList {
  readonly bundle: Uint8Array;
  /** As it was valid last, where it is no longer. */
  readonly membership: Membership;
}

export interface OpenList extends SignedList {
  readonly suite: Suite;
  readonly trustedRoots: readonly Certificate[];
  /** What the next list begins with: the entries as they are, and the authority's own end. */
  readonly list: AuthorityList;
  /** All that the bundle carries. */
  readonly certificates: readonly Certificate[];
  /** Statements of trust that it carries. */
  readonly anchors: readonly Uint8Array[];
}

/**
 * Opens the list in force: that of the file, or one that was signed after it by a run that was cut off.
 * @throws SetupError `file-unreadable`, `membership-unusable`
 */
export function readListFile(path: string, rootFile: string, nowS: number): OpenList {
  let open = readOne(path, rootFile, nowS);
  for (;;) {
    const { version } = open.list;
    const next = keptAs(path, { version: version + 1, revision: 0 });
    if (!existsSync(next)) return open;
    open = readOne(next, rootFile, nowS);
    if (open.list.version <= version) {
      throw new SetupError('membership-unusable', `${next} holds list ${open.list.version}: put the right one there`);
    }
  }
}

function readOne(path: string, rootFile: string, nowS: number): OpenList {
  let bundle: Uint8Array;
  try {
    bundle = new Uint8Array(readFileSync(path));
  } catch (cause) {
    throw new SetupError('file-unreadable', `membership list: ${path} cannot be read; check the path`, cause);
  }
  try {
    return openList(bundle, rootFile, nowS);
  } catch (cause) {
    if (!(cause instanceof GridringError) || cause instanceof SetupError) throw cause;
    throw new SetupError('membership-unusable', `membership list: ${path}: ${cause.message}`, cause);
  }
}

/** @throws MalformedError, VerificationError; SetupError for the root's file */
export function openList(bundle: Uint8Array, rootFile: string, nowS: number): OpenList {
  const { listMessage, certificates, anchors } = parseMembershipBundle(bundle);
  const { policy, notAfterS } = parseMembershipList(parseSign1(listMessage, limits.membership).payload);
  const suite = suiteById(policy.suite);
  const trustedRoots = readCertificates(suite, rootFile, 'root certificate');
  const certificateCache = new CertificateCache();
  const check = { suite, trustedRoots, nowS: Math.min(nowS, lastValidS(bundle)), certificateCache };
  const membership = verifyMembership(check, bundle);
  return {
    bundle,
    suite,
    trustedRoots: membership.trustedRoots,
    membership,
    anchors,
    list: { ...membership.list, notAfterS },
    certificates: certificates.map(
      (der) => certificateCache.get(toHex(suite.sha256(der))) ?? parseCertificate(suite, der),
    ),
  };
}

export interface NextList {
  readonly list: AuthorityList;
  /** Of the entries and of the CAs above them; more do no harm. */
  readonly certificates: readonly Certificate[];
  readonly delegation?: Omit<Delegation, 'gid' | 'baseVersion' | 'baseHash'> | undefined;
  readonly anchors?: readonly Uint8Array[];
}

/**
 * The list signed by the authority, with the certificates that are needed and no others; verified as its receivers will.
 * @throws MalformedError `members-too-many`; VerificationError `membership-authority`
 */
export function signNextList(
  suite: Suite,
  trustedRoots: readonly Certificate[],
  authority: Identity,
  { list, certificates, delegation, anchors = [] }: NextList,
  nowS: number,
): SignedList {
  const message = signMembershipList(suite, authority, list);
  const named = new Set([...list.entries.map(({ certHash }) => certHash), ...(delegation?.additions ?? [])].map(toHex));
  const holders = certificates.filter(({ role, certHash }) => role !== 'ca' && named.has(toHex(certHash)));
  const cas = certificates.filter((certificate): certificate is CaCertificate => certificate.role === 'ca');
  const needed = [...holders, ...new Set(holders.flatMap((holder) => issuersOf(holder, cas)))];
  const ders = new Map(
    [...authority.certificates, ...needed.map(({ der }) => der)].map((der) => [toHex(suite.sha256(der)), der]),
  );
  const plain = encodeMembershipBundle(message, [...ders.values()], null, anchors);
  const check = { suite, trustedRoots, nowS };
  const membership = verifyMembership(check, plain);
  if (!delegation) return { bundle: plain, membership };
  const terms = { ...delegation, gid: list.gid, baseVersion: list.version, baseHash: membership.listHash };
  const delegated = { delegation: signDelegation(suite, authority, terms), change: null };
  const bundle = encodeMembershipBundle(message, [...ders.values()], delegated, anchors);
  return { bundle, membership: verifyMembership(check, bundle) };
}

/** `membership.cbor` of version 3 is kept as `membership-v3.cbor`; of its second revision, as `membership-v3.2.cbor`. */
function keptAs(path: string, { version, revision }: ListOrder): string {
  const extension = extname(path);
  const stem = path.slice(0, path.length - extension.length);
  return `${stem}-v${version}${revision > 0 ? `.${revision}` : ''}${extension}`;
}

/**
 * Puts the newer list in the place of the older, which is kept beside it.
 * @returns where the older one is now
 * @throws SetupError `version-taken` when another list of that version was signed from this file
 */
export function replaceListFile(path: string, older: OpenList, newer: SignedList): string {
  const kept = keptAs(path, older.membership.list);
  try {
    keep(kept, older.bundle);
    keep(keptAs(path, newer.membership.list), newer.bundle);
    writeDurably(path, newer.bundle, 0o644);
  } catch (cause) {
    throw cause instanceof GridringError ? cause : fileError(path, cause);
  }
  return kept;
}

/**
 * Whoever else does the same at this moment: one of the two makes the file. It is no link to the list in force, which
 * somebody may overwrite.
 */
function keep(path: string, bundle: Uint8Array): void {
  const temporary = `${path}.${process.pid}.new`;
  try {
    writeSynced(temporary, bundle, 0o644);
    linkSync(temporary, path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
    if (equalBytes(new Uint8Array(readFileSync(path)), bundle)) return;
    const advice = 'nobody takes two. Somebody else has signed it meanwhile: try again';
    throw new SetupError('version-taken', `${path} is another list of this version: ${advice}`, cause);
  } finally {
    rmSync(temporary, { force: true });
  }
}
