/** Wall time of an epoch's agreement over loopback CoAP, from the announcement until the last member has the key. */
import { performance } from 'node:perf_hooks';
import type { Suite, SuiteName } from '../crypto/suite.js';
import { sleep } from '../servients/runtime.js';
import { EpochRun } from '../things/epoch-run.js';
import { makeDeployment, nowS, random, type Deployment } from './deployment.js';
import { startNeighbourhood, type Neighbourhood, type StoreKind } from './neighbourhood.js';
import { quantile } from './statistics.js';

export interface FoundingRow {
  readonly suite: SuiteName;
  readonly members: number;
  readonly store: StoreKind;
  readonly runs: number;
  /** The first epoch of all, of code that was not run before. */
  readonly firstMs: number;
  readonly minMs: number;
  readonly medianMs: number;
  readonly p95Ms: number;
  /** Processor time of all members and the coordinator together: median. */
  readonly cpuMs: number;
}

interface Run {
  readonly wallMs: number;
  readonly cpuMs: number;
}

const roundDeadlineMs = 60_000;

/** @throws GridringError when an agreement fails, TypeError when a member did not get its key */
export async function measureFounding(
  suite: Suite,
  members: number,
  store: StoreKind,
  runs: number,
): Promise<FoundingRow> {
  const deployment = makeDeployment(suite, members);
  const neighbourhood = await startNeighbourhood(deployment, store);
  try {
    const first = await agree(deployment, neighbourhood, 1);
    const all: Run[] = [];
    while (all.length < runs) all.push(await agree(deployment, neighbourhood, all.length + 2));
    const wallMs = all.map((run) => run.wallMs);
    return {
      suite: suite.name,
      members,
      store,
      runs,
      firstMs: first.wallMs,
      minMs: quantile(wallMs, 0),
      medianMs: quantile(wallMs, 0.5),
      p95Ms: quantile(wallMs, 0.95),
      cpuMs: quantile(all.map((run) => run.cpuMs), 0.5), // prettier-ignore
    };
  } finally {
    await neighbourhood.close();
  }
}

async function agree(deployment: Deployment, { members }: Neighbourhood, epoch: number): Promise<Run> {
  const { suite, gateway, membership, membershipBundle, meters } = deployment;
  const failures: unknown[] = [];
  const cpuBefore = process.cpuUsage();
  const started = performance.now();
  const run = new EpochRun(
    {
      context: () => ({ suite, self: gateway, membership, nowS: nowS(), random }),
      membershipBundle,
      members,
      roundDeadlineMs,
      sleep,
      onMemberFailed: (_member, _action, error) => failures.push(error),
      onProgress: () => undefined,
    },
    { epoch, attempt: 1, reason: epoch === 1 ? 'founding' : 'periodic', expiryS: nowS() + 300 },
  );
  const active = await run.activate(await run.run());
  const wallMs = performance.now() - started;
  const { user, system } = process.cpuUsage(cpuBefore);
  if (active.length < meters.length) throw new TypeError('a member did not get its key', { cause: failures[0] });
  return { wallMs, cpuMs: (user + system) / 1000 };
}
