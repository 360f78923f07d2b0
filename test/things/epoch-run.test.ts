import { describe, expect, it } from 'vitest';
import { ConflictError } from '../../crypto/errors.js';
import { onAnnouncement } from '../../crypto/ring/member.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import {
  activeKeys,
  makeRun,
  outcome,
  positions,
  roundDeadlineMs,
  sleeperDeadlineMs,
  unreachable,
  wakeEvery,
  type Behaviour,
} from '../support/epoch-run.js';
import { at, neighbourhoodOf, refusal } from '../support/forge.js';
import { nowS } from '../support/neighbourhood.js';
import { play } from '../support/ring.js';

const n = neighbourhoodOf(suiteX25519, 5);
const silentIn =
  (...silent: readonly string[]): Behaviour =>
  (action, _message, honest) =>
    silent.includes(action) ? unreachable() : honest();

const refusing = (code: string): never => {
  throw new ConflictError(code, 'refused');
};

describe('one attempt at an epoch', () => {
  it('ends with one key for all as soon as all have answered, without waiting for a deadline', async () => {
    const setting = makeRun(n);
    await outcome(setting);
    expect(new Set(activeKeys(setting)).size).toBe(1);
    expect(setting.clock.nowS).toBe(nowS);
    expect(setting.run.report).toMatchObject({ dropouts: [] });
    expect(setting.run.report?.faithful).toHaveLength(5);
  });

  it('goes without whom it cannot reach in round 1, and calls that no dropping out', async () => {
    const setting = makeRun(n, { behaviours: { 2: unreachable } });
    await outcome(setting);
    expect(setting.run.state).toMatchObject({ kind: 'published' });
    expect(setting.clock.nowS).toBe(nowS + roundDeadlineMs / 1_000);
    expect(setting.run.report).toMatchObject({ dropouts: [] });
    expect(positions(setting, setting.run.report!.faithful)).toEqual([0, 1, 3, 4]);
  });

  it('calls again who was silent, and stops at a refusal', async () => {
    const silentAtFirst = (times: number, code?: string): Behaviour => {
      let calls = 0;
      return (_action, _message, honest) => {
        calls += 1;
        if (calls > times) return honest();
        return code === undefined ? unreachable() : refusing(code);
      };
    };
    const setting = makeRun(n, { behaviours: { 1: silentAtFirst(2), 2: silentAtFirst(1, 'epoch-stale') } });
    await outcome(setting);
    expect(setting.calls.filter((call) => call === 'rekey 1')).toHaveLength(3);
    expect(setting.calls.filter((call) => call === 'rekey 2')).toHaveLength(1);
    expect(positions(setting, setting.run.report!.faithful)).toEqual([0, 1, 3, 4]);
  });

  it.each([
    ['agree', 'tokens'],
    ['confirm', 'confirmations'],
  ] as const)('says who answered round 1 and was silent when asked to %s', async (action, round) => {
    const setting = makeRun(n, { behaviours: { 2: silentIn(action) } });
    expect(await outcome(setting)).toBe('members-missing');
    const { report } = setting.run;
    expect(report?.dropouts).toEqual([{ member: at(n.meters, 2).certHash, round }]);
    expect(positions(setting, report!.faithful)).toEqual([0, 1, 3, 4]);
  });

  it('blames nobody when it was stopped', async () => {
    const setting = makeRun(n, { behaviours: { 2: silentIn('agree') } });
    void setting.clock.sleep(1_000).then(() => {
      setting.run.stop();
    });
    expect(await outcome(setting)).toBe('epoch-stopped');
    expect(setting.run.report?.dropouts).toEqual([]);
  });

  it('takes nothing any more once it is over: a late token publishes no epoch that nobody recorded', async () => {
    let late = new Uint8Array(0);
    const setting = makeRun(n, {
      behaviours: {
        2: (action, _message, honest) => {
          if (action !== 'confirm') return honest();
          late = new Uint8Array(honest());
          return unreachable();
        },
      },
    });
    expect(await outcome(setting)).toBe('members-missing');
    expect(
      refusal(() => {
        setting.run.accept(late);
      }),
    ).toBe('wrong-round');
    expect(setting.run.state.kind).toBe('confirmations');
  });
});

describe('members that nobody can call', () => {
  it('come on their own initiative, with minutes between, and get the same key', async () => {
    const setting = makeRun(n, { reach: { 1: 'awaited', 4: 'awaited' } });
    const sleepers = [wakeEvery(setting, 1, 170_000), wakeEvery(setting, 4, 290_000)];
    await outcome(setting);
    await setting.clock.until(Promise.all(sleepers));
    expect(new Set(activeKeys(setting)).size).toBe(1);
    expect(activeKeys(setting)).not.toContain(null);
    expect(setting.calls.filter((call) => /(rekey|agree|confirm) [14]/.test(call))).toEqual([]);
  });

  it('are left out when they do not come in their time, which is longer than that of the others', async () => {
    const setting = makeRun(n, { reach: { 1: 'awaited' } });
    await outcome(setting);
    expect(setting.run.state.kind).toBe('published');
    expect(setting.clock.nowS).toBe(nowS + sleeperDeadlineMs / 1_000);
  });

  it('are waited for no longer once a token is missing that was due before', async () => {
    const setting = makeRun(n, { reach: { 1: 'awaited' }, behaviours: { 3: silentIn('agree') } });
    void wakeEvery(setting, 1, 60_000);
    expect(await outcome(setting)).toBe('members-missing');
    expect(
      positions(
        setting,
        setting.run.report!.dropouts.map(({ member }) => member),
      ),
    ).toEqual([3]);
    expect(setting.clock.nowS).toBe(nowS + 60 + roundDeadlineMs / 1_000);
  });

  it('have dropped out only after the longer deadline', async () => {
    const setting = makeRun(n, { reach: { 1: 'awaited' } });
    void setting.clock.sleep(60_000).then(() => {
      setting.run.accept(play(at(setting.players, 1), onAnnouncement, setting.run.currentMessage));
    });
    expect(await outcome(setting)).toBe('members-missing');
    expect(
      positions(
        setting,
        setting.run.report!.dropouts.map(({ member }) => member),
      ),
    ).toEqual([1]);
    expect(setting.clock.nowS).toBe(nowS + 60 + sleeperDeadlineMs / 1_000);
  });
});

describe('who is absent or quarantined', () => {
  it('is neither called nor waited for when absent, but its share is taken, and then it is waited for', async () => {
    const setting = makeRun(n, { reach: { 0: 'absent', 4: 'absent', 3: 'awaited' } });
    const sleepers = [wakeEvery(setting, 3, 200_000), wakeEvery(setting, 4, 100_000)];
    await outcome(setting);
    await setting.clock.until(Promise.all(sleepers));
    const keys = activeKeys(setting);
    expect(keys[0]).toBeNull();
    expect(new Set(keys.slice(1)).size).toBe(1);
    expect(setting.calls).not.toContain('rekey 0');
  });

  it('has its share refused when quarantined, and is not called', async () => {
    const setting = makeRun(n, { reach: { 2: 'quarantined' }, behaviours: { 0: unreachable } });
    const share = play(at(setting.players, 2), onAnnouncement, setting.run.currentMessage);
    expect(
      refusal(() => {
        setting.run.accept(share);
      }),
    ).toBe('quarantined');
    await outcome(setting);
    expect(setting.calls.filter((call) => call.endsWith(' 2'))).toEqual([]);
    expect(positions(setting, setting.run.report!.faithful)).toEqual([1, 3, 4]);
  });
});
