/** Clocks that are wrong, of a meter, the gateway, the backend, and are set right: nothing goes back, and nothing is lost. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isWhole } from '../../crypto/envelope/audit.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { at, neighbourhoodOf } from '../support/forge.js';
import type { Principal } from '../support/neighbourhood.js';
import { VillageBackend } from '../support/village-backend.js';
import { refusalOf, Village } from '../support/village.js';

const n = neighbourhoodOf(suiteX25519, 3);
const meters = [0, 1, 2] as const;
const hourS = 3_600;
const quarterOfAnHourMs = 900_000;
const jumps = [hourS, -hourS, 24 * hourS, -24 * hourS] as const;
const named = jumps.map((aheadS) => ({
  aheadS,
  what: `${Math.abs(aheadS) / hourS} h ${aheadS > 0 ? 'ahead' : 'behind'}`,
}));

let village: Village;
let backend: VillageBackend;
beforeEach(async () => {
  village = await Village.build(n);
  backend = await VillageBackend.build(village);
  await village.enrolAll();
  await village.epochsAgreed(1);
  before = [];
});
afterEach(async () => {
  await village.close();
  backend.close();
});

/** What must never go back: what the gateway has announced; each member's answers, its list, and its sequence. */
async function marks(): Promise<readonly number[]> {
  const announced = await village.store.loadAnnounced(n.gid);
  const ofMeters = meters.map(async (i) => {
    const { highWater, newestList } = await village.state(i);
    return [ordered(highWater), newestList.version, at(village.residents, i).meter.lastSequence];
  });
  return [ordered(announced!), ...(await Promise.all(ofMeters)).flat()];
}

const ordered = ({ epoch, attempt }: { readonly epoch: number; readonly attempt: number }): number =>
  epoch * 256 + attempt;

let before: readonly number[];
async function expectNothingWentBack(): Promise<void> {
  const now = await marks();
  for (const [k, mark] of before.entries()) expect(now[k], `mark ${k}`).toBeGreaterThanOrEqual(mark);
  before = now;
}

async function readAll(): Promise<void> {
  for (const i of meters) await village.read(i);
  await expectNothingWentBack();
}

/** Somebody wants a new key while clocks are apart, and readings go on. */
async function goOn(): Promise<void> {
  village.gateway.group(n.gid).requested();
  await readAll();
  await village.pass(30_000);
  await readAll();
}

/** As a meter that can be called does by itself every quarter of an hour. */
async function lookAtTheRound(i: number): Promise<void> {
  const { follower } = at(village.residents, i);
  const { missed } = await follower.follow(await village.gateway.properties['round']!());
  if (missed) await village.enrol(i);
}

/** Clocks agree within five minutes again: everybody is in a new epoch, and all that was ever sealed is stored, once. */
async function expectAllIsWellOnceSetRight(): Promise<void> {
  village.ahead.clear();
  for (const [i, seconds] of [140, -140, 60].entries()) village.ahead.set(at(n.meters, i).certificate.id, seconds);
  await village.pass(quarterOfAnHourMs);
  const agreed = village.epochs.length;
  for (const i of meters) await lookAtTheRound(i);
  village.gateway.group(n.gid).requested();
  await village.until(() => village.epochs.find(({ members }, k) => k >= agreed && members === meters.length));
  const keys = await Promise.all(meters.map((i) => village.key(i)));
  for (const { groupKey } of keys) expect(groupKey).toEqual(at(keys, 0).groupKey);
  await readAll();
  await expectAllStored();
}

async function expectAllStored(): Promise<void> {
  await backend.delivering(async () => {
    expect((await village.store.outboxStatus()).depth).toBe(0);
  });
  expect((await village.store.setAsideStatus()).count).toBe(0);
  for (const i of meters) {
    const { entries, findings } = await backend.chainOf(i);
    expect(isWhole(findings)).toBe(true);
    expect(entries).toHaveLength(at(village.residents, i).meter.lastSequence);
  }
}

const setClock = ({ certificate }: Principal, aheadS: number): void => {
  village.ahead.set(certificate.id, aheadS);
};

describe.each(named)('a clock that is $what', ({ aheadS }) => {
  it('of a meter keeps none of its readings back, and no other meter from the next key', async () => {
    await readAll();
    const stranger = at(n.meters, 1);
    setClock(stranger, aheadS);
    await goOn();
    const { members } = village.epochs.at(-1)!;
    // Rounds that are announced for a few minutes: only who is behind still finds them valid, if it finds its list so.
    expect(members).toBe(aheadS === -hourS ? 3 : 2);
    await expectAllIsWellOnceSetRight();
  });

  it('of the gateway ends no key that is in use', async () => {
    await readAll();
    const { groupKey } = await village.key(0);
    setClock(n.gateway, aheadS);
    await goOn();
    // Members refuse what expired before they have it; what is valid for longer than it should be they cannot tell.
    if (aheadS < 0) expect((await village.key(0)).groupKey).toEqual(groupKey);
    await expectAllIsWellOnceSetRight();
  });

  it('of the backend makes the gateway wait at most', async () => {
    await readAll();
    setClock(n.backend, aheadS);
    const isBeforeItsLists = aheadS < -hourS;
    await backend.delivering(async () => {
      const { depth } = await village.store.outboxStatus();
      if (isBeforeItsLists) expect(await village.gateway.properties['outbox']!()).toHaveProperty('lastErrorCode');
      else expect(depth).toBe(0);
    });
    await goOn();
    await expectAllIsWellOnceSetRight();
  });
});

describe('a gateway whose clock is a day behind when it starts', () => {
  it('does not start under a list that is not valid yet, and goes on above all that it announced once the clock is right', async () => {
    await readAll();
    await village.stopGateway();
    setClock(n.gateway, -24 * hourS);
    expect(await refusalOf(village.startGateway())).toBe('membership-expired');
    village.store.close();
    setClock(n.gateway, 0);
    await village.startGateway();
    await expectAllIsWellOnceSetRight();
  });
});
