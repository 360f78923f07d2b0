import { UnavailableError } from '../../../crypto/errors.js';
import type { Holder, MeterStore, NewItem } from '../../../things/stores.js';
import { onlyRow, openStore, type Closable, type Database, type Statement, type StoreOptions } from './database.js';
import { SqliteOutbox } from './outbox.js';

/**
 * Opens or creates a meter's database.
 * @throws SetupError and UnavailableError as `openStore`
 */
export const openMeterStore = (path: string, options: StoreOptions = {}): MeterStore & Closable =>
  openStore(path, 'meter', options, (database) => new SqliteMeterStore(database));

type ByGid<Row = never> = Statement<[gid: Uint8Array], Row>;

/**
 * Keys that are replaced must not outlive it for long. SQLite zeroes them in the database (secure_delete), but its log
 * still has the pages as they were, until it is emptied; that costs several times what a commit costs, so not each time.
 */
const emptyLogAfterMs = 1_000;

/** Held items that are forgotten at once where there is no room. */
const givingWay = 256;

class SqliteMeterStore extends SqliteOutbox implements MeterStore, Closable {
  readonly #database: Database;
  readonly #loadMember: ByGid<{ readonly state: Uint8Array }>;
  readonly #saveMember: Statement<[gid: Uint8Array, state: Uint8Array]>;
  readonly #groups: Statement<[], { readonly gid: Uint8Array }>;
  readonly #loadMembership: ByGid<{ readonly bundle: Uint8Array }>;
  readonly #saveMembership: Statement<[gid: Uint8Array, bundle: Uint8Array]>;
  readonly #loadSealing: Statement<[], { readonly state: Uint8Array }>;
  readonly #saveSealing: Statement<[state: Uint8Array]>;
  readonly #hold: Statement<[holder: Uint8Array, position: number]>;
  readonly #heldCount: Statement<[], { readonly count: number }>;
  readonly #isHeldByOthers: Statement<[holder: Uint8Array, sameHolder: Uint8Array], object>;
  readonly #heldByOthers: Statement<[holder: Uint8Array], { readonly count: number; readonly bytes: number }>;
  readonly #sendAgain: Statement<[holder: Uint8Array]>;
  readonly #forgetHeldByOthers: Statement<[holder: Uint8Array]>;
  readonly #forgetStored: Statement<[holder: Uint8Array, sameHolder: Uint8Array, storedThrough: number]>;
  readonly #forgetOldestHeld: Statement<[]>;
  readonly #loadObeying: Statement<[], { readonly state: Uint8Array }>;
  readonly #saveObeying: Statement<[state: Uint8Array]>;
  readonly #loadHome: Statement<[], { readonly state: Uint8Array }>;
  readonly #saveHome: Statement<[state: Uint8Array]>;
  #emptyLogTimer: NodeJS.Timeout | undefined;

  constructor(database: Database) {
    super(database, ['sequence']);
    this.#database = database;
    this.#loadMember = database.prepare('SELECT state FROM member WHERE gid = ?');
    this.#saveMember = database.prepare('INSERT OR REPLACE INTO member (gid, state) VALUES (?, ?)');
    this.#groups = database.prepare('SELECT gid FROM member ORDER BY gid');
    this.#loadMembership = database.prepare('SELECT bundle FROM membership WHERE gid = ?');
    this.#saveMembership = database.prepare('INSERT OR REPLACE INTO membership (gid, bundle) VALUES (?, ?)');
    this.#loadSealing = database.prepare('SELECT state FROM sealing');
    this.#saveSealing = database.prepare('INSERT OR REPLACE INTO sealing (id, state) VALUES (1, ?)');
    this.#hold = database.prepare(
      `INSERT INTO held (holder, position, kind, message, added_s, sequence)
       SELECT ?, position, kind, message, added_s, sequence FROM outbox WHERE position = ?`,
    );
    this.#heldCount = database.prepare('SELECT count(*) AS count FROM held');
    this.#isHeldByOthers = database.prepare('SELECT 1 FROM held WHERE holder < ? OR holder > ? LIMIT 1');
    this.#heldByOthers = database.prepare(
      'SELECT count(*) AS count, coalesce(sum(length(message)), 0) AS bytes FROM held WHERE holder <> ?',
    );
    this.#sendAgain = database.prepare(
      `INSERT INTO outbox (position, kind, message, added_s, sequence)
       SELECT position, kind, message, added_s, sequence FROM held WHERE holder <> ?`,
    );
    this.#forgetHeldByOthers = database.prepare('DELETE FROM held WHERE holder <> ?');
    // Grants that went before an entry are where it is.
    this.#forgetStored = database.prepare(
      `DELETE FROM held WHERE holder = ? AND position <=
         (SELECT max(position) FROM held WHERE holder = ? AND sequence <= ?)`,
    );
    this.#forgetOldestHeld = database.prepare(
      `DELETE FROM held WHERE position IN (SELECT position FROM held ORDER BY position LIMIT ${givingWay})`,
    );
    this.#loadObeying = database.prepare('SELECT state FROM obeying');
    this.#saveObeying = database.prepare('INSERT OR REPLACE INTO obeying (id, state) VALUES (1, ?)');
    this.#loadHome = database.prepare('SELECT state FROM home');
    this.#saveHome = database.prepare('INSERT OR REPLACE INTO home (id, state) VALUES (1, ?)');
    // What a crash has left there.
    this.#emptyLog();
  }

  async loadMember(gid: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#database.read(() => this.#loadMember.get(gid))?.state;
  }

  async saveMember(gid: Uint8Array, state: Uint8Array): Promise<void> {
    this.#replaceSecrets(() => {
      this.#saveMember.run(gid, state);
    });
  }

  async groups(): Promise<readonly Uint8Array[]> {
    return this.#database.read(() => this.#groups.all()).map(({ gid }) => gid);
  }

  async loadMembership(gid: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#database.read(() => this.#loadMembership.get(gid))?.bundle;
  }

  async saveMembership(gid: Uint8Array, bundle: Uint8Array, member: Uint8Array): Promise<void> {
    this.#replaceSecrets(() => {
      this.#saveMembership.run(gid, bundle);
      this.#saveMember.run(gid, member);
    });
  }

  async loadSealing(): Promise<Uint8Array | undefined> {
    return this.#database.read(() => this.#loadSealing.get())?.state;
  }

  async saveSealing(sealing: Uint8Array, items: readonly NewItem[], nowS: number): Promise<void> {
    this.#replaceSecrets(() => {
      this.#saveSealing.run(sealing);
      this.#addWithRoom(items, nowS);
    });
  }

  /** What a gateway has signed for gives way to what nobody has yet. @throws UnavailableError `disk-full` */
  #addWithRoom(items: readonly NewItem[], nowS: number): void {
    for (;;) {
      try {
        this.add(items, nowS);
        return;
      } catch (error) {
        const isFull = error instanceof UnavailableError && error.code === 'disk-full';
        if (!isFull || this.#forgetOldestHeld.run().changes === 0) throw error;
      }
    }
  }

  async hold(positions: readonly number[], { name, storedThrough }: Holder): Promise<void> {
    this.#database.transaction(() => {
      for (const position of positions) this.#hold.run(name, position);
      this.remove(positions);
      if (this.#isHeldByOthers.get(name, name) !== undefined) {
        const { count, bytes } = onlyRow(this.#heldByOthers.get(name));
        this.#sendAgain.run(name);
        this.#forgetHeldByOthers.run(name);
        this.cameBack(count, bytes);
      }
      this.#forgetStored.run(name, name, storedThrough);
    });
  }

  async heldCount(): Promise<number> {
    return this.#database.read(() => onlyRow(this.#heldCount.get())).count;
  }

  async loadObeying(): Promise<Uint8Array | undefined> {
    return this.#database.read(() => this.#loadObeying.get())?.state;
  }

  async saveObeying(state: Uint8Array): Promise<void> {
    this.#database.transaction(() => {
      this.#saveObeying.run(state);
    });
  }

  async loadHome(): Promise<Uint8Array | undefined> {
    return this.#database.read(() => this.#loadHome.get())?.state;
  }

  async saveHome(home: Uint8Array): Promise<void> {
    this.#database.transaction(() => {
      this.#saveHome.run(home);
    });
  }

  close(): void {
    clearTimeout(this.#emptyLogTimer);
    this.#database.close();
  }

  #replaceSecrets(work: () => void): void {
    this.#database.transaction(work);
    this.#emptyLogTimer ??= setTimeout(() => {
      this.#emptyLogTimer = undefined;
      this.#emptyLog();
    }, emptyLogAfterMs).unref();
  }

  #emptyLog(): void {
    try {
      this.#database.emptyLog();
    } catch {
      // A full or busy disk: nothing is lost, and the next change tries again.
    }
  }
}
