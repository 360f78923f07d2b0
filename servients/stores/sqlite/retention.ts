/** Gives up old entries a batch at a time, so that nobody waits for long, and remembers which they were. */
import type { DroppedStretch } from '../../../things/stores.js';
import { weekOf } from '../weeks.js';
import type { Database, Statement } from './database.js';

const batchEntries = 1_000;

interface OldEntry {
  readonly rowid: number;
  readonly meter: number;
  readonly sequence: number;
  readonly hash: Uint8Array;
  readonly previousHash: Uint8Array;
  readonly isReading: number;
}

const columns = 'first, last, previous_hash AS previousHash, hash';

export class Retention {
  readonly #database: Database;
  readonly #old: Statement<[limit: number, beforeS: number], OldEntry>;
  readonly #remove: Statement<[rowid: number]>;
  readonly #discount: Statement<[readings: number, meter: number]>;
  readonly #touching: Statement<[meter: number, from: number, to: number], DroppedStretch>;
  readonly #forget: Statement<[meter: number, first: number]>;
  readonly #add: Statement<[meter: number, first: number, last: number, previousHash: Uint8Array, hash: Uint8Array]>;
  readonly #ofMeter: Statement<[certHash: Uint8Array], DroppedStretch>;

  constructor(database: Database) {
    this.#database = database;
    // In the order in which they came: the rows have it, and no index is needed.
    this.#old = database.prepare(
      `SELECT rowid, meter, sequence, hash, previous_hash AS previousHash, kind = 'reading' AS isReading
       FROM (SELECT rowid, * FROM reading ORDER BY rowid LIMIT ?) WHERE received_s < ? ORDER BY meter, sequence`,
    );
    this.#remove = database.prepare('DELETE FROM reading WHERE rowid = ?');
    this.#discount = database.prepare('UPDATE meter SET readings = readings - ? WHERE id = ?');
    this.#touching = database.prepare(
      `SELECT ${columns} FROM dropped_stretch WHERE meter = ? AND last >= ? AND first <= ? ORDER BY first`,
    );
    this.#forget = database.prepare('DELETE FROM dropped_stretch WHERE meter = ? AND first = ?');
    this.#add = database.prepare(
      'INSERT INTO dropped_stretch (meter, first, last, previous_hash, hash) VALUES (?, ?, ?, ?, ?)',
    );
    this.#ofMeter = database.prepare(
      `SELECT ${columns} FROM dropped_stretch JOIN meter ON meter.id = dropped_stretch.meter
       WHERE cert_hash = ? ORDER BY first`,
    );
  }

  /** All of a meter's, ascending. */
  ofMeter(certHash: Uint8Array): readonly DroppedStretch[] {
    return this.#database.read(() => this.#ofMeter.all(certHash));
  }

  /** Those that have a sequence from `from` to `to`. Within a transaction of the caller. */
  touching(meter: number, from: number, to: number): readonly DroppedStretch[] {
    return this.#touching.all(meter, from, to);
  }

  /** Gives up the oldest that were received in weeks before that of `beforeS`. @returns how many; 0 when there are none left */
  dropBatch(beforeS: number): number {
    return this.#database.transaction(() => {
      const old = this.#old.all(batchEntries, weekOf(beforeS));
      for (const { rowid, meter, isReading } of old) {
        this.#remove.run(rowid);
        this.#discount.run(isReading, meter);
      }
      for (const [meter, stretch] of stretchesOf(old)) this.#remember(meter, stretch);
      return old.length;
    });
  }

  /** With those that it continues, as one. */
  #remember(meter: number, stretch: DroppedStretch): void {
    const around = this.#touching.all(meter, stretch.first - 1, stretch.last + 1);
    const [before, after] = [around[0], around.at(-1)];
    const { first, previousHash } = before && before.first < stretch.first ? before : stretch;
    const { last, hash } = after && after.last > stretch.last ? after : stretch;
    for (const joined of around) this.#forget.run(meter, joined.first);
    this.#add.run(meter, first, last, previousHash, hash);
  }
}

/** Of entries in the order of meters and sequences. */
function stretchesOf(entries: readonly OldEntry[]): readonly (readonly [meter: number, DroppedStretch])[] {
  const found: [number, DroppedStretch][] = [];
  for (const { meter, sequence, hash, previousHash } of entries) {
    const current = found.at(-1);
    if (current?.[0] === meter && current[1].last === sequence - 1) {
      current[1] = { ...current[1], last: sequence, hash };
    } else {
      found.push([meter, { first: sequence, last: sequence, previousHash, hash }]);
    }
  }
  return found;
}
