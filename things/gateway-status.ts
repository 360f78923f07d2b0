/** What a gateway shows of itself: values of its properties, as their schemas describe them. No key is ever in them. */
import { equalBytes, toBase64Url, toHex } from '../crypto/bytes.js';
import { findEntry, type Membership } from '../crypto/membership.js';
import type { CoordinatorState } from '../crypto/ring/coordinator-state.js';
import type { KeyName } from '../crypto/ring/schedule.js';
import type { EpochRun } from './epoch-run.js';
import type { EnrolledMeter, OutboxStatus } from './stores.js';

export interface ActiveEpoch {
  readonly name: KeyName;
  /** certHashes in ring order. */
  readonly roster: readonly Uint8Array[];
  readonly sinceS: number;
}

/** How the delivery to the backend goes. */
export interface Delivery {
  readonly lastS?: number;
  readonly errorCode?: string;
}

export const isoTime = (timeS: number): string => new Date(timeS * 1000).toISOString();

export function groupOf(
  { list, certificates }: Membership,
  enrolled: ReadonlyMap<string, EnrolledMeter>,
  active: ActiveEpoch | undefined,
): unknown {
  const roster = active?.roster ?? [];
  return {
    gid: toHex(list.gid),
    suite: list.policy.suite,
    listVersion: list.version,
    members: list.entries.flatMap(({ certHash }, i) => {
      const id = findEntry(list, certHash, 'member') && certificates[i]?.id;
      if (id === undefined) return [];
      return [
        {
          certHash: toHex(certHash),
          id: `urn:gridring:meter:${id}`,
          enrolled: enrolled.has(toHex(certHash)),
          active: roster.some((member) => equalBytes(member, certHash)),
        },
      ];
    }),
  };
}

/** An attempt that is under way is shown before the epoch that it will replace. */
export function coordinatorStatusOf(
  { list }: Membership,
  state: CoordinatorState | undefined,
  active: ActiveEpoch | undefined,
): unknown {
  const gid = toHex(list.gid);
  if (state && state.kind !== 'published') {
    const { epoch, attempt } = state.announcement;
    const members = 'ring' in state ? state.ring.members.length : state.shares.size;
    return { gid, epoch, attempt, state: roundNames[state.kind], members };
  }
  if (!active) return { gid, epoch: 0, attempt: 0, state: 'none', members: 0 };
  const { name, roster, sinceS } = active;
  const { epoch, attempt, th2 } = name;
  const keyName = toHex(th2.subarray(0, 8));
  return {
    gid,
    epoch,
    attempt,
    state: 'active',
    keyName,
    members: roster.length,
    since: isoTime(sinceS),
  };
}

const roundNames = {
  shares: 'shares',
  tokens: 'tokens',
  confirmations: 'confirmations',
  inconsistent: 'failed',
} as const;

const messageTypes = {
  shares: 'announcement',
  tokens: 'roster',
  confirmations: 'tokens',
  inconsistent: 'tokens',
  published: 'confirmations',
} as const;

export function roundOf({ state, currentMessage }: EpochRun): unknown {
  const { gid, epoch, attempt } = state.announcement;
  return { gid: toHex(gid), epoch, attempt, type: messageTypes[state.kind], message: toBase64Url(currentMessage) };
}

export const outboxOf = ({ depth, oldestS }: OutboxStatus, { lastS, errorCode }: Delivery, nowS: number): unknown => ({
  depth,
  ...(oldestS !== null && { oldestAgeS: Math.max(0, nowS - oldestS) }),
  ...(lastS !== undefined && { lastDeliveryTime: isoTime(lastS) }),
  ...(errorCode !== undefined && { lastErrorCode: errorCode }),
});

export function healthOf(keyed: boolean, { errorCode }: Delivery): object {
  const checks = [
    { name: 'epoch', ok: keyed },
    { name: 'backend', ok: errorCode === undefined, ...(errorCode !== undefined && { detail: errorCode }) },
  ];
  return { status: checks.every(({ ok }) => ok) ? 'ok' : 'degraded', checks };
}
