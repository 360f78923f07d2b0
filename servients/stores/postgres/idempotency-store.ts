import type { Claim, IdempotencyStore, KeptAnswer } from '../../../things/idempotency-store.js';
import { claimOf, type IdempotencyRow } from '../idempotency-row.js';
import type { Database } from './database.js';

export class PostgresIdempotencyStore implements IdempotencyStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async claim(idHash: Uint8Array, requestHash: Uint8Array, nowS: number, staleBeforeS: number): Promise<Claim> {
    const claimed = await this.#database.run(
      `INSERT INTO idempotency_key AS known (id_hash, request_hash, claimed_s) VALUES ($1, $2, $3)
       ON CONFLICT (id_hash) DO UPDATE SET claimed_s = excluded.claimed_s
       WHERE known.request_hash = excluded.request_hash AND known.status IS NULL AND known.claimed_s < $4::bigint`,
      [idHash, requestHash, nowS, staleBeforeS],
    );
    if (claimed > 0) return { kind: 'claimed' };
    const [row] = await this.#database.rows<IdempotencyRow>(
      `SELECT request_hash AS "requestHash", status, content_type AS "contentType", location, body
       FROM idempotency_key WHERE id_hash = $1`,
      [idHash],
    );
    // Whoever had it has released it meanwhile: the next attempt gets it.
    return row ? claimOf(row, requestHash) : { kind: 'under-way' };
  }

  async keepAnswer(idHash: Uint8Array, { status, contentType, location, body }: KeptAnswer): Promise<void> {
    await this.#database.run(
      'UPDATE idempotency_key SET status = $1, content_type = $2, location = $3, body = $4 WHERE id_hash = $5',
      [status, contentType, location, body, idHash],
    );
  }

  async release(idHash: Uint8Array): Promise<void> {
    await this.#database.run('DELETE FROM idempotency_key WHERE id_hash = $1 AND status IS NULL', [idHash]);
  }

  async purgeIdempotency(beforeS: number): Promise<void> {
    await this.#database.run('DELETE FROM idempotency_key WHERE claimed_s < $1', [beforeS]);
  }
}
