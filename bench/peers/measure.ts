/** Processor time and bytes of whole groups on the same events, one protocol after the other in one run. */
import { assertOneKey } from '../same-key.js';
import type { Suite, SuiteName } from '../../crypto/suite.js';
import { collectGarbage, median } from '../statistics.js';
import { centralDh } from './central-dh.js';
import { lkh } from './lkh.js';
import { mls } from './mls.js';
import type { Event, Peer, PeerGroup } from './peer.js';
import { ringConstrained, ringFull, ringWithLists } from './ring.js';

interface EventCost {
  /** Processor time of all members and a server together: median, in milliseconds. */
  readonly cpuMs: number;
  /** `cpuMs` divided by that of the ring under `full` in the same run. */
  readonly toRing: number;
  /** Of messages alone, that a member sends and receives: median of the mean of all members. */
  readonly bytesPerMember: number;
}

export interface PeerRow extends Readonly<Record<Event, EventCost>> {
  readonly suite: SuiteName;
  readonly members: number;
  readonly protocol: string;
  readonly contributory: boolean;
  readonly runs: number;
}

type Sample = Readonly<Record<Event, { readonly cpuMs: number; readonly bytes: number }>>;

const peers: readonly Peer[] = [ringFull, ringConstrained, ringWithLists, mls, lkh, centralDh];
const baseline = ringFull;

/** Rounds that take the compiler's time and are not counted. */
const warmUps = 1;

/**
 * Each protocol's events of `members` members, `runs` times in turn: what disturbs the machine disturbs all.
 * @throws TypeError when members end with different keys
 */
export async function measurePeers(suite: Suite, members: number, runs: number): Promise<readonly PeerRow[]> {
  const samples = new Map<Peer, Sample[]>(peers.map((peer) => [peer, []]));
  for (let run = -warmUps; run < runs; run++) {
    for (const [peer, taken] of samples) {
      const sample = await sampleOf(await peer.prepare(suite, members));
      if (run >= 0) taken.push(sample);
    }
  }
  const cpuMsOf = (peer: Peer, event: Event): number =>
    median((samples.get(peer) ?? []).map((sample) => sample[event].cpuMs));
  const cost = (peer: Peer, event: Event): EventCost => ({
    cpuMs: cpuMsOf(peer, event),
    toRing: cpuMsOf(peer, event) / cpuMsOf(baseline, event),
    bytesPerMember: median((samples.get(peer) ?? []).map((sample) => sample[event].bytes)) / members,
  });
  return peers.map((peer) => ({
    suite: suite.name,
    members,
    protocol: peer.name,
    contributory: peer.contributory,
    runs,
    create: cost(peer, 'create'),
    remove: cost(peer, 'remove'),
    add: cost(peer, 'add'),
  }));
}

async function sampleOf(group: PeerGroup): Promise<Sample> {
  return {
    create: await measureEvent(group, 'create'),
    remove: await measureEvent(group, 'remove'),
    add: await measureEvent(group, 'add'),
  };
}

async function measureEvent(group: PeerGroup, event: Event): Promise<Sample[Event]> {
  const happen = await group.stage(event);
  collectGarbage();
  const before = process.cpuUsage();
  const bytes = await happen();
  collectGarbage();
  const { user, system } = process.cpuUsage(before);
  assertOneKey(await group.keys());
  return { cpuMs: (user + system) / 1000, bytes };
}
