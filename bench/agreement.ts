/** One epoch's agreement over CoAP, timed from the coordinator's list until the last member has the key. */
import { performance } from 'node:perf_hooks';
import { GridringError } from '../crypto/errors.js';
import { roleBit, type Membership } from '../crypto/membership.js';
import type { Reason } from '../crypto/ring/messages.js';
import { sleep } from '../servients/runtime.js';
import { EpochRun, type EpochPlan } from '../things/epoch-run.js';
import type { Identity } from '../things/parts.js';
import { nowS, random, verified, type Deployment } from './deployment.js';
import type { Neighbourhood } from './neighbourhood.js';
import { assertOneKey } from './same-key.js';

export interface AgreementPlan {
  readonly epoch: number;
  readonly reason: Reason;
  /** As the authority signed it; the coordinator verifies it within the time that is measured. */
  readonly membershipBundle: Uint8Array;
  readonly meters: readonly Identity[];
}

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

/** @throws GridringError when the last attempt fails, TypeError when a member did not get the key of the others */
export async function agree(
  deployment: Deployment,
  neighbourhood: Neighbourhood,
  { epoch, reason, membershipBundle, meters }: AgreementPlan,
): Promise<Agreement> {
  const cpuBefore = process.cpuUsage();
  const started = performance.now();
  const membership = verified(deployment, membershipBundle, neighbourhood.certificateCache);
  let attempts = 0;
  let all = false;
  while (!all) {
    attempts++;
    const plan: EpochPlan = {
      epoch,
      attempt: attempts,
      reason: attempts === 1 ? reason : 'retry',
      expiryS: nowS() + 300,
    };
    all = await attempt(deployment, neighbourhood, {
      membership,
      membershipBundle,
      plan,
      last: attempts === maxAttempts,
    });
  }
  const wallMs = performance.now() - started;
  const { user, system } = process.cpuUsage(cpuBefore);
  assertOneKey(await Promise.all(meters.map(neighbourhood.keyOf)));
  return { wallMs, cpuMs: (user + system) / 1000, attempts };
}

interface Attempt {
  readonly membership: Membership;
  readonly membershipBundle: Uint8Array;
  readonly plan: EpochPlan;
  readonly last: boolean;
}

/** @returns whether every member of the list is active */
async function attempt(
  { suite, gateway }: Deployment,
  { members }: Neighbourhood,
  { membership, membershipBundle, plan, last }: Attempt,
): Promise<boolean> {
  const failures: unknown[] = [];
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
    const active = await run.activate(await run.run());
    const all = active.length === memberCount(membership);
    if (!all && last) throw new TypeError('a member did not get its key', { cause: failures[0] });
    return all;
  } catch (error) {
    if (last || !(error instanceof GridringError)) throw error;
    return false;
  }
}

const memberCount = ({ list }: Membership): number =>
  list.entries.filter(({ roles }) => (roles & roleBit.member) !== 0).length;
