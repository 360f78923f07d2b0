/**
 * What stands behind the backend's affordances: it verifies membership lists, records of epochs and sealed readings, and
 * keeps them. It holds no key that opens any of it.
 */
import { equalBytes, toHex } from '../crypto/bytes.js';
import type { VerifiedCertificate } from '../crypto/certificate.js';
import { signReceipt } from '../crypto/envelope/reading.js';
import { ConflictError, NotFoundError, VerificationError } from '../crypto/errors.js';
import { findEntry, verifyMembership, type ListRole, type Membership } from '../crypto/membership.js';
import { announcementOf, verifyRecord } from '../crypto/ring/record.js';
import type { Parts } from './parts.js';
import type { BackendStore, EpochRow } from './stores.js';
import { verifyUpload } from './upload.js';

export interface BackendParts extends Parts {
  readonly store: BackendStore;
  readonly onEpochRecorded: (row: EpochRow) => void;
}

export class Backend {
  readonly #parts: BackendParts;
  /** Verified lists by hash in hex; the newest of each group by gid in hex. */
  readonly #byHash = new Map<string, Membership>();
  readonly #newest = new Map<string, Membership>();

  private constructor(parts: BackendParts) {
    this.#parts = parts;
  }

  static async load(parts: BackendParts): Promise<Backend> {
    const backend = new Backend(parts);
    for (const gid of await parts.store.groups()) {
      const bundle = await parts.store.loadMembership(gid);
      if (!bundle) continue;
      try {
        backend.#remember(backend.#verify(bundle));
      } catch (error) {
        parts.log.warn({ gid: toHex(gid), err: error }, 'the stored membership list is not valid now');
      }
    }
    return backend;
  }

  /** The newest list of each group. */
  get memberships(): readonly Membership[] {
    return [...this.#newest.values()];
  }

  /**
   * Takes only what the authority signed. The same list again is fine.
   * @throws MalformedError, VerificationError, ConflictError `membership-rollback`, `membership-conflict`
   */
  async publishMembership(bundle: Uint8Array): Promise<Membership> {
    const { store } = this.#parts;
    const membership = this.#verify(bundle);
    const { list, listHash } = membership;
    const current = this.#newest.get(toHex(list.gid));
    if (current && current.list.version > list.version) {
      throw new ConflictError('membership-rollback', `list ${list.version} is older than list ${current.list.version}`);
    }
    if (current?.list.version === list.version && !equalBytes(current.listHash, listHash)) {
      throw new ConflictError('membership-conflict', 'another list of the same version is known');
    }
    await store.saveMembership(list.gid, list.version, listHash, bundle);
    this.#remember(membership);
    return membership;
  }

  /**
   * Verifies a whole record and keeps it; the same record again is fine.
   * @throws MalformedError, VerificationError, ConflictError `membership-unknown`, `epoch-stale`
   */
  async recordEpoch(record: Uint8Array): Promise<EpochRow> {
    const { suite, store, nowS, onEpochRecorded } = this.#parts;
    const { listHash } = announcementOf(record);
    const membership = await this.#membershipByHash(listHash);
    if (!membership) throw new ConflictError('membership-unknown', 'the record rests on a list that is not known here');
    const { name, roster, announcement } = verifyRecord(suite, membership, record, nowS());
    const row: EpochRow = {
      ...name,
      listHash,
      members: roster.length,
      reason: announcement.reason,
      recordedS: nowS(),
    };
    if ((await store.saveEpoch(row, record)) === 'stored') onEpochRecorded(row);
    return row;
  }

  /**
   * Verifies every item, keeps all of them, and then signs for them to the gateway that sent them.
   * @throws MalformedError, VerificationError, ConflictError `sequence-conflict`, `chain-broken`
   */
  async uploadReadings(gateway: VerifiedCertificate, message: Uint8Array): Promise<Uint8Array> {
    const { suite, identity, store, nowS } = this.#parts;
    this.requireRole(gateway, 'coordinator');
    const { items } = verifyUpload({ suite, nowS: nowS(), membershipFor: (gid) => this.#known(gid) }, message);
    await store.accept(items, nowS());
    return signReceipt(suite, identity, gateway.certHash, message);
  }

  /** @throws VerificationError `not-listed` unless a current list names the caller in the role */
  requireRole({ certHash }: VerifiedCertificate, role: ListRole): void {
    if (!this.memberships.some(({ list }) => findEntry(list, certHash, role))) {
      throw new VerificationError('not-listed', `no ${role} of any group here`);
    }
  }

  /** A meter by its id as certified, or by its certHash in hex. @throws NotFoundError `meter-unknown` */
  meter(idOrHash: string): { readonly certificate: VerifiedCertificate; readonly membership: Membership } {
    for (const membership of this.memberships) {
      for (const [hash, certificate] of membership.certificates) {
        const matches = hash === idOrHash || certificate.id === idOrHash || urnOf(certificate) === idOrHash;
        if (matches && findEntry(membership.list, certificate.certHash, 'member')) return { certificate, membership };
      }
    }
    throw new NotFoundError('meter-unknown', `no meter ${JSON.stringify(idOrHash.slice(0, 128))} in any current list`);
  }

  #verify(bundle: Uint8Array): Membership {
    const { suite, trustedRoots, nowS } = this.#parts;
    return verifyMembership({ suite, trustedRoots, nowS: nowS() }, bundle);
  }

  #remember(membership: Membership): void {
    this.#byHash.set(toHex(membership.listHash), membership);
    this.#newest.set(toHex(membership.list.gid), membership);
  }

  /** Lists of the group that were verified here, the newest first. */
  #known(gid: Uint8Array): readonly Membership[] {
    return [...this.#byHash.values()]
      .filter(({ list }) => equalBytes(list.gid, gid))
      .sort((a, b) => b.list.version - a.list.version);
  }

  async #membershipByHash(listHash: Uint8Array): Promise<Membership | undefined> {
    const known = this.#byHash.get(toHex(listHash));
    if (known) return known;
    const bundle = await this.#parts.store.membershipByHash(listHash);
    if (!bundle) return undefined;
    const membership = this.#verify(bundle);
    this.#byHash.set(toHex(listHash), membership);
    return membership;
  }
}

const urnOf = ({ role, id }: VerifiedCertificate): string => `urn:gridring:${role}:${id}`;
