/**
 * What a gateway remembers of the items that it has accepted, after they left its outbox: every sequence, as stretches
 * (20 bytes for a meter without gaps), and of the newest readings and grants enough to tell a repeat from a conflict.
 */
import type { StoredEntry, StoredGrant } from '../../../things/stores.js';
import type { Database, Statement } from './database.js';
import { assertChained, assertSameEntry, type Run } from '../deliveries.js';
import { meterIds } from './meter-ids.js';

/** Per meter. More than a meter has on its way at once, so that whatever it repeats can be compared. */
const rememberedReadings = 1_024;
/** Of all meters. */
const rememberedGrants = 16_384;

interface Stretch {
  readonly first: number;
  readonly last: number;
}

type ByReading<Row> = Statement<[meter: number, sequence: number], Row>;

export class AcceptedItems {
  readonly #meterId: (certHash: Uint8Array) => number;
  readonly #stretches: Statement<[meter: number, sameMeter: number, from: number, to: number], Stretch>;
  readonly #last: Statement<[meter: number], { readonly last: number }>;
  readonly #removeStretches: Statement<[meter: number, from: number, to: number]>;
  readonly #addStretch: Statement<[meter: number, first: number, last: number]>;
  readonly #hash: ByReading<{ readonly hash: Uint8Array }>;
  readonly #previousHash: ByReading<{ readonly hash: Uint8Array }>;
  readonly #addReading: Statement<[meter: number, sequence: number, hash: Uint8Array, previousHash: Uint8Array]>;
  readonly #forgetReadings: Statement<[meter: number, sameMeter: number]>;
  readonly #addGrant: Statement<
    [meter: number, gid: Uint8Array, epoch: number, attempt: number, reader: Uint8Array, keyHash: Uint8Array]
  >;
  readonly #forgetGrants: Statement<[]>;

  constructor(database: Database) {
    this.#meterId = meterIds(database);
    this.#stretches = database.prepare(
      `SELECT first, last FROM accepted_stretch
       WHERE meter = ? AND first >= coalesce(
         (SELECT max(first) FROM accepted_stretch WHERE meter = ? AND first <= ?), 0
       ) AND first <= ?`,
    );
    this.#last = database.prepare('SELECT last FROM accepted_stretch WHERE meter = ? ORDER BY first DESC LIMIT 1');
    this.#removeStretches = database.prepare('DELETE FROM accepted_stretch WHERE meter = ? AND first BETWEEN ? AND ?');
    this.#addStretch = database.prepare('INSERT INTO accepted_stretch (meter, first, last) VALUES (?, ?, ?)');
    this.#hash = database.prepare('SELECT hash FROM accepted_reading WHERE meter = ? AND sequence = ?');
    this.#previousHash = database.prepare(
      'SELECT previous_hash AS hash FROM accepted_reading WHERE meter = ? AND sequence = ?',
    );
    this.#addReading = database.prepare(
      'INSERT INTO accepted_reading (meter, sequence, hash, previous_hash) VALUES (?, ?, ?, ?)',
    );
    this.#forgetReadings = database.prepare(
      `DELETE FROM accepted_reading WHERE meter = ? AND sequence <=
         (SELECT max(sequence) FROM accepted_reading WHERE meter = ?) - ${rememberedReadings}`,
    );
    this.#addGrant = database.prepare(
      `INSERT INTO accepted_grant (meter, gid, epoch, attempt, reader, key_hash) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT DO NOTHING`,
    );
    this.#forgetGrants = database.prepare(
      `DELETE FROM accepted_grant WHERE id <= (SELECT max(id) FROM accepted_grant) - ${rememberedGrants}`,
    );
  }

  /**
   * Remembers a run. Within a transaction of the caller.
   * @returns those of its entries that were not accepted before
   * @throws ConflictError `sequence-conflict`, `chain-broken`
   */
  acceptRun(run: Run): readonly StoredEntry[] {
    const meter = this.#meterId(run.first.meter);
    const touching = this.#touchingStretches(meter, run);
    const fresh = run.entries.filter((entry) => {
      if (!touching.some(({ first, last }) => first <= entry.sequence && entry.sequence <= last)) return true;
      const stored = this.#hash.get(meter, entry.sequence);
      if (stored !== undefined) assertSameEntry(entry, stored.hash);
      return false;
    });
    if (fresh.length === 0) return fresh;
    const before = this.#hash.get(meter, run.first.sequence - 1)?.hash;
    const after = this.#previousHash.get(meter, run.last.sequence + 1)?.hash;
    assertChained(run, before, after);
    this.#extend(meter, run, touching);
    for (const { sequence, hash, previousHash } of fresh) this.#addReading.run(meter, sequence, hash, previousHash);
    this.#forgetReadings.run(meter, meter);
    return fresh;
  }

  /** The newest sequence of a meter; 0 before the first. */
  lastSequence(meter: Uint8Array): number {
    return this.#last.get(this.#meterId(meter))?.last ?? 0;
  }

  /** The short number of a meter. Within a transaction of the caller. */
  meterId(meter: Uint8Array): number {
    return this.#meterId(meter);
  }

  /** Remembers a grant. Within a transaction of the caller. @returns whether it was not accepted before */
  acceptGrant({ meter, gid, epoch, attempt, reader, keyHash }: StoredGrant): boolean {
    const fresh = this.#addGrant.run(this.#meterId(meter), gid, epoch, attempt, reader, keyHash).changes > 0;
    if (fresh) this.#forgetGrants.run();
    return fresh;
  }

  /** In ascending order: those that overlap the run, and those that end or begin right beside it. */
  #touchingStretches(meter: number, { first, last }: Run): readonly Stretch[] {
    return this.#stretches
      .all(meter, meter, first.sequence, last.sequence + 1)
      .filter((stretch) => stretch.last >= first.sequence - 1);
  }

  #extend(meter: number, run: Run, touching: readonly Stretch[]): void {
    const first = Math.min(run.first.sequence, ...touching.map((stretch) => stretch.first));
    const last = Math.max(run.last.sequence, ...touching.map((stretch) => stretch.last));
    if (touching.length > 0) this.#removeStretches.run(meter, first, last);
    this.#addStretch.run(meter, first, last);
  }
}
