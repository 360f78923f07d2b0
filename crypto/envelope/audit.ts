/**
 * What a chain proves (protocol §8): whether every entry from one place on is there and follows the one before, and what
 * the meter itself says that it could not measure. Entries are given verified, ascending by sequence.
 */
import { equalBytes } from '../bytes.js';
import { firstPreviousHash } from './chain.js';
import type { Checkpoint } from './checkpoint.js';
import type { Entry } from './entry.js';
import type { GapReport } from './gap-report.js';

/** Sequences from `first` to `last`, both included. */
export interface Stretch {
  readonly first: number;
  readonly last: number;
}

/** Entries that a backend has given up by policy, in its own words, with what chains them to their neighbours. */
export interface GivenUp extends Stretch {
  readonly previousHash: Uint8Array;
  /** Of the last of them. */
  readonly hash: Uint8Array;
}

export interface ChainFindings {
  readonly entries: number;
  readonly readings: number;
  /** Of the newest entry; that before the first one where there is none. */
  readonly lastSequence: number;
  /** Sequences below the newest that are not there. No gap report explains them: it would have one of its own. */
  readonly missing: readonly Stretch[];
  /** What the backend says that it had and has given up: known to fit to its neighbours, and that is all. */
  readonly givenUp: readonly Stretch[];
  /** Sequences of entries that do not hold the hash of the one before, though both are there. */
  readonly broken: readonly number[];
  /** Sequences of checkpoints that count other readings than there are. */
  readonly miscounted: readonly number[];
  readonly reports: readonly GapReport[];
  /** The newest: up to it the chain is proven to have no more entries than these. */
  readonly checkpoint: Checkpoint | null;
}

/** Where an audit begins: after this entry. */
export interface AuditStart {
  readonly sequence: number;
  readonly hash: Uint8Array;
}

export const chainStart: AuditStart = { sequence: 0, hash: firstPreviousHash };

export class ChainAudit {
  readonly #start: AuditStart;
  #before: AuditStart;
  #entries = 0;
  #readings = 0;
  readonly #missing: Stretch[] = [];
  readonly #givenUp: Stretch[] = [];
  readonly #broken: number[] = [];
  readonly #miscounted: number[] = [];
  readonly #reports: GapReport[] = [];
  #checkpoint: Checkpoint | null = null;
  /** Where the day began that the next checkpoint closes, and its readings so far; null while some of it is missing. */
  #day: { readonly first: number; readings: number } | null;

  constructor(start = chainStart) {
    this.#start = start;
    this.#before = start;
    this.#day = { first: start.sequence + 1, readings: 0 };
  }

  add(entry: Entry): void {
    this.#follow(entry.sequence, entry.previousHash);
    this.#before = entry;
    this.#entries += 1;
    this.#count(entry);
  }

  /** In the place of entries that are not there. */
  giveUp({ first, last, previousHash, hash }: GivenUp): void {
    this.#follow(first, previousHash);
    this.#before = { sequence: last, hash };
    this.#givenUp.push({ first, last });
    this.#day = null;
  }

  #follow(sequence: number, previousHash: Uint8Array): void {
    if (sequence <= this.#before.sequence) throw new TypeError('entries ascend by sequence');
    if (sequence > this.#before.sequence + 1) {
      this.end(sequence - 1);
      this.#day = null;
    } else if (!equalBytes(previousHash, this.#before.hash)) {
      this.#broken.push(sequence);
    }
  }

  /** What is known to end at `sequence`, and is not there, is missing. */
  end(sequence: number): void {
    if (sequence > this.#before.sequence) this.#missing.push({ first: this.#before.sequence + 1, last: sequence });
  }

  #count(entry: Entry): void {
    switch (entry.kind) {
      case 'reading':
        this.#readings += 1;
        if (this.#day) this.#day.readings += 1;
        return;
      case 'gap':
        this.#reports.push(entry);
        return;
      case 'checkpoint':
        if (this.#day && (this.#day.first !== entry.first || this.#day.readings !== entry.readings)) {
          this.#miscounted.push(entry.sequence);
        }
        this.#checkpoint = entry;
        this.#day = { first: entry.sequence + 1, readings: 0 };
    }
  }

  get findings(): ChainFindings {
    return {
      entries: this.#entries,
      readings: this.#readings,
      lastSequence: this.#before.sequence,
      missing: this.#missing,
      givenUp: this.#givenUp,
      broken: this.#broken,
      miscounted: this.#miscounted,
      reports: this.#reports,
      checkpoint: this.#checkpoint,
    };
  }
}

/** Whether nothing is missing but what the meter has reported or the backend given up. Of an empty chain nobody can tell. */
export const isWhole = ({ entries, givenUp, missing, broken, miscounted }: ChainFindings): boolean =>
  entries + givenUp.length > 0 && missing.length === 0 && broken.length === 0 && miscounted.length === 0;
