/** Many meters at once, from a signed list: real files, a real backend, and the authority's list. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { makeRequest } from '../../crypto/certificate/request.js';
import { generateSigner } from '../../crypto/keys.js';
import { limits } from '../../crypto/limits.js';
import { suiteX25519 as suite } from '../../crypto/suite-node.js';
import { runBackend, type RunningBackend } from '../../servients/backend.js';
import { provisionDemo } from '../../servients/demo/provision.js';
import { readCertificates, readIdentity } from '../../servients/identity-files.js';
import { readDeviceRows } from '../../servients/lifecycle/device-rows.js';
import { parseInvitation } from '../../servients/lifecycle/invitation.js';
import { readListFile } from '../../servients/membership/list-file.js';
import { systemNowS } from '../../servients/runtime.js';
import { seededRandom } from '../support/neighbourhood.js';
import { runHere } from '../support/verbs.js';

const folder = mkdtempSync(join(tmpdir(), 'gridring-devices-'));
const at = (...place: readonly string[]): string => join(folder, ...place);
const csv = at('devices.csv');
const out = at('enrolled');
const random = seededRandom('devices');
let backend: RunningBackend;
let gid: string;

beforeAll(async () => {
  provisionDemo({ folder, meters: 2, suite, profile: 'full', speed: 60, sleepy: 0, port: 1_024, seed: 'devices' });
  const files = { certificate: at('backend/certificate.pem'), key: at('backend/key.pem') };
  backend = await runBackend({
    identity: readIdentity(suite, files),
    suite,
    trustedRoots: readCertificates(suite, at('ca/root.pem'), 'root'),
    dataDir: at('backend/data-of-test'),
    listen: { address: '127.0.0.1', port: 0 },
    audience: 'gridring-demo',
    version: 'test',
    log: pino({ level: 'silent' }),
  });
  gid = toHex(inForce().list.gid);
  for (const id of ['maker', 'stranger']) {
    const issue = ['--dir', at('ca'), '--role', 'operator', '--id', id, '--out', at(id)];
    expect((await runHere('ca', 'issue', ...issue)).code).toBe(0);
  }
});
afterAll(async () => {
  await backend.close();
  rmSync(folder, { recursive: true });
});

const inForce = () => readListFile(at('membership.cbor'), at('ca/root.pem'), systemNowS()).membership;
const listed = (): readonly string[] =>
  inForce()
    .certificates.flatMap((certificate) => (certificate?.role === 'meter' ? [certificate.id] : []))
    .sort();

const sign = (identity: string) => runHere('meter', 'sign-devices', csv, '--identity', at(identity));
const enrol = (...more: readonly string[]) =>
  runHere(
    ...['meter', 'enrol', '--from', csv, '--out', out, '--ca', at('ca'), '--authority', at('authority')],
    ...['--file', at('membership.cbor'), '--root', at('ca/root.pem'), '--reader', at('readers/utility.json')],
    ...['--backend', backend.url, ...more],
  );
const keyHex = (): string => toHex(generateSigner(suite, random).signer.publicKey);
const csrOf = (id: string): string =>
  Buffer.from(makeRequest(suite, generateSigner(suite, random).signer, { role: 'meter', id })).toString('base64');

async function write(lines: readonly string[], identity = 'authority'): Promise<void> {
  writeFileSync(csv, `id,public_key,csr,gateway,group,name\r\n${lines.join('\r\n')}\r\n`);
  expect(await sign(identity)).toMatchObject({ code: 0 });
}

describe('a signed list of devices', () => {
  it('brings all of its meters in: those whose keys it tells with certificates and one list, the others with labels', async () => {
    const gateway = 'http://gateway.example:8471/.well-known/wot';
    await write([
      `kitchen,${keyHex()},,,${gid},`,
      `cellar,,${csrOf('cellar')},,${gid},`,
      `elsewhere,${keyHex()},,,${'ab'.repeat(16)},`,
      `attic,,,${gateway},,Attic <left>`,
    ]);
    const plan = await enrol('--dry-run');
    expect(plan.out).toContain('4 devices, of which 3 certified, 1 invited, 2 in the list; 0 rows would be refused');
    expect(existsSync(out)).toBe(false);
    const before = inForce().list.version;
    const done = await enrol();
    expect([done.code, done.errors]).toEqual([0, '']);
    expect(done.out).toContain('1 are of other groups');
    expect(inForce().list.version).toBe(before + 1);
    expect(listed()).toEqual(['cellar', 'kitchen', 'meter-01', 'meter-02']);
    expect(readdirSync(join(out, 'certificates')).sort()).toEqual(['cellar.pem', 'elsewhere.pem', 'kitchen.pem']);
    const invitation = parseInvitation(readFileSync(join(out, 'invitations/attic.json'), 'utf8'));
    expect(invitation).toMatchObject({ device: 'urn:gridring:meter:attic', gateway, backend: backend.url });
    const sheet = readFileSync(join(out, 'labels-001.html'), 'utf8');
    expect(sheet.match(/<svg/g)).toHaveLength(1);
    expect(sheet).toContain('Attic &lt;left&gt;');
    expect(sheet).not.toMatch(/<script|left>/);
    // What was invited can ask.
    const box = ['--invitation', join(out, 'invitations/attic.json'), '--out', at('box')];
    expect((await runHere('meter', 'enrol', ...box)).out).toContain('has asked');
  });

  it('goes on where it was cut off, and does nothing a second time', async () => {
    const code = () => parseInvitation(readFileSync(join(out, 'invitations/attic.json'), 'utf8')).code;
    const [version, codeBefore, certificate] = [inForce().list.version, code(), join(out, 'certificates/kitchen.pem')];
    const pem = readFileSync(certificate, 'utf8');
    // Cut off while a certificate was written.
    writeFileSync(join(out, 'certificates/elsewhere.pem'), pem.slice(0, 40));
    expect((await enrol()).code).toBe(0);
    expect([inForce().list.version, code(), readFileSync(certificate, 'utf8')]).toEqual([version, codeBefore, pem]);
    expect(readCertificates(suite, join(out, 'certificates/elsewhere.pem'), 'it')).toHaveLength(2);
    const asked = await runHere(
      'meter',
      'enrol',
      '--invitation',
      join(out, 'invitations/attic.json'),
      '--out',
      at('box'),
    );
    expect(asked.code).toBe(0);
  });

  it('takes nobody back who was removed, and gives nobody the name of another', async () => {
    const files = ['--file', at('membership.cbor'), '--root', at('ca/root.pem'), '--authority', at('authority')];
    expect((await runHere('membership', 'remove', 'cellar', '--url', backend.url, ...files)).code).toBe(0);
    const removed = await enrol();
    expect(removed.code).toBe(3);
    expect(removed.out).toMatch(/^line 3 \(cellar\): it was taken into a list before .*\[device-removed\]$/m);
    await write([`kitchen,${keyHex()},,,${gid},`, `meter-01,,,,,`]);
    const { out: text } = await enrol();
    expect(text).toMatch(/^line 2 \(kitchen\): .*\[device-other-key\]\nline 3 \(meter-01\): .*\[device-other-key\]$/m);
    expect(listed()).toEqual(['kitchen', 'meter-01', 'meter-02']);
  });

  it('is refused before a row is read where it was altered, or comes from who may not send it', async () => {
    await write([`garage,${keyHex()},,,${gid},`]);
    const [good, signature] = [readFileSync(csv, 'utf8'), readFileSync(`${csv}.sig`)];
    writeFileSync(csv, good.replace('garage', 'garbage'));
    expect(await enrol()).toMatchObject({
      code: 3,
      errors: expect.stringContaining('[device-list-altered]') as string,
    });
    writeFileSync(csv, good);
    for (const [bytes, code] of [
      [signature.map((byte, i) => (i === 120 ? byte ^ 1 : byte)), ''],
      [new Uint8Array(limits.endorsement + 1), 'device-list-too-large'],
      [Uint8Array.of(0x80), 'message-malformed'],
    ] as const) {
      writeFileSync(`${csv}.sig`, bytes);
      const { code: exit, errors } = await enrol();
      expect([exit, errors.includes(code)]).toEqual([3, true]);
    }
    await sign('stranger');
    expect((await enrol()).errors).toContain('[device-list-signer]');
    await sign('maker');
    expect((await enrol('--vendor', 'urn:gridring:operator:other')).errors).toContain('[device-list-signer]');
    expect((await enrol('--vendor', 'urn:gridring:operator:maker', '--dry-run')).code).toBe(0);
    expect(listed()).not.toContain('garage');
  });

  it('names every row that cannot be taken, with its line, and takes the others when it is told to', async () => {
    const key = keyHex();
    await write([`shed,${key},,,${gid},`]);
    const bad = [
      [`Shed,,,,,`, 'device-row'],
      [`shed,,,,,`, 'device-twice'],
      [`shed-2,${key},,,,`, 'device-twice'],
      [`shed-3,${'00'.repeat(32)},,,,`, 'key-invalid'],
      [`shed-4,,${csrOf('another')},,,`, 'device-row'],
      [`shed-5,,AAAA,,,`, 'certificate-malformed'],
      [`shed-6,,,javascript:alert(1),,`, 'device-row'],
      [`shed-7,,,,,"a,b"`, 'device-row'],
      [`shed-8,,,,,${'x'.repeat(limits.deviceLine)}`, 'device-row'],
    ] as const;
    const lines = [`shed,${key},,,${gid},`, ...bad.map(([line]) => line)];
    const file = new TextEncoder().encode(`id,public_key,csr,gateway,group,name\n${lines.join('\n')}\n`);
    const { rows, refused } = readDeviceRows(suite, file);
    expect(rows.map(({ id }) => id)).toEqual(['shed']);
    expect(refused.map(({ line, code }) => [line, code])).toEqual(bad.map(([, code], i) => [i + 3, code]));
    // Nobody signs such a list by mistake.
    writeFileSync(csv, file);
    expect(await sign('authority')).toMatchObject({ code: 3 });
    await write([`shed,${key},,,${gid},`, `kitchen,${keyHex()},,,${gid},`]);
    expect(await enrol()).toMatchObject({ code: 3, errors: expect.stringContaining('1 of 2 rows') as string });
    expect((await enrol('--skip-bad')).code).toBe(0);
    expect(listed()).toContain('shed');
  });

  it('may have as many rows as a year brings, and no more than a group holds', async () => {
    const many = (n: number) =>
      new TextEncoder().encode(`id\n${Array.from({ length: n }, (_, i) => `m-${i}`).join('\n')}\n`);
    expect(readDeviceRows(suite, many(10_000)).rows).toHaveLength(10_000);
    expect(() => readDeviceRows(suite, many(limits.deviceRows + 1))).toThrow(/at most/);
    expect(() => readDeviceRows(suite, new TextEncoder().encode('id,colour\na,red\n'))).toThrow(/columns/);
    await write(Array.from({ length: 65 }, (_, i) => `row-${i},${keyHex()},,,${gid},`));
    expect((await enrol()).errors).toContain('[members-too-many]');
    expect(existsSync(join(out, 'certificates/row-1.pem'))).toBe(false);
  });
});
