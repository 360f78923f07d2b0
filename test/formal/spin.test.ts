/** One run of the state machines of `formal/ring.pml` under Spin, through `formal/check.sh`, of which CI makes all. */
import { execFile, spawnSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const models = fileURLToPath(new URL('../../formal', import.meta.url));
const isMissing = [
  ['spin', '-V'],
  ['cc', '--version'],
].some(([tool, option]) => spawnSync(tool!, [option!]).error !== undefined);
const missing = 'Spin is not installed: on Debian and Ubuntu, apt install spin gcc';

if (isMissing) {
  if (process.env['CI'] === 'true') throw new Error(missing);
  console.warn(missing);
}

interface Checked {
  readonly code: number | string | null | undefined;
  readonly lines: readonly string[];
}

describe.skipIf(isMissing)('the state machines under Spin', { timeout: 120_000 }, () => {
  let temporary: string;

  beforeAll(async () => {
    temporary = await mkdtemp(join(tmpdir(), 'gridring-formal-'));
    await mkdir(join(temporary, 'scratch'));
  });
  afterAll(() => rm(temporary, { recursive: true }));

  const check = (folder: string, ...args: readonly string[]): Promise<Checked> =>
    new Promise((resolve) => {
      const env = { ...process.env, TMPDIR: join(temporary, 'scratch') };
      execFile('sh', [join(folder, 'check.sh'), '--spin-only', ...args], { env }, (error, out) => {
        resolve({ code: error ? error.code : 0, lines: out.trim().split('\n') });
      });
    });

  it('keep what they promise, and are told apart from a model that does not, or takes too long', async () => {
    const whole = await check(models, '--budget', '100', 'honest coordinator');
    expect(whole).toMatchObject({ code: 0, lines: [expect.stringMatching(/^ok /)] });
    const changed = join(temporary, 'changed');
    await cp(models, changed, { recursive: true });
    const model = await readFile(join(models, 'ring.pml'), 'utf8');
    await writeFile(join(changed, 'ring.pml'), model.replace('hw < 1 && ann[1]', 'ann[1]'));
    const wrong = await check(changed, 'honest coordinator');
    expect(wrong).toMatchObject({
      code: 1,
      lines: [expect.stringMatching(/^BAD {2}honest coordinator .*A5, expected none$/)],
    });
    const late = await check(models, '--budget', '0', 'honest coordinator');
    expect(late).toMatchObject({ code: 1, lines: [expect.stringContaining('unfinished, expected none')] });
    expect(await readdir(join(temporary, 'scratch'))).toEqual([]);
  });
});
