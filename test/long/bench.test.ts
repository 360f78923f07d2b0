import { describe, expect, it } from 'vitest';
import { runBench } from '../../bench/command.js';
import { medianInterval } from '../../bench/statistics.js';
import { limits } from '../../crypto/limits.js';

const smallest = ['--n', '3', '--suite', 'x25519', '--blocks', '1', '--runs', '1', '--pairs', '1', '--peer-runs', '1'];

async function output(...args: readonly string[]): Promise<string> {
  const written: string[] = [];
  await runBench([...args, ...smallest], (text) => written.push(text));
  return written.join('\n');
}

describe('the smallest run of the benchmarks', () => {
  it('prints the machine, and every table with a row', async () => {
    const text = await output();
    expect(text).toContain(`Node ${process.versions.node}, OpenSSL ${process.versions.openssl}`);
    const tables = text.split(/\n\n(?=[A-Z])/).slice(1);
    const subjects = ['Ring', 'Ring', 'Profiles', 'Founding', 'Churn', 'Churn', 'Churn', 'Bytes', 'Bytes', 'Bytes'];
    expect(tables.map((table) => table.split(':')[0])).toEqual(subjects);
    for (const table of tables) {
      expect(table).toMatch(/^x25519 +\w/m);
      expect(table).not.toContain('NaN');
    }
    // Everything at once, on a busy machine.
  }, 60_000);

  it('gives one JSON object, whose messages are as small as the protocol promises', async () => {
    const { machine, epochBytes } = JSON.parse(await output('bytes', '--json')) as {
      readonly machine: { readonly node: string };
      readonly epochBytes: readonly Readonly<
        Record<'share' | 'token' | 'confirmation' | 'state' | 'stateRekeying', number>
      >[];
    };
    expect(machine.node).toBe(process.versions.node);
    expect(epochBytes).toHaveLength(1);
    for (const { share, token, confirmation, state, stateRekeying } of epochBytes) {
      expect(stateRekeying).toBeGreaterThan(state);
      expect(Math.max(share, token, confirmation)).toBeLessThanOrEqual(limits.memberMessage);
    }
  });
});

it('the smallest run of the checks of who calls prints both tables', async () => {
  const written: string[] = [];
  await runBench(['auth', '--requests', '20', '--suite', 'x25519'], (text) => written.push(text));
  const text = written.join('\n');
  for (const row of [/^token and proof +20 +\d/m, /^REST, token and proof +20 +\d/m]) expect(text).toMatch(row);
  expect(text).not.toContain('NaN');
});

describe('the 95 % interval of a median', () => {
  const ranks = (count: number) => medianInterval(Array.from({ length: count }, (_, i) => count - i));

  it('lies between the order statistics of the published tables, and nowhere when there are too few', () => {
    expect(ranks(5)).toBeNull();
    expect(ranks(6)).toEqual({ low: 1, high: 6 });
    expect(ranks(10)).toEqual({ low: 2, high: 9 });
    expect(ranks(25)).toEqual({ low: 8, high: 18 });
    expect(ranks(100)).toEqual({ low: 40, high: 61 });
  });
});
