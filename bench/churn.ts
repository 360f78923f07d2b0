/** Members that are removed and taken in again, one after the other, over loopback CoAP: each change is a list and an epoch. */
import type { Suite, SuiteName } from '../crypto/suite.js';
import { equalBytes } from '../crypto/bytes.js';
import type { Identity } from '../things/parts.js';
import { agree, type Agreement } from './agreement.js';
import { makeDeployment, type Deployment } from './deployment.js';
import { startNeighbourhood, type Neighbourhood, type StoreKind } from './neighbourhood.js';
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

interface Sample extends Agreement {
  readonly change: Change;
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
    const { meters, membershipBundle } = deployment;
    await agree(deployment, neighbourhood, { epoch: 1, reason: 'founding', membershipBundle, meters });
    const samples: Sample[] = [];
    for (let i = 0; i < pairs; i++) {
      const left = meters[i % members];
      if (!left) throw new TypeError('a group without members');
      const others = meters.filter((meter) => meter !== left);
      const epoch = 2 * i + 2;
      samples.push(await change(deployment, neighbourhood, wire, { change: 'leave', epoch, meters: others }));
      await assertLeftOut(neighbourhood, left, others);
      samples.push(await change(deployment, neighbourhood, wire, { change: 'join', epoch: epoch + 1, meters }));
    }
    const rowOf = (kind: Change): ChurnRow => ({
      suite: suite.name,
      members,
      store,
      ...summary(kind, samples.filter((sample) => sample.change === kind)), // prettier-ignore
    });
    return [rowOf('leave'), rowOf('join')];
  } finally {
    wire.stop();
    await neighbourhood.close();
  }
}

async function change(
  deployment: Deployment,
  neighbourhood: Neighbourhood,
  wire: WireCounter,
  { change, epoch, meters }: { readonly change: Change; readonly epoch: number; readonly meters: readonly Identity[] },
): Promise<Sample> {
  const membershipBundle = deployment.nextList(meters);
  const reason = change === 'leave' ? 'revocation' : 'join';
  wire.take();
  const agreement = await agree(deployment, neighbourhood, { epoch, reason, membershipBundle, meters });
  return { ...agreement, change, traffic: wire.take(), present: meters.length };
}

async function assertLeftOut({ keyOf }: Neighbourhood, left: Identity, [other]: readonly Identity[]): Promise<void> {
  const [old, fresh] = [await keyOf(left), other && (await keyOf(other))];
  if (!old || !fresh || equalBytes(old, fresh)) throw new TypeError('a member that was removed has the new key');
}

function summary(change: Change, samples: readonly Sample[]) {
  const wallMs = samples.map((sample) => sample.wallMs);
  const totalMs = wallMs.reduce((sum, ms) => sum + ms, 0);
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
