/** A running neighbourhood moves to a new root: every part of it by itself, and what hangs on the old root is refused at the end. */
import { copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { fromPem } from '../../crypto/certificate/pem.js';
import { addCa } from '../../servients/cli/ca.js';
import { addRead } from '../../servients/cli/read.js';
import { deploy, eventually, type TestDeployment } from '../support/deployment.js';
import { endAll } from '../support/processes.js';
import { codeOf, jsonOf, runVerb } from '../support/verbs.js';

let d: TestDeployment;
const at = (place: string): string => join(d.folder, place);

beforeAll(async () => {
  d = await deploy({ meters: 3 });
  d.configure('gateway', (config) => ({ ...config, group: { windowMs: 2_000, roundDeadlineMs: 5_000 } }));
  const backend = d.start('backend');
  await backend.event('backend-started');
  const gateway = d.start('gateway');
  await gateway.event('gateway-started');
  d.start('meter');
  await gateway.event('epoch');
});
afterAll(async () => {
  await endAll();
  d.remove();
});

interface Left {
  readonly event: string;
  readonly left: readonly string[];
}

const args = (step: string, ...more: readonly string[]): readonly string[] => [
  ...['ca', 'rollover', step, '--ca', at('ca'), '--next', at('ca-next'), '--name', 'Next'],
  ...['--file', d.membership, '--root', at('ca/root.pem'), '--authority', at('authority')],
  ...['--reader', d.readers.utility, '--keys', d.readers.household, ...more],
];
const rollover = (step: string, ...more: readonly string[]): Promise<string> =>
  runVerb(addCa, ...(args(step, ...more) as [string]));
const sequenceOf = async (): Promise<number> =>
  Math.min(...(await d.reader().meters()).map(({ lastSequence }) => lastSequence));

it('plans, has everybody trust both roots, certifies all keys anew, and gives up the old root when nobody needs it', async () => {
  expect(await codeOf(rollover('apply'))).toBe('rollover-unplanned');
  const plan = await rollover('plan');
  for (const name of [
    'meter:meter-01',
    'gateway:gateway',
    'backend:backend',
    'authority:community',
    'reader:utility',
  ]) {
    expect(plan).toContain(`urn:gridring:${name}, until`);
  }
  expect(await codeOf(rollover('finish'))).toBe('rollover-unfinished');
  const before = await eventually(async () => {
    const sequence = await sequenceOf();
    expect(sequence).toBeGreaterThan(0);
    return sequence;
  });
  copyFileSync(d.readers.utility, at('old-reader.json'));
  await rollover('apply', '--dry-run');
  expect(fromPem(readFileSync(at('ca/root.pem'), 'utf8'))).toHaveLength(1);
  const applied = await jsonOf<Left>(addCa, ...(args('apply') as [string]));
  expect(applied.left.filter((line) => line.includes('no certificate'))).toEqual([]);
  expect(fromPem(readFileSync(at('ca/root.pem'), 'utf8'))).toHaveLength(2);
  await eventually(async () => {
    expect(await rollover('finish')).toContain('the new root alone is trusted');
  });
  expect(fromPem(readFileSync(at('ca/root.pem'), 'utf8'))).toHaveLength(1);
  await eventually(async () => {
    expect((await d.reader().meters()).length).toBe(3);
    expect(await sequenceOf()).toBeGreaterThan(before + 5);
    const old = runVerb(addRead, 'read', '--meter', 'meter-01', '--reader', at('old-reader.json'));
    expect(await codeOf(old)).toBe('token-invalid');
  });
  const { breaks, opened } = await d.reader().read('meter-01', { after: 0 });
  expect([breaks, opened[0]?.sequence, opened.length > 5]).toEqual([0, 1, true]);
  expect(await rollover('finish')).toContain('the new root alone is trusted');
});
