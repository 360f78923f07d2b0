/** A doctor that finds what is wrong with a setup, and says what to do next. */
import { chmodSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { initCa, issue } from '../../servients/ca.js';
import { provisionDemo } from '../../servients/demo/provision.js';
import { examine } from '../../servients/doctor/doctor.js';
import type { Finding } from '../../servients/doctor/finding.js';
import { checkNode } from '../../servients/doctor/machine.js';
import { writeIdentity } from '../../servients/identity-files.js';
import { seededRandom } from '../support/neighbourhood.js';

const folder = mkdtempSync(join(tmpdir(), 'gridring-doctor-'));
const nowS = Math.floor(Date.now() / 1000);
let server: Server;
let url: string;
let behindS = 0;
beforeAll(async () => {
  const random = seededRandom('doctor');
  const ca = initCa(suiteX25519, join(folder, 'ca'), { name: 'Test', nowS: nowS - 400 * 86_400, random });
  const identity = (role: 'gateway' | 'meter', place: string, beganS: number) => {
    const issued = issue(ca, { role, id: 'gw', nowS: beganS, days: 365, random });
    const files = { certificate: join(folder, place, 'certificate.pem'), key: join(folder, place, 'key.pem') };
    writeIdentity(suiteX25519, files, issued);
  };
  identity('gateway', 'good', nowS - 60);
  identity('gateway', 'ending', nowS - 360 * 86_400);
  identity('gateway', 'ended', nowS - 390 * 86_400);
  identity('meter', 'meter', nowS - 60);
  identity('gateway', 'open', nowS - 60);
  chmodSync(join(folder, 'open/key.pem'), 0o644);
  cpSync(join(folder, 'good'), join(folder, 'mixed'), { recursive: true });
  cpSync(join(folder, 'open/key.pem'), join(folder, 'mixed/key.pem'));
  server = createServer((_request, response) => {
    response.setHeader('date', new Date(Date.now() - behindS * 1000).toUTCString());
    response.end('{}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.close();
  server.closeAllConnections();
  rmSync(folder, { recursive: true });
});

async function findingsOf(place: string, change: object = {}): Promise<readonly Finding[]> {
  const config = {
    ...{ id: 'gw', dataDir: 'data', root: 'ca/root.pem', membership: 'membership.cbor' },
    ...{ certificate: `${place}/certificate.pem`, key: `${place}/key.pem` },
    listen: { address: '127.0.0.1', coapPort: 0, httpPort: 0 },
    backend: { url, audience: 'urn:a' },
    ...change,
  };
  const configFile = join(folder, 'gateway.json');
  writeFileSync(configFile, JSON.stringify(config));
  const findings: Finding[] = [];
  for await (const finding of examine({ role: 'gateway', configFile, url: undefined, environment: {} })) {
    findings.push(finding);
  }
  return findings;
}
/** But for the membership list, which has a test of its own. */
const bad = (findings: readonly Finding[]) =>
  findings.filter(({ level, check }) => level !== 'ok' && !check.startsWith('membership list'));

it('finds nothing where all is well', async () => {
  const findings = await findingsOf('good');
  expect(bad(findings)).toEqual([]);
  expect(findings.map(({ check }) => check)).toEqual([
    'node',
    'configuration',
    'identity of gw',
    'permissions',
    'port 0/udp',
    'port 0/tcp',
    `disk of ${join(folder, 'data')}`,
    'backend',
    'clock',
    `membership list ${join(folder, 'membership.cbor')}`,
  ]);
  expect(findings.at(-1)).toMatchObject({
    level: 'error',
    detail: expect.stringContaining('file-unreadable') as string,
  });
});

it.each([
  ['a certificate that ends soon', 'ending', 'warning', /ends at/, /issue a new one/],
  ['a certificate that has ended', 'ended', 'error', /certificate-expired/, /gridring ca issue/],
  ['a certificate of another role', 'meter', 'error', /certificate-role/, /for this role/],
  ['a key of another certificate', 'mixed', 'error', /key-mismatch/, /made with the certificate/],
  ['a key that others may read', 'open', 'error', /mode 644/, /chmod 600/],
] as const)('finds %s', async (_what, place, level, detail, advice) => {
  expect(bad(await findingsOf(place))).toEqual([
    expect.objectContaining({
      level,
      detail: expect.stringMatching(detail) as string,
      advice: expect.stringMatching(advice) as string,
    }),
  ]);
});

it('reads a gateway’s membership list: who signed it, until when it holds, and whether the backend has a newer one', async () => {
  const demo = join(folder, 'demo');
  const { configs } = provisionDemo({
    ...{ folder: demo, meters: 2, suite: suiteX25519, profile: 'full', speed: 60, sleepy: 0, port: 1_024, seed: 'd' },
  });
  const found = async (): Promise<readonly Finding[]> => {
    const findings: Finding[] = [];
    for await (const finding of examine({ ...patient, configFile: configs.gateway })) findings.push(finding);
    return findings.filter(({ check }) => /list/.test(check));
  };
  const patient = { role: 'gateway', url: undefined, environment: {} } as const;
  expect(await found()).toMatchObject([
    { level: 'ok', detail: expect.stringMatching(/^list 1\.0 is signed by the authority/) as string },
    { check: 'list 1.0 at the backend', level: 'warning', detail: expect.stringContaining('unreachable') as string },
  ]);
  const file = join(demo, 'membership.cbor');
  const bytes = readFileSync(file);
  bytes[60]! ^= 1;
  writeFileSync(file, bytes);
  expect(await found()).toMatchObject([{ level: 'error' }]);
});

it('names the field of a configuration that is wrong, and stops there', async () => {
  const findings = await findingsOf('good', { listen: { coapPort: 'many' }, colour: 'red' });
  expect(findings).toHaveLength(2);
  expect(findings[1]).toMatchObject({ check: 'configuration', level: 'error' });
  expect(findings[1]?.detail).toMatch(/\/listen\/coapPort must be integer/);
  expect(findings[1]?.detail).toMatch(/colour/);
});

it('finds a port that is taken, and a backend that does not answer', async () => {
  const taken = Number(new URL(url).port);
  const findings = bad(await findingsOf('good', { listen: { httpPort: taken, coapPort: 0 } }));
  expect(findings).toMatchObject([{ check: `port ${taken}/tcp`, level: 'warning' }]);
  const away = bad(await findingsOf('good', { backend: { url: 'http://127.0.0.1:1', audience: 'urn:a' } }));
  expect(away).toMatchObject([{ check: 'backend', level: 'error' }]);
});

it('finds a clock that is off', async () => {
  behindS = 60;
  expect(bad(await findingsOf('good'))).toMatchObject([{ check: 'clock', level: 'warning' }]);
  behindS = 3_600;
  expect(bad(await findingsOf('good'))).toMatchObject([{ check: 'clock', level: 'error' }]);
  behindS = 0;
});

it('knows which Node.js is enough', () => {
  expect(['20.18.9', '20.19.0', '22.0.0', '18.20.0'].map((version) => checkNode(version).level)).toEqual([
    ...['error', 'ok', 'ok', 'error'],
  ]);
});
