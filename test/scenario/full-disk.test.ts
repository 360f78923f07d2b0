/** Quotas that are used up at a gateway and at a backend: readings are told to come again, wait where they are, and arrive. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isWhole } from '../../crypto/envelope/audit.js';
import { UnavailableError } from '../../crypto/errors.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { at, neighbourhoodOf } from '../support/forge.js';
import { VillageBackend } from '../support/village-backend.js';
import { Village } from '../support/village.js';

const n = neighbourhoodOf(suiteX25519, 3);
const meters = [0, 1, 2] as const;
/** A little more than what epochs, lists and enrolments take. */
const scarceBytes = 400_000;
/** A database that is larger already grows no more. */
const noMoreBytes = 4_096;

let village: Village;
let backend: VillageBackend;
beforeEach(async () => {
  village = await Village.build(n);
  backend = await VillageBackend.build(village);
  await village.enrolAll();
  await village.epochsAgreed(1);
});
afterEach(async () => {
  await village.close();
  backend.close();
});

const depth = async (): Promise<number> => (await village.store.outboxStatus()).depth;
const outbox = (): Promise<unknown> => village.gateway.properties['outbox']!();

/** Reads and delivers until the gateway takes no more. @returns what it said then */
async function readUntilRefused(): Promise<UnavailableError> {
  for (let readings = 0; readings < 3_000; readings++) {
    try {
      await village.read(readings % meters.length);
    } catch (error) {
      if (error instanceof UnavailableError) return error;
      throw error;
    }
  }
  throw new Error('it takes everything');
}

const allDelivered = (): Promise<unknown> =>
  backend.delivering(async () => {
    expect(await depth()).toBe(0);
  });

async function expectAllStored(): Promise<void> {
  await allDelivered();
  for (const i of meters) {
    const { entries, findings } = await backend.chainOf(i);
    expect(isWhole(findings)).toBe(true);
    expect(entries).toHaveLength(at(village.residents, i).meter.lastSequence);
  }
}

describe('a gateway whose quota is used up while the backend is away', () => {
  it('says when to come again, warns, still agrees on keys, and goes on once the backend has taken something', async () => {
    await village.stopGateway();
    village.gatewayBytes = scarceBytes;
    await village.startGateway();
    await village.enrolAll();
    const { code, retryAfterS } = await readUntilRefused();
    expect({ code, retryAfterS }).toEqual({ code: 'disk-full', retryAfterS: 10 });
    expect(await village.gateway.properties['health']!()).toMatchObject({ status: 'degraded' });
    for (const i of meters) await expect(village.read(i)).rejects.toThrow(UnavailableError);
    for (const i of meters) expect(await at(village.residents, i).meter.nextUpload()).toBeDefined();
    const agreed = village.epochs.length;
    village.gateway.group(n.gid).requested();
    await village.epochsAgreed(agreed + 1);

    await allDelivered();
    for (const i of meters) await village.deliver(i);
    await expectAllStored();
  });
});

describe('a backend whose quota is used up', () => {
  it('makes the gateway keep everything and say why, and gets it once there is room', async () => {
    await allDelivered();
    await backend.restart(noMoreBytes);
    for (let k = 0; k < 40; k++) for (const i of meters) await village.read(i);
    await backend.delivering(async () => {
      expect(await outbox()).toMatchObject({ lastErrorCode: 'disk-full' });
    });
    expect(await depth()).toBeGreaterThan(0);
    expect((await village.store.setAsideStatus()).count).toBe(0);
    await backend.restart();
    await expectAllStored();
    expect(await outbox()).not.toHaveProperty('lastErrorCode');
  });
});
