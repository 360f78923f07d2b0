/**
 * What stands behind the backend's affordances: it verifies membership lists, records of epochs and sealed readings, and
 * keeps them. It holds no key that opens any of it.
 */
import type { AuditFacts } from '../crypto/audit/entry.js';
import { newTrust } from '../crypto/anchors.js';
import { equalBytes, toHex } from '../crypto/bytes.js';
import type { VerifiedCertificate } from '../crypto/certificate.js';
import { signReceipt } from '../crypto/envelope/reading.js';
import { ConflictError, GridringError, VerificationError } from '../crypto/errors.js';
import {
  assertListValid,
  assertSucceeds,
  compareLists,
  findEntry,
  isFuller,
  lastValidS,
  lineWith,
  successorOf,
  verifyMembership,
  type ListRole,
  type Membership,
} from '../crypto/membership.js';
import { encodeEndorsementBundle, signEndorsement } from '../crypto/ring/endorsement.js';
import { announcementOf, verifyRecord } from '../crypto/ring/record.js';
import { assertGoesOn } from './chain-seam.js';
import type { Parts } from './parts.js';
import { Serial } from './serial.js';
import type { BackendEvents, BackendStore, EpochRow, EventPositions } from './stores.js';
import { verifyUpload } from './upload.js';

export interface BackendParts extends Omit<Parts, 'random'> {
  readonly store: BackendStore;
  readonly events: BackendEvents;
  /** Hears of every epoch that was recorded here; what other processes recorded is in the events. */
  readonly onEpochRecorded: (row: EpochRow) => void;
}

/** What is logged of a list that is published; the newest list that was known here before, if any. */
export type PublishAudit = (list: Membership, before: Membership | undefined) => readonly AuditFacts[];

/** Read at once, when other processes' events are caught up with. */
const pageEvents = 256;

type EpochNumber = Pick<EpochRow, 'epoch' | 'attempt'>;

export class Backend {
  readonly #parts: BackendParts;
  /** Verified lists by hash in hex; the newest of each group by gid in hex. */
  readonly #byHash = new Map<string, Membership>();
  readonly #newest = new Map<string, Membership>();
  #listsRevision = 0;
  /** Whom a list has named and no newest list does, as of a revision of the lists. */
  #removed: { readonly revision: number; readonly certHashes: ReadonlySet<string> } = {
    revision: 0,
    certHashes: new Set(),
  };
  /** The last epoch that was recorded under a list, by its hash in hex. */
  readonly #lastEpochUnder = new Map<string, EpochNumber>();
  /** Up to these events, what the store has is known here. */
  #known: EventPositions;
  readonly #learning = new Serial();

  private constructor(parts: BackendParts, known: EventPositions) {
    this.#parts = parts;
    this.#known = known;
  }

  static async load(parts: BackendParts): Promise<Backend> {
    const backend = new Backend(parts, await parts.events.positions());
    await backend.#restoreAll();
    return backend;
  }

  /**
   * Learns what other processes on the same store have recorded and published. Whoever asks for lists and rights does so
   * first: a revocation holds at every process from its commit on.
   */
  async refresh(): Promise<void> {
    const { epochs, lists } = await this.#parts.events.positions();
    if (epochs <= this.#known.epochs && lists <= this.#known.lists) return;
    await this.#learning.run(() => this.#learn());
    this.tellOfTrust();
  }

  /** Another number whenever another list is known here. */
  get listsRevision(): number {
    return this.#listsRevision;
  }

  /** The newest list of each group, whether or not it is valid now. */
  get memberships(): readonly Membership[] {
    return [...this.#newest.values()];
  }

  /** Those of them that are valid now: what anybody's rights rest on. */
  get currentMemberships(): readonly Membership[] {
    const nowS = this.#parts.nowS();
    return this.memberships.filter(({ list }) =>
      isValid(() => {
        assertListValid(list, nowS);
      }),
    );
  }

  /** The newest list of a group and those that a recorded epoch rests on, the newest first. */
  listsOf(gid: Uint8Array): readonly Membership[] {
    return [...this.#byHash.values()]
      .filter(({ list }) => equalBytes(list.gid, gid))
      .sort((a, b) => compareLists(b.list, a.list));
  }

  /** All certificates of whoever has, or had, this one by the newest lists, the oldest first. */
  lineOf(certHash: Uint8Array): readonly Uint8Array[] {
    for (const { list } of this.memberships) {
      const line = lineWith(list, certHash);
      if (line) return line;
    }
    return [certHash];
  }

  /** Certificates that lists have named, in the order of the hashes; who is not known here is left out. */
  certificatesOf(certHashes: readonly Uint8Array[]): readonly Uint8Array[] {
    const known = [...this.#byHash.values()].flatMap(({ certificates }) => certificates);
    return certHashes.flatMap(
      (certHash) => known.find((each) => each && equalBytes(each.certHash, certHash))?.der ?? [],
    );
  }

  /**
   * Takes only what the authority signed. The same list again is fine. What `audit` says of it is logged with it.
   * @throws MalformedError, VerificationError, ConflictError `membership-rollback`, `membership-conflict`
   */
  async publishMembership(bundle: Uint8Array, audit: PublishAudit = () => []): Promise<Membership> {
    const { suite, trustedRoots, certificateCache, store, nowS } = this.#parts;
    const membership = verifyMembership({ suite, trustedRoots, certificateCache, nowS: nowS() }, bundle);
    const { list, listHash } = membership;
    const { version, revision } = list;
    const row = { version, revision, listHash, publishedS: nowS() };
    const before = this.#newest.get(toHex(list.gid));
    if (before && compareLists(list, before.list) > 0) assertSucceeds(list, before.list);
    const facts = audit(membership, before);
    if (!(await store.saveMembership(list.gid, row, bundle, facts))) {
      await this.refresh();
      this.#requireSameList(membership);
      throw new ConflictError('membership-rollback', `list ${version}.${revision} is older than the one that is known`);
    }
    this.#remember(membership);
    this.tellOfTrust();
    return membership;
  }

  /** Tells whoever runs the backend that other roots are to be trusted. */
  tellOfTrust(): void {
    const { trustedRoots, onTrust } = this.#parts;
    const roots = newTrust(trustedRoots, this.memberships);
    if (roots) onTrust?.(roots);
  }

  /**
   * Verifies a whole record, signs that it did, and keeps both. The same record again is answered with the same. It may
   * come late, after those of later epochs, and under an older list, unless a newer one was in use before it.
   * @returns the endorsement bundle
   * @throws MalformedError, VerificationError, ConflictError `membership-unknown`, `membership-rollback`, `epoch-stale`
   */
  async recordEpoch(
    gateway: VerifiedCertificate,
    record: Uint8Array,
    audit: (row: EpochRow) => readonly AuditFacts[] = () => [],
  ): Promise<Uint8Array> {
    const { suite, identity, store, nowS, onEpochRecorded } = this.#parts;
    const { listHash } = announcementOf(record);
    const membership = await this.#membershipByHash(listHash);
    if (!membership) throw new ConflictError('membership-unknown', 'the record rests on a list that is not known here');
    this.requireRole(gateway, 'coordinator');
    const { name, roster, announcement } = verifyRecord(suite, membership, record, nowS());
    const row: EpochRow = {
      ...name,
      listHash,
      listVersion: membership.list.version,
      listRevision: membership.list.revision,
      members: roster.length,
      reason: announcement.reason,
      recordedS: nowS(),
    };
    const signed = encodeEndorsementBundle(signEndorsement(suite, identity, name, record), identity.certificates);
    const { endorsement, fresh } = await store.saveEpoch(row, { record, endorsement: signed }, audit(row));
    if (fresh) {
      this.#rememberEpoch(row);
      onEpochRecorded(row);
    }
    return endorsement;
  }

  /**
   * Verifies every item, keeps all of them, and then signs for them to the gateway that sent them.
   * @throws MalformedError, VerificationError, ConflictError `sequence-conflict`, `chain-broken`
   */
  async uploadReadings(gateway: VerifiedCertificate, message: Uint8Array): Promise<Uint8Array> {
    const { suite, identity, store, nowS } = this.#parts;
    this.requireRole(gateway, 'coordinator');
    const { items, meters } = await verifyUpload(
      {
        suite,
        nowS: nowS(),
        membershipFor: (gid, epoch, attempt) => this.#listsThatReach(gid, { epoch, attempt }),
      },
      message,
    );
    for (const meter of meters) {
      const line = this.lineOf(meter.certHash);
      if (line.length > 1) await assertGoesOn(store, meter, line, items);
    }
    await store.accept(items, nowS());
    return signReceipt(suite, identity, gateway.certHash, message);
  }

  /** @throws VerificationError `not-listed` unless a current list names the caller in the role */
  requireRole({ certHash }: VerifiedCertificate, role: ListRole): void {
    if (!this.currentMemberships.some(({ list }) => findEntry(list, certHash, role))) {
      throw new VerificationError('not-listed', `no ${role} of any group here`);
    }
  }

  /** Whether a newest list has another certificate in the place of this one, which may then do no more than learn of it. */
  isReplaced(certHash: Uint8Array): boolean {
    return this.memberships.some(({ list }) => successorOf(list, certHash));
  }

  /** @throws VerificationError `not-listed` when a list has named the caller, and no newest list does, nor one after it */
  requireNotRemoved({ certHash, role, id }: VerifiedCertificate): void {
    if (this.#removed.revision !== this.#listsRevision) {
      const named = (lists: Iterable<Membership>): readonly string[] =>
        [...lists].flatMap(({ list }) => list.entries.map((entry) => toHex(entry.certHash)));
      const still = new Set(named(this.#newest.values()));
      const certHashes = new Set(named(this.#byHash.values()).filter((name) => !still.has(name)));
      this.#removed = { revision: this.#listsRevision, certHashes };
    }
    if (this.#removed.certHashes.has(toHex(certHash)) && !this.isReplaced(certHash)) {
      throw new VerificationError('not-listed', `${role} ${id} is in no list any more`);
    }
  }

  /** @throws VerificationError `not-listed` unless a current list names the certificate, or it is a backend's */
  requireHolds({ certHash, role, id }: VerifiedCertificate): void {
    const names = ({ list }: Membership): boolean => list.entries.some((entry) => equalBytes(entry.certHash, certHash));
    if (role === 'backend' || this.currentMemberships.some(names)) return;
    throw new VerificationError('not-listed', `${role} ${id} has no place in any list under that certificate`);
  }

  async #restoreAll(): Promise<void> {
    for (const gid of await this.#parts.store.groups()) await this.#restore(gid);
  }

  /** The newest list of a group, and those that recorded epochs rest on: for what was sealed under them. */
  async #restore(gid: Uint8Array): Promise<void> {
    const { store } = this.#parts;
    const newest = await store.loadMembership(gid);
    if (newest) this.#restoreList(gid, newest);
    for (const row of await store.epochs(gid, Number.MAX_SAFE_INTEGER)) {
      if (this.#rememberEpoch(row)) await this.#restoreByHash(gid, row.listHash);
    }
  }

  async #learn(): Promise<void> {
    const { events } = this.#parts;
    for (;;) {
      const [lists, epochs] = [
        await events.listsAfter(this.#known.lists, pageEvents),
        await events.epochsAfter(this.#known.epochs, pageEvents),
      ];
      const [firstList, firstEpoch] = [lists[0]?.position, epochs[0]?.position];
      const isMissing = (first: number | undefined, known: number): boolean => first !== undefined && first > known + 1;
      if (isMissing(firstList, this.#known.lists) || isMissing(firstEpoch, this.#known.epochs))
        await this.#restoreAll();
      for (const { gid, listHash } of lists) await this.#restoreByHash(gid, listHash);
      for (const row of epochs) {
        await this.#restoreByHash(row.gid, row.listHash);
        this.#rememberEpoch(row);
      }
      this.#known = {
        lists: lists.at(-1)?.position ?? this.#known.lists,
        epochs: epochs.at(-1)?.position ?? this.#known.epochs,
      };
      if (lists.length < pageEvents && epochs.length < pageEvents) return;
    }
  }

  async #restoreByHash(gid: Uint8Array, listHash: Uint8Array): Promise<void> {
    if (this.#byHash.has(toHex(listHash))) return;
    const bundle = await this.#parts.store.membershipByHash(listHash);
    if (bundle) this.#restoreList(gid, bundle);
  }

  #restoreList(gid: Uint8Array, bundle: Uint8Array): void {
    try {
      this.#remember(this.#verifyStored(bundle));
    } catch (error) {
      if (!(error instanceof GridringError)) throw error;
      this.#parts.log.warn({ gid: toHex(gid), err: error }, 'a stored membership list does not verify');
    }
  }

  /** As at the last moment of the list's validity, where that is over. */
  #verifyStored(bundle: Uint8Array): Membership {
    const { suite, trustedRoots, retiredRoots = [], certificateCache } = this.#parts;
    const check = { suite, certificateCache, nowS: Math.min(this.#parts.nowS(), lastValidS(bundle)) };
    try {
      return verifyMembership({ ...check, trustedRoots }, bundle);
    } catch (error) {
      if (retiredRoots.length === 0 || !(error instanceof VerificationError)) throw error;
      return { ...verifyMembership({ ...check, trustedRoots: retiredRoots }, bundle), trustedRoots };
    }
  }

  /** @throws ConflictError `membership-conflict` where the newest list is another of the same order */
  #requireSameList({ list, listHash }: Membership): void {
    const newest = this.#newest.get(toHex(list.gid));
    if (newest && compareLists(newest.list, list) === 0 && !equalBytes(newest.listHash, listHash)) {
      throw new ConflictError('membership-conflict', 'another list of the same version and revision is known');
    }
  }

  /** A copy of a list that is known must not take certificates away, whoever publishes it. */
  #remember(membership: Membership): void {
    const { list, listHash } = membership;
    const known = this.#byHash.get(toHex(listHash));
    if (known && !isFuller(membership, known, this.#parts.nowS())) return;
    this.#byHash.set(toHex(listHash), membership);
    this.#listsRevision += 1;
    const gid = toHex(list.gid);
    const newest = this.#newest.get(gid);
    if (!newest || compareLists(newest.list, list) <= 0) this.#newest.set(gid, membership);
  }

  /** @returns whether it is the last of those known under its list */
  #rememberEpoch(row: EpochRow): boolean {
    const key = toHex(row.listHash);
    const last = this.#lastEpochUnder.get(key);
    if (last && compareEpochs(last, row) >= 0) return false;
    this.#lastEpochUnder.set(key, row);
    return true;
  }

  /**
   * Members of the newest list deliver what they like; one that has left, what it sealed in an epoch that was recorded
   * while it was in.
   */
  #listsThatReach(gid: Uint8Array, { epoch, attempt }: EpochNumber): readonly Membership[] {
    const newest = this.#newest.get(toHex(gid));
    return this.listsOf(gid).filter((membership) => {
      if (membership === newest) return true;
      const last = this.#lastEpochUnder.get(toHex(membership.listHash));
      return last !== undefined && compareEpochs(last, { epoch, attempt }) >= 0;
    });
  }

  async #membershipByHash(listHash: Uint8Array): Promise<Membership | undefined> {
    const known = this.#byHash.get(toHex(listHash));
    if (known) return known;
    const bundle = await this.#parts.store.membershipByHash(listHash);
    if (!bundle) return undefined;
    const membership = this.#verifyStored(bundle);
    this.#remember(membership);
    return membership;
  }
}

const compareEpochs = (a: EpochNumber, b: EpochNumber): number => a.epoch - b.epoch || a.attempt - b.attempt;

function isValid(assertion: () => void): boolean {
  try {
    assertion();
    return true;
  } catch (error) {
    if (error instanceof GridringError) return false;
    throw error;
  }
}
