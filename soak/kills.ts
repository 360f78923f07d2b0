/** Processes killed without warning, one after the other: nothing that was acknowledged may be lost, nothing go back. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPostgresServer, type PostgresServer } from '../bench/postgres-server.js';
import { sleep } from '../servients/runtime.js';
import { between, seededRandom } from '../servients/sim/random.js';
import { require, type Scenario, type SoakContext } from './scenario.js';
import { Town, townPlan } from './town.js';

const victims = ['backend', 'gateway', 'meter', 'gateway', 'meter'] as const;
const pauseMs = { min: 100, max: 1_500 };
const settleMs = 120_000;
/** Between these, crashes follow each other without regard to what is under way. */
const killsInARow = 5;

type Victim = (typeof victims)[number] | 'database';

/** @param database the backend's, which is killed like the others; without one it has a file */
async function run(context: SoakContext, database?: PostgresServer): Promise<void> {
  const { seed, budgetMs, most = Infinity, folder, port, say } = context;
  const random = seededRandom(seed, 'kills');
  const town = new Town(townPlan(folder, seed, port));
  town.configureGateway({ windowMs: 500, roundDeadlineMs: 10_000 });
  if (database) town.configureBackend({ database: database.url });
  const highest = new Map<string, number>();
  const kills: Partial<Record<Victim, number>> = {};
  let count = 0;
  const compareMarks = async (role: 'gateway' | 'meter'): Promise<void> => {
    for (const [id, mark] of await town.highWaterMarks(role)) {
      require(mark >= (highest.get(id) ?? 0), `the high water mark of ${id} fell to ${mark} at kill ${count}`);
      highest.set(id, mark);
    }
  };
  const kill = async (): Promise<Victim> => {
    const all = database ? (['database', ...victims] as const) : victims;
    const victim = all[Math.floor(random.next() * all.length)] ?? 'gateway';
    if (victim === 'database') await database?.crash();
    else await town.cast.crash(victim, victim === 'backend' ? undefined : () => compareMarks(victim));
    return victim;
  };
  const endMs = performance.now() + budgetMs;
  try {
    await town.start();
    await town.settled(settleMs);
    while (count < most && performance.now() < endMs) {
      await sleep(between(random, pauseMs), AbortSignal.timeout(pauseMs.max));
      const victim = await kill();
      kills[victim] = (kills[victim] ?? 0) + 1;
      count += 1;
      if (count % killsInARow === 0)
        say(`keyed again ${(await town.settled(settleMs)).toFixed(0)} ms after kill ${count}`);
    }
    await town.settled(settleMs);
    const readings = await town.expectAllDelivered();
    say(`${count} kills ${JSON.stringify(kills)}: ${readings} readings, each once and in its order; no mark fell`);
  } finally {
    await town.close();
  }
}

/** Its server has a folder of its own, which another user may enter. */
async function runOnPostgres(context: SoakContext): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'gridring-soak-postgres-'));
  try {
    // What is killed are processes: what they gave to the system is not lost, on a disk or not yet.
    const server = await startPostgresServer({
      folder,
      initdbFlags: ['--no-sync'],
      postgresFlags: ['-c', 'fsync=off'],
    });
    try {
      await run(context, server);
    } finally {
      await server.stop();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export const kills: Scenario = { name: 'kills', share: 0.15, run: (context) => run(context) };
export const killsOnPostgres: Scenario = { name: 'kills-postgres', share: 0.1, run: runOnPostgres };
