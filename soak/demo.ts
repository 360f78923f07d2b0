/** The demonstration among faults: a bad network, wrong clocks, and processes that are killed. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { RuntimeEvent } from '../servients/runtime.js';
import { require, type Scenario, type SoakContext } from './scenario.js';

const program = fileURLToPath(new URL('../servients/cli/main.js', import.meta.url));
const network = ['--loss', '5%', '--delay', '1..10ms', '--reorder', '--duplicate'];
const faults = [...network, '--clock-error', '90s', '--crash', '1..2s'];

async function run({ folder, port, seed, say }: SoakContext): Promise<void> {
  const place = ['--data-dir', folder, '--port', String(port), '--json'];
  const pace = ['--meters', '3', '--speed', '600', '--for', '4', '--seed', seed];
  const child = spawn(process.execPath, [program, 'demo', ...pace, ...faults, ...place], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const events: RuntimeEvent[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => events.push(JSON.parse(line) as RuntimeEvent));
  const [code] = (await once(child, 'close')) as [number | null];
  const summary = events.at(-1);
  require(code === 0 && summary?.event === 'summary', `ended with ${String(code)}: ${JSON.stringify(summary)}`);
  const expected = { ok: true, confirmed: 3, readingsLost: 0, chainBreaks: 0 };
  for (const [name, value] of Object.entries(expected))
    require(summary[name] === value, `${name} is ${String(summary[name])}`);
  const crashes = events.filter(({ event }) => event === 'crash').length;
  require(crashes > 0 &&
    summary['crashes'] === crashes, `${crashes} crashes, counted as ${String(summary['crashes'])}`);
  const counts = summary['network'] as Readonly<Record<string, number>>;
  for (const name of ['forwarded', 'lost', 'delayed', 'reordered', 'duplicated'])
    require((counts[name] ?? 0) > 0, `no datagram was ${name}`);
  say(`${crashes} crashes, ${JSON.stringify(counts)}: ${String(summary['readingsOpened'])} readings opened, none lost`);
}

export const demo: Scenario = { name: 'demo', share: 0.1, run };
