import type { MeterStore, OutboxItem } from '../../../things/stores.js';
import { openStore, type Closable, type Database, type Statement, type StoreOptions } from './database.js';
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

class SqliteMeterStore extends SqliteOutbox implements MeterStore, Closable {
  readonly #database: Database;
  readonly #loadMember: ByGid<{ readonly state: Uint8Array }>;
  readonly #saveMember: Statement<[gid: Uint8Array, state: Uint8Array]>;
  readonly #groups: Statement<[], { readonly gid: Uint8Array }>;
  readonly #loadMembership: ByGid<{ readonly bundle: Uint8Array }>;
  readonly #saveMembership: Statement<[gid: Uint8Array, bundle: Uint8Array]>;
  readonly #loadSealing: Statement<[], { readonly state: Uint8Array }>;
  readonly #saveSealing: Statement<[state: Uint8Array]>;
  #emptyLogTimer: NodeJS.Timeout | undefined;

  constructor(database: Database) {
    super(database);
    this.#database = database;
    this.#loadMember = database.prepare('SELECT state FROM member WHERE gid = ?');
    this.#saveMember = database.prepare('INSERT OR REPLACE INTO member (gid, state) VALUES (?, ?)');
    this.#groups = database.prepare('SELECT gid FROM member ORDER BY gid');
    this.#loadMembership = database.prepare('SELECT bundle FROM membership WHERE gid = ?');
    this.#saveMembership = database.prepare('INSERT OR REPLACE INTO membership (gid, bundle) VALUES (?, ?)');
    this.#loadSealing = database.prepare('SELECT state FROM sealing');
    this.#saveSealing = database.prepare('INSERT OR REPLACE INTO sealing (id, state) VALUES (1, ?)');
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

  async saveSealing(sealing: Uint8Array, items: readonly Omit<OutboxItem, 'position'>[], nowS: number): Promise<void> {
    this.#replaceSecrets(() => {
      this.#saveSealing.run(sealing);
      this.add(items, nowS);
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
