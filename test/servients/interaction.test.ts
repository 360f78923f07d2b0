/** Interactions with a Thing that is found in a directory: by the command line, and by scripts. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addThings } from '../../servients/cli/things.js';
import { parseScript, runScript, type StepDone } from '../../servients/interaction-script.js';
import { codeOf, jsonOf, runVerb } from '../support/verbs.js';
import { runClient, runMeter, type RunningClient, type RunningMeter } from './coap-things.js';
import { DirectoryUnderTest } from './directory/under-test.js';

const id = 'urn:example:m-1';
const directory = new DirectoryUnderTest(true);
let meter: RunningMeter;
let client: RunningClient;

beforeAll(async () => {
  meter = await runMeter();
  client = await runClient(meter);
  await directory.start();
  expect((await directory.put({ ...meter.thing.getThingDescription(), id })).status).toBe(201);
});
afterAll(async () => {
  await client.servient.shutdown();
  await meter.servient.shutdown();
  await directory.backend.remove();
});

const consumeArgs = (...args: readonly string[]): readonly string[] => [
  ...['things', 'consume', id, ...args],
  ...['--directory', directory.backend.url],
];
const consume = (...args: readonly string[]): Promise<unknown> => jsonOf(addThings, ...consumeArgs(...args));

describe('gridring things consume', () => {
  it('reads, invokes, and prints what comes', async () => {
    expect(await consume('read', 'keyStatus')).toEqual({ epoch: 1 });
    expect(await consume('invoke', 'add', '--input', '{"n":1}')).toEqual({ n: 2 });
    expect(await runVerb(addThings, ...consumeArgs('invoke', 'forget'))).toBe('');
  });

  it('observes, and subscribes, for as long as it is to', async () => {
    expect(await consume('observe', 'keyStatus', '--count', '1')).toEqual({ epoch: 1 });
    const told = setInterval(() => {
      meter.emitter.event('reading', { w: 5 });
    }, 20);
    expect(await consume('subscribe', 'reading', '--count', '2')).toEqual({ w: 5 });
    clearInterval(told);
  });

  it('says what is wrong: no such Thing, no such affordance, no JSON, a refusal', async () => {
    expect(await codeOf(consume('read', 'colour'))).toBe('affordance-missing');
    await expect(consume('read', 'colour')).rejects.toThrow('it has identity, keyStatus, setting');
    expect(await codeOf(consume('invoke', 'add', '--input', '{'))).toBe('input-malformed');
    expect(await codeOf(consume('invoke', 'add', '--input', '{"m":1}'))).toBe('schema-mismatch');
    const other = runVerb(addThings, 'things', 'consume', 'none', 'read', 'x', '--directory', directory.backend.url);
    expect(await codeOf(other)).toBe('td-unknown');
  });
});

describe('a scripted test', () => {
  const run = (
    steps: readonly object[],
    values = {},
    onStep: (step: StepDone) => void = () => undefined,
  ): Promise<readonly StepDone[]> =>
    runScript(parseScript({ title: 'x', things: { m: '${id}' }, steps }), {
      thing: async () => client.meter,
      values: { id, ...values },
      timeoutMs: 10_000,
      onStep,
    });

  it('does step after step, hands on what was saved, and waits for what is to come', async () => {
    let changes: NodeJS.Timeout | undefined;
    const change = (): void => {
      const { epoch } = meter.status as { readonly epoch: number };
      meter.status = { epoch: Math.min(3, epoch + 1), more: true };
      meter.emitter.propertyChanged('keyStatus');
    };
    const done = await run(
      [
        { thing: 'm', invoke: 'add', input: { n: '${begin}' }, expect: { n: 5 }, save: 'sum' },
        { thing: 'm', invoke: 'add', input: '${sum}', expect: { n: 6 } },
        { thing: 'm', observe: 'keyStatus', as: 'key', expect: { epoch: 1 } },
        { wait: 'key', expect: { epoch: 3 }, timeoutMs: 20_000 },
      ],
      { begin: 4 },
      ({ what }) => {
        if (what.startsWith('observe')) changes = setInterval(change, 30);
      },
    );
    clearInterval(changes);
    meter.status = { epoch: 1 };
    // The first value that is as expected, with whatever else is in it.
    expect(done.at(-1)?.value).toEqual({ epoch: 3, more: true });
  });

  it.each([
    [{ thing: 'm', read: 'keyStatus', expect: { epoch: 2 } }, 'step 1, read m.keyStatus: epoch is 1, not 2'],
    [{ thing: 'm', read: 'keyStatus', expect: [1] }, 'the answer is {"epoch":1}, not an array of 1'],
    [{ thing: 'm', read: 'keyStatus', refused: {} }, 'was not refused, but answered {"epoch":1}'],
    [{ thing: 'm', invoke: 'add', input: { m: 1 }, refused: { status: 409 } }, 'status is 400, not 409'],
    [{ thing: 'm', invoke: 'add', input: '${nothing}' }, 'no value for ${nothing}: --set nothing='],
    [{ thing: 'm', subscribe: 'reading', expect: { w: 1 }, timeoutMs: 300 }, 'nothing came within'],
    [{ thing: 'other', read: 'x' }, '"things" has no other'],
    [{ wait: 'key' }, 'nothing was observed or subscribed to as key before'],
  ])('ends with what came out instead: %j', async (step, message) => {
    await expect(run([step])).rejects.toThrow(message);
    expect(await codeOf(run([step]))).toBe('step-failed');
  });

  it.each([{}, { title: 'x', things: {}, steps: [] }, { title: 'x', things: { m: 'a' }, steps: [{ thing: 'm' }] }])(
    'is refused where it is none: %j',
    async (script) => {
      expect(() => parseScript(script)).toThrow('no script of interactions');
    },
  );
});
