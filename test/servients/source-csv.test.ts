import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SetupError } from '../../crypto/errors.js';
import type { IntervalReading } from '../../crypto/envelope/senml.js';
import { csvReplay } from '../../servients/sources/csv.js';
import { parseRecording, readRecording, shippedReadings, type Recording } from '../../servients/sources/csv-file.js';
import { systemClock, type Clock } from '../../servients/sources/replay-clock.js';
import type { SourcePosition } from '../../servients/sources/source.js';

const daySeconds = 86_400;
/** 2026-06-02, 00:00 UTC: day 20,606 of the epoch, and so the recording's day 11 for a meter of day index 0. */
const midnightS = 20_606 * daySeconds;

/** Sleeping is all that takes time, and takes exactly as long as asked. */
class FlyingClock implements Clock {
  constructor(public ms: number) {}
  nowMs() {
    return this.ms;
  }
  async sleep(durationMs: number) {
    this.ms += durationMs;
  }
}

interface Seen {
  readonly reading: IntervalReading;
  /** What the real clock showed when the reading came. */
  readonly atS: number;
}

let real: Recording;
beforeAll(async () => {
  real = await readRecording(shippedReadings());
});

async function take(
  count: number,
  clock: Clock,
  { dayIndex = 0, speed = 60, after }: { dayIndex?: number; speed?: number; after?: SourcePosition | undefined } = {},
): Promise<readonly Seen[]> {
  const seen: Seen[] = [];
  if (count === 0) return seen;
  const source = csvReplay(real, { dayIndex, speed }, clock);
  for await (const reading of source.readings(after, new AbortController().signal)) {
    seen.push({ reading, atS: clock.nowMs() / 1000 });
    if (seen.length === count) break;
  }
  return seen;
}

const readingsOf = (seen: readonly Seen[]): readonly IntervalReading[] => seen.map(({ reading }) => reading);

describe('The readings that ship', () => {
  it('are fifteen whole days with four minutes that were not measured', () => {
    expect(real.minutes).toHaveLength(15 * 1440);
    const gaps = [...real.minutes.keys()].filter((i) => real.minutes[i] === undefined);
    const at = (day: number, hour: number, minute: number) => (day * 24 + hour) * 60 + minute;
    expect(gaps).toEqual([at(4, 11, 23), at(4, 11, 24), at(13, 10, 8), at(13, 10, 9)]);
  });

  it('become watts, vars, volts and amperes of the interval, with its energy and a register', async () => {
    const [first] = await take(1, new FlyingClock((midnightS + daySeconds) * 1000), { dayIndex: 4 });
    // 2006-12-17T00:00:00,1.044,0.152,242.73,4.4
    expect(first?.reading).toEqual({
      timeS: midnightS + 60,
      intervalS: 60,
      source: 'replay',
      missing: false,
      powerW: 1044,
      energyWh: 17.4,
      energyTotalWh: 17.4,
      reactivePowerVar: 152,
      voltageV: 242.73,
      currentA: 4.4,
    });
  });

  it('count energy without drift: over 30 days the register is twice the sum of the file, to the joule', async () => {
    // Σ active_power_kw × 60,000 J over the file, by another program.
    const fileJ = 2_436_246_360;
    const seen = await take(30 * 1440, new FlyingClock((midnightS + daySeconds) * 1000));
    expect(seen.at(-1)?.reading.energyTotalWh).toBe((2 * fileJ) / 3600);
    expect(seen[15 * 1440 - 1]?.reading.energyTotalWh).toBe(fileJ / 3600);
  });

  it('say that a minute is missing, and leave the register where it was', async () => {
    const clock = new FlyingClock((midnightS + daySeconds) * 1000);
    const day = readingsOf(await take(1440, clock, { dayIndex: 8 }));
    const firstGap = 11 * 60 + 23;
    const [before, one, two, later] = day.slice(firstGap - 1, firstGap + 3);
    expect(one).toEqual({
      timeS: midnightS + (firstGap + 1) * 60,
      intervalS: 60,
      source: 'replay',
      missing: true,
      energyTotalWh: before?.energyTotalWh,
    });
    expect(two).toMatchObject({ missing: true, energyTotalWh: before?.energyTotalWh });
    expect(later?.missing).toBe(false);
    expect(day.filter((reading) => reading.missing)).toHaveLength(2);
  });
});

describe('The clock of a replay', () => {
  it('starts one day before the first start and brings a reading every minute, each once', async () => {
    const nowS = midnightS + 52_217;
    const seen = await take(2000, new FlyingClock(nowS * 1000));
    expect(seen[0]?.reading.timeS).toBe(Math.ceil((nowS - daySeconds) / 60) * 60);
    seen.forEach(({ reading }, i) => {
      expect(reading.timeS).toBe((seen[0]?.reading.timeS ?? 0) + 60 * i);
    });
  });

  it('runs `speed` times faster until it has caught up with the present, and then in real time', async () => {
    const startS = midnightS + daySeconds;
    const seen = await take(1700, new FlyingClock(startS * 1000), { speed: 60 });
    // At 60 times the speed, a day's lag is gone after a day / 59.
    const caughtUpS = startS + daySeconds / 59;
    for (const { reading, atS } of seen) {
      const expected = reading.timeS < caughtUpS ? startS + (reading.timeS - midnightS) / 60 : reading.timeS;
      expect(atS).toBeCloseTo(expected, 3);
    }
    expect(seen.at(-1)?.reading.timeS).toBeGreaterThan(caughtUpS + 3600);
  });

  it('never runs ahead of the present, whatever the speed and the interruptions', async () => {
    const runs = fc.record({
      speed: fc.double({ min: 1, max: 1e6, noNaN: true }),
      counts: fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 4 }),
      offS: fc.integer({ min: 0, max: 200_000 }),
    });
    await fc.assert(
      fc.asyncProperty(runs, async ({ speed, counts, offS }) => {
        const clock = new FlyingClock(midnightS * 1000);
        let after: SourcePosition | undefined;
        for (const count of counts) {
          const seen = await take(count, clock, { speed, after });
          for (const { reading, atS } of seen) expect(atS).toBeGreaterThanOrEqual(reading.timeS);
          after = seen.at(-1)?.reading;
          clock.ms += offS * 1000;
        }
      }),
      { numRuns: 30 },
    );
  });

  it('catches up what became due while the meter was off at the faster pace, not at once', async () => {
    const clock = new FlyingClock((midnightS + daySeconds) * 1000);
    const after = (await take(1600, clock, { speed: 100 })).at(-1)?.reading;
    clock.ms += 7200_000;
    const restartS = clock.ms / 1000;
    const seen = await take(100, clock, { speed: 100, after });
    seen.forEach(({ reading, atS }, i) => {
      expect(reading.timeS).toBe((after?.timeS ?? 0) + 60 * (i + 1));
      expect(atS).toBeCloseTo(restartS + (i + 1) * 0.6, 3);
    });
  });

  it('waits when the real clock was set back, instead of repeating a reading', async () => {
    const clock = new FlyingClock((midnightS + daySeconds) * 1000);
    const after = (await take(1600, clock)).at(-1)?.reading;
    clock.ms -= 40 * daySeconds * 1000;
    const [next] = await take(1, clock, { after });
    expect(next?.reading.timeS).toBe((after?.timeS ?? 0) + 60);
    expect(next?.atS).toBeGreaterThanOrEqual(next?.reading.timeS ?? Infinity);
  });
});

describe('A restart', () => {
  it('changes nothing: whatever the moments and pauses, the readings are those of an uninterrupted run', async () => {
    const nowS = midnightS + daySeconds + 35_001;
    const uninterrupted = readingsOf(await take(1 + 5 * 900, new FlyingClock(nowS * 1000), { dayIndex: 3 }));
    const restart = fc.record({
      count: fc.integer({ min: 0, max: 900 }),
      offS: fc.integer({ min: 0, max: 300_000 }),
      speed: fc.integer({ min: 1, max: 10_000 }),
      /** The last reading came, and the power failed before it was kept. */
      lastIsLost: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(restart, { minLength: 1, maxLength: 5 }), async (restarts) => {
        const clock = new FlyingClock(nowS * 1000);
        const kept: IntervalReading[] = [...readingsOf(await take(1, clock, { dayIndex: 3 }))];
        for (const { count, offS, speed, lastIsLost } of restarts) {
          clock.ms += offS * 1000;
          const came = readingsOf(await take(count, clock, { dayIndex: 3, speed, after: kept.at(-1) }));
          kept.push(...(lastIsLost ? came.slice(0, -1) : came));
        }
        expect(kept).toEqual(uninterrupted.slice(0, kept.length));
      }),
      { numRuns: 30 },
    );
  });

  it('needs no more of the last reading than its time and its register', async () => {
    const clock = new FlyingClock(midnightS * 1000);
    const [, second, third] = readingsOf(await take(3, clock));
    const after = { timeS: second?.timeS ?? 0, energyTotalWh: second?.energyTotalWh ?? 0 };
    expect(readingsOf(await take(1, clock, { after }))).toEqual([third]);
  });
});

describe('The days of a recording', () => {
  const dayOf = async (startS: number, dayIndex: number) =>
    (await take(1440, new FlyingClock((startS + daySeconds) * 1000), { dayIndex })).map(({ reading }) =>
      reading.missing ? undefined : reading.powerW,
    );
  const recorded = (day: number) => real.minutes.slice(day * 1440, (day + 1) * 1440).map((minute) => minute?.powerW);

  it('begin at midnight UTC: wall time of the data is UTC time of day, in winter, in summer and in a leap year', async () => {
    for (const date of ['2026-01-15', '2026-03-29', '2026-07-01', '2026-10-25', '2028-02-29']) {
      const startS = Date.parse(`${date}T00:00:00Z`) / 1000;
      expect(await dayOf(startS, 0)).toEqual(recorded((startS / daySeconds) % 15));
    }
  });

  it('follow each other over midnight, and the first follows the last', async () => {
    const lastDayS = midnightS + 3 * daySeconds;
    const seen = await take(2, new FlyingClock((lastDayS + 2 * daySeconds - 60) * 1000));
    expect(seen.map(({ reading }) => reading.timeS)).toEqual([lastDayS + daySeconds, lastDayS + daySeconds + 60]);
    expect(seen.map(({ reading }) => reading.missing || reading.powerW)).toEqual([recorded(14).at(-1), recorded(0)[0]]);
  });

  it('differ from meter to meter: fifteen meters replay fifteen days on one date', async () => {
    const days = await Promise.all(Array.from({ length: 15 }, (_, dayIndex) => dayOf(midnightS, dayIndex)));
    days.forEach((day, dayIndex) => {
      expect(day).toEqual(recorded((11 + dayIndex) % 15));
    });
    expect(new Set(days.map((day) => day.join())).size).toBe(15);
  });
});

describe('On the real clock', () => {
  it('a replay that was aborted ends without an error, in the middle of its sleep', async () => {
    const abort = new AbortController();
    const seen: IntervalReading[] = [];
    for await (const reading of csvReplay(real, { dayIndex: 0, speed: 1e9 }, systemClock).readings(
      undefined,
      abort.signal,
    )) {
      seen.push(reading);
      if (seen.length > 1500) break;
      // All of yesterday is due at once; the next reading is up to a minute away.
      if (seen.length === 1440) setTimeout(() => { abort.abort(); }, 5); // prettier-ignore
    }
    expect(seen.length).toBeGreaterThanOrEqual(1440);
    expect(seen.length).toBeLessThanOrEqual(1441);
  });

  it('a long catching up leaves other work its turn between any two readings', async () => {
    let turns = 0;
    let next: NodeJS.Immediate;
    const work = (): void => {
      turns++;
      next = setImmediate(work);
    };
    next = setImmediate(work);
    await take(1000, systemClock, { speed: 1e9 });
    clearImmediate(next);
    expect(turns).toBeGreaterThan(900);
  });
});

describe('What cannot be replayed is said, with the line or the column', () => {
  const header = 'local_time,active_power_kw,reactive_power_kvar,voltage_v,current_a';
  const row = (minute: number, values = '1,0,230,4.3') =>
    `${new Date(minute * 60_000).toISOString().slice(0, 19)},${values}`;
  const day = Array.from({ length: 1440 }, (_, minute) => row(minute));
  const withRow = (index: number, text: string) => [header, ...day.with(index, text)].join('\n');
  const refusalOf = (text: string): SetupError => {
    try {
      parseRecording(text, 'house.csv');
    } catch (error) {
      if (error instanceof SetupError) return error;
      throw error;
    }
    throw new Error('accepted');
  };

  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gridring-source-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('a whole day is a recording, with any line ends, other columns, and columns in any order', () => {
    const lines = ['note,current_a,voltage_v,reactive_power_kvar,active_power_kw,local_time'];
    for (let minute = 0; minute < 1440; minute++) lines.push(`x,4.3,230,0.001,1.2345,${row(minute).slice(0, 19)}`);
    const { minutes } = parseRecording(`${lines.join('\r\n')}\r\n`, 'house.csv');
    expect(minutes).toHaveLength(1440);
    expect(minutes[7]).toEqual({ powerW: 1235, reactivePowerVar: 1, voltageV: 230, currentA: 4.3 });
  });

  it('a file that is not there, or cannot be read', async () => {
    const missing = join(folder, 'missing.csv');
    await expect(readRecording(missing)).rejects.toMatchObject({
      code: 'source-unreadable',
      message: expect.stringContaining(missing) as unknown,
    });
    await expect(readRecording(folder)).rejects.toMatchObject({ code: 'source-unreadable' });
  });

  it('an empty file, and one of nothing but a header', async () => {
    const path = join(folder, 'empty.csv');
    await writeFile(path, '');
    await expect(readRecording(path)).rejects.toMatchObject({ code: 'source-empty' });
    expect(refusalOf(`${header}\n`).code).toBe('source-empty');
  });

  it('a column that is missing, by its name', () => {
    const error = refusalOf([header.replace('voltage_v', 'volts'), ...day].join('\n'));
    expect(error.code).toBe('source-column-missing');
    expect(error.message).toContain('no column voltage_v');
  });

  it.each([
    ['a value that is no number', row(100, '1,0,n/a,4.3'), 'voltage_v'],
    ['a negative value', row(100, '-1,0,230,4.3'), 'active_power_kw'],
    ['a row that is only half empty', row(100, ',0,230,4.3'), 'active_power_kw'],
    ['a row with too few values', row(100, '1,0,230'), 'current_a'],
    ['a time of another form', '17/12/2006 00:01,1,0,230,4.3', 'local_time'],
    ['a minute twice', row(99), 'one minute after'],
    ['a minute left out', row(101), 'one minute after'],
  ])('%s, by its line', (_, text, reason) => {
    const error = refusalOf(withRow(100, text));
    expect(error.code).toBe('source-row-malformed');
    expect(error.message).toContain('house.csv, line 102: ');
    expect(error.message).toContain(reason);
  });

  it('a recording that does not begin at midnight, or breaks off within a day', () => {
    const late = [...day.slice(60), ...Array.from({ length: 60 }, (_, i) => row(1440 + i))];
    expect(refusalOf([header, ...late].join('\n')).code).toBe('source-not-whole-days');
    expect(refusalOf([header, ...day.slice(0, -1)].join('\n')).code).toBe('source-not-whole-days');
  });

  it.each([0, 0.5, -60, Number.NaN, Infinity])('a speed of %s', (speed) => {
    expect(() => csvReplay(real, { dayIndex: 0, speed }, systemClock)).toThrow(
      expect.objectContaining({ code: 'source-speed-invalid' }),
    );
  });

  it.each([-1, 1.5, Number.NaN])('a day index of %s', (dayIndex) => {
    expect(() => csvReplay(real, { dayIndex, speed: 60 }, systemClock)).toThrow(
      expect.objectContaining({ code: 'source-day-invalid' }),
    );
  });
});
