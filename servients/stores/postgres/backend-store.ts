import { equalBytes } from '../../../crypto/bytes.js';
import type { AuditFacts } from '../../../crypto/audit/entry.js';
import type { EntryKind } from '../../../crypto/envelope/chain.js';
import { ConflictError } from '../../../crypto/errors.js';
import { compareLists, type ListOrder } from '../../../crypto/membership.js';
import type {
  BackendStore,
  DroppedStretch,
  EndorsedRecord,
  EntryRow,
  EpochRow,
  GrantedEpoch,
  ListRow,
  StoredItem,
  StoredRecord,
} from '../../../things/stores.js';
import type { SuiteName } from '../../../crypto/suite.js';
import type { BackendStores } from '../backend.js';
import { PostgresAccountsStore } from './accounts-store.js';
import { PostgresCommandStore } from './command-store.js';
import { Database, type Session } from './database.js';
import { appendAudit, PostgresAudit } from './audit.js';
import { PostgresDirectoryStore } from './directory-store.js';
import { appendEvent, PostgresEvents } from './events.js';
import { PostgresEndpointStore } from './endpoint-store.js';
import { PostgresEnrolmentStore } from './enrolment-store.js';
import { PostgresProposalStore } from './proposal-store.js';
import { PostgresIdempotencyStore } from './idempotency-store.js';
import { PostgresIssuerStore } from './issuer-store.js';
import { beyondAllEpochs } from '../epoch-place.js';
import { keepItems } from './kept.js';
import { lock } from './locks.js';
import { assertCurrent, migrate, migrations } from './migrate.js';
import { Partitions } from './partitions.js';
import { dropOldestWeek } from './retention.js';

/**
 * Opens or creates a backend's database, with the directory in it; any number of processes may have it open.
 * @param url `postgres://user:password@host:port/name?options`
 * @throws SetupError `database-url`, `database-refused`, `data-other-role`, `data-version`, `data-suite`;
 * UnavailableError `database-unreachable`
 */
export async function openPostgresBackendStore(url: string, suite: SuiteName): Promise<BackendStores> {
  const database = new Database(url);
  try {
    await migrate(database, suite, migrations());
    const events = await PostgresEvents.load(database);
    return {
      backend: new PostgresBackendStore(database),
      audit: await PostgresAudit.load(database),
      commands: new PostgresCommandStore(database),
      pool: () => database.pool,
      assertCurrent: () => assertCurrent(database, suite),
      directory: new PostgresDirectoryStore(database, events.life),
      accounts: new PostgresAccountsStore(database),
      events,
      idempotency: new PostgresIdempotencyStore(database),
      issuer: new PostgresIssuerStore(database),
      enrolments: new PostgresEnrolmentStore(database),
      proposals: new PostgresProposalStore(database),
      endpoints: new PostgresEndpointStore(database),
      close: async () => {
        await events.close();
        await database.close();
      },
    };
  } catch (cause) {
    await database.close();
    throw cause;
  }
}

type ReadingCount = Awaited<ReturnType<BackendStore['readingCounts']>>[number];
type NewestList = ListOrder & { readonly listHash: Uint8Array; readonly bundle: Uint8Array };
type StoredEpoch = StoredRecord & Pick<EpochRow, 'th2'>;

const epochColumns = `gid, epoch, attempt, th2, list_hash AS "listHash", version AS "listVersion",
  revision AS "listRevision", members, reason, recorded_s AS "recordedS"`;
const epochAndList = `epoch JOIN membership_list USING (gid, list_hash)`;
const listOrder = `SELECT version, revision FROM ${epochAndList} WHERE gid = $1`;
const entryColumns = `$1::bytea AS meter, sequence, epoch, attempt, received_s AS "receivedS", message, kind`;
const ofMeter = `meter = (SELECT id FROM meter WHERE cert_hash = $1)`;

/** Written out, not as a parameter: statements have an index of their own. */
const ofKind = (kind: EntryKind | 'any'): string => (kind === 'any' ? '' : `AND kind = '${kind}'`);

class PostgresBackendStore implements BackendStore {
  readonly #database: Database;
  readonly #partitions: Partitions;

  constructor(database: Database) {
    this.#database = database;
    this.#partitions = new Partitions(database);
  }

  async saveMembership(
    gid: Uint8Array,
    list: ListRow,
    bundle: Uint8Array,
    audit: readonly AuditFacts[] = [],
  ): Promise<boolean> {
    const { version, revision, listHash, publishedS } = list;
    return this.#database.transaction(async (session) => {
      await lock(session, 'groups');
      const newest = await newestList(session, gid);
      const ahead = newest === undefined ? 1 : compareLists(list, newest);
      if (newest !== undefined && ahead <= 0) return ahead === 0 && equalBytes(listHash, newest.listHash);
      await session.run(
        `INSERT INTO membership_list (gid, version, revision, list_hash, bundle, published_s)
         VALUES ($1, $2, $3, $4, $5, $6)`,
        [gid, version, revision, listHash, bundle, publishedS],
      );
      await appendEvent(session, { topic: 'lists', gid, listHash });
      for (const facts of audit) await appendAudit(session, facts);
      return true;
    });
  }

  async loadMembership(gid: Uint8Array): Promise<Uint8Array | undefined> {
    return (await newestList(this.#database, gid))?.bundle;
  }

  async membershipByHash(listHash: Uint8Array): Promise<Uint8Array | undefined> {
    const [row] = await this.#database.rows<{ readonly bundle: Uint8Array }>(
      'SELECT bundle FROM membership_list WHERE list_hash = $1',
      [listHash],
    );
    return row?.bundle;
  }

  membershipLists(gid: Uint8Array): Promise<readonly ListRow[]> {
    return this.#database.rows(
      `SELECT version, revision, list_hash AS "listHash", published_s AS "publishedS" FROM membership_list
       WHERE gid = $1 ORDER BY version DESC, revision DESC`,
      [gid],
    );
  }

  async groups(): Promise<readonly Uint8Array[]> {
    const rows = await this.#database.rows<{ readonly gid: Uint8Array }>(
      'SELECT DISTINCT gid FROM membership_list ORDER BY gid',
    );
    return rows.map(({ gid }) => gid);
  }

  async saveEpoch(
    row: EpochRow,
    { record, endorsement }: EndorsedRecord,
    audit: readonly AuditFacts[] = [],
  ): Promise<{ readonly endorsement: Uint8Array; readonly fresh: boolean }> {
    const { gid, epoch, attempt, th2, listHash, members, reason, recordedS } = row;
    return this.#database.transaction(async (session) => {
      await lock(session, 'groups');
      const same = await storedEpoch(session, gid, epoch, attempt);
      // th2 binds the whole session; the signatures in a record may differ.
      if (same !== undefined && equalBytes(same.th2, th2)) {
        if (same.endorsement === null) await endorse(session, row, endorsement);
        return { endorsement: same.endorsement ?? endorsement, fresh: false };
      }
      if (same !== undefined) {
        throw new ConflictError('epoch-stale', `another record of epoch ${epoch}, attempt ${attempt} is known`);
      }
      await assertListsAscend(session, row);
      await session.run(
        `INSERT INTO epoch (gid, epoch, attempt, th2, list_hash, members, reason, recorded_s, record, endorsement)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
        [gid, epoch, attempt, th2, listHash, members, reason, recordedS, record, endorsement],
      );
      await appendEvent(session, { topic: 'epochs', gid, epoch, attempt });
      for (const facts of audit) await appendAudit(session, facts);
      return { endorsement, fresh: true };
    });
  }

  epochs(gid: Uint8Array, limit: number, before = beyondAllEpochs): Promise<readonly EpochRow[]> {
    return this.#database.rows(
      `SELECT ${epochColumns} FROM ${epochAndList} WHERE gid = $1 AND (epoch, attempt) < ($2::bigint, $3::integer)
       ORDER BY epoch DESC, attempt DESC LIMIT $4::bigint`,
      [gid, before.epoch, before.attempt, limit],
    );
  }

  loadEpoch(gid: Uint8Array, epoch: number, attempt: number): Promise<StoredEpoch | undefined> {
    return storedEpoch(this.#database, gid, epoch, attempt);
  }

  async accept(items: readonly StoredItem[], nowS: number): Promise<{ readonly fresh: number }> {
    return this.#partitions.with(nowS, () =>
      this.#database.transaction(async (session) => ({ fresh: await keepItems(session, items, nowS) })),
    );
  }

  entries(
    meter: Uint8Array,
    afterSequence: number,
    limit: number,
    kind: EntryKind | 'any' = 'any',
  ): Promise<readonly EntryRow[]> {
    return this.#database.rows(
      `SELECT ${entryColumns} FROM reading WHERE ${ofMeter} ${ofKind(kind)} AND sequence > $2::bigint
       ORDER BY sequence LIMIT $3::bigint`,
      [meter, afterSequence, limit],
    );
  }

  async lastEntries(
    meter: Uint8Array,
    limit: number,
    kind: EntryKind | 'any' = 'any',
    upTo = Number.MAX_SAFE_INTEGER,
  ): Promise<readonly EntryRow[]> {
    const newestFirst = await this.#database.rows<EntryRow>(
      `SELECT ${entryColumns} FROM reading WHERE ${ofMeter} ${ofKind(kind)} AND sequence <= $3::bigint
       ORDER BY sequence DESC LIMIT $2::bigint`,
      [meter, limit, upTo],
    );
    return newestFirst.toReversed();
  }

  readingCounts(meters?: readonly Uint8Array[]): Promise<readonly ReadingCount[]> {
    const counts = 'SELECT cert_hash AS meter, readings AS count, last_sequence AS "lastSequence" FROM meter';
    return meters === undefined
      ? this.#database.rows(`${counts} WHERE last_sequence > 0 ORDER BY cert_hash`)
      : this.#database.rows(`${counts} WHERE last_sequence > 0 AND cert_hash = ANY ($1::bytea[]) ORDER BY cert_hash`, [
          meters,
        ]);
  }

  dropOldEntries(beforeS: number): Promise<number> {
    return dropOldestWeek(this.#database, beforeS);
  }

  droppedEntries(meter: Uint8Array): Promise<readonly DroppedStretch[]> {
    return this.#database.rows(
      `SELECT first, last, previous_hash AS "previousHash", hash FROM dropped_stretch WHERE ${ofMeter} ORDER BY first`,
      [meter],
    );
  }

  grantedEpochs(
    reader: Uint8Array,
    afterPosition: number,
    limit: number,
    meters?: readonly Uint8Array[],
  ): Promise<readonly GrantedEpoch[]> {
    return this.#database.rows(
      `SELECT reader_grant.id AS position, cert_hash AS meter, gid, epoch, attempt, received_s AS "receivedS"
       FROM reader_grant JOIN meter ON meter.id = reader_grant.meter
       WHERE reader = $1 AND reader_grant.id > $2::bigint ${meters === undefined ? '' : 'AND cert_hash = ANY ($4::bytea[])'}
       ORDER BY reader_grant.id LIMIT $3::bigint`,
      [reader, afterPosition, limit, ...(meters === undefined ? [] : [meters])],
    );
  }

  async grants(meter: Uint8Array, reader: Uint8Array): Promise<readonly Uint8Array[]> {
    const rows = await this.#database.rows<{ readonly message: Uint8Array }>(
      `SELECT message FROM reader_grant WHERE ${ofMeter} AND reader = $2 ORDER BY id`,
      [meter, reader],
    );
    return rows.map(({ message }) => message);
  }
}

async function newestList(session: Session, gid: Uint8Array): Promise<NewestList | undefined> {
  const [row] = await session.rows<NewestList>(
    `SELECT version, revision, list_hash AS "listHash", bundle FROM membership_list
     WHERE gid = $1 ORDER BY version DESC, revision DESC LIMIT 1`,
    [gid],
  );
  return row;
}

async function storedEpoch(
  session: Session,
  gid: Uint8Array,
  epoch: number,
  attempt: number,
): Promise<StoredEpoch | undefined> {
  const [row] = await session.rows<StoredEpoch>(
    `SELECT th2, list_hash AS "listHash", record, endorsement FROM epoch
     WHERE gid = $1 AND epoch = $2 AND attempt = $3`,
    [gid, epoch, attempt],
  );
  return row;
}

const endorse = (session: Session, { gid, epoch, attempt }: EpochRow, endorsement: Uint8Array): Promise<number> =>
  session.run('UPDATE epoch SET endorsement = $4 WHERE gid = $1 AND epoch = $2 AND attempt = $3', [
    gid,
    epoch,
    attempt,
    endorsement,
  ]);

/** @throws ConflictError `membership-rollback` */
async function assertListsAscend(
  session: Session,
  { gid, epoch, attempt, listVersion, listRevision }: EpochRow,
): Promise<void> {
  const list = { version: listVersion, revision: listRevision };
  const key = [gid, epoch, attempt];
  const [below] = await session.rows<ListOrder>(
    `${listOrder} AND (epoch, attempt) < ($2::bigint, $3::integer) ORDER BY epoch DESC, attempt DESC LIMIT 1`,
    key,
  );
  const [above] = await session.rows<ListOrder>(
    `${listOrder} AND (epoch, attempt) > ($2::bigint, $3::integer) ORDER BY epoch, attempt LIMIT 1`,
    key,
  );
  if ((below && compareLists(list, below) < 0) || (above && compareLists(list, above) > 0)) {
    const order = `${listVersion}.${listRevision}`;
    throw new ConflictError('membership-rollback', `epoch ${epoch} is under list ${order}, out of the lists' order`);
  }
}
