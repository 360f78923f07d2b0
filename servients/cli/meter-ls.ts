/** `gridring meter ls`: every meter that the caller may see, by signed lists and records, with what the gateway says. */
import { BackendClient } from '../backend-client.js';
import { PeerRefusal } from '../bindings/peer-refusal.js';
import { backendOf, ChainClient } from '../chain-client.js';
import { Community, keyStatus, membersOf, type GroupView, type MemberView } from '../lifecycle/community.js';
import { isoTime } from '../membership/changes.js';
import { systemNowS } from '../runtime.js';
import { callerKeys, type CallerOptions } from './caller.js';
import { printJson, printLine, table } from './output.js';

export interface MeterLsOptions extends CallerOptions {
  readonly group?: string;
  readonly json?: true;
}

interface LastReading {
  readonly sequence: number;
  readonly receivedAt: string;
  readonly epoch: number;
}

interface Row {
  readonly gid: string;
  readonly epoch: number | undefined;
  readonly member: MemberView;
  readonly last: LastReading | 'hidden' | undefined;
}

/** Asked for at once. */
const requestsAtOnce = 8;
const dayS = 86_400;

export async function listMeters(options: MeterLsOptions): Promise<void> {
  const keys = callerKeys(options);
  const visible = new Set((await new ChainClient(keys, systemNowS).meters()).map(({ certHash }) => certHash));
  const groups = await new Community(keys, systemNowS).groups(options.group);
  const backend = backendOf(keys, systemNowS);
  const members = groups.flatMap((group) =>
    membersOf(group)
      .filter(({ certHash }) => visible.has(certHash))
      .map((member) => ({ group, member })),
  );
  const rows: Row[] = [];
  for (let from = 0; from < members.length; from += requestsAtOnce) {
    const some = members.slice(from, from + requestsAtOnce);
    rows.push(...(await Promise.all(some.map(async (of) => rowOf(of, await lastReading(backend, of.member))))));
  }
  if (options.json) for (const row of rows) printJson(rowJson(row));
  else printLine(rows.length === 0 ? 'no meter that you may see is in a group' : table([columns, ...rows.map(cells)]));
}

const rowOf = (
  { group, member }: { readonly group: GroupView; readonly member: MemberView },
  last: Row['last'],
): Row => ({ gid: group.gid, epoch: group.epoch?.listed.epoch, member, last });

/** Whoever may see meters and not their readings is not told of these. */
async function lastReading(
  backend: BackendClient,
  { certHash }: MemberView,
): Promise<LastReading | 'hidden' | undefined> {
  try {
    const { readings } = (await backend.get(`meters/${certHash}/readings?last=1`)) as {
      readonly readings: readonly LastReading[];
    };
    return readings[0];
  } catch (error) {
    if (error instanceof PeerRefusal && error.status === 403) return 'hidden';
    throw error;
  }
}

const columns = ['ID', 'GROUP', 'CERTIFICATE ENDS', 'LAST READING', 'KEY', 'EPOCH'];

const cells = ({ gid, epoch, member, last }: Row): readonly string[] => [
  member.id,
  gid.slice(0, 8),
  endOf(member.certificateEndS),
  last === 'hidden' ? '-' : (last?.receivedAt ?? 'none'),
  keyStatus(member),
  epoch === undefined ? '-' : String(epoch),
];

function endOf(endS: number | undefined): string {
  if (endS === undefined) return 'not valid';
  const days = Math.floor((endS - systemNowS()) / dayS);
  return `${isoTime(endS).slice(0, 10)}${days <= 30 ? ` (${days} days)` : ''}`;
}

const rowJson = ({ gid, epoch, member, last }: Row): object => ({
  id: member.id,
  certHash: member.certHash,
  gid,
  certificateEnds: member.certificateEndS === undefined ? null : isoTime(member.certificateEndS),
  lastReading:
    typeof last === 'object' ? { sequence: last.sequence, receivedAt: last.receivedAt, epoch: last.epoch } : null,
  key: keyStatus(member),
  epoch: epoch ?? null,
  ...(member.seen && { gateway: member.seen }),
});
