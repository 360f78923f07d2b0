/** The audit log: whoever appends holds the row of its head until the commit, so that all processes write one chain. */
import type { AuditEntry, AuditFacts, AuditPlace } from '../../../crypto/audit/entry.js';
import type { AuditCheckpointRow, AuditFilter, AuditHead, AuditStore } from '../../../things/stores.js';
import { auditColumns, auditValues, entryAfter, entryOf, filterValues, type AuditRow } from '../audit-row.js';
import { onlyRow, type Database, type Session } from './database.js';

const columns = `sequence, time_s AS "timeS", actor, action, subject, outcome, request_id AS "requestId", details,
  previous_hash AS "previousHash", hash`;
const filtered = `($1::text IS NULL OR actor = $1) AND ($2::text IS NULL OR action = $2)
  AND ($3::text IS NULL OR subject = $3) AND ($4::text IS NULL OR outcome = $4)
  AND ($5::bigint IS NULL OR time_s >= $5) AND ($6::bigint IS NULL OR time_s <= $6)`;

/**
 * Within a transaction of the caller, as its last step: the head is locked from here to the commit, and whoever locked it
 * first would wait for what the caller takes afterwards.
 */
export async function appendAudit(session: Session, facts: AuditFacts): Promise<AuditEntry> {
  const { log, ...head } = onlyRow(
    await session.rows<AuditPlace & { readonly log: Uint8Array }>(
      'SELECT log, sequence, hash FROM audit_state FOR UPDATE',
    ),
  );
  const entry = entryAfter(log, head, facts);
  await session.run(
    `INSERT INTO audit_entry (${auditColumns}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
    auditValues(entry),
  );
  await session.run('UPDATE audit_state SET sequence = $1, hash = $2', [entry.sequence, entry.hash]);
  return entry;
}

export class PostgresAudit implements AuditStore {
  readonly log: Uint8Array;
  readonly #database: Database;

  private constructor(database: Database, log: Uint8Array) {
    this.#database = database;
    this.log = log;
  }

  static async load(database: Database): Promise<PostgresAudit> {
    const { log } = onlyRow(await database.rows<{ readonly log: Uint8Array }>('SELECT log FROM audit_state'));
    return new PostgresAudit(database, log);
  }

  append(facts: AuditFacts): Promise<AuditEntry> {
    return this.#database.transaction((session) => appendAudit(session, facts));
  }

  async head(): Promise<AuditHead> {
    const { sequence, hash, number, upTo } = onlyRow(
      await this.#database.rows<AuditPlace & { readonly number: number | null; readonly upTo: number | null }>(
        `SELECT audit_state.sequence, hash, number, newest.sequence AS "upTo" FROM audit_state LEFT JOIN
           (SELECT number, sequence FROM audit_checkpoint ORDER BY number DESC LIMIT 1) AS newest ON true`,
      ),
    );
    return { sequence, hash, checkpoint: number === null || upTo === null ? null : { number, sequence: upTo } };
  }

  async entries(afterSequence: number, limit: number, filter: AuditFilter = {}): Promise<readonly AuditEntry[]> {
    const rows = await this.#database.rows<AuditRow>(
      `SELECT ${columns} FROM audit_entry WHERE ${filtered} AND sequence > $7::bigint ORDER BY sequence LIMIT $8::bigint`,
      [...filterValues(filter), afterSequence, limit],
    );
    return rows.map(entryOf);
  }

  async lastEntries(limit: number, filter: AuditFilter = {}): Promise<readonly AuditEntry[]> {
    const rows = await this.#database.rows<AuditRow>(
      `SELECT ${columns} FROM audit_entry WHERE ${filtered} ORDER BY sequence DESC LIMIT $7::bigint`,
      [...filterValues(filter), limit],
    );
    return rows.map(entryOf).reverse();
  }

  async saveCheckpoint({ number, sequence, message }: AuditCheckpointRow): Promise<boolean> {
    const changed = await this.#database.run(
      'INSERT INTO audit_checkpoint (number, sequence, message) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING',
      [number, sequence, message],
    );
    return changed === 1;
  }

  checkpoints(afterNumber: number, limit: number): Promise<readonly AuditCheckpointRow[]> {
    return this.#database.rows(
      'SELECT number, sequence, message FROM audit_checkpoint WHERE number > $1 ORDER BY number LIMIT $2::bigint',
      [afterNumber, limit],
    );
  }

  async dropOld(beforeS: number): Promise<number> {
    return this.#database.transaction(async (session) => {
      const [last] = await session.rows<{ readonly sequence: number }>(
        `SELECT sequence FROM audit_checkpoint WHERE sequence <
           coalesce((SELECT min(sequence) FROM audit_entry WHERE time_s >= $1), 9007199254740991)
         ORDER BY sequence DESC LIMIT 1`,
        [beforeS],
      );
      if (last === undefined) return 0;
      await session.run('DELETE FROM audit_checkpoint WHERE sequence < $1', [last.sequence]);
      return session.run('DELETE FROM audit_entry WHERE sequence <= $1', [last.sequence]);
    });
  }
}
