/** `gridring grant`: who reads which meters. A grant is a rule of the signed policy; meters grant their keys by it. */
import type { Command } from 'commander';
import { toHex } from '../../crypto/bytes.js';
import { signerIn } from '../../crypto/envelope/entry.js';
import { parseGrant, verifyGrant } from '../../crypto/envelope/grant.js';
import { SetupError } from '../../crypto/errors.js';
import { findEntry, readableBy, type AuthorityList, type Membership } from '../../crypto/membership.js';
import { ChainClient, type Asking } from '../chain-client.js';
import { EpochLog } from '../epoch-log.js';
import { grantReading, withdrawReading, type Edit } from '../membership/edits.js';
import { systemNowS } from '../runtime.js';
import { withSigning } from './authority-options.js';
import { callerKeys, withCaller, type CallerOptions } from './caller.js';
import { groupId } from './options.js';
import { printJson, printLine, table } from './output.js';
import { listedAs, metersNamed, signAndPublish, type PublishingOptions } from './publishing.js';

interface LsOptions extends CallerOptions {
  readonly group?: string;
  readonly stored?: true;
  readonly json?: true;
}

interface ChangeOptions extends PublishingOptions {
  readonly meters: string;
}

export function addGrant(program: Command): void {
  const grant = program.command('grant').description('who reads which meters, by the signed policy');
  withCaller(grant.command('ls'))
    .description('list who reads what, and since which list')
    .option('--group <gid>', 'of this group alone', groupId)
    .option('--stored', 'the keys that meters have granted to you: which meters, in which epochs')
    .option('--json', 'print one JSON object a line')
    .action(async (options: LsOptions) => {
      if (options.stored) await listStored(options);
      else await listRules(options);
    });
  const change = (name: string, description: string, edit: EditReading): void => {
    withCaller(withSigning(grant.command(`${name} <reader>`)))
      .description(description)
      .requiredOption('--meters <meters>', '"all", or meters separated by commas')
      .action((reader: string, options: ChangeOptions) => changeReading(reader, options, edit));
  };
  change('add', 'let a reader of the list read meters, from the next list on', grantReading);
  change('remove', 'let it read them no longer; what was granted before stays readable to it', withdrawReading);
}

type EditReading = (list: AuthorityList, reader: Uint8Array, meters: readonly Uint8Array[] | null) => Edit;

async function changeReading(who: string, options: ChangeOptions, edit: EditReading): Promise<void> {
  const next = await signAndPublish(options, ({ list }, names) => {
    const reader = listedAs(list, who, 'reader', names.urn);
    if (!findEntry(list, reader, 'reader')?.entry.hpkeKey) {
      throw new SetupError('reader-incomplete', `the list has no key that ${who} opens grants with: add it anew`);
    }
    return edit(list, reader, metersNamed(list, options.meters, names));
  });
  if (!next || options.json) return;
  printLine(
    `this holds for what is sealed once meters have list ${next.list.version}: they are told it by their gateway`,
  );
}

async function listRules(options: LsOptions): Promise<void> {
  const log = new EpochLog(callerKeys(options), systemNowS);
  const gids = options.group === undefined ? await log.groups() : [options.group];
  const rules = [];
  for (const gid of gids) rules.push(...rulesOf(await log.newestMembership(gid)));
  if (options.json) for (const rule of rules) printJson(rule);
  else if (rules.length === 0) printLine('the policy lets nobody read');
  else printLine(table([['READER', 'READS', 'GROUP', 'LIST'], ...rules.map(ruleRow)]));
}

interface Rule {
  readonly reader: string;
  readonly meters: 'all' | readonly string[];
  readonly gid: string;
  readonly listVersion: number;
}

function rulesOf({ list, certificates }: Membership): readonly Rule[] {
  const idOf = (certHash: Uint8Array): string => {
    const found = list.entries.findIndex((entry) => toHex(entry.certHash) === toHex(certHash));
    return certificates[found]?.id ?? toHex(certHash).slice(0, 16);
  };
  const readers = list.entries.filter(({ certHash }) => findEntry(list, certHash, 'reader'));
  return readers.map(({ certHash }) => ({
    reader: idOf(certHash),
    meters: readableBy(list, certHash)?.map(idOf) ?? 'all',
    gid: toHex(list.gid),
    listVersion: list.version,
  }));
}

const ruleRow = ({ reader, meters, gid, listVersion }: Rule): readonly string[] => [
  reader,
  meters === 'all' ? 'all meters' : meters.join(', ') || 'nothing',
  gid.slice(0, 8),
  String(listVersion),
];

/** What the backend stores for the caller, each grant verified by the meter's signature. */
async function listStored(options: LsOptions): Promise<void> {
  const keys = callerKeys(options);
  const rows = [];
  for (const { id, epochs } of await storedGrants(keys)) {
    if (options.json) printJson({ meter: id, epochs });
    else rows.push([id, rangesOf(epochs.map(({ epoch }) => epoch))]);
  }
  if (!options.json)
    printLine(rows.length === 0 ? 'nothing was granted to you yet' : table([['METER', 'EPOCHS'], ...rows]));
}

interface Stored {
  readonly id: string;
  readonly epochs: readonly { readonly gid: string; readonly epoch: number; readonly attempt: number }[];
}

async function storedGrants(keys: Asking): Promise<readonly Stored[]> {
  const chains = new ChainClient(keys, systemNowS);
  const found: Stored[] = [];
  for (const { id, certHash } of await chains.meters()) {
    const messages = await chains.messages(certHash, 'grants', 'grants');
    if (messages.length === 0) continue;
    const { line } = await chains.meter(certHash);
    const epochs = messages
      .map((message) => verifyGrant(keys.suite, signerIn(line, parseGrant(message).meter, 'grant'), message))
      .map(({ name: { gid, epoch, attempt } }) => ({ gid: toHex(gid), epoch, attempt }))
      .sort((a, b) => a.epoch - b.epoch);
    found.push({ id, epochs });
  }
  return found;
}

/** `1-3, 7` */
function rangesOf(numbers: readonly number[]): string {
  const ranges: [number, number][] = [];
  for (const number of new Set(numbers)) {
    const last = ranges.at(-1);
    if (last && number === last[1] + 1) last[1] = number;
    else ranges.push([number, number]);
  }
  return ranges.map(([first, last]) => (first === last ? String(first) : `${first}-${last}`)).join(', ');
}
