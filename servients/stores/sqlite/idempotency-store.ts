import type { Claim, IdempotencyStore, KeptAnswer } from '../../../things/idempotency-store.js';
import { claimOf, type IdempotencyRow } from '../idempotency-row.js';
import type { Database, Statement } from './database.js';

export class SqliteIdempotencyStore implements IdempotencyStore {
  readonly #database: Database;
  readonly #claim: Statement<[idHash: Uint8Array, requestHash: Uint8Array, nowS: number]>;
  readonly #takeOver: Statement<[nowS: number, idHash: Uint8Array, requestHash: Uint8Array, staleBeforeS: number]>;
  readonly #row: Statement<[idHash: Uint8Array], IdempotencyRow>;
  readonly #keep: Statement<
    [status: number, contentType: string | null, location: string | null, body: Uint8Array, idHash: Uint8Array]
  >;
  readonly #release: Statement<[idHash: Uint8Array]>;
  readonly #purge: Statement<[beforeS: number]>;

  constructor(database: Database) {
    this.#database = database;
    this.#claim = database.prepare(
      'INSERT INTO idempotency_key (id_hash, request_hash, claimed_s) VALUES (?, ?, ?) ON CONFLICT DO NOTHING',
    );
    this.#takeOver = database.prepare(
      `UPDATE idempotency_key SET claimed_s = ?
       WHERE id_hash = ? AND request_hash = ? AND status IS NULL AND claimed_s < ?`,
    );
    this.#row = database.prepare(
      `SELECT request_hash AS requestHash, status, content_type AS contentType, location, body
       FROM idempotency_key WHERE id_hash = ?`,
    );
    this.#keep = database.prepare(
      'UPDATE idempotency_key SET status = ?, content_type = ?, location = ?, body = ? WHERE id_hash = ?',
    );
    this.#release = database.prepare('DELETE FROM idempotency_key WHERE id_hash = ? AND status IS NULL');
    this.#purge = database.prepare('DELETE FROM idempotency_key WHERE claimed_s < ?');
  }

  async claim(idHash: Uint8Array, requestHash: Uint8Array, nowS: number, staleBeforeS: number): Promise<Claim> {
    return this.#database.transaction((): Claim => {
      const row = this.#row.get(idHash);
      if (row && this.#takeOver.run(nowS, idHash, requestHash, staleBeforeS).changes === 0)
        return claimOf(row, requestHash);
      this.#claim.run(idHash, requestHash, nowS);
      return { kind: 'claimed' };
    });
  }

  async keepAnswer(idHash: Uint8Array, { status, contentType, location, body }: KeptAnswer): Promise<void> {
    this.#database.transaction(() => this.#keep.run(status, contentType, location, body, idHash));
  }

  async release(idHash: Uint8Array): Promise<void> {
    this.#database.transaction(() => this.#release.run(idHash));
  }

  async purgeIdempotency(beforeS: number): Promise<void> {
    this.#database.transaction(() => this.#purge.run(beforeS));
  }
}
