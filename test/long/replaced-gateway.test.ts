/** A gateway that dies with its disk while the backend is away: another one takes its place, and nothing is lost. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { arrived, deploy, eventually, expectAllAccountedFor, type TestDeployment } from '../support/deployment.js';
import { endAll, run, start, type Running } from '../support/processes.js';

vi.setConfig({ testTimeout: 90_000 });

let d: TestDeployment;
let gateway: Running;

beforeAll(async () => {
  d = await deploy({ meters: 3 });
  d.configure('gateway', () => ({ group: { windowMs: 500, roundDeadlineMs: 5_000 } }));
  // Over TCP the end of the gateway shows at once, and nobody waits for it.
  const http = (port: number) => `http://127.0.0.1:${port}/.well-known/wot`;
  d.configure('meter', ({ meters }) => ({
    meters: (meters as readonly { readonly listen: object }[]).map((meter, i) => ({
      ...meter,
      // Nobody can tell it where the gateway is: it tries the others that it was given.
      ...(i === 0 && { callable: false, wakeIntervalS: 1 }),
      gatewayTd: http(d.port + 1),
      listen: { ...meter.listen, scheme: 'http' },
    })),
    gateway: { td: http(d.port + 1), others: [http(d.port + 3)] },
  }));
});
afterAll(async () => {
  await endAll();
  d.remove();
});

/** The new gateway: a certificate of its own, other ports, another folder. */
async function provisionSuccessor(): Promise<string> {
  const folder = join(d.folder, 'gateway-2');
  mkdirSync(folder);
  const issue = ['--role', 'gateway', '--id', 'gateway', '--dir', join(d.folder, 'ca'), '--out', folder];
  expect(await run('ca', 'issue', ...issue)).toMatchObject({ code: 0 });
  const config = JSON.parse(readFileSync(d.configs.gateway, 'utf8')) as { readonly listen: object };
  const listen = { ...config.listen, httpPort: d.port + 3, coapPort: d.port + 4 };
  const file = join(folder, 'config.json');
  writeFileSync(file, JSON.stringify({ ...config, listen }));
  return file;
}

const depth = async (): Promise<number> => {
  const outbox = await fetch(`http://127.0.0.1:${d.port + 1}/gateway/properties/outbox`);
  return ((await outbox.json()) as { readonly depth: number }).depth;
};

it('the meters, told by the new gateway where it is or finding it by themselves, send again what only the lost one had', async () => {
  let backend = d.start('backend');
  gateway = d.start('gateway');
  const meters = d.start('meter');
  const { epoch } = await gateway.event('epoch', ({ members }) => members === 3);
  await arrived(d.reader(), Object.fromEntries(d.meterIds.map((id) => [id, 5])));

  await backend.end('SIGKILL');
  const before = await depth();
  await eventually(async () => {
    expect(await depth()).toBeGreaterThan(before + 60);
  });
  await gateway.end('SIGKILL');
  rmSync(join(d.folder, 'gateway/data'), { recursive: true });

  backend = d.start('backend');
  await backend.event('backend-started');
  const file = await provisionSuccessor();
  const replace = ['gateway', 'replace', 'gateway', '--config', file, '--authority', join(d.folder, 'authority')];
  const replaced = await run(...replace, '--json');
  expect(replaced, replaced.errors).toMatchObject({ code: 0 });
  gateway = start('gateway', '--config', file, '--json');
  const next = await gateway.event('epoch', ({ members }) => members === 3);
  expect(next['epoch']).toBeGreaterThan(Number(epoch));
  await expectAllAccountedFor(d, meters);
});
