/** `gridring backup` and `gridring restore`. */
import { readFileSync } from 'node:fs';
import { Argument, Option, type Command } from 'commander';
import { SetupError } from '../../crypto/errors.js';
import type { BackupSummary } from '../backup/backup.js';
import type { RestoreSummary } from '../backup/restore.js';
import type { Opening, Protection } from '../backup/sealing.js';
import { readText } from '../identity-files.js';
import { systemNowS, type RuntimeEvent } from '../runtime.js';
import type { StoreRole } from '../stores/sqlite/migrate.js';
import { eventPrinter } from './output.js';

interface BackupOptions {
  readonly config: string;
  readonly out: string;
  readonly recipient: readonly string[];
  readonly passphraseFile?: string;
  readonly json?: true;
}

interface RestoreOptions {
  readonly to?: string;
  readonly identityFile?: string;
  readonly passphraseFile?: string;
  readonly database?: string;
  readonly verify?: true;
  readonly json?: true;
}

const passphraseOption = (): Option =>
  new Option('--passphrase-file <file>', 'file that holds the passphrase; - for standard input');

export function addBackup(program: Command): void {
  program
    .command('backup')
    .description('write configuration, identities and data of a role into one file encrypted with age, while it runs')
    .addArgument(new Argument('<role>', 'whose').choices(['backend', 'gateway', 'meter']))
    .requiredOption('--config <file>', 'configuration of the role')
    .requiredOption('--out <file>', 'the backup; a file that is not there yet')
    .option('--recipient <key>', 'public key of age (age1…) that opens it; may be repeated', collect, [])
    .addOption(passphraseOption().conflicts('recipient'))
    .option('--json', 'print JSON')
    .action(async (role: StoreRole, options: BackupOptions) => {
      const { writeBackup } = await import('../backup/backup.js');
      const { config: configFile, out, json } = options;
      const emit = eventPrinter(json ?? false, describe);
      const protection = protectionOf(options);
      const onProgress = progressPrinter('backing-up', emit);
      const plan = { role, configFile, databaseUrl: databaseUrl(), out, protection, nowS: systemNowS(), onProgress };
      emit({ event: 'backed-up', ...(await writeBackup(plan)) });
    });
  program
    .command('restore')
    .description('bring a backup into a new folder; a restored meter never goes on with an old key or number')
    .argument('<file>', 'the backup')
    .option('--to <folder>', 'where to; a folder that is not there yet. Without it --verify keeps nothing')
    .option('--identity-file <file>', 'identities of age (AGE-SECRET-KEY-…), as age-keygen writes them')
    .addOption(passphraseOption().conflicts('identityFile'))
    .option('--verify', 'check every hash, chain and signature before anything is kept')
    .option('--database <url>', 'postgres://… of an empty database for the data of a backend; default: SQLite')
    .option('--json', 'print JSON')
    .action(async (file: string, options: RestoreOptions) => {
      const { restoreBackup } = await import('../backup/restore.js');
      const { to, verify = false, database, json } = options;
      if (to === undefined && !verify) {
        throw new SetupError('folder-missing', 'name a new folder with --to, or --verify to check the backup only');
      }
      const emit = eventPrinter(json ?? false, describe);
      const onProgress = progressPrinter('restoring', emit);
      const plan = {
        file,
        opening: openingOf(options),
        to,
        verify,
        databaseUrl: database,
        nowS: systemNowS(),
        onProgress,
      };
      const summary = await restoreBackup(plan);
      emit({ event: to === undefined ? 'verified' : 'restored', ...summary });
    });
}

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

/** As the backend itself takes it. */
function databaseUrl(): string | undefined {
  const { DATABASE_URL: url = '' } = process.env;
  return url === '' ? undefined : url;
}

function protectionOf({ recipient, passphraseFile }: BackupOptions): Protection {
  if (recipient.length > 0) return { recipients: recipient };
  if (passphraseFile !== undefined) return { passphrase: readPassphrase(passphraseFile) };
  throw new SetupError('recipient-missing', 'name a recipient of age with --recipient, or a --passphrase-file');
}

function openingOf({ identityFile, passphraseFile }: RestoreOptions): Opening {
  if (passphraseFile !== undefined) return { passphrase: readPassphrase(passphraseFile) };
  if (identityFile === undefined) {
    throw new SetupError('identity-missing', 'name an --identity-file of age, or a --passphrase-file');
  }
  const lines = readText(identityFile, 'identities').split('\n');
  const identities = lines.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'));
  if (identities.length > 0) return { identities };
  throw new SetupError('identity-unusable', `${identityFile} holds no identity of age`);
}

function readPassphrase(file: string): string {
  const text = file === '-' ? readFileSync(0, 'utf8') : readText(file, 'passphrase');
  const passphrase = text.replace(/\r?\n$/, '');
  if (passphrase !== '') return passphrase;
  throw new SetupError('passphrase-empty', 'the passphrase is empty');
}

const progressEveryMs = 2_000;

function progressPrinter(event: string, emit: (event: RuntimeEvent) => void): (rows: number) => void {
  let shownMs = performance.now();
  return (rows) => {
    if (performance.now() - shownMs < progressEveryMs) return;
    shownMs = performance.now();
    emit({ event, rows });
  };
}

function describe(event: RuntimeEvent): string {
  switch (event.event) {
    case 'backed-up':
      return describeBackup(event as unknown as BackupSummary);
    case 'restored':
    case 'verified':
      return describeRestore(event as unknown as RestoreSummary);
    default:
      return `${event.event}: ${String(event['rows'])} rows`;
  }
}

const describeBackup = ({ role, out, bytes, files, stores, rows }: BackupSummary): string =>
  `${role} backed up to ${out}: ${files} files, ${rows} rows of ${stores} databases, ${bytes} bytes.`;

function describeRestore({ role, createdS, config, files, rows, checked }: RestoreSummary): string {
  const made = `a ${role} as of ${new Date(createdS * 1000).toISOString()}: ${files} files, ${rows} rows`;
  const right = checked
    ? [
        `Verified: ${checked.lists} lists, ${checked.epochs} epochs, ${checked.readings} readings, ${checked.grants} grants` +
          `; sequences are missing in ${checked.gaps} places` +
          (checked.unlisted > 0 ? `; ${checked.unlisted} messages are of meters that no list names` : ''),
      ]
    : [];
  if (config === undefined) return [`Holds ${made}.`, ...right].join('\n');
  return [
    `Restored ${made}.`,
    ...right,
    ...advice[role].map((line) => `- ${line}`),
    `Start it: gridring ${role} --config ${config}`,
  ].join('\n');
}

const advice: { readonly [Role in StoreRole]: readonly string[] } = {
  backend: [
    'Readings that came after the backup are gone from here, and their gateways have forgotten them.',
    'Publish the newest membership list: until then, whoever was removed after the backup is still let in.',
  ],
  gateway: [
    'End the old gateway for good.',
    'Revocations and departures after the backup are forgotten: revoke again, or bring the newest membership list.',
  ],
  meter: [
    'End the old meter for good: two of one identity spoil its chain.',
    'It takes part again 24 minutes from now at the earliest, in the next epoch, with a new reading key.',
  ],
};
