/** `gridring group rotate`: an operator asks for a new key, having seen who would be left behind. */
import { join } from 'node:path';
import { toHex } from '../../crypto/bytes.js';
import { ConflictError, SetupError } from '../../crypto/errors.js';
import { isQuorum } from '../../crypto/membership.js';
import { Community, leftBehind, membersOf, type GroupView } from '../lifecycle/community.js';
import { askGateway, rekeyRequest } from '../lifecycle/operator-requests.js';
import { readIdentity } from '../identity-files.js';
import { systemNowS } from '../runtime.js';
import { callerKeys, type CallerOptions } from './caller.js';
import { printJson, printLine } from './output.js';
import { waitFor } from './publishing.js';

export interface RotateOptions extends CallerOptions {
  readonly operator: string;
  readonly group?: string;
  readonly dryRun?: true;
  readonly wait?: number;
  readonly json?: true;
}

/** @throws SetupError `group-needed`; ConflictError `quorum-needed`; PeerRefusal; UnavailableError `not-yet` */
export async function rotateGroup(options: RotateOptions): Promise<void> {
  const keys = callerKeys(options);
  const community = new Community(keys, systemNowS);
  const [group, ...others] = await community.groups(options.group);
  if (!group || others.length > 0)
    throw new SetupError('group-needed', 'several groups are there; choose with --group');
  const plan = planOf(group);
  tell(group, plan, options);
  if (options.dryRun) return;
  if (!plan.quorum) {
    throw new ConflictError(
      'quorum-needed',
      'too few members are there for a key that the policy allows: nothing was asked',
    );
  }
  const { operator } = options;
  const files = { certificate: join(operator, 'certificate.pem'), key: join(operator, 'key.pem') };
  const current = group.epoch?.listed.epoch ?? 0;
  const request = rekeyRequest(keys.suite, readIdentity(keys.suite, files), group.gid, current, systemNowS());
  await askGateway(community.directory, group.membership, 'rekey', request);
  if (options.wait === undefined) {
    if (!options.json) printLine('a new key was asked for; "gridring group status" shows when it is there');
    return;
  }
  const next = await waitFor(`a new key of group ${group.gid}`, options.wait, async () =>
    (await community.log.epochs(group.gid)).find(({ epoch }) => epoch > current),
  );
  if (options.json) printJson({ event: 'group-rotated', ...next });
  else printLine(`epoch ${next.epoch}.${next.attempt}, recorded ${next.recordedAt}: ${next.members} hold the key`);
}

interface Plan {
  readonly without: ReturnType<typeof leftBehind>;
  readonly members: number;
  readonly quorum: boolean;
}

function planOf(group: GroupView): Plan {
  const { list } = group.membership;
  const members = membersOf(group);
  const without = leftBehind(members);
  const absent = new Set(without.map(({ id }) => id));
  const there = new Set(members.filter(({ id }) => !absent.has(id)).map(({ certHash }) => certHash));
  const roster = list.entries.map(({ certHash }) => certHash).filter((certHash) => there.has(toHex(certHash)));
  return { without, members: members.length, quorum: isQuorum(list, roster) };
}

function tell(
  { gid, epoch, seen }: GroupView,
  { without, members, quorum }: Plan,
  { dryRun, json }: RotateOptions,
): void {
  if (json) {
    const event = dryRun ? 'group-rotation-planned' : 'group-rotation-asked';
    printJson({
      event,
      gid,
      epoch: epoch?.listed.epoch ?? 0,
      members,
      leavesOut: without,
      quorum,
      gatewayAnswers: !!seen,
    });
    return;
  }
  if (!seen) printLine('no gateway of the group answers: who would be left behind is not known');
  else
    printLine(
      `a new key would reach ${members - without.length} of ${members} members${quorum ? '' : ', too few for the policy'}`,
    );
  for (const { id, why } of without) printLine(`  ${id} stays behind: ${why}`);
}
