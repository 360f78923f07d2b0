/** Processor time of an epoch's members, coordinator and auditor, beside the native operations that they cannot avoid. */
import { verifyRecord } from '../crypto/ring/record.js';
import type { Suite, SuiteName } from '../crypto/suite.js';
import { makeDeployment, nowS } from './deployment.js';
import { Group } from './group.js';
import { nativeOperations } from './native.js';
import { memberShares, openProfiler, type MemberShares } from './profile.js';
import { collectGarbage, cpuUs, median } from './statistics.js';

/** Times are medians over the blocks, in microseconds. */
export interface RingRow {
  readonly suite: SuiteName;
  readonly members: number;
  /** Measured epochs. */
  readonly epochs: number;
  /** One member's four steps. */
  readonly memberUs: number;
  readonly nativeUs: number;
  readonly nativeFreshKeysUs: number;
  /** memberUs / nativeUs, each block's with the native operations that were run before and after it. */
  readonly ratio: number;
  readonly ratioFreshKeys: number;
  /** The coordinator's work for one epoch. */
  readonly coordinatorUs: number;
  readonly verifyRecordUs: number;
  /** Where a member's time goes, as fractions of it. */
  readonly shares: MemberShares;
}

interface Block {
  readonly memberUs: number;
  readonly nativeUs: number;
  /** What an agreement costs more when the peer's key comes as on the wire. */
  readonly freshKeyUs: number;
  readonly coordinatorUs: number;
  readonly verifyRecordUs: number;
}

const warmUpBlocks = 2;

/**
 * Measures `blocks` blocks, each of `epochsPerBlock(members)` epochs and as many rounds of native operations.
 * @throws GridringError when a step refuses, TypeError when a native signature does not verify
 */
export async function measureRing(suite: Suite, members: number, blocks: number): Promise<RingRow> {
  const profiler = await openProfiler();
  const deployment = makeDeployment(suite, members);
  const group = new Group(deployment);
  const native = nativeOperations(suite.name, members);
  const epochs = epochsPerBlock(members);

  const block = (): Block => {
    const times = epochs * members;
    const before = measureEach(times, native.member);
    const { record, ...ring } = measureEpochs(group, epochs);
    return {
      memberUs: ring.membersUs / times,
      nativeUs: (before + measureEach(times, native.member)) / 2,
      freshKeyUs: measureEach(times, native.agreementWithFreshKey) - measureEach(times, native.agreement),
      coordinatorUs: ring.coordinatorUs / epochs,
      verifyRecordUs: measureEach(epochs, () => verifyRecord(suite, deployment.membership, record, nowS())),
    };
  };

  for (let i = 0; i < warmUpBlocks; i++) block();
  const measured = Array.from({ length: blocks }, block);
  const medianOf = (value: (b: Block) => number): number => median(measured.map(value));
  const freshKeysUs = 2 * medianOf((b) => b.freshKeyUs);
  return {
    suite: suite.name,
    members,
    epochs: blocks * epochs,
    memberUs: medianOf((b) => b.memberUs),
    nativeUs: medianOf((b) => b.nativeUs),
    nativeFreshKeysUs: medianOf((b) => b.nativeUs) + freshKeysUs,
    ratio: medianOf((b) => b.memberUs / b.nativeUs),
    ratioFreshKeys: medianOf((b) => b.memberUs / (b.nativeUs + freshKeysUs)),
    coordinatorUs: medianOf((b) => b.coordinatorUs),
    verifyRecordUs: medianOf((b) => b.verifyRecordUs),
    shares: await memberShares(profiler, group, blocks * epochs),
  };
}

/** About a hundred members' agreements: long enough that every block has its share of collecting garbage. */
const epochsPerBlock = (members: number): number => Math.ceil(96 / members);

/** Total times of some epochs; the garbage of both parts counts for the members, who make nearly all of it. */
function measureEpochs(group: Group, epochs: number) {
  const used = { members: 0, coordinator: 0 };
  let record: Uint8Array = new Uint8Array(0);
  collectGarbage();
  for (let i = 0; i < epochs; i++) {
    ({ record } = group.run((part, work) => {
      const { result, us } = cpuUs(work);
      used[part] += us;
      return result;
    }));
  }
  const membersUs = used.members + cpuUs(collectGarbage).us;
  return { membersUs, coordinatorUs: used.coordinator, record };
}

/** Mean time of one of `times` calls, with collecting what they leave. */
function measureEach(times: number, work: () => unknown): number {
  collectGarbage();
  const { us } = cpuUs(() => {
    for (let i = 0; i < times; i++) work();
    collectGarbage();
  });
  return us / times;
}
