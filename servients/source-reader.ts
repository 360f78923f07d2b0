/** Takes what a source gives into the meter's chain, and says there what a live source has lost meanwhile. */
import type { Gap, GapCause } from '../crypto/envelope/gap-report.js';
import { GridringError } from '../crypto/errors.js';
import type { Meter } from '../things/meter.js';
import { backoffMs, sleep } from './runtime.js';
import { isGap, type Observation, type ReadingSource, type SourcePosition } from './sources/source.js';

export interface SourceReaderParts {
  readonly meter: Pick<Meter, 'keyed' | 'coveredS' | 'lastReading' | 'report' | 'reportGap'>;
  readonly source: ReadingSource;
  readonly onKept: () => void;
  readonly warn: (error: unknown, message: string) => void;
}

export class SourceReader {
  readonly #parts: SourceReaderParts;
  /** Why a live source was not taken from, if it should turn out so. */
  #lossCause: GapCause = 'stopped';

  constructor(parts: SourceReaderParts) {
    this.#parts = parts;
  }

  /** Readings wait at their source until there is a key, and until they are on disk. A source that fails is opened again. */
  async run(signal: AbortSignal): Promise<void> {
    const { meter, source, warn } = this.#parts;
    while (!meter.keyed && !signal.aborted) await sleep(100, signal);
    for (let failures = 0; !signal.aborted; failures++) {
      try {
        for await (const observation of source.readings(this.#position, signal)) {
          if (!(await this.#take(observation, signal))) return;
          failures = 0;
        }
        return;
      } catch (error) {
        warn(error, 'the source of readings has failed; it is opened again');
        await sleep(backoffMs(failures, error), signal);
      }
    }
  }

  get #position(): SourcePosition | undefined {
    const { coveredS, lastReading } = this.#parts.meter;
    return coveredS === null ? undefined : { timeS: coveredS, energyTotalWh: lastReading?.energyTotalWh ?? null };
  }

  /** @returns whether it is on disk; not when the process stops first, and the source gives it again if it can */
  async #take(observation: Observation, signal: AbortSignal): Promise<boolean> {
    const { meter, source } = this.#parts;
    const lost = source.isLive ? lostBefore(meter.coveredS, observation, source.intervalS) : undefined;
    if (lost) {
      const gap = { ...lost, cause: this.#lossCause, quantities: null };
      if (!(await this.#keep(() => meter.reportGap(gap), signal))) return false;
      this.#lossCause = 'stopped';
    }
    return this.#keep(() => (isGap(observation) ? meter.reportGap(observation) : meter.report(observation)), signal);
  }

  async #keep(report: () => Promise<void>, signal: AbortSignal): Promise<boolean> {
    for (let failures = 0; ; failures++) {
      try {
        await report();
        this.#parts.onKept();
        return true;
      } catch (error) {
        if (!(error instanceof GridringError)) throw error;
        this.#lossCause = causeOf(error);
        this.#parts.warn(error, 'a reading cannot be kept yet; it waits');
        await sleep(backoffMs(failures, error), signal);
        if (signal.aborted) return false;
      }
    }
  }
}

/** The time between what the chain accounts for and what comes now, where that is an interval or more. */
function lostBefore(
  coveredS: number | null,
  next: Observation,
  intervalS: number,
): Pick<Gap, 'sinceS' | 'untilS'> | undefined {
  const nextS = isGap(next) ? next.sinceS : next.timeS - intervalS;
  if (coveredS === null || nextS === null || nextS - coveredS < intervalS) return undefined;
  return { sinceS: coveredS, untilS: nextS };
}

const causeOf = ({ code }: GridringError): GapCause =>
  code === 'disk-full' ? 'disk-full' : code === 'not-keyed' ? 'no-key' : 'stopped';
