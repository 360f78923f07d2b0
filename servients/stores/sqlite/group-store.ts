/** What a gateway keeps of its groups: lists, announced epochs, records, and who has departed. */
import type { ListOrder } from '../../../crypto/membership.js';
import type { AgreedEpoch, Departure, GroupStore, KeptList, KeptVerdict } from '../../../things/stores.js';
import type { Database, Statement } from './database.js';
import { SqliteOutbox } from './outbox.js';

/** Of each group, the newest included. */
const keptLists = 16;
/** Of all groups. */
const keptVerdicts = 16;

type EpochKey = [gid: Uint8Array, epoch: number, attempt: number];
type Announced = Awaited<ReturnType<GroupStore['loadAnnounced']>>;
interface ListRow {
  readonly bundle: Uint8Array;
  readonly epoch: number | null;
  readonly attempt: number | null;
}

const recordColumns = 'gid, epoch, attempt, list_hash AS listHash, record, agreed_s AS agreedS, endorsement';

export abstract class SqliteGroups extends SqliteOutbox implements GroupStore {
  readonly #database: Database;
  readonly #loadMembership: Statement<[gid: Uint8Array], { readonly bundle: Uint8Array }>;
  readonly #saveMembership: Statement<[gid: Uint8Array, version: number, revision: number, bundle: Uint8Array]>;
  readonly #supersede: Statement<[gid: Uint8Array, sameGid: Uint8Array, listHash: Uint8Array]>;
  readonly #keepList: Statement<[gid: Uint8Array, listHash: Uint8Array, bundle: Uint8Array]>;
  readonly #forgetLists: Statement<[gid: Uint8Array, sameGid: Uint8Array]>;
  readonly #lists: Statement<[gid: Uint8Array], ListRow>;
  readonly #loadAnnounced: Statement<[gid: Uint8Array], NonNullable<Announced>>;
  readonly #saveAnnounced: Statement<EpochKey>;
  readonly #saveRecord: Statement<[...EpochKey, listHash: Uint8Array, record: Uint8Array, agreedS: number]>;
  readonly #usedList: Statement<[epoch: number, attempt: number, gid: Uint8Array, listHash: Uint8Array]>;
  readonly #unreportedRecords: Statement<[], AgreedEpoch>;
  readonly #markReported: Statement<[endorsement: Uint8Array | null, ...EpochKey]>;
  readonly #setRecordAside: Statement<[code: string, ...EpochKey]>;
  readonly #forgetRecords: Statement<[gid: Uint8Array, sameGid: Uint8Array]>;
  readonly #latestRecord: Statement<[gid: Uint8Array], AgreedEpoch>;
  readonly #saveDeparture: Statement<[gid: Uint8Array, certHash: Uint8Array, kind: string, signedS: number]>;
  readonly #departures: Statement<[gid: Uint8Array], Departure>;
  readonly #forgetDeparture: Statement<[gid: Uint8Array, certHash: Uint8Array]>;
  readonly #saveVerdict: Statement<[...EpochKey, judgedS: number, message: Uint8Array]>;
  readonly #forgetVerdicts: Statement<[]>;
  readonly #verdicts: Statement<[], KeptVerdict>;
  readonly #loadQuarantine: Statement<[gid: Uint8Array], { readonly state: Uint8Array }>;
  readonly #saveQuarantine: Statement<[gid: Uint8Array, state: Uint8Array]>;

  constructor(database: Database) {
    super(database, ['meter', 'sequence']);
    this.#database = database;
    this.#loadMembership = database.prepare('SELECT bundle FROM membership WHERE gid = ?');
    this.#saveMembership = database.prepare(
      `INSERT INTO membership (gid, version, revision, bundle) VALUES (?, ?, ?, ?)
       ON CONFLICT (gid) DO UPDATE
       SET version = excluded.version, revision = excluded.revision, bundle = excluded.bundle
       WHERE (excluded.version, excluded.revision) >= (version, revision)`,
    );
    this.#supersede = database.prepare(
      `UPDATE list SET last_epoch = newest.epoch, last_attempt = newest.attempt
       FROM (SELECT epoch, attempt FROM record WHERE gid = ? ORDER BY epoch DESC, attempt DESC LIMIT 1) AS newest
       WHERE id = (SELECT id FROM list WHERE gid = ? ORDER BY id DESC LIMIT 1) AND list_hash <> ?`,
    );
    this.#keepList = database.prepare(
      `INSERT INTO list (gid, list_hash, bundle) VALUES (?, ?, ?)
       ON CONFLICT (gid, list_hash) DO UPDATE SET bundle = excluded.bundle`,
    );
    this.#forgetLists = database.prepare(
      `DELETE FROM list WHERE gid = ? AND id NOT IN
         (SELECT id FROM list WHERE gid = ? ORDER BY id DESC LIMIT ${keptLists})`,
    );
    this.#lists = database.prepare(
      'SELECT bundle, last_epoch AS epoch, last_attempt AS attempt FROM list WHERE gid = ? ORDER BY id DESC',
    );
    this.#loadAnnounced = database.prepare('SELECT epoch, attempt FROM announced WHERE gid = ?');
    this.#saveAnnounced = database.prepare(
      `INSERT INTO announced (gid, epoch, attempt) VALUES (?, ?, ?)
       ON CONFLICT (gid) DO UPDATE SET epoch = excluded.epoch, attempt = excluded.attempt
       WHERE (excluded.epoch, excluded.attempt) > (epoch, attempt)`,
    );
    this.#saveRecord = database.prepare(
      `INSERT INTO record (gid, epoch, attempt, list_hash, record, agreed_s) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT DO NOTHING`,
    );
    this.#usedList = database.prepare(
      'UPDATE list SET last_epoch = ?, last_attempt = ? WHERE gid = ? AND list_hash = ?',
    );
    this.#unreportedRecords = database.prepare(
      `SELECT ${recordColumns} FROM record WHERE reported = 0 AND refused IS NULL ORDER BY gid, epoch, attempt`,
    );
    this.#markReported = database.prepare(
      'UPDATE record SET reported = 1, endorsement = ? WHERE gid = ? AND epoch = ? AND attempt = ?',
    );
    this.#setRecordAside = database.prepare(
      'UPDATE record SET refused = ? WHERE gid = ? AND epoch = ? AND attempt = ?',
    );
    this.#forgetRecords = database.prepare(
      `DELETE FROM record WHERE gid = ? AND reported = 1 AND (epoch, attempt) <
         (SELECT epoch, attempt FROM record WHERE gid = ? ORDER BY epoch DESC, attempt DESC LIMIT 1)`,
    );
    this.#latestRecord = database.prepare(
      `SELECT ${recordColumns} FROM record WHERE gid = ? ORDER BY epoch DESC, attempt DESC LIMIT 1`,
    );
    this.#saveDeparture = database.prepare(
      `INSERT INTO departure (gid, cert_hash, kind, signed_s) VALUES (?, ?, ?, ?)
       ON CONFLICT (gid, cert_hash) DO UPDATE SET kind = excluded.kind, signed_s = excluded.signed_s
       WHERE excluded.kind = 'revoked' OR (kind = 'left' AND excluded.signed_s > signed_s)`,
    );
    this.#departures = database.prepare(
      'SELECT gid, cert_hash AS certHash, kind, signed_s AS signedS FROM departure WHERE gid = ? ORDER BY cert_hash',
    );
    this.#forgetDeparture = database.prepare('DELETE FROM departure WHERE gid = ? AND cert_hash = ?');
    this.#saveVerdict = database.prepare(
      'INSERT INTO verdict (gid, epoch, attempt, judged_s, message) VALUES (?, ?, ?, ?, ?)',
    );
    this.#forgetVerdicts = database.prepare(
      `DELETE FROM verdict WHERE id NOT IN (SELECT id FROM verdict ORDER BY id DESC LIMIT ${keptVerdicts})`,
    );
    this.#verdicts = database.prepare(
      'SELECT gid, epoch, attempt, judged_s AS judgedS, message FROM verdict ORDER BY id DESC',
    );
    this.#loadQuarantine = database.prepare('SELECT state FROM quarantine WHERE gid = ?');
    this.#saveQuarantine = database.prepare('INSERT OR REPLACE INTO quarantine (gid, state) VALUES (?, ?)');
  }

  async loadMembership(gid: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#database.read(() => this.#loadMembership.get(gid))?.bundle;
  }

  async saveMembership(
    gid: Uint8Array,
    { version, revision }: ListOrder,
    listHash: Uint8Array,
    bundle: Uint8Array,
  ): Promise<void> {
    this.#database.transaction(() => {
      if (this.#saveMembership.run(gid, version, revision, bundle).changes === 0) return;
      this.#supersede.run(gid, gid, listHash);
      this.#keepList.run(gid, listHash, bundle);
      this.#forgetLists.run(gid, gid);
    });
  }

  async lists(gid: Uint8Array): Promise<readonly KeptList[]> {
    const rows = this.#database.read(() => this.#lists.all(gid));
    return rows.map(({ bundle, epoch, attempt }) => ({
      bundle,
      lastEpoch: epoch === null || attempt === null ? null : { epoch, attempt },
    }));
  }

  async loadAnnounced(gid: Uint8Array): Promise<Announced> {
    return this.#database.read(() => this.#loadAnnounced.get(gid));
  }

  async saveAnnounced(gid: Uint8Array, epoch: number, attempt: number): Promise<boolean> {
    return this.#database.read(() => this.#saveAnnounced.run(gid, epoch, attempt)).changes > 0;
  }

  async saveRecord(agreed: Omit<AgreedEpoch, 'endorsement'>): Promise<void> {
    const { gid, epoch, attempt, listHash, record, agreedS } = agreed;
    this.#database.transaction(() => {
      this.#saveRecord.run(gid, epoch, attempt, listHash, record, agreedS);
      this.#usedList.run(epoch, attempt, gid, listHash);
    });
  }

  async unreportedRecords(): Promise<readonly AgreedEpoch[]> {
    return this.#database.read(() => this.#unreportedRecords.all());
  }

  async markReported(gid: Uint8Array, epoch: number, attempt: number, endorsement: Uint8Array | null): Promise<void> {
    this.#database.transaction(() => {
      this.#markReported.run(endorsement, gid, epoch, attempt);
      this.#forgetRecords.run(gid, gid);
    });
  }

  async setRecordAside(gid: Uint8Array, epoch: number, attempt: number, code: string): Promise<void> {
    this.#database.read(() => this.#setRecordAside.run(code, gid, epoch, attempt));
  }

  async latestRecord(gid: Uint8Array): Promise<AgreedEpoch | undefined> {
    return this.#database.read(() => this.#latestRecord.get(gid));
  }

  async saveDeparture({ gid, certHash, kind, signedS }: Departure): Promise<void> {
    this.#database.read(() => this.#saveDeparture.run(gid, certHash, kind, signedS));
  }

  async departures(gid: Uint8Array): Promise<readonly Departure[]> {
    return this.#database.read(() => this.#departures.all(gid));
  }

  async forgetDeparture(gid: Uint8Array, certHash: Uint8Array): Promise<void> {
    this.#database.read(() => this.#forgetDeparture.run(gid, certHash));
  }

  async saveVerdict({ gid, epoch, attempt, judgedS, message }: KeptVerdict): Promise<void> {
    this.#database.transaction(() => {
      this.#saveVerdict.run(gid, epoch, attempt, judgedS, message);
      this.#forgetVerdicts.run();
    });
  }

  async verdicts(): Promise<readonly KeptVerdict[]> {
    return this.#database.read(() => this.#verdicts.all());
  }

  async loadQuarantine(gid: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#database.read(() => this.#loadQuarantine.get(gid))?.state;
  }

  async saveQuarantine(gid: Uint8Array, state: Uint8Array): Promise<void> {
    this.#database.read(() => this.#saveQuarantine.run(gid, state));
  }
}
