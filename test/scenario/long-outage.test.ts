/** A backend that is away for a day of readings, across rekeys: real gateway, meters, backend and databases, virtual time. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { isWhole } from '../../crypto/envelope/audit.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { at, neighbourhoodOf } from '../support/forge.js';
import { VillageBackend } from '../support/village-backend.js';
import { Village } from '../support/village.js';

const n = neighbourhoodOf(suiteX25519, 3);
const meters = [0, 1, 2] as const;
const quarterS = 900;
const quartersADay = 96;

let village: Village;
let backend: VillageBackend;
beforeEach(async () => {
  village = await Village.build(n);
  backend = await VillageBackend.build(village);
});
afterEach(async () => {
  await village.close();
  backend.close();
});

const outbox = async (): Promise<Record<string, unknown>> =>
  (await village.gateway.properties['outbox']!()) as Record<string, unknown>;

/** What each meter sealed: when, and under which epoch; by meter and then in order. */
type Sealed = readonly (readonly { readonly timeS: number; readonly epoch: number }[])[];

/** A day of readings of every meter, with a rekey after 8 hours and after 16. */
async function measureADay(): Promise<Sealed> {
  const sealed = meters.map((): { timeS: number; epoch: number }[] => []);
  for (let quarter = 1; quarter <= quartersADay; quarter++) {
    await village.pass(quarterS * 1_000);
    for (const i of meters) {
      await village.read(i);
      at(sealed, i).push({ timeS: village.clock.nowS, epoch: at(village.residents, i).meter.epoch });
    }
    if (quarter % 32 === 0 && quarter < quartersADay) {
      village.gateway.group(n.gid).requested();
      await village.epochsAgreed(village.epochs.length + 1);
    }
  }
  return sealed;
}

describe('a backend that is away for a day', () => {
  it('gets every reading once, in its order, of the epoch in which it was sealed; the outbox tells of it meanwhile', async () => {
    await village.enrolAll();
    await village.epochsAgreed(1);
    const startedS = village.clock.nowS;
    const sealed = await measureADay();
    expect(sealed.map((each) => [...new Set(each.map(({ epoch }) => epoch))])).toEqual(meters.map(() => [1, 2, 3]));

    backend.away = true;
    const away = await backend.delivering(async () => {
      expect(await outbox()).toHaveProperty('lastErrorCode', 'backend-unreachable');
    });
    expect(away).toEqual(['backend-away']);
    const { depth, oldestAgeS } = await outbox();
    expect(depth).toBeGreaterThanOrEqual(meters.length * quartersADay);
    expect(oldestAgeS).toBe(village.clock.nowS - startedS - quarterS);
    expect(await village.store.unreportedRecords()).toHaveLength(3);

    backend.away = false;
    await backend.delivering(async () => {
      expect(await outbox()).toHaveProperty('depth', 0);
    });
    expect(await outbox()).not.toHaveProperty('oldestAgeS');
    expect(await village.store.unreportedRecords()).toEqual([]);
    for (const i of meters) await expectAll(i, at(sealed, i));
  });
});

/** A reader finds what a meter sealed, and nothing else; and every epoch that it names is recorded. */
async function expectAll(i: number, sealed: Sealed[number]): Promise<void> {
  const { entries, findings } = await backend.chainOf(i);
  expect(isWhole(findings)).toBe(true);
  const readings = entries.filter(({ kind }) => kind === 'reading');
  expect(readings.map(({ epoch }) => epoch)).toEqual(sealed.map(({ epoch }) => epoch));
  expect((await backend.readingsOf(i)).map(({ timeS }) => timeS)).toEqual(sealed.map(({ timeS }) => timeS));
  for (const { gid, epoch, attempt } of entries) {
    expect(toHex(gid)).toBe(toHex(n.gid));
    expect(await backend.store.backend.loadEpoch(gid, epoch, attempt)).toBeDefined();
  }
  await village.read(i);
  expect(await at(village.residents, i).store.heldCount()).toBe(1);
}
