/** `gridring demo`, as its users start, stop and kill it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DemoSummary } from '../../servients/demo/demo.js';
import { readReaderFile } from '../../servients/reader-file.js';
import { Reader } from '../../servients/reader.js';
import { eventually, expectUnbroken, makeFolder, removeFolder, testSpeed } from '../support/deployment.js';
import { endAll, freePorts, processesWith, start, type Ended, type Running } from '../support/processes.js';

const meters = ['meter-01', 'meter-02', 'meter-03', 'meter-04'];

let folder: string;
let port: number;
beforeAll(async () => {
  folder = makeFolder();
  port = await freePorts(14);
});
afterAll(async () => {
  await endAll();
  await expectNobodyLeft();
  removeFolder(folder);
});

const demo = (...args: readonly string[]): Running => {
  const plan = ['--meters', String(meters.length), '--speed', String(testSpeed), '--port', String(port)];
  return start('demo', '--json', '--data-dir', folder, ...plan, ...args);
};

const expectNobodyLeft = (): Promise<void> =>
  eventually(() => {
    expect(processesWith(folder)).toEqual([]);
  });

function expectAllWell({ code, out, errors }: Ended, epoch: number): void {
  expect({ code, errors }).toEqual({ code: 0, errors: '' });
  const summary = JSON.parse(out.trimEnd().split('\n').at(-1)!) as DemoSummary;
  const { readingsSent, readingsStored, readingsOpened } = summary;
  expect(summary).toMatchObject({ event: 'summary', ok: true, epoch, members: 4, confirmed: 4, chainBreaks: 0 });
  expect(summary).toMatchObject({ readingsPending: 0, readingsLost: 0 });
  expect(readingsSent).toBeGreaterThan(0);
  expect([readingsStored, readingsOpened]).toEqual([readingsSent, readingsSent]);
}

describe('a demo', () => {
  const utility = (): Reader => new Reader(readReaderFile(`${folder}/readers/utility.json`));
  const certHashes = async (): Promise<Record<string, string>> =>
    Object.fromEntries((await utility().meters()).map(({ id, certHash }) => [id, certHash]));
  let identities: Record<string, string>;

  it('runs until Ctrl-C, and ends with a summary in which nothing is missing', async () => {
    const running = demo();
    await running.event('readings', ({ readingsOpened }) => Number(readingsOpened) > 0);
    identities = await certHashes();
    expect(Object.keys(identities).sort()).toEqual(meters);
    expectAllWell(await running.end('SIGINT'), 1);
    expect(processesWith(folder)).toEqual([]);
    const registered = running.events.filter(({ event }) => event === 'registered').map(({ id }) => String(id));
    expect(registered.sort()).toEqual([
      'urn:gridring:gateway:gateway',
      ...meters.map((meter) => `urn:gridring:meter:${meter}`),
    ]);
  });

  it('goes on after a second start: the same identities, the next epoch, sequences without a gap; killed, it leaves nobody behind', async () => {
    const running = demo();
    await running.event('epoch', ({ epoch }) => epoch === 2);
    const reader = utility();
    for (const meter of meters) {
      await eventually(async () => {
        const { opened } = await reader.read(meter, { last: 1 });
        expect(opened.at(-1)?.epoch).toBe(2);
      });
      const readings = await expectUnbroken(utility(), meter);
      expect(new Set(readings.map(({ epoch }) => epoch))).toEqual(new Set([1, 2]));
    }
    expect(await certHashes()).toEqual(identities);
    const household = new Reader(readReaderFile(`${folder}/readers/household-01.json`));
    expect(await household.meters()).toMatchObject([{ id: 'meter-01' }]);
    await expectUnbroken(household, 'meter-01');
    const gaps = await start('gaps', '--reader', `${folder}/readers/household-01.json`, '--json').ended;
    expect(gaps.code).toBe(0);
    expect(gaps.out).toContain('"event":"gaps-summary","meters":1,"whole":1,"reported":0');
    expect(processesWith(folder)).toHaveLength(4);
    expect((await running.end('SIGKILL')).code).toBeUndefined();
    await expectNobodyLeft();
  });

  it('that is told to stop while it starts does so, and says that nobody confirmed a key', async () => {
    const running = demo();
    await running.event('backend-started');
    const { code, out } = await running.end('SIGINT');
    expect(code).toBe(1);
    expect(JSON.parse(out.trimEnd().split('\n').at(-1)!)).toMatchObject({ event: 'summary', ok: false, confirmed: 0 });
    expect(processesWith(folder)).toEqual([]);
  });
});
