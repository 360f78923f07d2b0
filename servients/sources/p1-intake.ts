/**
 * What becomes of telegrams: of those of an interval the first is a reading, and what was lost between two readings, as far
 * as it can be told here, is a gap with its cause. Values in, values out: times are arguments.
 */
import type { Gap, GapCause } from '../../crypto/envelope/gap-report.js';
import { readingOf } from './p1-registers.js';
import type { P1Item } from './p1-telegram.js';
import type { Observation } from './source.js';

export interface IntakeOptions {
  readonly intervalS: number;
  /** Minutes that standard (winter) time is ahead of UTC where the meter stands. */
  readonly zoneMinutes: number;
  /** Whether telegrams are taken as they are sent, and not from a file. */
  readonly isLive: boolean;
}

export interface Moment {
  /** By the clock, Unix seconds. */
  readonly nowS: number;
  /** Seconds since whenever, that no clock changes. */
  readonly upS: number;
}

/** No telegram is older: a clock that shows less was not set. */
const earliestS = Date.UTC(2007, 0, 1) / 1000;
/** While nothing can be read, the meter says so this often. */
const reportEveryS = 3_600;

export class P1Intake {
  readonly #options: IntakeOptions;
  #coveredS: number | null;
  /** When the last reading was taken, and the last telegram that was none the worse. */
  #readingUpS: number | null = null;
  #soundUpS: number;
  #fault: GapCause | null = null;

  /** @param coveredS until when the meter's chain accounts for the time, Unix seconds */
  constructor(options: IntakeOptions, coveredS: number | null, startUpS: number) {
    this.#options = options;
    this.#coveredS = coveredS;
    this.#soundUpS = startUpS;
  }

  take(item: P1Item, moment: Moment): readonly Observation[] {
    const { intervalS, zoneMinutes } = this.#options;
    const reading =
      item.kind === 'telegram' ? readingOf(item, intervalS, { zoneMinutes, receivedS: moment.nowS }) : undefined;
    if (!reading || reading.timeS < earliestS) {
      this.#fault = reading ? 'clock-unset' : 'source-garbled';
      return [];
    }
    this.#soundUpS = moment.upS;
    const { timeS } = reading;
    const coveredS = this.#coveredS;
    if (coveredS !== null && this.#isCovered(timeS, coveredS)) {
      this.#fault = null;
      return [];
    }
    const cause = this.#causeOfGap(timeS, moment);
    this.#fault = null;
    this.#readingUpS = moment.upS;
    this.#coveredS = timeS;
    return cause ? [gapOf(cause, coveredS, timeS - intervalS), reading] : [reading];
  }

  /** The device is gone, or cannot be opened. */
  lost(): void {
    this.#fault ??= 'source-silent';
  }

  /** To be called now and then, since who is silent causes nothing. */
  tick({ nowS, upS }: Moment): readonly Observation[] {
    const { intervalS } = this.#options;
    if (upS - this.#soundUpS >= 2 * intervalS) this.#fault ??= 'source-silent';
    const sinceS = this.#coveredS;
    if (!this.#fault || sinceS === null || nowS - sinceS < reportEveryS) return [];
    this.#coveredS = nowS;
    this.#readingUpS = upS;
    return [gapOf(this.#fault, sinceS, nowS)];
  }

  /** In the interval of the reading before, or a little behind it: clocks drift. Of a file, it was taken before. */
  #isCovered(timeS: number, coveredS: number): boolean {
    const { intervalS, isLive } = this.#options;
    const isLater = Math.floor(timeS / intervalS) > Math.floor(coveredS / intervalS);
    return !isLater && (!isLive || coveredS - timeS <= 2 * intervalS);
  }

  /** What is known here; a meter that was off knows better. */
  #causeOfGap(timeS: number, { upS }: Moment): GapCause | null {
    const { intervalS, isLive } = this.#options;
    if (this.#coveredS === null) return this.#fault;
    const stepS = timeS - this.#coveredS;
    if (stepS < 0) return 'clock-set';
    if (stepS < 2 * intervalS) return null;
    if (this.#fault) return this.#fault;
    if (!isLive) return 'source-silent';
    const passedS = this.#readingUpS === null ? stepS : upS - this.#readingUpS;
    return stepS - passedS >= 2 * intervalS ? 'clock-set' : null;
  }
}

const gapOf = (cause: GapCause, sinceS: number | null, untilS: number): Gap => ({
  ...{ cause, sinceS, untilS: cause === 'clock-set' || sinceS === null ? untilS : Math.max(sinceS, untilS) },
  quantities: null,
});
