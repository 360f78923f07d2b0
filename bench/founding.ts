/** Wall time of an epoch's agreement over loopback CoAP, from the announcement until the last member has the key. */
import { performance } from 'node:perf_hooks';
import type { Suite, SuiteName } from '../crypto/suite.js';
import { sleep } from '../servients/runtime.js';
import { EpochRun } from '../things/epoch-run.js';
import { makeDeployment, nowS, random, type Deployment } from './deployment.js';
import { startNeighbourhood, type Neighbourhood, type StoreKind } from './neighbourhood.js';
import { assertOneKey } from './same-key.js';
import { median, medianInterval, quantile, type Interval } from './statistics.js';

export interface FoundingRow {
  readonly suite: SuiteName;
  readonly members: number;
  readonly store: StoreKind;
  readonly runs: number;
  /** The first epoch of all, of code that was not run before. */
  readonly firstMs: number;
  readonly minMs: number;
  readonly medianMs: number;
  /** Where the median lies with a confidence of 95 %, by order statistics; null of too few runs. */
  readonly medianIntervalMs: Interval | null;
  readonly p95Ms: number;
  /** What the paper reports of this number of members, which it calls an upper bound; null where it reports nothing. */
  readonly paperMs: number | null;
  /** medianMs / paperMs. */
  readonly toPaper: number | null;
  /** Processor time of all members and the coordinator together: median. */
  readonly cpuMs: number;
}

interface Run {
  readonly wallMs: number;
  readonly cpuMs: number;
}

const roundDeadlineMs = 60_000;

/** "At a group size of 25, latency remained under 450 ms" (section 5.1, on emulated Cortex-M3 nodes). */
const paper = { members: 25, ms: 450 } as const;

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
    const medianMs = median(wallMs);
    const paperMs = members === paper.members ? paper.ms : null;
    return {
      suite: suite.name,
      members,
      store,
      runs,
      firstMs: first.wallMs,
      minMs: quantile(wallMs, 0),
      medianMs,
      medianIntervalMs: medianInterval(wallMs),
      p95Ms: quantile(wallMs, 0.95),
      paperMs,
      toPaper: paperMs && medianMs / paperMs,
      cpuMs: median(all.map((run) => run.cpuMs)),
    };
  } finally {
    await neighbourhood.close();
  }
}

async function agree(deployment: Deployment, { members, keyOf }: Neighbourhood, epoch: number): Promise<Run> {
  const { suite, gateway, membership, membershipBundle, meters } = deployment;
  const failures: unknown[] = [];
  const cpuBefore = process.cpuUsage();
  const started = performance.now();
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
    { epoch, attempt: 1, reason: epoch === 1 ? 'founding' : 'periodic', expiryS: nowS() + 300 },
  );
  const active = await run.activate(await run.run());
  const wallMs = performance.now() - started;
  const { user, system } = process.cpuUsage(cpuBefore);
  if (active.length < meters.length) throw new TypeError('a member did not get its key', { cause: failures[0] });
  assertOneKey(await Promise.all(meters.map(keyOf)));
  return { wallMs, cpuMs: (user + system) / 1000 };
}
