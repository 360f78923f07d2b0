/** libcoap's `coap-client` as a peer that shares no code with us. */
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ConflictError } from '../../crypto/errors.js';
import { noRateLimit, runMeter, type RunningMeter } from '../servients/coap-things.js';

const binary = ['coap-client-notls', 'coap-client', 'coap-client-gnutls', 'coap-client-openssl'].find(
  (name) => spawnSync(name, ['-h']).error === undefined,
);
const missing = 'coap-client is not installed: on Debian and Ubuntu, apt-get install libcoap3-bin';

if (binary === undefined) {
  if (process.env['CI'] === 'true') throw new Error(missing);
  console.warn(missing);
}

describe.skipIf(binary === undefined)('libcoap’s coap-client', () => {
  let running: RunningMeter;
  let folder: string;

  const run = (...args: readonly string[]): Promise<{ readonly out: string; readonly errors: string }> =>
    new Promise((resolve, reject) => {
      const child = spawn(binary ?? '', ['-B', '10', ...args]);
      let out = '';
      let errors = '';
      child.stdout.on('data', (text: Buffer) => (out += text.toString('latin1')));
      child.stderr.on('data', (text: Buffer) => (errors += text.toString()));
      child.on('error', reject);
      child.on('close', () => {
        resolve({ out, errors });
      });
    });
  const at = (...path: readonly string[]): string => `${running.origin}/${['meter-m-1', ...path].join('/')}`;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'libcoap-'));
  });
  afterAll(() => rm(folder, { recursive: true }));
  beforeEach(async () => {
    running = await runMeter({ limits: { rate: noRateLimit } });
  });
  afterEach(() => running.servient.shutdown());

  it('finds the Thing and fetches its TD block by block', async () => {
    expect((await run(`${running.origin}/.well-known/core`)).out).toContain('</meter-m-1>;rt="wot.thing";ct=432');
    expect((await run(`${running.origin}/.well-known/core?rt=wot.*&ct=432`)).out).toContain('</meter-m-1>');
    expect((await run(`${running.origin}/.well-known/core?rt=wot.directory`)).out.trim()).toBe('');
    const whole = await run('-A', '432', at());
    const small = await run('-b', '64', at());
    expect(JSON.parse(whole.out)).toEqual(running.thing.getThingDescription());
    expect(small.out).toBe(whole.out);
  });

  it.each([
    [100, '1024'],
    [1_024, '1024'],
    [3_000, '64'],
    [100_000, '1024'],
  ])('sends a message of %i bytes in blocks of %s, and gets it back', async (length, blockSize) => {
    const [from, to] = [join(folder, `${length}.in`), join(folder, `${length}.out`)];
    const bytes = randomBytes(length);
    await writeFile(from, bytes);
    await run('-b', blockSize, '-m', 'post', '-t', '18', '-f', from, '-o', to, at('actions', 'echo'));
    expect((await readFile(to)).equals(bytes)).toBe(true);
    expect(running.received).toHaveLength(1);
  });

  it('reads and invokes, confirmable or not', async () => {
    expect((await run(at('properties', 'identity'))).out.trim()).toBe('"m-1"');
    expect((await run('-N', at('properties', 'identity'))).out.trim()).toBe('"m-1"');
    const added = await run('-m', 'post', '-t', 'application/json', '-e', '{"n":1}', at('actions', 'add'));
    expect(added.out.trim()).toBe('{"n":2}');
  });

  it.each([
    ['4.04', ['/nothing']],
    ['4.04', ['/%25ZZ']],
    ['4.05', ['/actions/echo']],
    ['4.06', ['-A', '60', '/properties/identity']],
    ['4.15', ['-m', 'post', '-t', '60', '-e', 'x', '/actions/echo']],
    ['4.02', ['-O', '65001,x', '/properties/identity']],
    ['4.09', ['-m', 'post', '-t', '18', '-e', 'x', '/actions/echo']],
  ])('is told %s', async (code, args) => {
    running.echo = () => Promise.reject(new ConflictError('epoch-stale', 'epoch 3 is over'));
    const { out, errors } = await run(...args.map((text) => (text.startsWith('/') ? at() + text : text)));
    expect(out + errors).toContain(code);
  });

  it('is told 4.13 before all of a large body has been sent', async () => {
    await running.servient.shutdown();
    running = await runMeter({ limits: { rate: noRateLimit, bodyBytes: 10_000 } });
    const from = join(folder, 'large.in');
    await writeFile(from, randomBytes(50_000));
    const { out, errors } = await run('-m', 'post', '-t', '18', '-f', from, at('actions', 'echo'));
    expect(out + errors).toContain('4.13');
    expect(running.received).toEqual([]);
  });

  it('waits for a slow action without running it twice', async () => {
    running.echo = async (bytes) => {
      await sleep(150);
      return bytes;
    };
    expect((await run('-m', 'post', '-t', '18', '-e', 'slow', at('actions', 'echo'))).out.trim()).toBe('slow');
    expect(running.received).toHaveLength(1);
  });

  it('observes a property, and an event that needs several blocks', async () => {
    const text = 'x'.repeat(3_000);
    const told = setInterval(() => {
      running.status = { epoch: 2 };
      running.emitter.propertyChanged('keyStatus');
      running.emitter.event('reading', { text });
    }, 300);
    const [state, events] = await Promise.all([
      run('-s', '1', at('properties', 'keyStatus')),
      run('-s', '1', at('events', 'reading')),
    ]);
    clearInterval(told);
    expect(state.out).toContain('{"epoch":1}');
    expect(state.out).toContain('{"epoch":2}');
    expect(events.out).toContain(JSON.stringify({ text }));
  });

  it('speaks IPv6', async () => {
    const over6 = await runMeter({ address: '::1' });
    expect((await run(`${over6.origin}/meter-m-1/properties/identity`)).out.trim()).toBe('"m-1"');
    await over6.servient.shutdown();
  });
});
