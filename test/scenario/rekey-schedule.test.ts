/** When a group is rekeyed, and why: the policy alone, without a group. */
import { describe, expect, it } from 'vitest';
import {
  ask,
  begin,
  dueMs,
  failed,
  newSchedule,
  succeeded,
  type Cause,
  type RekeySchedule,
} from '../../things/rekey-schedule.js';

const policy = { windowMs: 2_000, intervalMs: 0, complete: false };
const asked = (...causes: readonly (readonly [Cause, number])[]): RekeySchedule =>
  causes.reduce((schedule, [cause, atMs]) => ask(schedule, cause, atMs), newSchedule);

describe('what asks for a rekey', () => {
  it('is nothing, at first and after a rekey', () => {
    expect(dueMs(newSchedule, policy)).toBeUndefined();
    expect(dueMs(succeeded(5), policy)).toBeUndefined();
  });

  it.each(['founding', 'restart', 'join', 'leave'] as const)('a %s waits for others for the window', (cause) => {
    expect(dueMs(asked([cause, 100], [cause, 1_900]), policy)).toBe(2_100);
  });

  it.each(['revocation', 'request'] as const)('a %s waits for nobody, whatever else is being gathered', (cause) => {
    expect(dueMs(asked(['join', 100], [cause, 150]), policy)).toBe(150);
  });

  it('a founding does not wait any longer when everybody is there, but a leave does: others may leave too', () => {
    expect(dueMs(asked(['founding', 100]), { ...policy, complete: true })).toBe(100);
    expect(dueMs(asked(['join', 100], ['leave', 200]), { ...policy, complete: true })).toBe(2_100);
  });

  it('the interval of the policy does, counted from the last epoch', () => {
    expect(dueMs(succeeded(1_000), { ...policy, intervalMs: 60_000 })).toBe(61_000);
    expect(dueMs(newSchedule, { ...policy, intervalMs: 60_000 })).toBeUndefined();
  });

  it('one rekey serves all that was asked for, under the most urgent reason', () => {
    const { reason, schedule } = begin(asked(['join', 0], ['leave', 1], ['revocation', 2]));
    expect(reason).toBe('revocation');
    expect(dueMs(schedule, policy)).toBeUndefined();
    expect(begin(newSchedule).reason).toBe('periodic');
  });
});

describe('a rekey that comes to nothing', () => {
  const failing = (times: number): number[] => {
    const pauses: number[] = [];
    let schedule = newSchedule;
    for (let i = 0; i < times; i++) {
      schedule = failed(begin(schedule).schedule, 'periodic', 0, 1);
      pauses.push(dueMs(schedule, policy)!);
    }
    return pauses;
  };

  it('is tried again for ever, after pauses that grow up to a minute', () => {
    expect(failing(8)).toEqual([2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
  });

  it('is tried again at different times by different gateways', () => {
    expect(dueMs(failed(newSchedule, 'revocation', 0, 0), policy)).toBe(1_000);
  });

  it('is tried at once when something new was asked for, before or after it failed', () => {
    const meanwhile = ask(begin(asked(['join', 0])).schedule, 'revocation', 50);
    expect(dueMs(failed(meanwhile, 'join', 100, 1), policy)).toBe(100);
    expect(dueMs(ask(failed(newSchedule, 'join', 100, 1), 'revocation', 200), policy)).toBe(200);
  });

  it('leaves no trace once an epoch was agreed', () => {
    expect(succeeded(300)).toMatchObject({ failures: 0, pausedUntilMs: 0 });
  });
});
