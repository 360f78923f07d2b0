import { decodeStrict, encode } from '../../../crypto/cbor.js';
import type { CommandStore } from '../../../things/command-store.js';
import type { EnrolledMeter, GatewayStore, NewItem, SetAside, StoredItem } from '../../../things/stores.js';
import { AcceptedItems } from './accepted.js';
import { SqliteCommandStore } from './command-store.js';
import { onlyRow, openStore, type Closable, type Database, type Statement, type StoreOptions } from './database.js';
import { deliveries } from '../deliveries.js';
import { SqliteGroups } from './group-store.js';

/**
 * Opens or creates a gateway's database.
 * @throws SetupError and UnavailableError as `openStore`
 */
export const openGatewayStore = (path: string, options: StoreOptions = {}): GatewayStore & Closable =>
  openStore(path, 'gateway', options, (database) => new SqliteGatewayStore(database));

type EnrolmentRow = Omit<EnrolledMeter, 'certificates'> & { readonly certificates: Uint8Array };

class SqliteGatewayStore extends SqliteGroups implements GatewayStore, Closable {
  readonly #database: Database;
  readonly #accepted: AcceptedItems;
  readonly #saveEnrolment: Statement<
    [id: string, certHash: Uint8Array, certificates: Uint8Array, td: string, enrolledS: number]
  >;
  readonly #cameBack: Statement<[certHash: Uint8Array, enrolledS: number]>;
  readonly #enrolments: Statement<[], EnrolmentRow>;
  readonly #custodian: Statement<[], { readonly name: Uint8Array }>;
  readonly #waiting: Statement<
    [meter: number, sameMeter: number],
    { readonly unknown: number; readonly waiting: number | null }
  >;
  readonly #refusedRecords: Statement<[], SetAside>;
  readonly #reportAgain: Statement<[]>;
  readonly commands: CommandStore;

  constructor(database: Database) {
    super(database);
    this.#database = database;
    this.#accepted = new AcceptedItems(database);
    this.#saveEnrolment = database.prepare(
      'INSERT OR REPLACE INTO enrolment (id, cert_hash, certificates, td, enrolled_s) VALUES (?, ?, ?, ?, ?)',
    );
    this.#cameBack = database.prepare("DELETE FROM departure WHERE cert_hash = ? AND kind = 'left' AND signed_s < ?");
    this.#enrolments = database.prepare(
      'SELECT id, cert_hash AS certHash, certificates, td, enrolled_s AS enrolledS FROM enrolment ORDER BY id',
    );
    this.#custodian = database.prepare('SELECT name FROM custodian');
    this.#waiting = database.prepare(
      `SELECT EXISTS (SELECT 1 FROM outbox WHERE sequence IS NULL AND kind <> 'grant')
           + EXISTS (SELECT 1 FROM set_aside WHERE sequence IS NULL AND kind <> 'grant') AS unknown,
         (SELECT min(sequence) FROM (
            SELECT min(sequence) AS sequence FROM outbox WHERE meter = ? AND sequence IS NOT NULL
            UNION ALL SELECT min(sequence) FROM set_aside WHERE meter = ?
         )) AS waiting`,
    );
    this.#refusedRecords = database.prepare(
      `SELECT count(*) AS count,
         (SELECT refused FROM record WHERE refused IS NOT NULL ORDER BY epoch DESC LIMIT 1) AS lastCode
       FROM record WHERE refused IS NOT NULL`,
    );
    this.commands = new SqliteCommandStore(database);
    this.#reportAgain = database.prepare('UPDATE record SET refused = NULL WHERE refused IS NOT NULL');
  }

  async saveEnrolment({ id, certHash, certificates, td, enrolledS }: EnrolledMeter): Promise<void> {
    this.#database.transaction(() => {
      this.#saveEnrolment.run(id, certHash, encode(certificates), td, enrolledS);
      this.#cameBack.run(certHash, enrolledS);
    });
  }

  async enrolments(): Promise<readonly EnrolledMeter[]> {
    const rows = this.#database.read(() => this.#enrolments.all());
    return rows.map((row) => ({ ...row, certificates: decodeCertificates(row.certificates) }));
  }

  async accept(items: readonly StoredItem[], nowS: number): Promise<{ readonly fresh: number }> {
    return this.#database.transaction(() => {
      const fresh: StoredItem[] = [];
      for (const delivery of deliveries(items)) {
        if (delivery.kind === 'run') fresh.push(...this.#accepted.acceptRun(delivery));
        else if (this.#accepted.acceptGrant(delivery)) fresh.push(delivery);
      }
      this.add(
        fresh.map((item) => this.#ownItem(item)),
        nowS,
      );
      return { fresh: fresh.length };
    });
  }

  #ownItem(item: StoredItem): NewItem & { readonly meter?: number } {
    const { kind, message } = item;
    if (item.kind === 'grant') return { kind, message };
    return { kind, message, meter: this.#accepted.meterId(item.meter), sequence: item.sequence };
  }

  async custodian(): Promise<Uint8Array> {
    return this.#database.read(() => onlyRow(this.#custodian.get())).name;
  }

  async storedThrough(line: readonly Uint8Array[]): Promise<number> {
    return this.#database.transaction(() => {
      const ids = line.map((certHash) => this.#accepted.meterId(certHash));
      const rows = ids.map((id) => onlyRow(this.#waiting.get(id, id)));
      if (rows.some(({ unknown }) => unknown > 0)) return 0;
      const waiting = rows.flatMap((row) => row.waiting ?? []);
      if (waiting.length > 0) return Math.min(...waiting) - 1;
      return Math.max(...line.map((certHash) => this.#accepted.lastSequence(certHash)));
    });
  }

  override async setAsideStatus(): Promise<SetAside> {
    const [items, records] = [
      await super.setAsideStatus(),
      this.#database.read(() => onlyRow(this.#refusedRecords.get())),
    ];
    return { count: items.count + records.count, lastCode: items.lastCode ?? records.lastCode };
  }

  override async putBack(): Promise<void> {
    await super.putBack();
    this.#database.transaction(() => {
      this.#reportAgain.run();
    });
  }

  close(): void {
    this.#database.close();
  }
}

const decodeCertificates = (bytes: Uint8Array): readonly Uint8Array[] =>
  decodeStrict(bytes, bytes.length) as readonly Uint8Array[];
