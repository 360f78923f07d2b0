/** One epoch's agreement over CoAP, timed from the announcement until the last member has the key. */
import { performance } from 'node:perf_hooks';
import { GridringError } from '../crypto/errors.js';
import { sleep } from '../servients/runtime.js';
import { EpochRun, type EpochPlan } from '../things/epoch-run.js';
import { nowS, random, type Deployment } from './deployment.js';
import type { Neighbourhood } from './neighbourhood.js';
import { assertOneKey } from './same-key.js';

export interface Agreement {
  readonly wallMs: number;
  /** Processor time of all members and the coordinator together. */
  readonly cpuMs: number;
  /** One where nothing went wrong. */
  readonly attempts: number;
}

/** As a gateway's configuration has it by default. */
const roundDeadlineMs = 90_000;
const maxAttempts = 3;

/**
 * Attempt after attempt, until every member has the key.
 * @throws GridringError when the last attempt fails, TypeError when a member did not get the key of the others
 */
export async function agree(deployment: Deployment, neighbourhood: Neighbourhood, epoch: number): Promise<Agreement> {
  const cpuBefore = process.cpuUsage();
  const started = performance.now();
  let attempts = 0;
  let all = false;
  while (!all) {
    attempts++;
    const first = epoch === 1 ? 'founding' : 'periodic';
    const plan: EpochPlan = {
      epoch,
      attempt: attempts,
      reason: attempts === 1 ? first : 'retry',
      expiryS: nowS() + 300,
    };
    all = await attempt(deployment, neighbourhood, plan);
  }
  const wallMs = performance.now() - started;
  const { user, system } = process.cpuUsage(cpuBefore);
  assertOneKey(await Promise.all(deployment.meters.map(neighbourhood.keyOf)));
  return { wallMs, cpuMs: (user + system) / 1000, attempts };
}

/** @returns whether every meter is active */
async function attempt(
  { suite, gateway, membership, membershipBundle, meters }: Deployment,
  { members }: Neighbourhood,
  plan: EpochPlan,
): Promise<boolean> {
  const failures: unknown[] = [];
  const isLast = plan.attempt === maxAttempts;
  const run = new EpochRun(
    {
      context: () => ({ suite, self: gateway, membership, nowS: nowS(), random }),
      membershipBundle,
      members,
      reach: () => 'callable',
      roundDeadlineMs,
      sleeperDeadlineMs: roundDeadlineMs,
      sleep,
      onMemberFailed: (_member, _action, error) => failures.push(error),
      onProgress: () => undefined,
    },
    plan,
  );
  try {
    const { active } = await run.activate(await run.run());
    if (active === meters.length) return true;
    if (isLast) throw new TypeError('a member did not get its key', { cause: failures[0] });
  } catch (error) {
    if (isLast || !(error instanceof GridringError)) throw error;
  }
  return false;
}
