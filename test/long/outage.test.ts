/** Roles that are away, late, killed, or out of room: readings wait where they are, and arrive once, in their order. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  arrived,
  deploy,
  eventually,
  expectAllAccountedFor,
  expectUnbroken,
  type TestDeployment,
} from '../support/deployment.js';
import { endAll, start, type Running } from '../support/processes.js';
import { makeSmallDisk, type SmallDisk } from '../support/small-disk.js';

let d: TestDeployment;
let disk: SmallDisk;
let gatewayDisk: SmallDisk;
let backendDisk: SmallDisk;
let backend: Running;
let gateway: Running;
/** Two of the three, the third is in a process of its own. */
let meters: Running;
let lateMeter: Running;

function configureLateMeter(): string {
  const config = JSON.parse(readFileSync(d.configs.meter, 'utf8')) as { readonly meters: readonly object[] };
  d.configure('meter', () => ({ meters: config.meters.slice(1) }));
  const file = join(d.folder, 'meters/late.json');
  writeFileSync(file, JSON.stringify({ ...config, meters: config.meters.slice(0, 1) }));
  return file;
}

beforeAll(async () => {
  d = await deploy({ meters: 3 });
  disk = makeSmallDisk(join(d.folder, 'meters/meter-02/data'));
  gatewayDisk = makeSmallDisk(join(d.folder, 'gateway/data'), 16);
  backendDisk = makeSmallDisk(join(d.folder, 'backend/data'), 16);
  d.configure('gateway', () => ({ group: { windowMs: 1_000, roundDeadlineMs: 3_000 } }));
});
afterAll(async () => {
  await endAll();
  for (const filled of [disk, gatewayDisk, backendDisk]) filled.remove();
  d.remove();
});

const counts = async (): Promise<Record<string, number>> =>
  Object.fromEntries((await d.reader().meters()).map(({ id, count }) => [id, count]));

/** Waits until readings arrive that were taken only now. */
async function goesOn(...meterIds: readonly string[]): Promise<void> {
  const now = await counts();
  await arrived(d.reader(), Object.fromEntries(meterIds.map((id) => [id, now[id]! + 3])));
  for (const id of meterIds) await expectUnbroken(d.reader(), id);
}

const property = async (name: string): Promise<unknown> =>
  (await fetch(`http://127.0.0.1:${d.port + 1}/gateway/properties/${name}`)).json();

describe('in the order of a bad day', () => {
  const punctual = ['meter-02', 'meter-03'];
  const all = ['meter-01', ...punctual];
  let late: string;
  beforeAll(() => {
    late = configureLateMeter();
  });

  it('meters wait for a gateway that is not there yet, and say so', async () => {
    meters = d.start('meter');
    await eventually(() => {
      expect(meters.log()).toMatch(/"meter":"meter-03","code":"gateway-unreachable".*trying again/);
    });
  });

  it('a gateway without a backend agrees on a key with them, buffers, and says so', async () => {
    gateway = d.start('gateway');
    expect(await gateway.event('backend-away')).toMatchObject({ code: 'backend-unreachable' });
    await gateway.event('epoch', ({ confirmed }) => confirmed === 2);
    await eventually(async () => {
      const outbox = await property('outbox');
      expect(outbox).toMatchObject({ lastErrorCode: 'backend-unreachable' });
      expect((outbox as { depth: number }).depth).toBeGreaterThan(10);
    });
    expect(await property('health')).toMatchObject({ status: 'degraded' });
  });

  it('everything arrives once the backend is there', async () => {
    backend = d.start('backend');
    await gateway.event('backend-back');
    await goesOn(...punctual);
    await eventually(async () => {
      expect(await property('health')).toMatchObject({ status: 'ok' });
    });
  });

  it('a meter that comes late is let in by the next epoch', async () => {
    lateMeter = start('meter', '--config', late, '--json');
    await gateway.event('epoch', ({ confirmed }) => confirmed === 3);
    await goesOn(...all);
  });

  it('a backend that is killed goes on with what it has acknowledged', async () => {
    const before = await counts();
    await backend.end('SIGKILL');
    backend = d.start('backend');
    await backend.event('backend-started');
    const after = await counts();
    for (const id of all) expect(after[id]).toBeGreaterThanOrEqual(before[id]!);
    await goesOn(...all);
  });

  it('a gateway that is killed goes on, and agrees on the next epoch with meters that did not notice', async () => {
    const { epoch } = gateway.events.findLast(({ event }) => event === 'epoch')!;
    await gateway.end('SIGKILL');
    gateway = d.start('gateway');
    const next = await gateway.event('epoch', ({ confirmed }) => confirmed === 3);
    expect(next['epoch']).toBeGreaterThan(Number(epoch));
    await goesOn(...all);
  });

  it('meters that are killed go on with the next reading under the same key', async () => {
    const { epoch } = gateway.events.findLast(({ event }) => event === 'epoch')!;
    await meters.end('SIGKILL');
    meters = d.start('meter');
    await meters.event('meters-started');
    await goesOn(...all);
    expect((await d.reader().read('meter-02', { last: 1 })).opened).toMatchObject([{ epoch }]);
  });

  it('a reading that a full disk has no room for waits at its source, and the meter says so', async () => {
    disk.fill(meters.pid);
    await eventually(() => {
      expect(meters.log(), disk.kind).toMatch(
        /"meter":"meter-02","code":"disk-full",.*"msg":"a reading cannot be kept yet/,
      );
    });
    await goesOn('meter-01');
    disk.makeRoom(meters.pid);
    await goesOn(...all);
  });

  it('a backend and a gateway whose disks are full take nothing and say so, and everything waits where it is', async () => {
    backendDisk.fill(backend.pid);
    await eventually(async () => {
      expect(await property('outbox'), backendDisk.kind).toMatchObject({ lastErrorCode: 'disk-full' });
    });
    gatewayDisk.fill(gateway.pid);
    await eventually(async () => {
      expect(await property('health'), gatewayDisk.kind).toMatchObject({ status: 'degraded' });
      expect(meters.log()).toMatch(/"meter":"meter-03","code":"disk-full"/);
    });
    backendDisk.makeRoom(backend.pid);
    gatewayDisk.makeRoom(gateway.pid);
    await goesOn(...all);
  });

  it('and in the end all that was ever measured is there, once', async () => {
    await expectAllAccountedFor(d, lateMeter, meters);
    expect((await gateway.end()).code).toBe(0);
    expect((await backend.end()).code).toBe(0);
  });
});
