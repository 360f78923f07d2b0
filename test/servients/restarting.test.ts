/** What is started anew within its process: once for all who ask, until it can, and never after its end. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { UnavailableError } from '../../crypto/errors.js';
import { Restarting } from '../../servients/restarting.js';
import type { Runtime } from '../../servients/runtime.js';

const error = vi.fn();
const log = { error } as unknown as Runtime['log'];
const begin = vi.fn<(restart: () => void) => Promise<number>>();
const end = vi.fn<(running: number) => Promise<void>>();
let restart: () => void;
let started: number;

beforeEach(() => {
  vi.useFakeTimers();
  started = 0;
  error.mockReset();
  end.mockReset().mockResolvedValue();
  begin.mockReset().mockImplementation(async (again) => {
    restart = again;
    return ++started;
  });
});
afterEach(() => vi.useRealTimers());

const start = (): Promise<Restarting<number>> => Restarting.start({ begin, end, log });

it('asked for more than once, it ends what ran, and begins once', async () => {
  const restarting = await start();
  restart();
  restart();
  await vi.advanceTimersByTimeAsync(2_000);
  expect(end.mock.calls).toEqual([[1]]);
  expect(await restarting.close()).toBe(2);
});

it('what cannot begin, or does not end well, is begun again until it can', async () => {
  const restarting = await start();
  const away = new UnavailableError('port-in-use', 'taken');
  end.mockRejectedValueOnce(away);
  begin.mockRejectedValueOnce(away);
  begin.mockRejectedValueOnce(away);
  restart();
  await vi.advanceTimersByTimeAsync(30_000);
  expect(error).toHaveBeenCalledTimes(3);
  expect(await restarting.close()).toBe(2);
});

it('what cannot begin at first is told, and what has been closed does not begin again', async () => {
  begin.mockRejectedValueOnce(new UnavailableError('port-in-use', 'taken'));
  await expect(start()).rejects.toMatchObject({ code: 'port-in-use' });
  const restarting = await start();
  restart();
  expect(await restarting.close()).toBe(1);
  await vi.advanceTimersByTimeAsync(30_000);
  expect([started, end.mock.calls.length]).toEqual([1, 0]);
});
