import { decodeStrict, encode } from '../../../crypto/cbor.js';
import type { ListOrder } from '../../../crypto/membership.js';
import type { EnrolledMeter, GatewayStore, StoredItem } from '../../../things/stores.js';
import { AcceptedItems } from './accepted.js';
import { openStore, type Closable, type Database, type Statement, type StoreOptions } from './database.js';
import { deliveries } from './deliveries.js';
import { SqliteOutbox } from './outbox.js';

/**
 * Opens or creates a gateway's database.
 * @throws SetupError and UnavailableError as `openStore`
 */
export const openGatewayStore = (path: string, options: StoreOptions = {}): GatewayStore & Closable =>
  openStore(path, 'gateway', options, (database) => new SqliteGatewayStore(database));

type EnrolmentRow = Omit<EnrolledMeter, 'certificates'> & { readonly certificates: Uint8Array };
type EpochKey = [gid: Uint8Array, epoch: number, attempt: number];
type UnreportedRecord = Awaited<ReturnType<GatewayStore['unreportedRecords']>>[number];
type Announced = Awaited<ReturnType<GatewayStore['loadAnnounced']>>;

class SqliteGatewayStore extends SqliteOutbox implements GatewayStore, Closable {
  readonly #database: Database;
  readonly #accepted: AcceptedItems;
  readonly #saveEnrolment: Statement<
    [id: string, certHash: Uint8Array, certificates: Uint8Array, td: string, enrolledS: number]
  >;
  readonly #enrolments: Statement<[], EnrolmentRow>;
  readonly #loadMembership: Statement<[gid: Uint8Array], { readonly bundle: Uint8Array }>;
  readonly #saveMembership: Statement<[gid: Uint8Array, version: number, revision: number, bundle: Uint8Array]>;
  readonly #loadAnnounced: Statement<[gid: Uint8Array], NonNullable<Announced>>;
  readonly #saveAnnounced: Statement<EpochKey>;
  readonly #saveRecord: Statement<[...EpochKey, record: Uint8Array]>;
  readonly #unreportedRecords: Statement<[], UnreportedRecord>;
  readonly #markReported: Statement<EpochKey>;
  readonly #forgetRecords: Statement<[gid: Uint8Array, sameGid: Uint8Array]>;
  readonly #latestRecord: Statement<[gid: Uint8Array], { readonly record: Uint8Array }>;

  constructor(database: Database) {
    super(database);
    this.#database = database;
    this.#accepted = new AcceptedItems(database);
    this.#saveEnrolment = database.prepare(
      'INSERT OR REPLACE INTO enrolment (id, cert_hash, certificates, td, enrolled_s) VALUES (?, ?, ?, ?, ?)',
    );
    this.#enrolments = database.prepare(
      'SELECT id, cert_hash AS certHash, certificates, td, enrolled_s AS enrolledS FROM enrolment ORDER BY id',
    );
    this.#loadMembership = database.prepare('SELECT bundle FROM membership WHERE gid = ?');
    this.#saveMembership = database.prepare(
      `INSERT INTO membership (gid, version, revision, bundle) VALUES (?, ?, ?, ?)
       ON CONFLICT (gid) DO UPDATE
       SET version = excluded.version, revision = excluded.revision, bundle = excluded.bundle
       WHERE (excluded.version, excluded.revision) >= (version, revision)`,
    );
    this.#loadAnnounced = database.prepare('SELECT epoch, attempt FROM announced WHERE gid = ?');
    this.#saveAnnounced = database.prepare(
      `INSERT INTO announced (gid, epoch, attempt) VALUES (?, ?, ?)
       ON CONFLICT (gid) DO UPDATE SET epoch = excluded.epoch, attempt = excluded.attempt
       WHERE (excluded.epoch, excluded.attempt) > (epoch, attempt)`,
    );
    this.#saveRecord = database.prepare(
      'INSERT INTO record (gid, epoch, attempt, record) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING',
    );
    this.#unreportedRecords = database.prepare(
      'SELECT gid, epoch, attempt, record FROM record WHERE reported = 0 ORDER BY gid, epoch, attempt',
    );
    this.#markReported = database.prepare('UPDATE record SET reported = 1 WHERE gid = ? AND epoch = ? AND attempt = ?');
    this.#forgetRecords = database.prepare(
      `DELETE FROM record WHERE gid = ? AND reported = 1 AND (epoch, attempt) <
         (SELECT epoch, attempt FROM record WHERE gid = ? ORDER BY epoch DESC, attempt DESC LIMIT 1)`,
    );
    this.#latestRecord = database.prepare(
      'SELECT record FROM record WHERE gid = ? ORDER BY epoch DESC, attempt DESC LIMIT 1',
    );
  }

  async saveEnrolment({ id, certHash, certificates, td, enrolledS }: EnrolledMeter): Promise<void> {
    this.#database.read(() => this.#saveEnrolment.run(id, certHash, encode(certificates), td, enrolledS));
  }

  async enrolments(): Promise<readonly EnrolledMeter[]> {
    const rows = this.#database.read(() => this.#enrolments.all());
    return rows.map((row) => ({ ...row, certificates: decodeCertificates(row.certificates) }));
  }

  async loadMembership(gid: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#database.read(() => this.#loadMembership.get(gid))?.bundle;
  }

  async saveMembership(gid: Uint8Array, { version, revision }: ListOrder, bundle: Uint8Array): Promise<void> {
    this.#database.read(() => this.#saveMembership.run(gid, version, revision, bundle));
  }

  async loadAnnounced(gid: Uint8Array): Promise<Announced> {
    return this.#database.read(() => this.#loadAnnounced.get(gid));
  }

  async saveAnnounced(gid: Uint8Array, epoch: number, attempt: number): Promise<boolean> {
    return this.#database.read(() => this.#saveAnnounced.run(gid, epoch, attempt)).changes > 0;
  }

  async saveRecord(gid: Uint8Array, epoch: number, attempt: number, record: Uint8Array): Promise<void> {
    this.#database.read(() => this.#saveRecord.run(gid, epoch, attempt, record));
  }

  async unreportedRecords(): Promise<readonly UnreportedRecord[]> {
    return this.#database.read(() => this.#unreportedRecords.all());
  }

  /** Forgets what the backend has, but for the newest record of the group. */
  async markReported(gid: Uint8Array, epoch: number, attempt: number): Promise<void> {
    this.#database.transaction(() => {
      this.#markReported.run(gid, epoch, attempt);
      this.#forgetRecords.run(gid, gid);
    });
  }

  async latestRecord(gid: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#database.read(() => this.#latestRecord.get(gid))?.record;
  }

  async accept(items: readonly StoredItem[], nowS: number): Promise<{ readonly fresh: number }> {
    return this.#database.transaction(() => {
      const fresh: StoredItem[] = [];
      for (const delivery of deliveries(items)) {
        if (delivery.kind === 'run') fresh.push(...this.#accepted.acceptRun(delivery));
        else if (this.#accepted.acceptGrant(delivery)) fresh.push(delivery);
      }
      this.add(fresh, nowS);
      return { fresh: fresh.length };
    });
  }

  close(): void {
    this.#database.close();
  }
}

const decodeCertificates = (bytes: Uint8Array): readonly Uint8Array[] =>
  decodeStrict(bytes, bytes.length) as readonly Uint8Array[];
