/** Members that are removed and taken in again, one after the other, by a real gateway over loopback CoAP: each change is a list and an epoch. */
import { performance } from 'node:perf_hooks';
import { equalBytes } from '../crypto/bytes.js';
import type { Suite, SuiteName } from '../crypto/suite.js';
import type { Identity } from '../things/parts.js';
import { makeDeployment, type Deployment } from './deployment.js';
import { startGateway, type LiveGateway } from './live-gateway.js';
import { startNeighbourhood, type Neighbourhood, type StoreKind } from './neighbourhood.js';
import { assertOneKey } from './same-key.js';
import { median, medianInterval, quantile, type Interval } from './statistics.js';
import { WireCounter, type Traffic } from './wire.js';

export interface ChurnRow {
  readonly suite: SuiteName;
  /** After a join, and before a leave. */
  readonly members: number;
  readonly store: StoreKind;
  readonly change: Change;
  readonly changes: number;
  /** How many of them follow one another in a minute. */
  readonly perMinute: number;
  /** From the new list at the gateway to the key of the last member that stays. */
  readonly medianMs: number;
  readonly medianIntervalMs: Interval | null;
  readonly slowestMs: number;
  /** Processor time of all members and the gateway: median. */
  readonly cpuMs: number;
  /** On the wire, of one member in one change: means. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly datagrams: number;
}

type Change = 'leave' | 'join';

interface Sample {
  readonly wallMs: number;
  /** Until the gateway has nothing more to do. */
  readonly quietMs: number;
  readonly cpuMs: number;
  readonly traffic: Traffic;
  readonly present: number;
}

/**
 * `pairs` times a member is revoked and another time let in again, each time another one.
 * @throws GridringError when an agreement fails, TypeError when keys are not what they should be
 */
export async function measureChurn(
  suite: Suite,
  members: number,
  store: StoreKind,
  pairs: number,
): Promise<readonly ChurnRow[]> {
  const wire = new WireCounter();
  const deployment = makeDeployment(suite, members);
  const neighbourhood = await startNeighbourhood(deployment, { store, network: 'loopback' });
  try {
    for (const port of neighbourhood.ports) wire.add(port);
    const gateway = await startGateway(deployment, neighbourhood);
    try {
      const rows = await changes({ deployment, neighbourhood, gateway, wire }, pairs);
      return rows.map((row) => ({ suite: suite.name, members, store, ...row }));
    } finally {
      await gateway.close();
    }
  } finally {
    wire.stop();
    await neighbourhood.close();
  }
}

interface Place {
  readonly deployment: Deployment;
  readonly neighbourhood: Neighbourhood;
  readonly gateway: LiveGateway;
  readonly wire: WireCounter;
}

async function changes(place: Place, pairs: number) {
  const { meters } = place.deployment;
  const [leaves, joins]: [Sample[], Sample[]] = [[], []];
  for (let i = 0; i < pairs; i++) {
    const left = meters[i % meters.length];
    if (!left) throw new TypeError('a group without members');
    const others = meters.filter((meter) => meter !== left);
    leaves.push(await change(place, others));
    await assertLeftOut(place.neighbourhood, left, others);
    joins.push(await change(place, meters));
  }
  return [summary('leave', leaves), summary('join', joins)];
}

async function change(
  { deployment, neighbourhood, gateway, wire }: Place,
  meters: readonly Identity[],
): Promise<Sample> {
  const bundle = deployment.nextList(meters);
  await gateway.quiet();
  wire.take();
  const cpuBefore = process.cpuUsage();
  const started = performance.now();
  await gateway.update(bundle, meters.length);
  const wallMs = performance.now() - started;
  await gateway.quiet();
  const quietMs = performance.now() - started;
  const { user, system } = process.cpuUsage(cpuBefore);
  assertOneKey(await Promise.all(meters.map(neighbourhood.keyOf)));
  return { wallMs, quietMs, cpuMs: (user + system) / 1000, traffic: wire.take(), present: meters.length };
}

async function assertLeftOut({ keyOf }: Neighbourhood, left: Identity, [other]: readonly Identity[]): Promise<void> {
  const [old, fresh] = [await keyOf(left), other && (await keyOf(other))];
  if (!old || !fresh || equalBytes(old, fresh)) throw new TypeError('a member that was removed has the new key');
}

function summary(change: Change, samples: readonly Sample[]) {
  const wallMs = samples.map((sample) => sample.wallMs);
  const totalMs = samples.reduce((sum, { quietMs }) => sum + quietMs, 0);
  const meanOfMember = (value: (traffic: Traffic) => number): number =>
    samples.reduce((sum, { traffic, present }) => sum + value(traffic) / present, 0) / samples.length;
  return {
    change,
    changes: samples.length,
    perMinute: (60_000 * samples.length) / totalMs,
    medianMs: median(wallMs),
    medianIntervalMs: medianInterval(wallMs),
    slowestMs: quantile(wallMs, 1),
    cpuMs: median(samples.map((sample) => sample.cpuMs)),
    sentBytes: meanOfMember((traffic) => traffic.fromMembersBytes),
    receivedBytes: meanOfMember((traffic) => traffic.toMembersBytes),
    datagrams: meanOfMember((traffic) => traffic.datagrams),
  };
}
