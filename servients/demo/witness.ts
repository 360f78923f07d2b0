/** A reader that keeps looking: counts what is stored and what opens since this start, and follows every meter's chain. */
import type { MeterListing } from '../chain-client.js';
import type { Reader } from '../reader.js';

export interface Tally {
  readonly readingsStored: number;
  readonly readingsOpened: number;
  /** Sequences that are skipped, and entries of a chain that do not follow the one before them. */
  readonly chainBreaks: number;
}

export const noTally: Tally = { readingsStored: 0, readingsOpened: 0, chainBreaks: 0 };

interface Seen {
  readonly startCount: number;
  lastSequence: number;
}

export class Witness {
  readonly #reader: Reader;
  readonly #seen: Map<string, Seen>;
  #tally = noTally;

  constructor(reader: Reader, meters: readonly MeterListing[]) {
    this.#reader = reader;
    this.#seen = new Map(meters.map(({ id, count, lastSequence }) => [id, { startCount: count, lastSequence }]));
  }

  get tally(): Tally {
    return this.#tally;
  }

  /** How many readings of a meter were stored before this start. */
  startOf(id: string): number {
    return this.#seen.get(id)?.startCount ?? 0;
  }

  /** @throws what `Reader.read` throws */
  async look(): Promise<void> {
    const listed = await this.#reader.meters();
    for (const { id, lastSequence } of listed) {
      const seen = this.#seen.get(id);
      if (seen && lastSequence > seen.lastSequence) await this.#follow(id, seen);
    }
  }

  async #follow(id: string, seen: Seen): Promise<void> {
    const { opened, closed, breaks, lastSequence } = await this.#reader.read(id, { after: seen.lastSequence });
    const { readingsStored, readingsOpened, chainBreaks } = this.#tally;
    seen.lastSequence = lastSequence;
    this.#tally = {
      readingsStored: readingsStored + opened.length + closed,
      readingsOpened: readingsOpened + opened.length,
      chainBreaks: chainBreaks + breaks,
    };
  }
}
