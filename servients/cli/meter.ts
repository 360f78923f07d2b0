/** `gridring meter ls|…`, as they are asked for; their work is loaded when it is. */
import { join } from 'node:path';
import { Option, type Command } from 'commander';
import { SetupError } from '../../crypto/errors.js';
import type { SuiteName } from '../../crypto/suite.js';
import { withCaller } from './caller.js';
import type { MeterLsOptions } from './meter-ls.js';
import { demoFolder, withSigning } from './authority-options.js';
import type { ManageOptions } from './enrol-manage.js';
import type { MeterRevokeOptions } from './meter-revoke.js';
import { groupId, suiteOption, waitOption, wholeNumber } from './options.js';

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
  addSignDevices(meter);
  withCaller(withSigning(meter.command('enrol [ids...]')))
    .description(
      'bring a new meter in: invite it, ask for its certificate on the device, and sign for those that asked',
    )
    .addOption(
      new Option('--new <id>', 'invite: a one-time code, as a file and as a label').conflicts([
        'invitation',
        'approve',
        'from',
      ]),
    )
    .addOption(
      new Option('--from <csv>', 'a signed list of devices: certify the keys in it, invite the others').conflicts([
        'invitation',
        'approve',
      ]),
    )
    .option('--vendor <urn>', 'of --from: an operator that no list names, whose signature counts')
    .option('--skip-bad', 'of --from: leave out the rows that cannot be taken')
    .addOption(new Option('--invitation <file|text>', 'on the device: make its key, and ask').conflicts('approve'))
    .option(
      '--approve',
      'with the CA’s key: certify meters that have asked and all renewals but of backends, or who is named; list meters',
    )
    .option('--hours <n>', 'how long an invitation holds', wholeNumber(1, 168), 24)
    .option('--gateway <url>', 'the gateway’s Thing Description, for the device’s configuration')
    .option('--label <file>', 'the label, SVG; label-ID.svg otherwise')
    .option('--out <path>', 'the invitation’s file, the device’s folder, or that of what comes of a list')
    .option('--ca <folder>', 'folder of the CA', join(demoFolder, 'ca'))
    .option('--days <n>', 'how long certificates are valid', wholeNumber(1, 3_650), 365)
    .addOption(waitOption('on the device, for the certificate'))
    .action(async (ids: readonly string[], options: EnrolOptions, command: Command) => {
      const { new: id, invitation, approve: approves, from, out } = options;
      if (invitation !== undefined) {
        if (out === undefined)
          throw new SetupError('out-missing', 'say where key and certificate go, with --out FOLDER');
        const { enrolDevice } = await import('./enrol-device.js');
        const { root: file, ...device } = options;
        const isGiven = command.getOptionValueSource('root') === 'cli';
        await enrolDevice({ ...device, invitation, out, ...(isGiven && { root: file }) });
        return;
      }
      if (from !== undefined) {
        const { enrolFrom } = await import('./enrol-list.js');
        await enrolFrom(from, { ...options, out: out ?? `${from}.enrolled` });
        return;
      }
      const manage = await import('./enrol-manage.js');
      if (id !== undefined) await manage.invite(id, options);
      else if (approves) await manage.approve(ids, options);
      else throw new SetupError('nothing-asked', 'say --new ID, --from CSV, --invitation FILE or --approve');
    });
}

function addSignDevices(meter: Command): void {
  meter
    .command('sign-devices <csv>')
    .description('sign a list of devices, for "meter enrol --from": its columns are in docs/enrolment.md')
    .requiredOption('--identity <folder>', 'certificate.pem and key.pem of an operator, or of the authority')
    .addOption(suiteOption())
    .option('--json', 'print JSON')
    .action(async (csv: string, options: SignDevicesOptions) => {
      const { signDevices } = await import('./enrol-list.js');
      signDevices(csv, options);
    });
}

interface SignDevicesOptions {
  readonly identity: string;
  readonly suite: SuiteName;
  readonly json?: true;
}

interface EnrolOptions extends ManageOptions {
  readonly new?: string;
  readonly invitation?: string;
  readonly approve?: true;
  readonly from?: string;
  readonly vendor?: string;
  readonly skipBad?: true;
  readonly wait?: number;
}
