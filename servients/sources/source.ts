/** Where a meter's readings come from. Each kind of source is a function in a file of its own that gives one of these. */
import type { Gap } from '../../crypto/envelope/gap-report.js';
import type { Reading } from '../../crypto/envelope/senml.js';
import type { ReadingInterval } from '../../things/reading-interval.js';

/** What a source gives: a reading, or what it knows that it could not read. */
export type Observation = Reading | Gap;

export interface ReadingSource<Item extends Observation = Observation> {
  /** Shown beside the meter's state, and in its readings. */
  readonly name: string;
  /**
   * Whether time passes it by: what is not taken while it is shown is lost, and the meter says so in its chain. A source
   * that can give everything again at any time is not live.
   */
  readonly isLive: boolean;
  /** Readings are given so often now. */
  readonly intervalS: number;
  /** Where that can be changed. */
  readonly interval?: ReadingInterval;
  /**
   * What follows `after`, ascending in time, each as soon as it is due, until `signal` is aborted. `after` is where the
   * meter's chain has come to, undefined when it has not begun: whoever passes it on after a restart gets every reading
   * once. The caller keeps what it is given before it asks for the next.
   */
  readings(after: SourcePosition | undefined, signal: AbortSignal): AsyncIterable<Item>;
}

export interface SourcePosition {
  /** Until when readings and gaps account for the time, Unix seconds. */
  readonly timeS: number;
  /** The register of the last reading; null where its kind has none. */
  readonly energyTotalWh: number | null;
}

export const isGap = (item: Observation): item is Gap => 'cause' in item;
