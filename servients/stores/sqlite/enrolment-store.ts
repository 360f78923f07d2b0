import type { Enrolment, EnrolmentKind, EnrolmentStore } from '../../../things/enrolment-store.js';
import { encodeCertificates, enrolmentOfRow, type EnrolmentRow } from '../enrolment-row.js';
import type { Database, Statement } from './database.js';

const columns = 'device, kind, proof, created_s AS createdS, expires_s AS expiresS, request, certificates';

/** A request that is there already stays as it is; of several at once the first is kept. */
export class SqliteEnrolmentStore implements EnrolmentStore {
  readonly #database: Database;
  readonly #put: Statement<
    [
      device: string,
      kind: string,
      proof: Uint8Array,
      createdS: number,
      expiresS: number,
      request: Uint8Array | null,
      certificates: Uint8Array | null,
    ]
  >;
  readonly #one: Statement<[device: string, kind: string], EnrolmentRow>;
  readonly #all: Statement<[afterDevice: string, limit: number], EnrolmentRow>;
  readonly #file: Statement<[expiresS: number, request: Uint8Array, device: string, kind: string, proof: Uint8Array]>;
  readonly #issue: Statement<
    [expiresS: number, certificates: Uint8Array, device: string, kind: string, request: Uint8Array]
  >;
  readonly #remove: Statement<[device: string, kind: string]>;
  readonly #purge: Statement<[nowS: number]>;

  constructor(database: Database) {
    this.#database = database;
    this.#put = database.prepare('INSERT OR REPLACE INTO enrolment VALUES (?, ?, ?, ?, ?, ?, ?)');
    this.#one = database.prepare(`SELECT ${columns} FROM enrolment WHERE device = ? AND kind = ?`);
    this.#all = database.prepare(`SELECT ${columns} FROM enrolment WHERE device > ? ORDER BY device, kind LIMIT ?`);
    this.#file = database.prepare(
      `UPDATE enrolment SET expires_s = iif(request IS NULL, ?1, expires_s), request = ?2
       WHERE device = ?3 AND kind = ?4 AND proof = ?5 AND (request IS NULL OR request = ?2)`,
    );
    this.#issue = database.prepare(
      'UPDATE enrolment SET expires_s = ?, certificates = ? WHERE device = ? AND kind = ? AND request = ?',
    );
    this.#remove = database.prepare('DELETE FROM enrolment WHERE device = ? AND kind = ?');
    this.#purge = database.prepare('DELETE FROM enrolment WHERE expires_s < ?');
  }

  async putEnrolment({ device, kind, proof, createdS, expiresS, request, certificates }: Enrolment): Promise<void> {
    const issued = certificates && encodeCertificates(certificates);
    this.#database.transaction(() => this.#put.run(device, kind, proof, createdS, expiresS, request, issued));
  }

  async enrolment(device: string, kind: EnrolmentKind): Promise<Enrolment | undefined> {
    const row = this.#database.read(() => this.#one.get(device, kind));
    return row && enrolmentOfRow(row);
  }

  async enrolments(afterDevice: string, limit: number): Promise<readonly Enrolment[]> {
    return this.#database.read(() => this.#all.all(afterDevice, limit)).map(enrolmentOfRow);
  }

  async fileRequest(
    { device, kind, proof, expiresS }: Pick<Enrolment, 'device' | 'kind' | 'proof' | 'expiresS'>,
    request: Uint8Array,
  ): Promise<boolean> {
    return this.#database.transaction(() => this.#file.run(expiresS, request, device, kind, proof).changes > 0);
  }

  async fileCertificates(
    { device, kind, expiresS }: Pick<Enrolment, 'device' | 'kind' | 'expiresS'>,
    request: Uint8Array,
    certificates: readonly Uint8Array[],
  ): Promise<boolean> {
    const issued = encodeCertificates(certificates);
    return this.#database.transaction(() => this.#issue.run(expiresS, issued, device, kind, request).changes > 0);
  }

  async removeEnrolment(device: string, kind: EnrolmentKind): Promise<boolean> {
    return this.#database.transaction(() => this.#remove.run(device, kind).changes > 0);
  }

  async purgeEnrolments(nowS: number): Promise<void> {
    this.#database.transaction(() => this.#purge.run(nowS));
  }
}
