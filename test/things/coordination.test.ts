/** A gateway that coordinates while members come, go and are thrown out: real members and databases, virtual time. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { UnavailableError } from '../../crypto/errors.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { delegate } from '../support/delegate.js';
import { neighbourhoodOf } from '../support/forge.js';
import { invoke, opens, refusalOf, sealTo, Village, windowMs, type VillagePlan } from '../support/village.js';

const n = neighbourhoodOf(suiteX25519, 4);
const newcomer = n.certify('meter', 'meter-99', { seed: 'newcomer' });

let village: Village;
const build = async (plan?: VillagePlan): Promise<Village> => (village = await Village.build(n, plan));
afterEach(() => village.close());

/** A village of four with one epoch agreed. */
async function founded(plan?: VillagePlan): Promise<Village> {
  await build(plan);
  await village.enrolAll();
  await village.epochsAgreed(1);
  return village;
}

describe('who joins', () => {
  it('founds the group together, without waiting once all are there', async () => {
    const startedMs = (await build()).clock.nowMs;
    await village.enrolAll();
    expect(await village.epochsAgreed(1)).toMatchObject({ epoch: 1, attempt: 1, members: 4, confirmed: 4 });
    expect(village.clock.nowMs - startedMs).toBeLessThan(windowMs);
  });

  it('is let in within the window, opens what is new and nothing that is old', async () => {
    await build();
    await village.enrol(0, 1, 2);
    expect(await village.epochsAgreed(1)).toMatchObject({ members: 3 });
    const before = sealTo(n, await village.key(0));
    await village.enrol(3);
    expect(await village.epochsAgreed(2)).toMatchObject({ members: 4, confirmed: 4 });
    const after = sealTo(n, await village.key(0));
    const joined = await village.state(3);
    expect([opens(n, joined, before), opens(n, joined, after)]).toEqual([false, true]);
    expect(opens(n, await village.state(0), before)).toBe(true);
  });

  it('comes by a new list, once the authority has named it', async () => {
    await founded({ more: [newcomer] });
    expect(await refusalOf(village.enrol(4))).toBe('not-listed');
    await village.updateMembership(n.list({ version: 2, add: [newcomer] }), [newcomer]);
    await village.enrol(4);
    expect(await village.epochsAgreed(2)).toMatchObject({ members: 5, confirmed: 5 });
  });
});

describe('who leaves', () => {
  it('is left out of the next epoch, with all who leave within the window, and opens nothing of it', async () => {
    await founded();
    const startedMs = village.clock.nowMs;
    await village.leave(3, 1);
    expect(await village.epochsAgreed(2)).toMatchObject({ members: 3, confirmed: 3 });
    expect(village.clock.nowMs - startedMs).toBeGreaterThanOrEqual(windowMs);
    const after = sealTo(n, await village.key(0));
    expect(opens(n, await village.state(3), after)).toBe(false);
    expect(await village.shown(3)).toMatchObject({ active: false, leftOut: 'left' });
    expect(village.changes).toContain('left meter-04');
  });

  it('stays out over a restart of the gateway, and is back once it enrols again', async () => {
    await founded();
    await village.leave(3, 1);
    await village.epochsAgreed(2);
    await village.stopGateway();
    await village.startGateway();
    expect(await village.epochsAgreed(3)).toMatchObject({ members: 3 });
    await village.pass(1_000);
    await village.enrol(3);
    expect(await village.epochsAgreed(4)).toMatchObject({ members: 4 });
  });

  it('is not brought back by an enrolment of before, nor thrown out by an old leave', async () => {
    await founded();
    await village.pass(5_000);
    await village.leave(3, 1);
    await village.epochsAgreed(2);
    const { clock } = village;
    await village.pass(5_000);
    await village.enrol(3);
    await village.epochsAgreed(3);
    expect(await refusalOf(village.leave(3, 3, clock.nowS - 100))).toBe('request-stale');
    expect(await refusalOf(village.leave(3, 2))).toBe('epoch-stale');
  });

  it('is back, though it enrolled and left while all clocks were half an hour ahead', async () => {
    await build();
    await village.enrolAll();
    await village.epochsAgreed(1);
    await village.leave(3, 1);
    await village.epochsAgreed(2);
    village.setBack = 1_800;
    await village.enrol(0, 3);
    expect(await village.epochsAgreed(3)).toMatchObject({ members: 4 });
  });

  it('cannot leave when the list allows no roster without it', async () => {
    await founded();
    await village.leave(3, 1);
    await village.epochsAgreed(2);
    expect(await refusalOf(village.leave(2, 2))).toBe('quorum-needed');
  });
});

describe('a delegation', () => {
  it('outlasts a restart of the gateway, whose configuration names the list without it', async () => {
    await founded();
    await invoke(village.gateway, 'updateMembership', delegate(n));
    await village.stopGateway();
    await village.startGateway();
    expect(village.gateway.group(n.gid).membership.delegation).toMatchObject({ mayRemove: true });
  });
});

describe('who is revoked', () => {
  it('is taken off the list when the operator asks again after a crash between the two', async () => {
    await founded();
    await invoke(village.gateway, 'updateMembership', delegate(n));
    const save = vi.spyOn(village.store, 'saveMembership').mockRejectedValueOnce(new UnavailableError('disk-full', ''));
    expect(await refusalOf(village.revoke(3))).toBe('disk-full');
    expect(save).toHaveBeenCalled();
    await village.stopGateway();
    await village.startGateway();
    await village.revoke(3);
    expect(village.gateway.group(n.gid).membership.list).toMatchObject({ version: 1, revision: 1 });
  });

  it('by an operator is left out at once, and for good', async () => {
    await founded();
    const startedMs = village.clock.nowMs;
    await village.revoke(3);
    expect(await village.epochsAgreed(2)).toMatchObject({ members: 3, confirmed: 3 });
    expect(village.clock.nowMs - startedMs).toBeLessThan(windowMs);
    expect(opens(n, await village.state(3), sealTo(n, await village.key(0)))).toBe(false);
    await village.pass(1_000);
    await village.enrol(3);
    await village.pass(60_000);
    expect(village.epochs).toHaveLength(2);
    expect(await village.shown(3)).toMatchObject({ active: false, leftOut: 'revoked' });
  });

  it('is revoked by an operator of the list, and by nobody else', async () => {
    await founded();
    expect(await refusalOf(village.revoke(3, n.meters[0]))).toBe('not-listed');
    expect(await refusalOf(village.revoke(3, n.gateway))).toBe('not-listed');
  });

  it('by a newer list gets no key any more, and the others are told to stop using the old one', async () => {
    await founded();
    const old = await village.key(0);
    await village.updateMembership(n.list({ version: 2, without: [n.meters[3]!] }));
    expect(await village.epochsAgreed(2)).toMatchObject({ members: 3, confirmed: 3 });
    const now = await village.key(0);
    expect(now.groupPublicKey).not.toEqual(old.groupPublicKey);
    expect(opens(n, await village.state(3), sealTo(n, now))).toBe(false);
    expect(village.changes).toContain('removed meter-04');
    await village.pass(60_000);
    expect((await village.key(3)).receiveOnly).toBe(true);
  });
});
