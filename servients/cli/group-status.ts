/** `gridring group status`: what is signed of a group, and what its gateway says that comes next. */
import { toHex } from '../../crypto/bytes.js';
import { behind, Community, keyStatus, leftBehind, membersOf, type GroupView } from '../lifecycle/community.js';
import { isoTime, policyLines } from '../membership/changes.js';
import { systemNowS } from '../runtime.js';
import { callerKeys, type CallerOptions } from './caller.js';
import { listName } from './epoch-text.js';
import { printJson, printLine, table } from './output.js';

interface GroupStatusOptions extends CallerOptions {
  readonly group?: string;
  readonly json?: true;
}

export async function showGroups(options: GroupStatusOptions): Promise<void> {
  const groups = await new Community(callerKeys(options), systemNowS).groups(options.group);
  for (const group of groups) {
    if (options.json) printJson(groupJson(group));
    else for (const line of groupLines(group)) printLine(line);
  }
}

function groupJson(group: GroupView): object {
  const { gid, membership, epoch, seen } = group;
  const { list, listHash } = membership;
  const members = membersOf(group);
  return {
    gid,
    listVersion: list.version,
    listRevision: list.revision,
    listHash: toHex(listHash),
    listEnds: isoTime(list.notAfterS),
    epoch: epoch ? { epoch: epoch.listed.epoch, attempt: epoch.listed.attempt, keyName: epoch.listed.keyName } : null,
    members: members.map((member) => ({
      id: member.id,
      certHash: member.certHash,
      holdsKey: member.holdsKey,
      key: keyStatus(member),
    })),
    behind: behind(members).map(({ id }) => id),
    gatewayAnswers: seen !== undefined,
    nextLeavesOut: leftBehind(members),
  };
}

function groupLines(group: GroupView): readonly string[] {
  const { gid, membership, epoch, seen } = group;
  const { list } = membership;
  const members = membersOf(group);
  const late = behind(members).map(({ id }) => id);
  const next = leftBehind(members);
  return [
    `group   ${gid}`,
    `list    ${listName(list.version, list.revision)}, valid until ${isoTime(list.notAfterS)}`,
    `policy  ${policyLines(list.policy).join(', ')}`,
    epoch
      ? `epoch   ${epoch.listed.epoch}.${epoch.listed.attempt}, ${epoch.listed.reason}, recorded ${epoch.listed.recordedAt}: ${epoch.proof.holders.length} hold the key`
      : 'epoch   none yet',
    `behind  ${late.length === 0 ? 'nobody' : late.join(', ')}`,
    seen
      ? `next    ${next.length === 0 ? 'a new key would reach all members' : 'a new key would leave out:'}`
      : 'next    no gateway of the group answers: who would be left out is not known',
    ...next.map(({ id, why }) => `        ${id}: ${why}`),
    '',
    table([['MEMBER', 'CERTIFICATE', 'KEY'], ...members.map((m) => [m.id, m.certHash.slice(0, 16), keyStatus(m)])]),
  ];
}
