/** What can be checked of a restored database, and is: every list, record, chain and signature that it holds. */
import { equalBytes, toHex } from '../../crypto/bytes.js';
import { parseCertificate, verifyChain, type Certificate, type VerifiedCertificate } from '../../crypto/certificate.js';
import { parseGrant, verifyGrant } from '../../crypto/envelope/grant.js';
import { parseEntry, verifyEntry, type Entry } from '../../crypto/envelope/entry.js';
import { GridringError, VerificationError } from '../../crypto/errors.js';
import { lastValidS, verifyMembership, type Membership, type MembershipCheck } from '../../crypto/membership.js';
import { CertificateCache } from '../../crypto/certificate/cache.js';
import { encodeProof, judgedAtS, verifyProof } from '../../crypto/ring/proof.js';
import { announcementOf, verifyRecord } from '../../crypto/ring/record.js';
import type { Suite } from '../../crypto/suite.js';
import type { StoreRole } from '../stores/sqlite/migrate.js';
import type { Cell, Row } from './archive.js';
import type { SqliteSnapshot } from './tables.js';

/** How many of each were checked and are right. */
export interface Checked {
  readonly lists: number;
  readonly epochs: number;
  /** With gap reports and checkpoints. */
  readonly readings: number;
  readonly grants: number;
  /** Where sequences of a meter are missing before one that is there, and were not given up by policy. */
  readonly gaps: number;
  /** On their way in a gateway, of meters that none of its lists names any more: not to be checked there. */
  readonly unlisted: number;
}

export const nothingChecked: Checked = { lists: 0, epochs: 0, readings: 0, grants: 0, gaps: 0, unlisted: 0 };

export interface Trust {
  readonly suite: Suite;
  readonly trustedRoots: readonly Certificate[];
  /** For what was kept while these were trusted. */
  readonly retiredRoots?: readonly Certificate[];
  readonly nowS: number;
}

/**
 * Reads a database through, one row at a time.
 * @throws VerificationError `backup-unverified`, which names the first thing that does not verify
 */
export async function verifyStore(trust: Trust, role: StoreRole, snapshot: SqliteSnapshot): Promise<Checked> {
  const check = new StoreCheck(trust, snapshot);
  await check.lists(role === 'backend' ? 'membership_list' : 'membership');
  if (role === 'gateway') await check.lists('list');
  if (role !== 'meter') await check.records(role === 'backend' ? 'epoch' : 'record');
  if (role === 'backend') {
    await check.readings();
    await check.messages('reader_grant');
  } else {
    await check.messages('outbox');
  }
  return check.checked;
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

class StoreCheck {
  readonly checked: Mutable<Checked> = { ...nothingChecked };
  readonly #trust: Trust;
  readonly #snapshot: SqliteSnapshot;
  readonly #cache = new CertificateCache();
  /** By its hash in hex. */
  readonly #lists = new Map<string, { readonly membership: Membership; readonly bundle: Uint8Array }>();
  /** Whoever any list names, by certHash in hex. */
  readonly #certificates = new Map<string, VerifiedCertificate>();

  constructor(trust: Trust, snapshot: SqliteSnapshot) {
    this.#trust = trust;
    this.#snapshot = snapshot;
  }

  /** Of every list the signature and the certificates, as at the last moment of its validity where that is over. */
  async lists(table: string): Promise<void> {
    const { nowS } = this.#trust;
    for await (const [bundle] of this.#rows(table, 'bundle')) {
      inPart('a membership list', () => {
        const bytes = bytesIn(bundle);
        const check = { ...this.#trust, certificateCache: this.#cache, nowS: Math.min(nowS, lastValidS(bytes)) };
        const membership = this.#verifyList(check, bytes);
        this.#lists.set(toHex(membership.listHash), { membership, bundle: bytes });
        for (const certificate of membership.certificates) {
          if (certificate) this.#certificates.set(toHex(certificate.certHash), certificate);
        }
      });
      this.checked.lists += 1;
    }
  }

  /** Of every record all signatures and hashes, and its endorsement where it has one. */
  async records(table: string): Promise<void> {
    for await (const [record, endorsement] of this.#rows(table, 'record', 'endorsement')) {
      inPart('the record of an epoch', () => {
        this.#verifyRecord(bytesIn(record), endorsement instanceof Uint8Array ? endorsement : null);
      });
      this.checked.epochs += 1;
    }
  }

  #verifyList(check: MembershipCheck, bundle: Uint8Array): Membership {
    return this.#underEither(check, (each) => verifyMembership(each, bundle));
  }

  /** What was verified under a root that was given up since. */
  #underEither<T>(check: MembershipCheck, verify: (check: MembershipCheck) => T): T {
    const { retiredRoots = [] } = this.#trust;
    try {
      return verify(check);
    } catch (error) {
      if (retiredRoots.length === 0 || !(error instanceof VerificationError)) throw error;
      return verify({ ...check, trustedRoots: [...check.trustedRoots, ...retiredRoots] });
    }
  }

  #verifyRecord(record: Uint8Array, endorsement: Uint8Array | null): void {
    const announcement = announcementOf(record);
    const list = this.#lists.get(toHex(announcement.listHash));
    if (!list) throw new VerificationError('membership-unknown', 'the list that it rests on is not there');
    const check = { ...this.#trust, certificateCache: this.#cache };
    if (endorsement !== null) {
      this.#underEither(check, (each) =>
        verifyProof(each, encodeProof({ membership: list.bundle, record, endorsement })),
      );
      return;
    }
    const asAtS = judgedAtS(check.nowS, announcement, list.bundle);
    verifyRecord(check.suite, this.#verifyList({ ...check, nowS: asAtS }, list.bundle), record, asAtS);
  }

  /** Of every reading the signature and the hashes; and that it continues the one before it, where that is there. */
  async readings(): Promise<void> {
    const certHashes = new Map<number, Uint8Array>();
    for await (const [id, certHash] of this.#rows('meter', 'id', 'cert_hash'))
      certHashes.set(Number(id), bytesIn(certHash));
    const dropped = await this.#droppedStretches();
    let last: { readonly meter: Cell; readonly sequence: number; readonly hash: Uint8Array } | undefined;
    const columns = ['meter', 'sequence', 'hash', 'message'];
    for await (const [meter = null, sequence, hash, message] of this.#snapshot.ascending(
      { name: 'reading', columns },
      2,
    )) {
      const before = last?.meter === meter ? last : undefined;
      last = inPart(`entry ${Number(sequence)} of a meter`, () => {
        const reading = this.#verifyEntry(bytesIn(message));
        const meterHash = certHashes.get(Number(meter));
        const isStored =
          reading.sequence === sequence &&
          equalBytes(reading.hash, bytesIn(hash)) &&
          meterHash !== undefined &&
          equalBytes(reading.meter, meterHash);
        if (!isStored) throw new VerificationError('row-mismatch', 'the row says another thing than its message');
        const gone = dropped.get(`${Number(meter)}/${reading.sequence - 1}`);
        const previous = before?.sequence === reading.sequence - 1 ? before.hash : gone?.hash;
        if (previous && !equalBytes(reading.previousHash, previous)) {
          throw new VerificationError('chain-broken', 'it does not continue the one before it');
        }
        const knownFrom = gone?.first ?? reading.sequence;
        if (knownFrom > (before?.sequence ?? 0) + 1) this.checked.gaps += 1;
        return { meter, sequence: reading.sequence, hash: reading.hash };
      });
      this.checked.readings += 1;
    }
  }

  /** What was given up by policy, by meter and last sequence. */
  async #droppedStretches(): Promise<ReadonlyMap<string, { readonly first: number; readonly hash: Uint8Array }>> {
    const stretches = new Map<string, { readonly first: number; readonly hash: Uint8Array }>();
    for await (const [meter, first, last, hash] of this.#rows('dropped_stretch', 'meter', 'first', 'last', 'hash')) {
      stretches.set(`${Number(meter)}/${Number(last)}`, { first: Number(first), hash: bytesIn(hash) });
    }
    return stretches;
  }

  /** Grants and readings on their way, each with the signature of its meter. */
  async messages(table: 'outbox' | 'reader_grant'): Promise<void> {
    const kinds = table === 'outbox' ? ['kind', 'message'] : ['message'];
    for await (const row of this.#rows(table, ...kinds)) {
      const kind = table === 'outbox' ? String(row[0]) : 'grant';
      inPart(`a ${kind}`, () => {
        this.#verifyMessage(kind, bytesIn(row.at(-1)), table === 'outbox');
      });
    }
  }

  #verifyMessage(kind: string, message: Uint8Array, onItsWay: boolean): void {
    const { suite } = this.#trust;
    const { meter } = kind === 'grant' ? parseGrant(message) : parseEntry(suite, message);
    if (onItsWay && !this.#certificates.has(toHex(meter))) {
      this.checked.unlisted += 1;
    } else if (kind === 'grant') {
      verifyGrant(suite, this.#certificateOf(meter), message);
      this.checked.grants += 1;
    } else {
      verifyEntry(suite, this.#certificateOf(meter), message);
      this.checked.readings += 1;
    }
  }

  #verifyEntry(message: Uint8Array): Entry {
    const { suite } = this.#trust;
    return verifyEntry(suite, this.#certificateOf(parseEntry(suite, message).meter), message);
  }

  #certificateOf(certHash: Uint8Array): VerifiedCertificate {
    const certificate = this.#certificates.get(toHex(certHash));
    if (!certificate) throw new VerificationError('not-listed', 'its meter is in no list that is there');
    return certificate;
  }

  #rows(name: string, ...columns: readonly string[]): AsyncIterable<Row> {
    return this.#snapshot.rows({ name, columns });
  }
}

function bytesIn(cell: Cell | undefined): Uint8Array {
  if (cell instanceof Uint8Array) return cell;
  throw new VerificationError('row-mismatch', 'a row without its message');
}

function inPart<T>(part: string, check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof GridringError)) throw error;
    throw new VerificationError('backup-unverified', `${part}: ${error.message} [${error.code}]`, error);
  }
}

/** The chain of a role's own certificate, now. @throws VerificationError `backup-unverified` */
export function verifyIdentity(
  { suite, trustedRoots, nowS }: Trust,
  role: StoreRole,
  chain: readonly Uint8Array[],
): void {
  inPart('the certificate', () => {
    const [leaf, ...above] = chain.map((der) => parseCertificate(suite, der));
    if (leaf) verifyChain(suite, leaf, above, trustedRoots, nowS, role);
  });
}
