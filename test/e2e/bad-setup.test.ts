/** What an operator can give wrongly: every role says what it is and what to do, ends with 2, and has changed nothing. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readIdentity } from '../../servients/identity-files.js';
import { suiteOf } from '../support/cast.js';
import { deploy, type RoleName, type TestDeployment } from '../support/deployment.js';
import { endAll, freePorts, run, start, type Ended } from '../support/processes.js';
import { runHere } from '../support/verbs.js';

type Change = Readonly<Record<string, unknown>>;

let d: TestDeployment;
let variants = 0;
/** Taken over UDP and TCP. */
let takenPort: number;
const [tcp, udp] = [createServer(), createSocket('udp4')];

beforeAll(async () => {
  d = await deploy({ meters: 2 });
  takenPort = (await freePorts(13)) + 1;
  await once(tcp.listen(takenPort, '127.0.0.1'), 'listening');
  await once(udp.bind(takenPort, '127.0.0.1'), 'listening');
});
afterAll(async () => {
  tcp.close();
  udp.close();
  await endAll();
  d.remove();
});

/** A configuration beside the true one, with a data folder of its own; changes of a meter are of the first meter. */
function variant(role: RoleName, change: Change): string {
  const path = d.configs[role];
  const config = JSON.parse(readFileSync(path, 'utf8')) as { readonly meters?: readonly object[] } & Change;
  const own = { dataDir: join(d.folder, `data-${String(++variants)}`), ...change };
  const changed = config.meters ? { ...config, meters: [{ ...config.meters[0], ...own }] } : { ...config, ...own };
  const file = join(dirname(path), `variant-${String(variants)}.json`);
  writeFileSync(file, JSON.stringify(changed));
  return file;
}

const expectError = async (code: string, message: RegExp, ...args: readonly string[]): Promise<void> => {
  expectTold(await runHere(...args, '--json'), code, message);
};

function expectTold(ended: Ended, code: string, message: RegExp): void {
  const told: unknown = JSON.parse(ended.out.trimEnd().split('\n').at(-1) ?? '');
  expect(told).toEqual({ event: 'error', code, message: expect.stringMatching(message) as string });
  expect(ended.code).toBe(2);
}

const expectRoleError = (role: RoleName, change: Change, code: string, message: RegExp): Promise<void> =>
  expectError(code, message, role, '--config', variant(role, change));

const demo = (...args: readonly string[]): readonly string[] => [
  'demo',
  '--meters',
  '2',
  '--data-dir',
  d.folder,
  ...args,
];

const naming = (): RegExp => new RegExp(`${String(takenPort)}.*choose another`);

describe('a port that is in use is named, with what to do', () => {
  const address = '127.0.0.1';

  it('by a backend', () =>
    expectRoleError('backend', { listen: { address, port: takenPort } }, 'port-in-use', naming()));
  it('by a gateway, over CoAP', () =>
    expectRoleError('gateway', { listen: { address, coapPort: takenPort, httpPort: 0 } }, 'port-unusable', naming()));
  it('by a gateway, over HTTP', () =>
    expectRoleError('gateway', { listen: { address, coapPort: 0, httpPort: takenPort } }, 'port-unusable', naming()));
  it.each(['coap', 'http'])('by a meter, over %s', (scheme) =>
    expectRoleError('meter', { listen: { scheme, address, port: takenPort } }, 'port-unusable', naming()),
  );
});

describe('a key or certificate', () => {
  it('that is missing is named', () =>
    expectRoleError(
      'gateway',
      { key: 'nothing.pem' },
      'file-unreadable',
      /private key: .*nothing\.pem does not exist/,
    ));
  it('that cannot be read is named', () =>
    expectRoleError('meter', { key: '.' }, 'file-unreadable', /private key: .* cannot be read .*permissions/));

  it.each([
    ['that is none', 'gateway/certificate.pem', 'gateway/config.json', 'key-unusable', /holds no private key in PEM/],
    ['that belongs to another', 'gateway/certificate.pem', 'backend/key.pem', 'key-mismatch', /is not the key of/],
    ['of a CA', 'ca/issuing.pem', 'ca/issuing.key.pem', 'certificate-unusable', /begin with a device's certificate/],
  ])('%s is named', (_what, certificate, key, code, message) => {
    const files = { certificate: join(d.folder, certificate), key: join(d.folder, key) };
    const refusal = { code, message: expect.stringMatching(message) as string };
    expect(() => readIdentity(suiteOf(d), files)).toThrow(expect.objectContaining(refusal) as Error);
  });

  it('of another suite is named', () =>
    expectRoleError('backend', { suite: 'p256' }, 'certificate-unusable', /certificate\.pem: .* is not of suite 2/));
});

describe('a configuration', () => {
  it('that does not fit its schema is told every field that is wrong', () =>
    expectRoleError(
      'gateway',
      { id: 'Not An Id', listening: true },
      'config-invalid',
      /does not fit the schema of a gateway: .*“listening”.*\/id must match/,
    ));
  it('of a gateway whose list is missing names it', () =>
    expectRoleError('gateway', { membership: 'nothing.cbor' }, 'file-unreadable', /membership list: .*nothing\.cbor/));
});

describe('a data folder', () => {
  const whole = { format: 1, role: 'backend', suite: 'x25519', created: '2026-01-01T00:00:00.000Z' };

  it.each<[string, object, string, RegExp]>([
    ['version', { format: 2 }, 'data-version', /has format 2, known here is 1: use the version/],
    ['suite', { suite: 'p256' }, 'data-suite', /made for suite p256, not x25519: choose that suite/],
  ])('of another %s is left alone', async (_what, change, code, message) => {
    const dataDir = join(d.folder, `folder-${code}`);
    mkdirSync(dataDir);
    const marker = JSON.stringify({ ...whole, ...change });
    writeFileSync(join(dataDir, 'gridring.json'), marker);
    await expectRoleError('backend', { dataDir }, code, message);
    expect(readFileSync(join(dataDir, 'gridring.json'), 'utf8')).toBe(marker);
  });

  it('that another process has is left to it', async () => {
    const dataDir = join(d.folder, 'shared');
    const listen = { address: '127.0.0.1', port: 0 };
    const first = start('backend', '--config', variant('backend', { dataDir, listen }), '--json');
    await first.event('backend-started');
    await expectRoleError('backend', { dataDir, listen }, 'data-locked', /is in use by another process: end that one/);
    expect((await first.end()).code).toBe(0);
  });
});

describe('the folder of a demo', () => {
  it.each<[string, string, string, RegExp]>([
    ['of another version', '{"format":2}', 'data-version', /made by another version; choose another --data-dir/],
    ['that is damaged', '{"format":', 'data-corrupt', /demo\.json is damaged/],
  ])('%s is left alone', async (_what, marker, code, message) => {
    const folder = join(d.folder, `demo-${code}`);
    mkdirSync(folder);
    writeFileSync(join(folder, 'demo.json'), marker);
    await expectError(code, message, 'demo', '--data-dir', folder);
    expect(readFileSync(join(folder, 'demo.json'), 'utf8')).toBe(marker);
  });

  it('of another suite, profile or number of meters says how to start it', async () => {
    await expectError(
      'demo-other-suite',
      /made for suite x25519; start with --suite x25519/,
      ...demo('--suite', 'p256'),
    );
    await expectError(
      'demo-other-profile',
      /made for profile full; start with --profile full/,
      ...demo('--profile', 'constrained'),
    );
    await expectError('demo-other-size', /made for 2 meters; start with --meters 2/, ...demo('--meters', '3'));
  });

  it('that cannot be written is named', () =>
    expectError('file-unwritable', /\/dev\/null\/.* cannot be written/, 'demo', '--data-dir', '/dev/null/x'));
});

describe('a demo whose port is in use ends what it has started, and says which', () => {
  it.each([
    ['its own', 'port-in-use', 0],
    ['that of a later process', 'port-unusable', -1],
  ])('%s', async (_whose, code, offset) => {
    expectTold(await run(...demo('--port', String(takenPort + offset), '--json')), code, naming());
  });
});
