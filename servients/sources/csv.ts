/**
 * Replays recorded minutes from a CSV file, its days over and over under ever new times.
 *
 * The data's wall time is laid on UTC time of day: what was drawn at 18:00 is replayed at 18:00 UTC, whatever zone and
 * daylight saving time the data was recorded in. Which day is replayed on a date follows from the date and the meter's
 * day index alone: a restart needs no more than the time and the register of the last reading. The register counts whole
 * joules (watts × 60 s), so it never drifts; it is 0 before the first reading.
 */
import { intervalEnergyWh, joulesPerWh, toJoules, type IntervalReading } from '../../crypto/envelope/senml.js';
import { SetupError } from '../../crypto/errors.js';
import { intervalS, minutesPerDay, type RecordedMinute, type Recording } from './csv-file.js';
import { dueMs, sleepUntil, type Clock } from './replay-clock.js';
import type { ReadingSource, SourcePosition } from './source.js';

export interface ReplayOptions {
  /** Which of the recording's days this meter replays while another one, of index 0, replays the first. */
  readonly dayIndex: number;
  /** How much faster than real time the replay runs until it has caught up; at least 1. */
  readonly speed: number;
}

const daySeconds = minutesPerDay * intervalS;

/**
 * A source that begins one day before its first start, and after a restart where it left off.
 * @throws SetupError `source-speed-invalid`, `source-day-invalid`
 */
export function csvReplay(
  recording: Recording,
  { dayIndex, speed }: ReplayOptions,
  clock: Clock,
): ReadingSource<IntervalReading> {
  if (!(Number.isFinite(speed) && speed >= 1)) {
    throw new SetupError('source-speed-invalid', `the replay speed is ${speed}, and must be a number of at least 1`);
  }
  if (!(Number.isSafeInteger(dayIndex) && dayIndex >= 0)) {
    throw new SetupError('source-day-invalid', `the day index is ${dayIndex}, and must be a whole number from 0`);
  }
  return {
    ...{ name: 'replay', isLive: false, intervalS },
    readings: (after, signal) => replay(recording, { dayIndex, speed }, clock, after, signal),
  };
}

async function* replay(
  recording: Recording,
  { dayIndex, speed }: ReplayOptions,
  clock: Clock,
  after: SourcePosition | undefined,
  signal: AbortSignal,
): AsyncGenerator<IntervalReading, void, undefined> {
  const anchorMs = clock.nowMs();
  const startS = after?.timeS ?? Math.floor(anchorMs / 1000) - daySeconds;
  const pace = { startMs: startS * 1000, anchorMs, speed };
  let registerJ = toJoules(after?.energyTotalWh ?? 0);
  for (let timeS = nextBoundary(startS); ; timeS += intervalS) {
    await sleepUntil(clock, dueMs(pace, timeS * 1000), signal);
    if (signal.aborted) return;
    const minute = minuteThatEnds(recording, timeS, dayIndex);
    registerJ += (minute?.powerW ?? 0) * intervalS;
    yield toReading(minute, timeS, registerJ);
  }
}

const nextBoundary = (timeS: number): number => (Math.floor(timeS / intervalS) + 1) * intervalS;

function minuteThatEnds(recording: Recording, timeS: number, dayIndex: number): RecordedMinute | undefined {
  const minuteOfEpoch = timeS / intervalS - 1 + dayIndex * minutesPerDay;
  return recording.minutes[minuteOfEpoch % recording.minutes.length];
}

function toReading(minute: RecordedMinute | undefined, timeS: number, registerJ: number): IntervalReading {
  const base = { timeS, intervalS, energyTotalWh: registerJ / joulesPerWh, source: 'replay' } as const;
  if (minute === undefined) return { ...base, missing: true };
  return { ...base, missing: false, ...minute, energyWh: intervalEnergyWh(minute.powerW, intervalS) };
}
