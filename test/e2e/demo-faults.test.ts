/** The demonstration among faults: a bad network, wrong clocks, and processes that are killed; all from one seed. */
import { afterAll, expect, it } from 'vitest';
import { makeFolder, removeFolder } from '../support/deployment.js';
import { endAll, freePorts, start } from '../support/processes.js';

const folder = makeFolder();
afterAll(async () => {
  await endAll();
  removeFolder(folder);
});

it('loses nothing and keys everybody, whatever is lost, late, doubled, wrong or killed on the way', async () => {
  const port = await freePorts(213);
  const network = ['--loss', '5%', '--delay', '1..10ms', '--reorder', '--duplicate'];
  const faults = [...network, '--clock-error', '90s', '--crash', '1..2s', '--seed', '7'];
  const place = ['--data-dir', folder, '--port', String(port), '--json'];
  const demo = start('demo', '--meters', '3', '--speed', '600', ...place, ...faults, '--for', '4');
  const { code } = await demo.ended;
  const summary = demo.events.at(-1);
  expect(summary).toMatchObject({ event: 'summary', ok: true, confirmed: 3, readingsLost: 0, chainBreaks: 0 });
  expect(summary?.['crashes']).toBe(demo.events.filter(({ event }) => event === 'crash').length);
  expect(summary?.['crashes']).toBeGreaterThanOrEqual(1);
  expect(summary?.['readingsOpened']).toBeGreaterThan(0);
  const counts = summary?.['network'] as Readonly<Record<string, number>>;
  for (const name of ['forwarded', 'lost', 'delayed', 'reordered', 'duplicated'])
    expect(counts[name], name).toBeGreaterThan(0);
  expect(code).toBe(0);
});
