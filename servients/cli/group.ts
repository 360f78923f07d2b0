/** `gridring group …`, as it is asked for. */
import { join } from 'node:path';
import { Option, type Command } from 'commander';
import { withCaller } from './caller.js';
import { showGroups } from './group-status.js';
import { createGroup } from './group-create.js';
import { rotateGroup } from './group-rotate.js';
import { demoFolder, withSigning } from './authority-options.js';
import { baseUrl, collect, durationOption, groupId, suiteOption, waitOption, wholeNumber } from './options.js';

export function addGroup(program: Command): void {
  const group = program.command('group').description('groups: who is in, who is behind, and a new key');
  withCaller(group.command('status'))
    .description('show the members of each group, its newest key, who is behind, and whom the next one would leave out')
    .option('--group <gid>', 'this one alone', groupId)
    .option('--json', 'print one JSON object a group')
    .action(showGroups);
  withCaller(group.command('rotate'))
    .description('ask for a new key, as an operator of the list; --dry-run says who would be left behind')
    .option('--operator <folder>', 'certificate.pem and key.pem of the operator', join(demoFolder, 'operator'))
    .option('--group <gid>', 'which one, where there are several', groupId)
    .addOption(waitOption('for the new key'))
    .option('--dry-run', 'ask for nothing')
    .option('--json', 'print JSON')
    .action(rotateGroup);
  withSigning(group.command('create'))
    .description('sign the first list of a new group; readers come with "membership add"')
    .requiredOption('--add <certificate>', 'a meter, gateway or operator (PEM); may be given several times', collect)
    .addOption(suiteOption())
    .addOption(new Option('--profile <name>', 'what members verify').choices(['full', 'constrained']).default('full'))
    .option('--rekey-interval <time>', 'a new key at least this often; 0s for never', durationOption, 86_400)
    .option('--grace <time>', 'how long the old key still receives', durationOption, 600)
    .option('--min-members <n>', 'least number in an epoch', wholeNumber(2, 64), 2)
    .option('--days <n>', 'how long the list is valid', wholeNumber(1, 3_650), 365)
    .option('--url <url>', 'publish to this backend', baseUrl)
    .action(createGroup);
}
