/** What a gateway shows of itself: values of its properties, as their schemas describe them. No key is ever in them. */
import { equalBytes, toBase64Url, toHex } from '../crypto/bytes.js';
import { findEntry, type Membership } from '../crypto/membership.js';
import type { CoordinatorState } from '../crypto/ring/coordinator-state.js';
import type { ActiveEpoch } from './active-epoch.js';
import { diskOf, isNearlyFull } from './disk-status.js';
import type { EpochRun } from './epoch-run.js';
import type { RekeyFailure } from './rekey-loop.js';
import type { Attendance, Standing } from './roll.js';
import type { DiskStatus, EnrolledMeter, KeptVerdict, OutboxStatus, SetAside } from './stores.js';

/** What an event `memberChanged` can tell. */
export type MemberChange =
  'enrolled' | 'left' | 'revoked' | 'removed' | 'renewed' | 'quarantined' | 'convicted' | 'returned';

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
  attendanceOf: (member: Uint8Array) => Attendance,
): unknown {
  const roster = active?.roster ?? [];
  return {
    gid: toHex(list.gid),
    suite: list.policy.suite,
    listVersion: list.version,
    members: list.entries.flatMap(({ certHash }, i) => {
      const id = findEntry(list, certHash, 'member') && certificates[i]?.id;
      if (id === undefined) return [];
      const { reach, standing, lastHeardS } = attendanceOf(certHash);
      return [
        {
          certHash: toHex(certHash),
          id: `urn:gridring:meter:${id}`,
          enrolled: enrolled.has(toHex(certHash)),
          active: roster.some((member) => equalBytes(member, certHash)),
          reach,
          ...(lastHeardS !== undefined && { lastHeard: isoTime(lastHeardS) }),
          ...(standing && leftOutOf(standing)),
        },
      ];
    }),
  };
}

const leftOutOf = (standing: Standing): object => ({
  leftOut: standing.reason,
  ...('untilS' in standing && { until: isoTime(standing.untilS) }),
});

/** An attempt that is under way is shown before the epoch that it will replace. */
export function coordinatorStatusOf(
  { list }: Membership,
  state: CoordinatorState | undefined,
  active: ActiveEpoch | undefined,
  failure: RekeyFailure | undefined,
): unknown {
  const gid = toHex(list.gid);
  const failed = failure && { failures: failure.failures, lastErrorCode: failure.code };
  if (state && state.kind !== 'published') {
    const { epoch, attempt } = state.announcement;
    const members = 'ring' in state ? state.ring.members.length : state.shares.size;
    return { gid, epoch, attempt, state: roundNames[state.kind], members, ...failed };
  }
  if (!active) return { gid, epoch: 0, attempt: 0, state: 'none', members: 0, ...failed };
  const { name, roster, sinceS, provisional } = active;
  return {
    gid,
    epoch: name.epoch,
    attempt: name.attempt,
    state: 'active',
    keyName: toHex(name.th2.subarray(0, 8)),
    members: roster.length,
    since: isoTime(sinceS),
    provisional,
    ...failed,
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

/**
 * The newest message of the run that is open; without one, what makes the active key active at who missed it. Beside it,
 * what waits for members that cannot be called.
 */
export function roundOf(
  run: EpochRun | undefined,
  active: ActiveEpoch | undefined,
  membershipBundle: Uint8Array | undefined,
  commands: readonly Uint8Array[],
): unknown {
  const beside = {
    ...(membershipBundle && { membership: toBase64Url(membershipBundle) }),
    ...(commands.length > 0 && { commands: commands.map(toBase64Url) }),
  };
  if (run) {
    const { gid, epoch, attempt } = run.state.announcement;
    const message = toBase64Url(run.currentMessage);
    return { gid: toHex(gid), epoch, attempt, type: messageTypes[run.state.kind], message, ...beside };
  }
  if (!active) return undefined;
  const { name, confirmationsMessage, endorsement } = active;
  return {
    gid: toHex(name.gid),
    epoch: name.epoch,
    attempt: name.attempt,
    type: messageTypes.published,
    message: toBase64Url(confirmationsMessage),
    ...(endorsement && { endorsement: toBase64Url(endorsement) }),
    ...beside,
  };
}

export const verdictsOf = (verdicts: readonly KeptVerdict[]): unknown => ({
  verdicts: verdicts.map(({ gid, epoch, attempt, judgedS, message }) => ({
    gid: toHex(gid),
    epoch,
    attempt,
    time: isoTime(judgedS),
    message: toBase64Url(message),
  })),
});

export const outboxOf = (
  { depth, bytes, oldestS }: OutboxStatus,
  disk: DiskStatus,
  { count, lastCode }: SetAside,
  { lastS, errorCode }: Delivery,
  nowS: number,
): unknown => ({
  depth,
  bytes,
  ...(oldestS !== null && { oldestAgeS: Math.max(0, nowS - oldestS) }),
  ...(lastS !== undefined && { lastDeliveryTime: isoTime(lastS) }),
  ...(errorCode !== undefined && { lastErrorCode: errorCode }),
  ...(count > 0 && { setAside: count }),
  ...(lastCode !== null && { setAsideCode: lastCode }),
  disk: diskOf(disk),
});

export function healthOf(keyed: boolean, { errorCode }: Delivery, disk: DiskStatus): object {
  const checks = [
    { name: 'epoch', ok: keyed },
    { name: 'backend', ok: errorCode === undefined, ...(errorCode !== undefined && { detail: errorCode }) },
    { name: 'disk', ok: !isNearlyFull(disk) },
  ];
  return { status: checks.every(({ ok }) => ok) ? 'ok' : 'degraded', checks };
}
