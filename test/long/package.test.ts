/** The package as it is published: installed into an empty folder from its tarball, it runs. */
import { mkdtempSync, readFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { removeFolder } from '../support/deployment.js';
import { endAll, freePorts, program, startCommand, type Ended } from '../support/processes.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
// On a disk: what is installed is too large for the memory that a container gives to /dev/shm.
const folder = mkdtempSync(join(tmpdir(), 'gridring-package-'));
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { readonly version: string };

const gridring = ['npx', '--no', '--', 'gridring'];
const here = (...command: readonly string[]): Promise<Ended> => startCommand(command, { cwd: folder }).ended;

beforeAll(async () => {
  // Without scripts: what was built is packed.
  const packed = await startCommand(['npm', 'pack', '--ignore-scripts', '--pack-destination', folder], { cwd: root })
    .ended;
  expect(packed.code, packed.errors).toBe(0);
  const quietly = ['--prefer-offline', '--no-audit', '--no-fund'];
  const installed = await here('npm', 'install', ...quietly, `./gridring-${version}.tgz`);
  expect(installed.code, installed.errors).toBe(0);
}, 180_000);
afterAll(async () => {
  await endAll();
  removeFolder(folder);
});

it('is built as a program: npx runs it from a checkout, and makes it one only the first time', () => {
  expect(statSync(program).mode & 0o111).toBe(0o111);
});

it('shows its version, and an outsider finds what it exports', async () => {
  expect(await here(...gridring, '--version')).toMatchObject({ code: 0, out: `${version}\n` });
  const modules = ['crypto/ring/member', 'crypto/suite-noble', 'td/validate-td', 'things/backend', 'servients/reader'];
  const imports = modules.map((module) => `await import('gridring/${module}');`).join('');
  expect(await here(process.execPath, '--input-type=module', '-e', imports)).toMatchObject({ code: 0, errors: '' });
});

it('runs a neighbourhood of the other suite with one command', async () => {
  const port = String(await freePorts(13));
  const plan = ['--suite', 'p256', '--meters', '3', '--for', '20', '--port', port];
  const { code, out } = await here(...gridring, 'demo', '--json', ...plan);
  const summary: unknown = JSON.parse(out.trimEnd().split('\n').at(-1) ?? '');
  expect([code, summary], out).toMatchObject([0, { event: 'summary', ok: true, confirmed: 3, readingsLost: 0 }]);
});
