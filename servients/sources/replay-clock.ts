/**
 * The clock of replayed readings: it starts somewhere in the past and runs `speed` times faster until it has caught up
 * with the present, then in real time. It never runs ahead of the present.
 */
import { setImmediate, setTimeout } from 'node:timers/promises';

/** The time of the machine, passed in so that tests can let it fly. */
export interface Clock {
  /** Milliseconds since 1970-01-01T00:00Z. */
  nowMs(): number;
  /** Resolves after `durationMs`, at the earliest after other work that is due; early, and without error, on abort. */
  sleep(durationMs: number, signal: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  sleep: async (durationMs, signal) => {
    const pause = durationMs > 0 ? setTimeout(durationMs, undefined, { signal }) : setImmediate();
    await pause.catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  },
};

/** A device's clock that is wrong by so much, but runs evenly. */
export const clockOff = (errorS: number): Clock => ({ ...systemClock, nowMs: () => Date.now() + errorS * 1000 });

export interface Pace {
  /** What the source's clock showed at `anchorMs` of the real clock. */
  readonly startMs: number;
  readonly anchorMs: number;
  readonly speed: number;
}

/** The real time at which the source's clock shows `sourceMs`. */
export const dueMs = ({ startMs, anchorMs, speed }: Pace, sourceMs: number): number =>
  Math.max(sourceMs, anchorMs + (sourceMs - startMs) / speed);

/** So that a step of the real clock is noticed in time, and no timer overflows. */
const longestSleepMs = 60_000;

/** Waits until `untilMs`; lets other work in even when that has passed. Returns early on abort. */
export async function sleepUntil(clock: Clock, untilMs: number, signal: AbortSignal): Promise<void> {
  do {
    await clock.sleep(Math.min(Math.max(untilMs - clock.nowMs(), 0), longestSleepMs), signal);
  } while (!signal.aborted && clock.nowMs() < untilMs);
}
