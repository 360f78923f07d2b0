/** The backend's chain entries and grants, of which it keeps every one. */
import type { StoredGrant } from '../../../things/stores.js';
import { onlyRow, type Database, type Statement } from './database.js';
import { assertChained, assertSameEntry, droppedAmong, type Run } from '../deliveries.js';
import { meterIds } from './meter-ids.js';
import type { Retention } from './retention.js';

type ByReading<Row> = Statement<[meter: number, sequence: number], Row>;

export class KeptItems {
  readonly #retention: Retention;
  readonly #meterId: (certHash: Uint8Array) => number;
  readonly #add: Statement<
    [
      meter: number,
      sequence: number,
      gid: Uint8Array,
      epoch: number,
      attempt: number,
      hash: Uint8Array,
      previousHash: Uint8Array,
      nowS: number,
      message: Uint8Array,
      kind: string,
    ]
  >;
  readonly #hash: ByReading<{ readonly hash: Uint8Array }>;
  readonly #previousHash: ByReading<{ readonly hash: Uint8Array }>;
  readonly #count: Statement<[readings: number, lastSequence: number, meter: number]>;
  readonly #addGrant: Statement<
    [
      meter: number,
      reader: Uint8Array,
      gid: Uint8Array,
      epoch: number,
      attempt: number,
      keyHash: Uint8Array,
      nowS: number,
      message: Uint8Array,
    ]
  >;

  constructor(database: Database, retention: Retention) {
    this.#retention = retention;
    this.#meterId = meterIds(database);
    this.#add = database.prepare(
      `INSERT INTO reading (meter, sequence, gid, epoch, attempt, hash, previous_hash, received_s, message, kind)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
    );
    this.#hash = database.prepare('SELECT hash FROM reading WHERE meter = ? AND sequence = ?');
    this.#previousHash = database.prepare('SELECT previous_hash AS hash FROM reading WHERE meter = ? AND sequence = ?');
    this.#count = database.prepare(
      'UPDATE meter SET readings = readings + ?, last_sequence = max(last_sequence, ?) WHERE id = ?',
    );
    this.#addGrant = database.prepare(
      `INSERT INTO reader_grant (meter, reader, gid, epoch, attempt, key_hash, received_s, message)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
    );
  }

  /**
   * Stores a run. Within a transaction of the caller.
   * @returns how many of its entries are new
   * @throws ConflictError `sequence-conflict`, `chain-broken`
   */
  keepRun(run: Run, nowS: number): number {
    const meter = this.#meterId(run.first.meter);
    const around = this.#retention.touching(meter, run.first.sequence - 1, run.last.sequence + 1);
    const dropped = droppedAmong(around);
    let [fresh, readings] = [0, 0];
    for (const entry of run.entries) {
      if (dropped.has(entry)) continue;
      const { kind, sequence, gid, epoch, attempt, hash, previousHash, message } = entry;
      const { changes } = this.#add.run(meter, sequence, gid, epoch, attempt, hash, previousHash, nowS, message, kind);
      if (changes === 0) assertSameEntry(entry, onlyRow(this.#hash.get(meter, sequence)).hash);
      fresh += changes;
      if (kind === 'reading') readings += changes;
    }
    if (fresh === 0) return 0;
    const [previous, next] = [run.first.sequence - 1, run.last.sequence + 1];
    const before = this.#hash.get(meter, previous)?.hash ?? dropped.hashOf(previous);
    const after = this.#previousHash.get(meter, next)?.hash ?? dropped.previousHashOf(next);
    assertChained(run, before, after);
    this.#count.run(readings, run.last.sequence, meter);
    return fresh;
  }

  /** Stores a grant. Within a transaction of the caller. @returns whether it is new */
  keepGrant({ meter, reader, gid, epoch, attempt, keyHash, message }: StoredGrant, nowS: number): boolean {
    const id = this.#meterId(meter);
    return this.#addGrant.run(id, reader, gid, epoch, attempt, keyHash, nowS, message).changes > 0;
  }
}
