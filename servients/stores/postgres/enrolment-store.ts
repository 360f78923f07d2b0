import type { Enrolment, EnrolmentKind, EnrolmentStore } from '../../../things/enrolment-store.js';
import { encodeCertificates, enrolmentOfRow, type EnrolmentRow } from '../enrolment-row.js';
import type { Database } from './database.js';

const columns = 'device, kind, proof, created_s AS "createdS", expires_s AS "expiresS", request, certificates';

export class PostgresEnrolmentStore implements EnrolmentStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async putEnrolment({ device, kind, proof, createdS, expiresS, request, certificates }: Enrolment): Promise<void> {
    await this.#database.run(
      `INSERT INTO enrolment (device, kind, proof, created_s, expires_s, request, certificates)
       VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (device, kind) DO UPDATE SET
         proof = excluded.proof, created_s = excluded.created_s, expires_s = excluded.expires_s,
         request = excluded.request, certificates = excluded.certificates`,
      [device, kind, proof, createdS, expiresS, request, certificates && encodeCertificates(certificates)],
    );
  }

  async enrolment(device: string, kind: EnrolmentKind): Promise<Enrolment | undefined> {
    const [row] = await this.#database.rows<EnrolmentRow>(
      `SELECT ${columns} FROM enrolment WHERE device = $1 AND kind = $2`,
      [device, kind],
    );
    return row && enrolmentOfRow(row);
  }

  async enrolments(afterDevice: string, limit: number): Promise<readonly Enrolment[]> {
    const rows = await this.#database.rows<EnrolmentRow>(
      `SELECT ${columns} FROM enrolment WHERE device COLLATE "C" > $1 ORDER BY device COLLATE "C", kind LIMIT $2`,
      [afterDevice, limit],
    );
    return rows.map(enrolmentOfRow);
  }

  /** A request that is there already stays as it is; of several at once the first is kept. */
  async fileRequest(
    { device, kind, proof, expiresS }: Pick<Enrolment, 'device' | 'kind' | 'proof' | 'expiresS'>,
    request: Uint8Array,
  ): Promise<boolean> {
    const filed = await this.#database.run(
      `UPDATE enrolment SET expires_s = CASE WHEN request IS NULL THEN $1 ELSE expires_s END, request = $2
       WHERE device = $3 AND kind = $4 AND proof = $5 AND (request IS NULL OR request = $2)`,
      [expiresS, request, device, kind, proof],
    );
    return filed > 0;
  }

  async fileCertificates(
    { device, kind, expiresS }: Pick<Enrolment, 'device' | 'kind' | 'expiresS'>,
    request: Uint8Array,
    certificates: readonly Uint8Array[],
  ): Promise<boolean> {
    const issued = await this.#database.run(
      'UPDATE enrolment SET expires_s = $1, certificates = $2 WHERE device = $3 AND kind = $4 AND request = $5',
      [expiresS, encodeCertificates(certificates), device, kind, request],
    );
    return issued > 0;
  }

  async removeEnrolment(device: string, kind: EnrolmentKind): Promise<boolean> {
    const removed = await this.#database.run('DELETE FROM enrolment WHERE device = $1 AND kind = $2', [device, kind]);
    return removed > 0;
  }

  async purgeEnrolments(nowS: number): Promise<void> {
    await this.#database.run('DELETE FROM enrolment WHERE expires_s < $1', [nowS]);
  }
}
