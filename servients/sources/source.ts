/** Where a meter's readings come from. Each kind of source is a function in a file of its own that gives one of these. */
import type { Reading } from '../../crypto/envelope/senml.js';

export interface ReadingSource {
  /**
   * The readings that follow `after`, ascending in time, each as soon as it is due, until `signal` is aborted.
   * `after` is the last reading that the caller has kept, undefined when there never was one: whoever passes it on
   * after a restart gets every reading once. The caller keeps a reading before it asks for the next.
   */
  readings(after: SourcePosition | undefined, signal: AbortSignal): AsyncIterable<Reading>;
}

export type SourcePosition = Pick<Reading, 'timeS' | 'energyTotalWh'>;
