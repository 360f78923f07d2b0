/** A backup as an operator makes it of a backend at work, and what is left of the neighbourhood when only that is left. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { OpenedReading } from '../../servients/reader.js';
import { arrived, deploy, expectUnbroken, type TestDeployment } from '../support/deployment.js';
import { endAll, run, start, type Ended, type Running } from '../support/processes.js';

let d: TestDeployment;
let backend: Running;
let others: readonly Running[];
let backup: string;
let passphraseFile: string;
let before: readonly OpenedReading[];
let made: Ended;

beforeAll(async () => {
  d = await deploy({ meters: 2 });
  d.configure('gateway', () => ({ group: { windowMs: 1_000, roundDeadlineMs: 3_000 } }));
  backend = d.start('backend');
  await backend.event('backend-started');
  others = [d.start('gateway'), d.start('meter')];
  await arrived(d.reader(), { 'meter-01': 10, 'meter-02': 10 });
  before = await expectUnbroken(d.reader(), 'meter-01');
  [backup, passphraseFile] = [join(d.folder, 'backend.age'), join(d.folder, 'passphrase')];
  writeFileSync(passphraseFile, 'a horse, a staple and a battery\n');
  const place = ['--config', d.configs.backend, '--out', backup];
  made = await run('backup', 'backend', ...place, '--passphrase-file', passphraseFile, '--json');
});
afterAll(async () => {
  await endAll();
  d.remove();
});

const restore = (file: string, passphrase: string, ...args: readonly string[]): Promise<Ended> =>
  run('restore', file, '--passphrase-file', passphrase, '--verify', '--json', ...args);

/** On a slow machine it says before how far it is. */
const outcome = ({ out }: Ended): object => JSON.parse(out.trimEnd().split('\n').at(-1) ?? '') as object;

const numbered = (readings: readonly OpenedReading[]): readonly unknown[] =>
  readings.map(({ sequence, reading }) => ({ sequence, reading }));

describe('the backup of a backend that takes readings', () => {
  it('is checked, and refused under another passphrase or with one byte changed, with nothing left behind', async () => {
    expect(made, made.out).toMatchObject({ code: 0, errors: '' });
    expect(outcome(made)).toMatchObject({ event: 'backed-up', role: 'backend', stores: 1 });
    const [wrongPassphrase, altered] = [join(d.folder, 'wrong'), join(d.folder, 'altered.age')];
    writeFileSync(wrongPassphrase, 'a horse, a staple and a cart\n');
    const bytes = readFileSync(backup);
    writeFileSync(
      altered,
      bytes.map((byte, i) => (i === bytes.length - 1_000 ? byte ^ 1 : byte)),
    );
    const to = (name: string): readonly string[] => ['--to', join(d.folder, name)];
    const [restored, wrong, other] = await Promise.all([
      restore(backup, passphraseFile, ...to('restored')),
      restore(backup, wrongPassphrase, ...to('never')),
      restore(altered, passphraseFile, ...to('never')),
    ]);
    expect(restored, restored.out).toMatchObject({ code: 0, errors: '' });
    expect(outcome(restored)).toMatchObject({ event: 'restored', role: 'backend', checked: { gaps: 0 } });
    expect([wrong, other].map((ended) => [ended.code, outcome(ended)])).toMatchObject([
      [3, { code: 'backup-key-wrong' }],
      [3, { code: 'backup-altered' }],
    ]);
  });

  it('starts where the old one is lost, and readers open all that they opened before', async () => {
    for (const role of others) await role.end();
    const all = await expectUnbroken(d.reader(), 'meter-01');
    await backend.end('SIGKILL');
    await start('backend', '--config', join(d.folder, 'restored/config.json'), '--json').event('backend-started');
    const after = await expectUnbroken(d.reader(), 'meter-01');
    expect(numbered(after).slice(0, before.length)).toEqual(numbered(before));
    expect(numbered(after)).toEqual(numbered(all).slice(0, after.length));
  });
});
