/** `gridring group …`, as it is asked for. */
import type { Command } from 'commander';
import { withCaller } from './caller.js';
import { showGroups } from './group-status.js';
import { groupId } from './options.js';

export function addGroup(program: Command): void {
  const group = program.command('group').description('groups: who is in, who is behind, and a new key');
  withCaller(group.command('status'))
    .description('show the members of each group, its newest key, who is behind, and whom the next one would leave out')
    .option('--group <gid>', 'this one alone', groupId)
    .option('--json', 'print one JSON object a group')
    .action(showGroups);
}
