/** A deployment on disk, as a demo makes it, whose roles a test starts, kills and starts again one by one. */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, vi } from 'vitest';
import type { Suite, SuiteName } from '../../crypto/suite.js';
import { suiteByName } from '../../crypto/suite-node.js';
import { provisionDemo, type Deployment } from '../../servients/demo/provision.js';
import { issue, openCa } from '../../servients/ca.js';
import { writeIdentity } from '../../servients/identity-files.js';
import { moveReaderFile, readReaderFile } from '../../servients/reader-file.js';
import { systemNowS } from '../../servients/runtime.js';
import { Reader, type OpenedReading } from '../../servients/reader.js';
import { freePorts, start, type Running } from './processes.js';

export type RoleName = keyof Deployment['configs'];

export interface TestDeployment extends Deployment {
  readonly folder: string;
  readonly suite: SuiteName;
  /** The backend's; the gateway's HTTP and CoAP are the next two, the meters' begin at the tenth. */
  readonly port: number;
  start(role: RoleName, ...args: readonly string[]): Running;
  /** Changes a configuration before its role is started. */
  configure(role: RoleName, change: (config: Record<string, unknown>) => object): void;
  reader(name?: 'utility' | 'household'): Reader;
  remove(): void;
}

/** Where a commit costs least: on a busy disk, synchronising takes most of the time. */
export const makeFolder = (): string =>
  mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'gridring-e2e-'));

export const removeFolder = (folder: string): void => {
  rmSync(folder, { recursive: true, force: true });
};

/** Ten readings a second of each meter: enough to be cut off in the midst of them. */
export const testSpeed = 600;

export async function deploy({
  suite = 'x25519',
  meters = 3,
  https = false,
}: {
  readonly suite?: SuiteName;
  readonly meters?: number;
  /** Between gateway, readers and backend, under the deployment's own CA. */
  readonly https?: boolean;
} = {}): Promise<TestDeployment> {
  const folder = makeFolder();
  const port = await freePorts(10 + meters);
  const plan = {
    folder,
    suite: suiteByName(suite),
    profile: 'full' as const,
    meters,
    speed: testSpeed,
    sleepy: 0,
    port,
    seed: '1',
  };
  const provisioned = provisionDemo(plan);
  const { configs, readers } = provisioned;
  const configure: TestDeployment['configure'] = (role, change) => {
    const config = JSON.parse(readFileSync(configs[role], 'utf8')) as Record<string, unknown>;
    writeFileSync(configs[role], JSON.stringify({ ...config, ...change(config) }));
  };
  const backendUrl = https
    ? serveHttps(provisioned, configure, { folder, suite: plan.suite, port })
    : provisioned.backendUrl;
  return {
    ...provisioned,
    backendUrl,
    folder,
    suite,
    port,
    start: (role, ...args) => start(role, '--config', configs[role], '--json', ...args),
    configure,
    reader: (name = 'utility') => new Reader(readReaderFile(readers[name])),
    remove: () => {
      removeFolder(folder);
    },
  };
}

/** Gives the backend a certificate of its address, and everybody that address. @returns it */
function serveHttps(
  { readers }: Deployment,
  configure: TestDeployment['configure'],
  { folder, suite, port }: { readonly folder: string; readonly suite: Suite; readonly port: number },
): string {
  const url = `https://127.0.0.1:${String(port)}`;
  const issued = issue(openCa(suite, join(folder, 'ca')), {
    ...{ role: 'backend', id: 'backend', days: 1, nowS: systemNowS(), random: randomBytes },
    servedAs: { dnsNames: [], ipAddresses: ['127.0.0.1'] },
  });
  const tls = { certificate: 'tls.pem', key: 'tls-key.pem' };
  const place = join(folder, 'backend');
  writeIdentity(suite, { certificate: join(place, tls.certificate), key: join(place, tls.key) }, issued);
  configure('backend', ({ listen }) => ({ listen: { ...(listen as object), tls } }));
  configure('gateway', ({ backend }) => ({ backend: { ...(backend as object), url } }));
  for (const file of Object.values(readers)) moveReaderFile(file, url);
  return url;
}

/** Waits until a check no longer fails; the last failure is that of the test. */
export const eventually = <T>(check: () => T | Promise<T>): Promise<T> =>
  vi.waitFor(check, { timeout: 45_000, interval: 100 });

/** Waits until so many readings of each meter, and more where some come, are at the backend. */
export const arrived = (reader: Reader, atLeast: Readonly<Record<string, number>>): Promise<void> =>
  eventually(async () => {
    const counts = new Map((await reader.meters()).map(({ id, count }) => [id, count]));
    for (const [id, least] of Object.entries(atLeast)) expect(counts.get(id), id).toBeGreaterThanOrEqual(least);
  });

/**
 * Opens all readings of a meter, and checks that they are what it measured from first to last: a chain from 1 without a
 * hole, each entry following the one before, minute after minute, and a register that adds up.
 */
export async function expectUnbroken(reader: Reader, meter: string): Promise<readonly OpenedReading[]> {
  const { opened, closed, breaks } = await reader.read(meter, { after: 0 });
  expect(closed).toBe(0);
  expect(breaks).toBe(0);
  for (const [i, { reading }] of opened.entries()) {
    const before = opened[i - 1]?.reading;
    if (!before || 'registers' in before || 'registers' in reading) continue;
    expect(reading.timeS - before.timeS).toBe(60);
    const energyWh = reading.missing ? 0 : reading.energyWh;
    expect(reading.energyTotalWh - before.energyTotalWh).toBeCloseTo(energyWh, 6);
  }
  return opened;
}

interface MeterEnd {
  readonly id: string;
  readonly readings: number;
  readonly pendingReadings: number;
}

/** Ends the meters, and checks that all they ever measured is at the backend, once; but for what they still have. */
export async function expectAllAccountedFor(d: TestDeployment, ...hosts: readonly Running[]): Promise<void> {
  for (const { code } of await Promise.all(hosts.map((host) => host.end()))) expect(code).toBe(0);
  const ends = hosts.flatMap(({ events }) => events.at(-1)?.['meters'] as readonly MeterEnd[]);
  expect(ends.map(({ id }) => id)).toEqual(d.meterIds);
  const delivered = ends.map(({ id, readings, pendingReadings }) => [id, readings - pendingReadings] as const);
  await arrived(d.reader(), Object.fromEntries(delivered));
  for (const { id, readings } of ends) {
    expect((await expectUnbroken(d.reader(), id)).length).toBeLessThanOrEqual(readings);
  }
}
