/** The audit log. One process has the database, so that entries come one after another by themselves. */
import type { AuditEntry, AuditFacts, AuditPlace } from '../../../crypto/audit/entry.js';
import type { AuditCheckpointRow, AuditFilter, AuditHead, AuditStore } from '../../../things/stores.js';
import {
  auditColumns,
  auditValues,
  entryAfter,
  entryOf,
  filterValues,
  type AuditRow,
  type AuditValues,
  type FilterValues,
} from '../audit-row.js';
import { onlyRow, type Database, type Statement } from './database.js';

const columns = `sequence, time_s AS timeS, actor, action, subject, outcome, request_id AS requestId, details,
  previous_hash AS previousHash, hash`;
const filtered = `(?1 IS NULL OR actor = ?1) AND (?2 IS NULL OR action = ?2) AND (?3 IS NULL OR subject = ?3)
  AND (?4 IS NULL OR outcome = ?4) AND (?5 IS NULL OR time_s >= ?5) AND (?6 IS NULL OR time_s <= ?6)`;

export class SqliteAudit implements AuditStore {
  readonly log: Uint8Array;
  readonly #database: Database;
  readonly #place: Statement<[], AuditPlace>;
  readonly #insert: Statement<AuditValues>;
  readonly #move: Statement<[sequence: number, hash: Uint8Array]>;
  readonly #entries: Statement<[...FilterValues, afterSequence: number, limit: number], AuditRow>;
  readonly #last: Statement<[...FilterValues, limit: number], AuditRow>;
  readonly #newestCheckpoint: Statement<[], { readonly number: number; readonly sequence: number }>;
  readonly #saveCheckpoint: Statement<[number: number, sequence: number, message: Uint8Array]>;
  readonly #checkpoints: Statement<[afterNumber: number, limit: number], AuditCheckpointRow>;
  readonly #lastBefore: Statement<[beforeS: number], { readonly sequence: number }>;
  readonly #dropEntries: Statement<[sequence: number]>;
  readonly #dropCheckpoints: Statement<[sequence: number]>;

  constructor(database: Database) {
    this.#database = database;
    this.log = onlyRow(database.prepare<[], { readonly log: Uint8Array }>('SELECT log FROM audit_state').get()).log;
    this.#place = database.prepare('SELECT sequence, hash FROM audit_state');
    this.#insert = database.prepare(`INSERT INTO audit_entry (${auditColumns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`);
    this.#move = database.prepare('UPDATE audit_state SET sequence = ?, hash = ?');
    this.#entries = database.prepare(
      `SELECT ${columns} FROM audit_entry WHERE ${filtered} AND sequence > ?7 ORDER BY sequence LIMIT ?8`,
    );
    this.#last = database.prepare(
      `SELECT ${columns} FROM audit_entry WHERE ${filtered} ORDER BY sequence DESC LIMIT ?7`,
    );
    this.#newestCheckpoint = database.prepare(
      'SELECT number, sequence FROM audit_checkpoint ORDER BY number DESC LIMIT 1',
    );
    this.#saveCheckpoint = database.prepare('INSERT OR IGNORE INTO audit_checkpoint VALUES (?, ?, ?)');
    this.#checkpoints = database.prepare(
      'SELECT number, sequence, message FROM audit_checkpoint WHERE number > ? ORDER BY number LIMIT ?',
    );
    this.#lastBefore = database.prepare(
      `SELECT sequence FROM audit_checkpoint WHERE sequence <
         coalesce((SELECT min(sequence) FROM audit_entry WHERE time_s >= ?), 9007199254740991)
       ORDER BY sequence DESC LIMIT 1`,
    );
    this.#dropEntries = database.prepare('DELETE FROM audit_entry WHERE sequence <= ?');
    this.#dropCheckpoints = database.prepare('DELETE FROM audit_checkpoint WHERE sequence < ?');
  }

  /** Within a transaction of the caller, as its last step. */
  appendWithin(facts: AuditFacts): AuditEntry {
    const entry = entryAfter(this.log, onlyRow(this.#place.get()), facts);
    this.#insert.run(...auditValues(entry));
    this.#move.run(entry.sequence, entry.hash);
    return entry;
  }

  async append(facts: AuditFacts): Promise<AuditEntry> {
    return this.#database.transaction(() => this.appendWithin(facts));
  }

  async head(): Promise<AuditHead> {
    return this.#database.read(() => ({
      ...onlyRow(this.#place.get()),
      checkpoint: this.#newestCheckpoint.get() ?? null,
    }));
  }

  async entries(afterSequence: number, limit: number, filter: AuditFilter = {}): Promise<readonly AuditEntry[]> {
    return this.#database.read(() => this.#entries.all(...filterValues(filter), afterSequence, limit)).map(entryOf);
  }

  async lastEntries(limit: number, filter: AuditFilter = {}): Promise<readonly AuditEntry[]> {
    return this.#database
      .read(() => this.#last.all(...filterValues(filter), limit))
      .map(entryOf)
      .reverse();
  }

  async saveCheckpoint({ number, sequence, message }: AuditCheckpointRow): Promise<boolean> {
    return this.#database.read(() => this.#saveCheckpoint.run(number, sequence, message)).changes === 1;
  }

  async checkpoints(afterNumber: number, limit: number): Promise<readonly AuditCheckpointRow[]> {
    return this.#database.read(() => this.#checkpoints.all(afterNumber, limit));
  }

  async dropOld(beforeS: number): Promise<number> {
    return this.#database.transaction(() => {
      const last = this.#lastBefore.get(beforeS);
      if (last === undefined) return 0;
      this.#dropCheckpoints.run(last.sequence);
      return this.#dropEntries.run(last.sequence).changes;
    });
  }
}
