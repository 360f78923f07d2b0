/** What a meter's process survives: a full disk, and a clock that is set back. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { UnavailableError } from '../../crypto/errors.js';
import { MeterProcess, type MeterProcessParts } from '../../servients/meter-process.js';

const tick = vi.fn<() => Promise<void>>();
const follow = vi.fn<() => Promise<void>>();
const warn = vi.fn();

/** A meter that can be called and waits for something, by its own clock since `waitingSinceS`. */
const start = (waitingSinceS?: number): MeterProcess =>
  new MeterProcess({
    id: 'meter-01',
    meter: { keyed: false, groups: { tick, reporting: () => undefined, waitingSinceS } },
    uplink: { enrolled: true, deliver: async () => undefined, follow },
    watch: { run: async () => undefined },
    renewal: { run: async () => undefined },
    wakeIntervalMs: undefined,
    reportIntervalMs: 1_000,
    runtime: { log: { warn }, emit: () => undefined, version: '0.1.0' },
    pendingReadings: async () => 0,
    release: async () => undefined,
  } as unknown as MeterProcessParts);

beforeEach(() => {
  vi.useFakeTimers();
  tick.mockReset().mockResolvedValue();
  follow.mockReset().mockResolvedValue();
});
afterEach(() => vi.useRealTimers());

it('goes on when its disk is full, and gives up rounds and old keys once there is room', async () => {
  tick.mockRejectedValueOnce(new UnavailableError('disk-full', 'no room'));
  start();
  await vi.advanceTimersByTimeAsync(3_000);
  expect(tick.mock.calls.length).toBeGreaterThan(1);
  expect(warn).toHaveBeenCalledWith(expect.objectContaining({ code: 'disk-full' }), expect.anything());
});

it('asks for what it has missed when its clock was a year ahead and is set back', async () => {
  const rightMs = Date.now();
  vi.setSystemTime(rightMs + 31_536_000_000);
  start(Date.now() / 1_000);
  await vi.advanceTimersByTimeAsync(2_000);
  vi.setSystemTime(rightMs);
  await vi.advanceTimersByTimeAsync(70_000);
  expect(follow).toHaveBeenCalled();
});
