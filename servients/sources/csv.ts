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
  let everyS = intervalS;
  return {
    ...{ name: 'replay', isLive: false },
    get intervalS() {
      return everyS;
    },
    interval: {
      takes: (wantedS) => wantedS >= intervalS && wantedS % intervalS === 0 && daySeconds % wantedS === 0,
      set: (wantedS) => {
        everyS = wantedS;
      },
    },
    readings: (after, signal) => replay(recording, { dayIndex, speed, everyS: () => everyS }, clock, after, signal),
  };
}

async function* replay(
  recording: Recording,
  { dayIndex, speed, everyS }: ReplayOptions & { readonly everyS: () => number },
  clock: Clock,
  after: SourcePosition | undefined,
  signal: AbortSignal,
): AsyncGenerator<IntervalReading, void, undefined> {
  const anchorMs = clock.nowMs();
  const startS = after?.timeS ?? Math.floor(anchorMs / 1000) - daySeconds;
  const pace = { startMs: startS * 1000, anchorMs, speed };
  let registerJ = toJoules(after?.energyTotalWh ?? 0);
  for (let sinceS = Math.floor(startS / intervalS) * intervalS; ;) {
    const timeS = nextBoundary(sinceS, everyS());
    await sleepUntil(clock, dueMs(pace, timeS * 1000), signal);
    if (signal.aborted) return;
    const minutes: (RecordedMinute | undefined)[] = [];
    for (let endS = sinceS + intervalS; endS <= timeS; endS += intervalS) {
      minutes.push(minuteThatEnds(recording, endS, dayIndex));
    }
    registerJ += minutes.reduce((sumJ, minute) => sumJ + (minute?.powerW ?? 0) * intervalS, 0);
    yield toReading(minutes, timeS, registerJ);
    sinceS = timeS;
  }
}

const nextBoundary = (timeS: number, everyS: number): number => (Math.floor(timeS / everyS) + 1) * everyS;

function minuteThatEnds(recording: Recording, timeS: number, dayIndex: number): RecordedMinute | undefined {
  const minuteOfEpoch = timeS / intervalS - 1 + dayIndex * minutesPerDay;
  return recording.minutes[minuteOfEpoch % recording.minutes.length];
}

/** Means over the minutes that were measured; the register has what they add up to. */
function toReading(
  minutes: readonly (RecordedMinute | undefined)[],
  timeS: number,
  registerJ: number,
): IntervalReading {
  const spanS = minutes.length * intervalS;
  const base = { timeS, intervalS: spanS, energyTotalWh: registerJ / joulesPerWh, source: 'replay' } as const;
  const measured = minutes.flatMap((minute) => minute ?? []);
  if (measured.length === 0) return { ...base, missing: true };
  const mean = (quantity: keyof RecordedMinute, over: number): number =>
    measured.reduce((sum, minute) => sum + minute[quantity], 0) / over;
  // What was not measured is not in the register: the mean power is over the whole span, so that both say the same.
  const powerW = mean('powerW', minutes.length);
  const [reactivePowerVar, voltageV, currentA] = [
    mean('reactivePowerVar', measured.length),
    mean('voltageV', measured.length),
    mean('currentA', measured.length),
  ];
  const means = { powerW, reactivePowerVar, voltageV, currentA };
  return { ...base, missing: false, ...means, energyWh: intervalEnergyWh(powerW, spanS) };
}
