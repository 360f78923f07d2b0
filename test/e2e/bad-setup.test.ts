/** What an operator can give wrongly: every role says what it is and what to do, ends with 2, and has changed nothing. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deploy, type RoleName, type TestDeployment } from '../support/deployment.js';
import { endAll, run, start } from '../support/processes.js';

type Change = Readonly<Record<string, unknown>>;

let d: TestDeployment;
let variants = 0;
/** Taken over UDP and TCP. */
let takenPort: number;
const [tcp, udp] = [createServer(), createSocket('udp4')];

beforeAll(async () => {
  d = await deploy({ meters: 2 });
  await once(tcp.listen(0, '127.0.0.1'), 'listening');
  takenPort = (tcp.address() as AddressInfo).port;
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

async function expectError(code: string, message: RegExp, ...args: readonly string[]): Promise<void> {
  const ended = await run(...args, '--json');
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

describe('a port that is in use is named, with what to do', () => {
  const naming = (): RegExp => new RegExp(`${String(takenPort)}.*choose another`);
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
  it('by a demo, which ends what it has started', () =>
    expectError('port-in-use', naming(), ...demo('--port', String(takenPort))));
  it('by a demo, one of whose later processes wants it', () =>
    expectError('port-unusable', naming(), ...demo('--port', String(takenPort - 1))));
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
    expectRoleError('backend', { key: '.' }, 'file-unreadable', /private key: .* cannot be read .*permissions/));
  it('that is none is named', () =>
    expectRoleError('backend', { key: 'config.json' }, 'key-unusable', /config\.json holds no private key in PEM/));
  it('that belongs to another is named', () =>
    expectRoleError('meter', { key: '../gateway/key.pem' }, 'key-mismatch', /gateway\/key\.pem is not the key of .*/));
  it('of another suite is named', () =>
    expectRoleError('backend', { suite: 'p256' }, 'certificate-unusable', /certificate\.pem: .* is not of suite 2/));
  it('of a CA is not taken for a device’s', () =>
    expectRoleError('backend', { certificate: '../ca/issuing.pem' }, 'certificate-unusable', /device's certificate/));
  it('of the root that is missing is named', () =>
    expectRoleError('backend', { root: '../nothing.pem' }, 'file-unreadable', /root certificate: .* does not exist/));
});

describe('a configuration', () => {
  it('that does not fit its schema is told every field that is wrong', () =>
    expectRoleError(
      'gateway',
      { id: 'Not An Id', listening: true },
      'config-invalid',
      /does not fit the schema of a gateway: .*“listening”.*\/id must match/,
    ));
  it('that is not JSON is named', () =>
    expectError(
      'config-invalid',
      /certificate\.pem is not JSON/,
      'meter',
      '--config',
      join(d.folder, 'gateway/certificate.pem'),
    ));
  it('of a gateway whose list is missing names it', () =>
    expectRoleError('gateway', { membership: 'nothing.cbor' }, 'file-unreadable', /membership list: .*nothing\.cbor/));
  it('of a meter whose readings are missing names them', () =>
    expectRoleError('meter', { source: { kind: 'csv', path: 'nothing.csv' } }, 'source-unreadable', /nothing\.csv/));
});

describe('a data folder', () => {
  const folderWith = (marker: object): string => {
    const folder = join(d.folder, `folder-${String(++variants)}`);
    mkdirSync(folder);
    writeFileSync(join(folder, 'gridring.json'), JSON.stringify({ ...whole, ...marker }));
    return folder;
  };
  const whole = { format: 1, role: 'backend', suite: 'x25519', created: '2026-01-01T00:00:00.000Z' };

  it.each<[string, object, string, RegExp]>([
    ['of another version', { format: 2 }, 'data-version', /has format 2, known here is 1: use the version/],
    ['of another suite', { suite: 'p256' }, 'data-suite', /made for suite p256, not x25519: choose that suite/],
    ['of another role', { role: 'meter' }, 'data-other-role', /belongs to a meter, not a backend/],
    ['that is damaged', { format: 'one' }, 'data-corrupt', /is damaged: put back a backup/],
  ])('%s is left alone', async (_what, marker, code, message) => {
    const dataDir = folderWith(marker);
    await expectRoleError('backend', { dataDir }, code, message);
    expect(JSON.parse(readFileSync(join(dataDir, 'gridring.json'), 'utf8'))).toEqual({ ...whole, ...marker });
  });

  it('that another process has is left to it', async () => {
    const dataDir = join(d.folder, 'shared');
    const listen = { address: '127.0.0.1', port: 0 };
    const first = start('backend', '--config', variant('backend', { dataDir, listen }), '--json');
    await first.event('backend-started');
    await expectRoleError('backend', { dataDir, listen }, 'data-locked', /is in use by another process: end that one/);
    expect((await first.end()).code).toBe(0);
  });

  it('that cannot be made is named', () =>
    expectRoleError('backend', { dataDir: '/dev/null/data' }, 'data-unreadable', /\/dev\/null\/data cannot be read/));
});

describe('the folder of a demo', () => {
  const other = (marker: string): string => {
    const folder = join(d.folder, `demo-${String(++variants)}`);
    mkdirSync(folder);
    cpSync(join(d.folder, 'readers'), join(folder, 'readers'), { recursive: true });
    writeFileSync(join(folder, 'demo.json'), marker);
    return folder;
  };

  it.each<[string, string, string, RegExp]>([
    ['of another version', '{"format":2}', 'data-version', /made by another version; choose another --data-dir/],
    ['that is damaged', '{"format":', 'data-corrupt', /demo\.json is damaged/],
    ['that is no marker', 'null', 'data-corrupt', /demo\.json is damaged/],
  ])('%s is left alone', (_what, marker, code, message) =>
    expectError(code, message, 'demo', '--meters', '2', '--data-dir', other(marker)),
  );

  it('of another suite, or another number of meters, says how to start it', async () => {
    await expectError(
      'demo-other-suite',
      /made for suite x25519; start with --suite x25519/,
      ...demo('--suite', 'p256'),
    );
    await expectError('demo-other-size', /made for 2 meters; start with --meters 2/, ...demo('--meters', '3'));
  });

  it('that cannot be written is named', () =>
    expectError('file-unwritable', /\/dev\/null\/.* cannot be written/, 'demo', '--data-dir', '/dev/null/x'));
});
