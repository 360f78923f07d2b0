/** `gridring epoch`: which keys there were, who holds them, and the proof of it. */
import type { Command } from 'commander';
import type { EpochLog, ListedEpoch } from '../epoch-log.js';
import { writePublic } from '../identity-files.js';
import { readabilityOf } from '../key-holders.js';
import { systemNowS } from '../runtime.js';
import { callerKeys, withCaller, type CallerOptions } from './caller.js';
import { verifyProofFile, verifyVerdicts } from './epoch-files.js';
import { epochJson, epochLines, listName, readabilityLines, readabilityJson } from './epoch-text.js';
import { baseUrl, groupId } from './options.js';
import { printJson, printLine, table } from './output.js';

interface Options extends CallerOptions {
  readonly group?: string;
  readonly json?: true;
}

export function addEpoch(program: Command): void {
  const epoch = program
    .command('epoch')
    .description('epochs of the group key: who holds which key, and the proof of it');
  const verb = (name: string, description: string): Command =>
    epoch.command(name).description(description).option('--json', 'print JSON');
  const online = (name: string, description: string): Command =>
    withCaller(verb(name, description)).option('--group <gid>', 'the group, where the backend has several', groupId);

  online('ls', 'list the recorded epochs, the newest first').action(ls);
  online('show', 'verify and show an epoch; the newest, where none is named')
    .argument('[epoch]', 'its number, or number.attempt')
    .action(show);
  online('export', 'write the proof of an epoch into a file')
    .argument('<epoch>', 'its number, or number.attempt')
    .option('-o, --out <file>', 'where to; epoch-N.cbor otherwise')
    .action(exportProof);
  online('can-read', 'tell whether a meter holds the key of an epoch, with the proof')
    .argument('<meter>', 'its id, or the hash of its certificate in hex')
    .argument('[epoch]', 'its number, or number.attempt; the newest otherwise')
    .action(canRead);
  verb('verify', 'check the proof of an epoch with nothing but the root certificate')
    .argument('<file>', 'as "export" wrote it')
    .requiredOption('--root <file>', 'certificate of the root, PEM')
    .option('--meter <id>', 'tell also whether this meter holds the key')
    .action(verifyProofFile);
  verb('verdict', 'check who is to blame for an attempt that failed, by the verdict that the gateway signed')
    .argument('[file]', 'the verdict')
    .option('--gateway <url>', 'all verdicts that the gateway at this HTTP address shows', baseUrl)
    .requiredOption('--membership <file>', 'the list that was in force, with its certificates')
    .requiredOption('--root <file>', 'certificate of the root, PEM')
    .action(verifyVerdicts);
}

/** Loaded when it is needed: its schemas take time, which every other verb would pay too. */
async function logOf(options: Options): Promise<EpochLog> {
  const { EpochLog } = await import('../epoch-log.js');
  return new EpochLog(callerKeys(options), systemNowS);
}

const groupOf = async (log: EpochLog, { group }: Options): Promise<string> => group ?? (await log.onlyGroup());

async function ls(options: Options): Promise<void> {
  const log = await logOf(options);
  const groups = options.group === undefined ? await log.groups() : [options.group];
  for (const gid of groups) {
    const epochs = await log.epochs(gid);
    if (options.json) for (const epoch of epochs) printJson(epoch);
    else {
      if (groups.length > 1) printLine(`group ${gid}`);
      printLine(epochs.length > 0 ? table([columns, ...epochs.map(toRow)]) : 'no epoch is recorded yet');
    }
  }
}

const columns = ['EPOCH', 'REASON', 'MEMBERS', 'LIST', 'KEY', 'RECORDED', 'STATE'];

const toRow = ({ epoch, attempt, reason, members, keyName, recordedAt, provisional, ...list }: ListedEpoch) => [
  `${epoch}.${attempt}`,
  reason,
  String(members),
  listName(list.listVersion, list.listRevision),
  keyName,
  recordedAt,
  provisional ? 'provisional' : 'endorsed',
];

async function show(name: string | undefined, options: Options): Promise<void> {
  const log = await logOf(options);
  const listed = await log.find(await groupOf(log, options), name);
  const proof = await log.proof(listed);
  if (options.json) printJson({ event: 'epoch', ...epochJson(proof), recordedAt: listed.recordedAt });
  else for (const line of epochLines(proof, listed.recordedAt)) printLine(line);
}

async function exportProof(name: string, options: Options & { readonly out?: string }): Promise<void> {
  const log = await logOf(options);
  const listed = await log.find(await groupOf(log, options), name);
  const { epoch, attempt } = listed;
  const { bytes } = await log.proof(listed);
  const file = options.out ?? `epoch-${epoch}.cbor`;
  writePublic(file, bytes);
  if (options.json) printJson({ event: 'proof-written', file, epoch, attempt, bytes: bytes.length });
  else printLine(`proof of epoch ${epoch}, attempt ${attempt}: ${file}, ${bytes.length} bytes`);
}

async function canRead(meter: string, name: string | undefined, options: Options): Promise<void> {
  const log = await logOf(options);
  const answer = await readabilityOf(log, await groupOf(log, options), meter, name);
  if (options.json) printJson({ event: 'can-read', meter, ...readabilityJson(answer) });
  else for (const line of readabilityLines(meter, answer)) printLine(line);
}
