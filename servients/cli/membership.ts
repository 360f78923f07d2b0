/** `gridring membership …`: what the membership authority signs. Its key file is opened here and nowhere else. */
import { join } from 'node:path';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { fromBase64Url } from '../../crypto/bytes.js';
import type { Policy } from '../../crypto/membership.js';
import { certHashBy, changePolicy, removeEntry, renew } from '../membership/edits.js';
import { systemNowS } from '../runtime.js';
import { add, delegate, rolesOfEntries, type AddOptions, type DelegateOptions } from './membership-drafts.js';
import {
  fetchIntoFile,
  fetchList,
  openFile,
  publish,
  sign,
  type FileOptions,
  type RemoteOptions,
  type SignOptions,
} from './membership-sign.js';
import { publishSigned, signOffline } from './membership-offline.js';
import { membershipJson, membershipText } from './membership-text.js';
import { baseUrl, collect, durationOption, wholeNumber } from './options.js';
import { printJson, printLine } from './output.js';
import { demoFolder, withAuthority, withList, withRoot, withSigning } from './authority-options.js';

const dayS = 86_400;

const timeOption = (text: string): number => {
  const timeMs = Date.parse(text);
  if (Number.isNaN(timeMs)) throw new InvalidArgumentError('a time such as 2027-01-31T12:00:00Z is needed.');
  return Math.floor(timeMs / 1000);
};

function hpkeKeyOption(text: string): Uint8Array {
  try {
    const key = fromBase64Url(text);
    if (key.length === 32 || key.length === 65) return key;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
  throw new InvalidArgumentError('an HPKE public key of 32 or 65 bytes in base64url is needed.');
}

export function addMembership(program: Command): void {
  const membership = program
    .command('membership')
    .description('who is in a group: show its list, and sign the next one');
  const reading = (name: string, description: string): Command =>
    withList(membership.command(name)).description(description).option('--json', 'print one JSON object');
  const signing = (name: string, description: string): Command =>
    withSigning(membership.command(name))
      .description(description)
      .option('--url <url>', 'publish to this backend', baseUrl);

  reading('show', 'print the list of a file, or the newest one that a backend has')
    .option('--url <url>', 'ask this backend', baseUrl)
    .option('--audience <name>', 'the backend’s audience, as in its configuration')
    .option('--authority <folder>', 'who asks a backend', join(demoFolder, 'authority'))
    .action(async (options: FileOptions & RemoteOptions) => {
      const { membership: shown } = options.url === undefined ? openFile(options) : await fetchList(options);
      if (options.json) printJson(membershipJson(shown));
      else printLine(membershipText(shown));
    });
  reading('fetch', 'take over the newest list that a backend has, and keep the file’s own beside it')
    .requiredOption('--url <url>', 'the backend', baseUrl)
    .requiredOption('--audience <name>', 'the backend’s audience, as in its configuration')
    .option('--authority <folder>', 'who asks', join(demoFolder, 'authority'))
    .action(fetchIntoFile);
  withAuthority(withRoot(membership.command('sign <request>')))
    .description('where the authority’s key is: show in words what a request would have signed, ask, and sign it')
    .option('--out <file>', 'the signed list; REQUEST.signed.cbor otherwise')
    .option('--yes', 'do not ask')
    .option('--json', 'print one JSON object')
    .action(signOffline);
  reading('publish', 'bring the list of the file to a backend once more, or one that was signed elsewhere')
    .requiredOption('--url <url>', 'the backend', baseUrl)
    .option('--signed <file>', 'as "sign" wrote it: it takes the place of the file’s list')
    .action(async (options: FileOptions & { readonly url: string; readonly signed?: string }) => {
      if (options.signed !== undefined) {
        await publishSigned(options.signed, options);
        return;
      }
      const current = openFile(options);
      await publish(current, options.url, options.json);
    });

  signing('add <certificate>', 'add the holder of a certificate (PEM, with the CAs above it but the root)')
    .addOption(new Option('--role <role>', 'to be sure of it; the certificate says it').choices(rolesOfEntries))
    .option('--hpke-key <key>', 'public key that a reader opens grants with, base64url', hpkeKeyOption)
    .option('--reads <meters>', 'what a reader reads: "all", or meters separated by commas')
    .action(async (file: string, options: SignOptions & AddOptions) => {
      await sign(options, (current) => add(current, file, options));
    });
  signing('remove <who>', 'revoke: by id, or by the hash of the certificate').action(
    async (who: string, options: SignOptions) => {
      await sign(options, ({ list }, names) => removeEntry(list, certHashBy(list, who, names.urn), names.id));
    },
  );
  signing('renew', 'give the list a new end')
    .option('--days <n>', 'how long from now', wholeNumber(1, 3_650), 365)
    .action(async (options: SignOptions & { readonly days: number }) => {
      await sign(options, ({ list }) => renew(list, systemNowS() + options.days * dayS));
    });
  signing('policy', 'change the rules of the group')
    .addOption(new Option('--profile <name>', 'what members verify').choices(['full', 'constrained']))
    .option('--rekey-interval <time>', 'a new key at least this often; 0s for never', durationOption)
    .option('--grace <time>', 'how long the old key still receives', durationOption)
    .option('--min-members <n>', 'least number in an epoch', wholeNumber(2, 64))
    .option(
      '--epoch-floor <n>',
      'for a gateway that has lost its state: epochs go on above this',
      wholeNumber(1, 0xffff_ffff),
    )
    .action(async (options: SignOptions & PolicyOptions) => {
      const { profile, rekeyInterval: rekeyIntervalS, grace: graceS, minMembers, epochFloor } = options;
      const change = { profile, rekeyIntervalS, graceS, minMembers, epochFloor };
      await sign(options, ({ list }) => changePolicy(list, change));
    });
  signing('delegate', 'let a gateway change the list for a while, without the authority')
    .requiredOption('--gateway <id>', 'which one')
    .addOption(new Option('--days <n>', 'for so long').argParser(wholeNumber(1, 365)).conflicts('until'))
    .option('--until <time>', 'until then', timeOption)
    .option('--allow-removals', 'it may remove members')
    .option(
      '--add <certificate>',
      'it may add the holder of this certificate (PEM); may be given several times',
      collect,
    )
    .action(async (options: SignOptions & DelegateOptions) => {
      await sign(options, (current, names) => delegate(current, names, options));
    });
}

interface PolicyOptions {
  readonly profile?: Policy['profile'];
  readonly rekeyInterval?: number;
  readonly grace?: number;
  readonly minMembers?: number;
  readonly epochFloor?: number;
}
