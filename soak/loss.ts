/** A group of fifteen is keyed over the real simulator, in real time. */
import { noImpairment, type Impairment } from '../servients/sim/impairment.js';
import type { Scenario, SoakContext } from './scenario.js';
import { Town, townPlan } from './town.js';

const meters = 15;
const settleMs = 60_000;
/** The rounds of an attempt, and its activation, each up to the deadline. */
const longestAttemptMs = 400_000;

const lossy = (lossRate: number): Impairment => ({ ...noImpairment, lossRate, delayMs: { min: 150, max: 300 } });

async function run(context: SoakContext): Promise<void> {
  const started = performance.now();
  // Enrolled first on a good network: under 20 % loss that alone takes a minute or two.
  context.say(`founded without loss in ${await keyed(context, noImpairment, settleMs)}`);
  context.say(`keyed anew with 20 % loss and 300 ms in ${await keyed(context, lossy(0.2), longestAttemptMs)}`);
  if (context.budgetMs - (performance.now() - started) < longestAttemptMs) {
    context.say('no time left for 40 % loss: give it a budget of ten minutes or more');
    return;
  }
  context.say(`keyed anew with 40 % loss and 300 ms in ${await keyed(context, lossy(0.4), 3 * longestAttemptMs)}`);
}

/** Starts everything, and has the group agree on its next epoch. @returns what it took, in words */
async function keyed({ folder, seed, port }: SoakContext, network: Impairment, withinMs: number): Promise<string> {
  const town = new Town({ ...townPlan(folder, seed, port), meters, speed: 60, network });
  town.configureGateway({ windowMs: 3_000 });
  try {
    await town.start();
    const tookMs = await town.settled(withinMs);
    const { newest } = town.keys;
    const agreementS = (Number(newest?.['agreementMs']) / 1_000).toFixed(1);
    return `${(tookMs / 1_000).toFixed(0)} s, attempt ${String(newest?.['attempt'])}, of which agreeing ${agreementS} s`;
  } finally {
    await town.close();
  }
}

export const loss: Scenario = { name: 'loss', share: 0.4, run };
