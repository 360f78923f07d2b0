/** A little of what `npm run soak` does for longer. */
import { afterAll, expect, it, vi } from 'vitest';
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

it('processes killed ten times lose no reading, keep their order, go back nowhere, and are keyed again', async () => {
  expect(await soak('kills', '--count', '10', '--budget', '90s')).toMatch(/10 kills .* readings, each once/);
});
