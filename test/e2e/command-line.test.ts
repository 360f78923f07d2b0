/**
 * Every verb of the command line, in a real shell's terms: what it prints where, and the exit code. Some are processes, as
 * a shell starts them; most run in this one, for a process takes most of a second to start.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { validateTd } from '../../td/validate-td.js';
import { eventually, makeFolder, removeFolder, testSpeed } from '../support/deployment.js';
import { endAll, freePorts, program, run, start, type Ended } from '../support/processes.js';
import { runHere } from '../support/verbs.js';

let folder: string;
let port: number;
let directory: string;
beforeAll(async () => {
  folder = makeFolder();
  port = await freePorts(13);
  directory = `http://127.0.0.1:${port}`;
  const plan = ['--meters', '2', '--speed', String(testSpeed), '--port', String(port)];
  const demo = start('demo', '--json', '--data-dir', folder, ...plan);
  await demo.event('readings', ({ readingsOpened }) => Number(readingsOpened) >= 10);
});
afterAll(async () => {
  await endAll();
  await eventually(() => {
    removeFolder(folder);
  });
});

const lines = ({ out }: Ended): readonly string[] => out.trimEnd().split('\n');
const key = (reader: 'utility' | 'household-01'): readonly string[] => [
  '--reader',
  join(folder, `readers/${reader}.json`),
];

describe('things and td', () => {
  it('things lists what is in the directory, as a table and as JSON', async () => {
    const [table, json] = await Promise.all([
      run('things', '--directory', directory),
      // As it is copied from the table.
      runHere('things', '--directory', `${directory}/`, '--json'),
    ]);
    expect([table.code, json.code]).toEqual([0, 0]);
    const things = lines(json).map((line) => JSON.parse(line) as { id: string; title: string; at: string });
    expect(things).toContainEqual({
      id: 'urn:gridring:meter:meter-01',
      title: 'meter-01',
      at: `coap://127.0.0.1:${port + 10}/meter-01/`,
    });
    expect(things).toHaveLength(5);
    const [head, ...rows] = lines(table);
    expect(head).toMatch(/^ID +TITLE +AT$/);
    expect(rows.map((row) => row.split(/ {2,}/))).toEqual(things.map(({ id, title, at }) => [id, title, at]));
  });

  it('things and td check, with the root, that devices have signed their descriptions', async () => {
    const root = ['--root', join(folder, 'ca/root.pem'), '--directory', directory, '--json'];
    const [all, one] = await Promise.all([runHere('things', ...root), runHere('td', 'meter-01', ...root)]);
    expect([all.code, one.code]).toEqual([0, 0]);
    expect(lines(all).map((line) => (JSON.parse(line) as { signed: string }).signed)).toEqual(Array(5).fill('yes'));
  });

  it('td prints a valid Thing Description, by the id of a meter or by its URN', async () => {
    const [long, short] = await Promise.all([
      runHere('td', 'meter-01', '--directory', directory),
      runHere('td', 'urn:gridring:gateway:gateway', '--directory', directory, '--json'),
    ]);
    expect([long.code, short.code]).toEqual([0, 0]);
    for (const { out } of [long, short]) expect(validateTd(JSON.parse(out))).toMatchObject({ valid: true });
    expect(lines(short)).toHaveLength(1);
  });
});

describe('read', () => {
  const columns = 'sequence,time,power_w,energy_wh,energy_total_wh,voltage_v,current_a,source,epoch'.split(',');

  it('opens readings as a table, as CSV and as JSON', async () => {
    const at = ['read', '--meter', 'meter-01', ...key('household-01'), '--last', '3'];
    const [table, csv, json] = await Promise.all([runHere(...at), runHere(...at, '--csv'), runHere(...at, '--json')]);
    expect([table.code, csv.code, json.code]).toEqual([0, 0, 0]);
    expect(lines(table)[0]?.split(/ +/)).toEqual(columns);
    for (const ended of [table, csv]) expect(lines(ended)).toHaveLength(4);
    const [head, ...rows] = lines(csv).map((line) => line.split(','));
    expect(head).toEqual(columns);
    const sequences = rows.map(([sequence]) => Number(sequence));
    expect(sequences).toEqual(sequences.map((_, i) => sequences[0]! + i));
    for (const line of lines(json)) {
      expect(JSON.parse(line)).toMatchObject({ meter: 'meter-01', source: 'replay', epoch: 1, intervalS: 60 });
    }
  });

  it('takes a meter’s URN, and another address of the backend', async () => {
    const at = ['read', '--meter', 'urn:gridring:meter:meter-02', ...key('utility'), '--last', '1', '--json'];
    const { code, out } = await run(...at, '--backend', `${directory}/`);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ meter: 'meter-02' });
  });
});

describe('meter ls and group status', () => {
  it('show certificates, last readings and the newest key of the meters that one may see', async () => {
    const [meters, group] = await Promise.all([
      runHere('meter', 'ls', ...key('household-01'), '--json'),
      runHere('group', 'status', ...key('utility')),
    ]);
    expect([meters.code, group.code]).toEqual([0, 0]);
    expect(lines(meters).map((line) => JSON.parse(line) as unknown)).toEqual([
      expect.objectContaining({
        id: 'meter-01',
        key: 'holds it',
        epoch: 1,
        lastReading: expect.objectContaining({ epoch: 1 }) as unknown,
        gateway: expect.objectContaining({ reach: 'callable', active: true }) as unknown,
      }),
    ]);
    expect(group.out).toMatch(
      /^epoch {3}1\.1, founding, recorded \S+: 2 hold the key\nbehind {2}nobody\nnext {4}a new key would reach all members$/m,
    );
  });
});

describe('epoch', () => {
  it('lists and shows what was agreed, and tells who can read it', async () => {
    const [ls, show, canRead] = await Promise.all([
      runHere('epoch', 'ls', ...key('utility')),
      runHere('epoch', 'show', '1', ...key('household-01'), '--json'),
      runHere('epoch', 'can-read', 'meter-02', '1', ...key('utility'), '--json'),
    ]);
    expect([ls.code, show.code, canRead.code]).toEqual([0, 0, 0]);
    expect(lines(ls)[0]).toMatch(/^EPOCH +REASON +MEMBERS +LIST +KEY +RECORDED +STATE$/);
    expect(lines(ls).at(-1)).toMatch(/^1\.1 +founding +2 +1 +[0-9a-f]{16} +\S+ +endorsed$/);
    expect(JSON.parse(show.out)).toMatchObject({ epoch: 1, endorsedBy: 'urn:gridring:backend:backend' });
    expect(JSON.parse(canRead.out)).toMatchObject({ canRead: true, confirmation: expect.any(String) as string });
  });

  it('writes a proof that verifies with the root alone, and no longer when a byte of it is another', async () => {
    const [proof, forged] = ['proof.cbor', 'forged.cbor'].map((name) => join(folder, name)) as [string, string];
    expect(await runHere('epoch', 'export', '1', '--out', proof, ...key('utility'))).toMatchObject({ code: 0 });
    const bytes = readFileSync(proof);
    writeFileSync(
      forged,
      bytes.map((byte, i) => (i === bytes.length - 1_100 ? byte ^ 1 : byte)),
    );
    const root = ['--root', join(folder, 'ca/root.pem')];
    const [good, bad] = await Promise.all([
      runHere('epoch', 'verify', proof, ...root, '--meter', 'meter-01'),
      runHere('epoch', 'verify', forged, ...root, '--json'),
    ]);
    expect([good.code, bad.code]).toEqual([0, 1]);
    expect(lines(good)[0]).toMatch(/^epoch 1, attempt 1, of group [0-9a-f]{32}: the proof verifies$/);
    expect(lines(good).at(-1)).toBe('yes: meter-01 holds the key');
    expect(JSON.parse(bad.out)).toMatchObject({
      event: 'error',
      message: expect.stringMatching(/^(record|endorsement): /) as string,
    });
  });
});

/** A day of the replay ends at midnight, wherever in it the demo began: there is a checkpoint, or not yet. */
describe('checkpoint', () => {
  const at = (): readonly string[] => ['--meter', 'meter-01', ...key('household-01'), '--json'];

  it('lists what a meter has signed, and keeps what is in the list', async () => {
    const file = join(folder, 'a.checkpoint');
    const keep = await runHere('checkpoint', 'keep', ...at(), '-o', file);
    const ls = await runHere('checkpoint', 'ls', ...at());
    expect(ls).toMatchObject({ code: 0, errors: '' });
    if (keep.code === 0) {
      const of = (ended: Ended): object => ({ ...(JSON.parse(lines(ended)[0]!) as object), event: '', file: '' });
      expect(of(keep)).toEqual(of(ls));
      const verified = await runHere('checkpoint', 'verify', file, ...key('household-01'), '--json');
      expect(verified).toMatchObject({ code: 0, errors: '' });
      expect(lines(verified).map((line) => JSON.parse(line) as object)).toMatchObject([
        { event: 'checkpoint-verified', meter: 'meter-01' },
        { event: 'checkpoint-compared', unchanged: true },
      ]);
    } else {
      expect(keep.code).toBe(4);
      expect(JSON.parse(keep.out)).toMatchObject({ event: 'error', code: 'checkpoint-unknown' });
    }
  });

  it('keeps none of a day that is not over, and takes no other file for one', async () => {
    const [none, other] = await Promise.all([
      runHere('checkpoint', 'keep', ...at(), '--day', '1999-12-31'),
      runHere('checkpoint', 'verify', join(folder, 'membership.cbor'), ...key('household-01'), '--json'),
    ]);
    expect([none, other].map(({ code }) => code)).toEqual([4, 3]);
    expect(JSON.parse(none.out)).toMatchObject({ event: 'error', code: 'checkpoint-unknown' });
    expect(JSON.parse(other.out)).toMatchObject({ event: 'error', code: 'message-malformed' });
  });
});

describe('ca', () => {
  it('makes a CA whose keys only their owner reads, and certifies devices', async () => {
    const ca = join(folder, 'other-ca');
    const device = join(folder, 'device');
    expect(await runHere('ca', 'init', '--dir', ca, '--suite', 'p256')).toMatchObject({ code: 0, errors: '' });
    const names = ['--role', 'meter', '--id', 'kitchen', '--out', device];
    const issued = await runHere('ca', 'issue', '--dir', ca, '--suite', 'p256', ...names, '--json');
    expect(issued.code).toBe(0);
    expect(JSON.parse(issued.out)).toMatchObject({ event: 'issued', role: 'meter', id: 'kitchen' });
    const modes = [ca, device].flatMap((place) =>
      readdirSync(place).map((name) => [name, statSync(join(place, name)).mode & 0o777] as const),
    );
    expect(Object.fromEntries(modes.filter(([name]) => name.endsWith('key.pem')))).toEqual({
      'root.key.pem': 0o600,
      'issuing.key.pem': 0o600,
      'key.pem': 0o600,
    });
    const [root, issuing] = ['root.pem', 'issuing.pem'].map(
      (name) => new X509Certificate(readFileSync(join(ca, name))),
    );
    const leaf = new X509Certificate(readFileSync(join(device, 'certificate.pem')));
    expect([leaf.verify(issuing!.publicKey), issuing!.verify(root!.publicKey)]).toEqual([true, true]);
    expect(leaf.checkPrivateKey(createPrivateKey(readFileSync(join(device, 'key.pem'))))).toBe(true);
    expect(await runHere('ca', 'init', '--dir', ca)).toMatchObject({ code: 2 });
  });

  it('makes a reader, who reads once the authority has added it, and nothing of before', async () => {
    const out = join(folder, 'auditor');
    const issue = ['ca', 'issue', '--dir', join(folder, 'ca'), '--role', 'reader', '--id', 'auditor', '--out', out];
    expect(JSON.parse((await runHere(...issue, '--json')).out)).toMatchObject({ code: 'reader-incomplete' });
    const issued = await runHere(...issue, '--backend', directory, '--audience', 'gridring-demo', '--json');
    const files = JSON.parse(issued.out) as { readonly [name in 'hpkeKey' | 'certificate' | 'reader']: string };
    expect(statSync(files.reader).mode & 0o777).toBe(0o600);
    const place = ['--file', join(folder, 'membership.cbor'), '--root', join(folder, 'ca/root.pem')];
    const authority = ['--authority', join(folder, 'authority'), '--url', directory];
    const entry = [files.certificate, '--reads', 'meter-01', `--hpke-key=${files.hpkeKey}`];
    expect(await runHere('membership', 'add', ...entry, ...place, ...authority)).toMatchObject({ code: 0, errors: '' });
    const read = ['read', '--meter', 'meter-01', '--reader', files.reader, '--last', '500', '--json'];
    await eventually(async () => {
      const { out, errors } = await runHere(...read);
      expect(out, errors).not.toBe('');
      const { sequence } = JSON.parse(out.split('\n', 1)[0] ?? '') as { readonly sequence: number };
      expect(sequence).toBeGreaterThan(1);
    });
  });
});

it.each([
  'demo',
  'read',
  'things',
  'td',
  'backend',
  'gateway',
  'meter',
  'ca',
  'ca init',
  'ca issue',
  'membership',
  'membership remove',
  'epoch',
])('%s --help says how it is used', async (verb) => {
  const { code, out, errors } = await runHere(...verb.split(' '), '--help');
  expect({ code, errors }).toEqual({ code: 0, errors: '' });
  expect(out).toContain(`Usage: gridring ${verb} [options]`);
});

describe('exit codes', () => {
  it('are listed where help is asked for', async () => {
    const { out } = await runHere('--help');
    expect(lines({ code: 0, errors: '', out }).filter((line) => /^ {2}\d /.test(line))).toHaveLength(7);
  });

  it.each<[number, RegExp, readonly string[]]>([
    [2, /unknown command 'nothing'/, ['nothing']],
    [2, /unknown option '--nothing'/, ['demo', '--nothing']],
    [2, /from 2 to 32/, ['demo', '--meters', '1']],
    [2, /at least 1/, ['demo', '--for', 'ever']],
    [2, /'--reader <file>' not specified/, ['read', '--meter', 'meter-01']],
    [2, /cannot be used with option '--json'/, ['read', '--meter', 'm', '--reader', 'r', '--csv', '--json']],
    [2, /an address such as/, ['things', '--directory', 'nowhere']],
    [2, /\/nothing does not exist; check the path/, ['read', '--meter', 'meter-01', '--reader', '/nothing']],
    [2, /is no usable reader key file: it is not JSON/, ['read', '--meter', 'meter-01', '--reader', program]],
    [5, /does not answer/, ['things', '--directory', 'http://127.0.0.1:9']],
  ])('%i, saying %s', async (code, message, args) => {
    const ended = await runHere(...args);
    expect(ended.code).toBe(code);
    expect(ended.errors).toMatch(message);
    expect(ended.errors).not.toMatch(/\n\s+at /);
  });

  it('2 for a role without a configuration', async () => {
    expect(await run('backend')).toMatchObject({
      code: 2,
      errors: expect.stringMatching(/needs --config FILE/) as string,
    });
  });

  it('4 for a meter or Thing that is not there, and for a meter that this reader may not know of', async () => {
    const asked = [
      await runHere('read', '--meter', 'meter-99', ...key('utility'), '--json'),
      await runHere('read', '--meter', 'meter-02', ...key('household-01'), '--json'),
      await runHere('td', 'meter-99', '--directory', directory, '--json'),
    ];
    expect(asked.map(({ code, out }) => [code, (JSON.parse(out) as { code: string }).code])).toEqual([
      [4, 'meter-unknown'],
      [4, 'meter-unknown'],
      [4, 'td-unknown'],
    ]);
  });

  it('5 for a backend that is away', async () => {
    const ended = await runHere(
      'read',
      '--meter',
      'meter-01',
      ...key('utility'),
      '--backend',
      'http://127.0.0.1:9',
      '--json',
    );
    expect(ended).toMatchObject({ code: 5, errors: '' });
    expect(JSON.parse(ended.out)).toMatchObject({ event: 'error', code: 'backend-unreachable' });
  });
});
