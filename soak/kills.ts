/** Processes killed without warning, one after the other: nothing that was acknowledged may be lost, nothing go back. */
import { sleep } from '../servients/runtime.js';
import { between, seededRandom } from '../servients/sim/random.js';
import { require, type Scenario, type SoakContext } from './scenario.js';
import { Town, townPlan } from './town.js';

const victims = ['backend', 'gateway', 'meter', 'gateway', 'meter'] as const;
const pauseMs = { min: 100, max: 1_500 };
const settleMs = 120_000;
/** Between these, crashes follow each other without regard to what is under way. */
const killsInARow = 5;

async function run({ seed, budgetMs, most = Infinity, folder, port, say }: SoakContext): Promise<void> {
  const random = seededRandom(seed, 'kills');
  const town = new Town(townPlan(folder, seed, port));
  town.configureGateway({ windowMs: 500, roundDeadlineMs: 10_000 });
  const highest = new Map<string, number>();
  const kills = { backend: 0, gateway: 0, meter: 0 };
  let count = 0;
  const compareMarks = async (role: 'gateway' | 'meter'): Promise<void> => {
    for (const [id, mark] of await town.highWaterMarks(role)) {
      require(mark >= (highest.get(id) ?? 0), `the high water mark of ${id} fell to ${mark} at kill ${count}`);
      highest.set(id, mark);
    }
  };
  const endMs = performance.now() + budgetMs;
  try {
    await town.start();
    await town.settled(settleMs);
    while (count < most && performance.now() < endMs) {
      await sleep(between(random, pauseMs), AbortSignal.timeout(pauseMs.max));
      const role = victims[Math.floor(random.next() * victims.length)] ?? 'gateway';
      await town.cast.crash(role, role === 'backend' ? undefined : () => compareMarks(role));
      kills[role] += 1;
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

export const kills: Scenario = { name: 'kills', share: 0.25, run };
