import { compareBytes, equalBytes, toHex } from '../../../crypto/bytes.js';
import type { AuditFacts } from '../../../crypto/audit/entry.js';
import type { EntryKind } from '../../../crypto/envelope/chain.js';
import { ConflictError } from '../../../crypto/errors.js';
import { compareLists, type ListOrder } from '../../../crypto/membership.js';
import type { CommandStore } from '../../../things/command-store.js';
import type {
  AuditStore,
  AccountsStore,
  BackendEvents,
  BackendStore,
  DirectoryStore,
  DroppedStretch,
  EndorsedRecord,
  EntryRow,
  EpochRow,
  GrantedEpoch,
  ListRow,
  StoredItem,
  StoredRecord,
} from '../../../things/stores.js';
import type { IdempotencyStore } from '../../../things/idempotency-store.js';
import { SqliteAccountsStore } from './accounts-store.js';
import type { EndpointStore } from '../../../things/endpoint-store.js';
import type { EnrolmentStore } from '../../../things/enrolment-store.js';
import type { ProposalStore } from '../../../things/proposal-store.js';
import type { IssuerStore, LoginStore } from '../../../things/issuer-store.js';
import { SqliteCommandStore } from './command-store.js';
import { beyondAllEpochs } from '../epoch-place.js';
import { openStore, type Closable, type Database, type Statement, type StoreOptions } from './database.js';
import { deliveries } from '../deliveries.js';
import { SqliteDirectoryStore } from './directory-store.js';
import { SqliteAudit } from './audit.js';
import { SqliteEvents } from './events.js';
import { SqliteEndpointStore } from './endpoint-store.js';
import { SqliteEnrolmentStore } from './enrolment-store.js';
import { SqliteProposalStore } from './proposal-store.js';
import { SqliteIdempotencyStore } from './idempotency-store.js';
import { SqliteIssuerStore } from './issuer-store.js';
import { KeptItems } from './kept.js';
import { Retention } from './retention.js';

/**
 * Opens or creates a backend's database, with the directory in it.
 * @throws SetupError and UnavailableError as `openStore`
 */
export const openBackendStore = (path: string, options: StoreOptions = {}): OpenBackendStore =>
  openStore(path, 'backend', options, (database) => {
    const events = new SqliteEvents(database);
    const audit = new SqliteAudit(database);
    return {
      backend: new SqliteBackendStore(database, events, audit),
      audit,
      commands: new SqliteCommandStore(database, () => {
        events.wake();
      }),
      directory: new SqliteDirectoryStore(database, events),
      accounts: new SqliteAccountsStore(database, events, audit),
      events,
      idempotency: new SqliteIdempotencyStore(database),
      issuer: new SqliteIssuerStore(database, audit),
      enrolments: new SqliteEnrolmentStore(database),
      proposals: new SqliteProposalStore(database),
      endpoints: new SqliteEndpointStore(database, events),
      close: () => {
        database.close();
      },
    };
  });

export interface OpenBackendStore extends Closable {
  readonly audit: AuditStore;
  readonly backend: BackendStore;
  readonly commands: CommandStore;
  readonly directory: DirectoryStore;
  readonly accounts: AccountsStore;
  readonly idempotency: IdempotencyStore;
  readonly events: BackendEvents;
  readonly issuer: IssuerStore & LoginStore;
  readonly enrolments: EnrolmentStore;
  readonly proposals: ProposalStore;
  readonly endpoints: EndpointStore;
}

type StoredEpoch = StoredRecord & Pick<EpochRow, 'th2'>;
type EpochKey = [gid: Uint8Array, epoch: number, attempt: number];
type ReadingCount = Awaited<ReturnType<BackendStore['readingCounts']>>[number];

const epochColumns = `gid, epoch, attempt, th2, list_hash AS listHash, version AS listVersion,
  revision AS listRevision, members, reason, recorded_s AS recordedS`;
const epochAndList = `epoch JOIN membership_list USING (gid, list_hash)`;
const listOrder = `SELECT version, revision FROM ${epochAndList} WHERE gid = ?`;
const entryColumns = `cert_hash AS meter, sequence, epoch, attempt, received_s AS receivedS, message, kind`;

type PerKind<Parameters extends readonly (number | Uint8Array)[]> = Readonly<
  Record<EntryKind | 'any', Statement<Parameters, EntryRow>>
>;

/** Statements are few among the readings: they have an index of their own, which SQLite takes when the query says so. */
function perKind<Parameters extends readonly (number | Uint8Array)[]>(
  database: Database,
  rest: string,
): PerKind<Parameters> {
  const select = (condition: string): Statement<Parameters, EntryRow> =>
    database.prepare(
      `SELECT ${entryColumns} FROM reading JOIN meter ON meter.id = reading.meter
       WHERE cert_hash = ? ${condition} ${rest}`,
    );
  return {
    any: select(''),
    reading: select("AND kind = 'reading'"),
    gap: select("AND kind = 'gap' AND kind <> 'reading'"),
    checkpoint: select("AND kind = 'checkpoint' AND kind <> 'reading'"),
  };
}

class SqliteBackendStore implements BackendStore {
  readonly #database: Database;
  readonly #events: SqliteEvents;
  readonly #audit: SqliteAudit;
  readonly #retention: Retention;
  readonly #kept: KeptItems;
  readonly #newestMembership: Statement<
    [gid: Uint8Array],
    ListOrder & { readonly listHash: Uint8Array; readonly bundle: Uint8Array }
  >;
  readonly #saveMembership: Statement<
    [gid: Uint8Array, version: number, revision: number, listHash: Uint8Array, bundle: Uint8Array, publishedS: number]
  >;
  readonly #membershipLists: Statement<[gid: Uint8Array], ListRow>;
  readonly #membershipByHash: Statement<[listHash: Uint8Array], { readonly bundle: Uint8Array }>;
  readonly #groups: Statement<[], { readonly gid: Uint8Array }>;
  readonly #saveEpoch: Statement<
    [
      ...EpochKey,
      th2: Uint8Array,
      listHash: Uint8Array,
      members: number,
      reason: string,
      recordedS: number,
      record: Uint8Array,
      endorsement: Uint8Array,
    ]
  >;
  readonly #epoch: Statement<EpochKey, StoredEpoch>;
  readonly #endorse: Statement<[endorsement: Uint8Array, ...EpochKey]>;
  readonly #listBelow: Statement<EpochKey, ListOrder>;
  readonly #listAbove: Statement<EpochKey, ListOrder>;
  readonly #epochs: Statement<[gid: Uint8Array, epoch: number, attempt: number, limit: number], EpochRow>;
  readonly #entries: PerKind<[meter: Uint8Array, afterSequence: number, limit: number]>;
  readonly #lastEntries: PerKind<[meter: Uint8Array, upTo: number, limit: number]>;
  readonly #readingCounts: Statement<[], ReadingCount>;
  readonly #readingCount: Statement<[meter: Uint8Array], ReadingCount>;
  readonly #grantedEpochs: Statement<[reader: Uint8Array, afterPosition: number, limit: number], GrantedEpoch>;
  readonly #grantedEpochsOf: Statement<
    [reader: Uint8Array, after: number, meters: string, limit: number],
    GrantedEpoch
  >;
  readonly #grants: Statement<[meter: Uint8Array, reader: Uint8Array], { readonly message: Uint8Array }>;

  constructor(database: Database, events: SqliteEvents, audit: SqliteAudit) {
    this.#database = database;
    this.#events = events;
    this.#audit = audit;
    this.#retention = new Retention(database);
    this.#kept = new KeptItems(database, this.#retention);
    this.#newestMembership = database.prepare(
      `SELECT version, revision, list_hash AS listHash, bundle FROM membership_list
       WHERE gid = ? ORDER BY version DESC, revision DESC LIMIT 1`,
    );
    this.#saveMembership = database.prepare(
      `INSERT INTO membership_list (gid, version, revision, list_hash, bundle, published_s) VALUES (?, ?, ?, ?, ?, ?)`,
    );
    this.#membershipLists = database.prepare(
      `SELECT version, revision, list_hash AS listHash, published_s AS publishedS FROM membership_list
       WHERE gid = ? ORDER BY version DESC, revision DESC`,
    );
    this.#membershipByHash = database.prepare('SELECT bundle FROM membership_list WHERE list_hash = ?');
    this.#groups = database.prepare('SELECT DISTINCT gid FROM membership_list ORDER BY gid');
    this.#saveEpoch = database.prepare(
      `INSERT INTO epoch (gid, epoch, attempt, th2, list_hash, members, reason, recorded_s, record, endorsement)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#endorse = database.prepare('UPDATE epoch SET endorsement = ? WHERE gid = ? AND epoch = ? AND attempt = ?');
    this.#epoch = database.prepare(
      `SELECT th2, list_hash AS listHash, record, endorsement FROM epoch WHERE gid = ? AND epoch = ? AND attempt = ?`,
    );
    this.#listBelow = database.prepare(
      `${listOrder} AND (epoch, attempt) < (?, ?) ORDER BY epoch DESC, attempt DESC LIMIT 1`,
    );
    this.#listAbove = database.prepare(`${listOrder} AND (epoch, attempt) > (?, ?) ORDER BY epoch, attempt LIMIT 1`);
    this.#epochs = database.prepare(
      `SELECT ${epochColumns} FROM ${epochAndList} WHERE gid = ? AND (epoch, attempt) < (?, ?)
       ORDER BY epoch DESC, attempt DESC LIMIT ?`,
    );
    this.#entries = perKind(database, 'AND sequence > ? ORDER BY sequence LIMIT ?');
    this.#lastEntries = perKind(database, 'AND sequence <= ? ORDER BY sequence DESC LIMIT ?');
    const counts = `SELECT cert_hash AS meter, readings AS count, last_sequence AS lastSequence FROM meter
       WHERE last_sequence > 0`;
    this.#readingCounts = database.prepare(`${counts} ORDER BY cert_hash`);
    this.#readingCount = database.prepare(`${counts} AND cert_hash = ?`);
    const granted = `SELECT reader_grant.id AS position, cert_hash AS meter, gid, epoch, attempt, received_s AS receivedS
       FROM reader_grant JOIN meter ON meter.id = reader_grant.meter WHERE reader = ? AND reader_grant.id > ?`;
    this.#grantedEpochs = database.prepare(`${granted} ORDER BY reader_grant.id LIMIT ?`);
    this.#grantedEpochsOf = database.prepare(
      `${granted} AND lower(hex(cert_hash)) IN (SELECT value FROM json_each(?)) ORDER BY reader_grant.id LIMIT ?`,
    );
    this.#grants = database.prepare(
      `SELECT message FROM reader_grant JOIN meter ON meter.id = reader_grant.meter
       WHERE cert_hash = ? AND reader = ? ORDER BY reader_grant.id`,
    );
  }

  async saveMembership(
    gid: Uint8Array,
    list: ListRow,
    bundle: Uint8Array,
    audit: readonly AuditFacts[] = [],
  ): Promise<boolean> {
    const { version, revision, listHash, publishedS } = list;
    const isNewest = this.#database.transaction(() => {
      const newest = this.#newestMembership.get(gid);
      const ahead = newest === undefined ? 1 : compareLists(list, newest);
      if (newest !== undefined && ahead <= 0) return ahead === 0 && equalBytes(listHash, newest.listHash);
      this.#saveMembership.run(gid, version, revision, listHash, bundle, publishedS);
      this.#events.append({ topic: 'lists', gid, listHash });
      for (const facts of audit) this.#audit.appendWithin(facts);
      return true;
    });
    if (isNewest) this.#events.wake();
    return isNewest;
  }

  async loadMembership(gid: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#database.read(() => this.#newestMembership.get(gid))?.bundle;
  }

  async membershipByHash(listHash: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#database.read(() => this.#membershipByHash.get(listHash))?.bundle;
  }

  async membershipLists(gid: Uint8Array): Promise<readonly ListRow[]> {
    return this.#database.read(() => this.#membershipLists.all(gid));
  }

  async groups(): Promise<readonly Uint8Array[]> {
    return this.#database.read(() => this.#groups.all()).map(({ gid }) => gid);
  }

  async saveEpoch(
    row: EpochRow,
    { record, endorsement }: EndorsedRecord,
    audit: readonly AuditFacts[] = [],
  ): Promise<{ readonly endorsement: Uint8Array; readonly fresh: boolean }> {
    const { gid, epoch, attempt, th2, listHash, listVersion, listRevision, members, reason, recordedS } = row;
    const key: EpochKey = [gid, epoch, attempt];
    const saved = this.#database.transaction(() => {
      const same = this.#epoch.get(...key);
      // th2 binds the whole session; the signatures in a record may differ.
      if (same !== undefined && equalBytes(same.th2, th2)) {
        if (same.endorsement === null) this.#endorse.run(endorsement, ...key);
        return { endorsement: same.endorsement ?? endorsement, fresh: false };
      }
      if (same !== undefined) {
        throw new ConflictError('epoch-stale', `another record of epoch ${epoch}, attempt ${attempt} is known`);
      }
      const list = { version: listVersion, revision: listRevision };
      const [below, above] = [this.#listBelow.get(...key), this.#listAbove.get(...key)];
      if ((below && compareLists(list, below) < 0) || (above && compareLists(list, above) > 0)) {
        const order = `${listVersion}.${listRevision}`;
        throw new ConflictError(
          'membership-rollback',
          `epoch ${epoch} is under list ${order}, out of the lists' order`,
        );
      }
      this.#saveEpoch.run(...key, th2, listHash, members, reason, recordedS, record, endorsement);
      this.#events.append({ topic: 'epochs', gid, epoch, attempt });
      for (const facts of audit) this.#audit.appendWithin(facts);
      return { endorsement, fresh: true };
    });
    if (saved.fresh) this.#events.wake();
    return saved;
  }

  async epochs(gid: Uint8Array, limit: number, before = beyondAllEpochs): Promise<readonly EpochRow[]> {
    return this.#database.read(() => this.#epochs.all(gid, before.epoch, before.attempt, limit));
  }

  async loadEpoch(gid: Uint8Array, epoch: number, attempt: number): Promise<StoredEpoch | undefined> {
    return this.#database.read(() => this.#epoch.get(gid, epoch, attempt));
  }

  async accept(items: readonly StoredItem[], nowS: number): Promise<{ readonly fresh: number }> {
    return this.#database.transaction(() => {
      let fresh = 0;
      for (const delivery of deliveries(items)) {
        if (delivery.kind === 'run') fresh += this.#kept.keepRun(delivery, nowS);
        else if (this.#kept.keepGrant(delivery, nowS)) fresh += 1;
      }
      return { fresh };
    });
  }

  async entries(
    meter: Uint8Array,
    afterSequence: number,
    limit: number,
    kind: EntryKind | 'any' = 'any',
  ): Promise<readonly EntryRow[]> {
    return this.#database.read(() => this.#entries[kind].all(meter, afterSequence, limit));
  }

  async lastEntries(
    meter: Uint8Array,
    limit: number,
    kind: EntryKind | 'any' = 'any',
    upTo = Number.MAX_SAFE_INTEGER,
  ): Promise<readonly EntryRow[]> {
    return this.#database.read(() => this.#lastEntries[kind].all(meter, upTo, limit)).toReversed();
  }

  async readingCounts(meters?: readonly Uint8Array[]): Promise<readonly ReadingCount[]> {
    return this.#database.read(() =>
      meters === undefined
        ? this.#readingCounts.all()
        : [...meters].sort(compareBytes).flatMap((meter) => this.#readingCount.get(meter) ?? []),
    );
  }

  async dropOldEntries(beforeS: number): Promise<number> {
    return this.#retention.dropBatch(beforeS);
  }

  async droppedEntries(meter: Uint8Array): Promise<readonly DroppedStretch[]> {
    return this.#retention.ofMeter(meter);
  }

  async grantedEpochs(
    reader: Uint8Array,
    afterPosition: number,
    limit: number,
    meters?: readonly Uint8Array[],
  ): Promise<readonly GrantedEpoch[]> {
    return this.#database.read(() =>
      meters === undefined
        ? this.#grantedEpochs.all(reader, afterPosition, limit)
        : this.#grantedEpochsOf.all(reader, afterPosition, JSON.stringify(meters.map(toHex)), limit),
    );
  }

  async grants(meter: Uint8Array, reader: Uint8Array): Promise<readonly Uint8Array[]> {
    return this.#database.read(() => this.#grants.all(meter, reader)).map(({ message }) => message);
  }
}
