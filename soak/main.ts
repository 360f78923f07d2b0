#!/usr/bin/env node
/** `npm run soak`: what takes too long for every test run, within a budget of time, from a seed. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, CommanderError, Option } from 'commander';
import { timeRange, wholeNumber } from '../servients/cli/options.js';
import type { Range } from '../servients/sim/random.js';
import { demo } from './demo.js';
import { floodScenario } from './flood.js';
import { fuzz } from './fuzz/fuzz.js';
import { makeTargets } from './fuzz/targets.js';
import { idleScenario } from './idle.js';
import { kills, killsOnPostgres } from './kills.js';
import { loss } from './loss.js';
import { require, type Scenario, type SoakContext } from './scenario.js';

const fullCases = 1_000_000;
const findingsFolder = 'test/vectors/fuzz';

const fuzzing: Scenario = {
  name: 'fuzz',
  share: 0.15,
  run: async ({ seed, budgetMs, most = fullCases, say }) => {
    const endMs = performance.now() + budgetMs;
    const targets = makeTargets();
    const { cases, accepted, findings } = fuzz(targets, { cases: most, seed, until: () => performance.now() > endMs });
    mkdirSync(findingsFolder, { recursive: true });
    for (const [i, finding] of findings.entries()) {
      writeFileSync(join(findingsFolder, `${seed}-${i}.json`), `${JSON.stringify(finding, null, 2)}\n`);
    }
    say(`${cases} mutants for ${targets.length} readers: ${accepted} were messages all the same, the rest was refused`);
    require(findings.length ===
      0, `${findings.length} findings are in ${findingsFolder}: ${JSON.stringify(findings[0])}`);
  },
};

const scenarios = [fuzzing, floodScenario, idleScenario, demo, kills, killsOnPostgres, loss] as const;

interface Options {
  readonly budget: Range;
  readonly seed: string;
  readonly only?: string;
  readonly count?: number;
  readonly port: number;
}

async function soak({ budget, seed, only, count, port }: Options): Promise<boolean> {
  const started = performance.now();
  const say = (line: string): void => {
    process.stdout.write(`${((performance.now() - started) / 1_000).toFixed(1).padStart(7)} s  ${line}\n`);
  };
  const chosen = scenarios.filter(({ name }) => only === undefined || name === only);
  say(`seed ${seed}, budget ${budget.max / 1_000} s: ${chosen.map(({ name }) => name).join(', ')}`);
  let whole = true;
  for (const { name, share, run } of chosen) {
    const folder = mkdtempSync(join(tmpdir(), `gridring-soak-${name}-`));
    const context: SoakContext = {
      ...{ seed, folder, port },
      budgetMs: only === undefined ? budget.max * share : budget.max,
      ...(count !== undefined && { most: count }),
      say: (line) => {
        say(`${name}: ${line}`);
      },
    };
    try {
      await run(context);
      rmSync(folder, { recursive: true, force: true });
    } catch (error) {
      whole = false;
      say(`${name}: FAILED, ${error instanceof Error ? error.message : String(error)}; its logs are in ${folder}`);
    }
  }
  return whole;
}

const program = new Command('soak')
  .description('Longer trials: mutated messages, floods, crashes and bad networks. All from a seed, within a budget.')
  .option('--budget <time>', 'for all scenarios together, or the one that is chosen', timeRange, timeRange('240s'))
  .option('--seed <text>', 'the same seed makes the same faults', '1')
  .addOption(new Option('--only <name>', 'one scenario').choices(scenarios.map(({ name }) => name)))
  .option('--count <n>', 'at most so many mutants or kills', wholeNumber(1, fullCases * 1_000))
  .option('--port <n>', 'first of the ports that are used', wholeNumber(1, 65_000), 18_470)
  .exitOverride();

try {
  const whole = await soak(program.parse().opts<Options>());
  // Sockets of clients may stay open for seconds.
  process.exit(whole ? 0 : 1);
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  process.exitCode = error.exitCode;
}
