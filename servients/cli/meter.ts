/** `gridring meter ls|…`, as they are asked for; their work is loaded when it is. */
import type { Command } from 'commander';
import { withCaller } from './caller.js';
import type { MeterLsOptions } from './meter-ls.js';
import { withSigning } from './authority-options.js';
import type { MeterRevokeOptions } from './meter-revoke.js';
import { groupId, waitOption } from './options.js';

export function addMeterVerbs(meter: Command): void {
  // Else --config and --json behind a verb would be those of the process.
  meter.enablePositionalOptions();
  withCaller(meter.command('ls'))
    .description('list the meters that you may see: certificate, last reading, and whether they hold the newest key')
    .option('--group <gid>', 'of this group alone', groupId)
    .option('--json', 'print one JSON object a meter')
    .action(async (options: MeterLsOptions) => {
      const { listMeters } = await import('./meter-ls.js');
      await listMeters(options);
    });
  withCaller(withSigning(meter.command('revoke <id>')))
    .description('take a meter out: the authority signs a list without it, and the others agree on a new key')
    .addOption(waitOption('for the key without it'))
    .action(async (id: string, options: MeterRevokeOptions) => {
      const { revokeMeter } = await import('./meter-revoke.js');
      await revokeMeter(id, options);
    });
}
