/** Wall time of an epoch's agreement over loopback CoAP, from the announcement until the last member has the key. */
import type { Suite, SuiteName } from '../crypto/suite.js';
import { agree, type Agreement } from './agreement.js';
import { makeDeployment } from './deployment.js';
import { startNeighbourhood, type Network, type StoreKind } from './neighbourhood.js';
import { median, medianInterval, quantile, type Interval } from './statistics.js';

export interface FoundingRow {
  readonly suite: SuiteName;
  readonly members: number;
  readonly store: StoreKind;
  readonly network: Network;
  readonly runs: number;
  /** As many as runs where nothing went wrong. */
  readonly attempts: number;
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
  /** Processor time of all members and the coordinator together: median; null where others run at the same time. */
  readonly cpuMs: number | null;
}

/** "At a group size of 25, latency remained under 450 ms" (section 5.1, on emulated Cortex-M3 nodes). */
const paper = { members: 25, ms: 450 } as const;

/** @throws GridringError when an agreement fails, TypeError when a member did not get its key */
export async function measureFounding(
  suite: Suite,
  members: number,
  place: { readonly store: StoreKind; readonly network: Network },
  runs: number,
): Promise<FoundingRow> {
  const deployment = makeDeployment(suite, members);
  const neighbourhood = await startNeighbourhood(deployment, place);
  try {
    const first = await agree(deployment, neighbourhood, 1);
    const all: Agreement[] = [];
    while (all.length < runs) all.push(await agree(deployment, neighbourhood, all.length + 2));
    const wallMs = all.map((run) => run.wallMs);
    const medianMs = median(wallMs);
    const paperMs = members === paper.members ? paper.ms : null;
    return {
      suite: suite.name,
      members,
      ...place,
      runs,
      attempts: all.reduce((sum, { attempts }) => sum + attempts, 0),
      firstMs: first.wallMs,
      minMs: quantile(wallMs, 0),
      medianMs,
      medianIntervalMs: medianInterval(wallMs),
      p95Ms: quantile(wallMs, 0.95),
      paperMs,
      toPaper: paperMs && medianMs / paperMs,
      cpuMs: place.network === 'loopback' ? median(all.map((run) => run.cpuMs)) : null,
    };
  } finally {
    await neighbourhood.close();
  }
}
