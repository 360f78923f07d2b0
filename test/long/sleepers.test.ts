/** Meters that nobody can call, as real processes: no port, a key all the same, and no reading lost at their end. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { arrived, deploy, expectAllAccountedFor, type TestDeployment } from '../support/deployment.js';
import { endAll } from '../support/processes.js';

let d: TestDeployment;

beforeAll(async () => {
  d = await deploy({ meters: 2 });
  const { meters } = JSON.parse(readFileSync(d.configs.meter, 'utf8')) as { readonly meters: readonly object[] };
  d.configure('meter', () => ({
    meters: meters.map((meter, i) => (i === 1 ? { ...meter, callable: false, wakeIntervalS: 1 } : meter)),
  }));
});
afterAll(async () => {
  await endAll();
  d.remove();
});

it('a meter that sleeps is keyed with one that does not, and both deliver all that they measured', async () => {
  const backend = d.start('backend');
  await backend.event('backend-started');
  d.start('gateway');
  const meters = d.start('meter');
  await arrived(d.reader(), { 'meter-01': 3, 'meter-02': 3 });
  const port = createSocket('udp4').bind(d.port + 11, '127.0.0.1');
  await once(port, 'listening');
  port.close();
  const td = (await (await fetch(`http://127.0.0.1:${d.port}/things/urn:gridring:meter:meter-02`)).json()) as object;
  expect(td).not.toHaveProperty('actions');
  expect(td).toMatchObject({
    links: [{ rel: 'collection', href: expect.stringContaining('/.well-known/wot') as string }],
  });
  await expectAllAccountedFor(d, meters);
});
