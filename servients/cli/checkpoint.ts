/** `gridring checkpoint`: the signed daily checkpoints of a meter, to be kept, and held against what the backend shows. */
import type { Command } from 'commander';
import { toHex } from '../../crypto/bytes.js';
import { isWhole } from '../../crypto/envelope/audit.js';
import type { Checkpoint } from '../../crypto/envelope/checkpoint.js';
import { signerIn } from '../../crypto/envelope/entry.js';
import { NotFoundError, SetupError } from '../../crypto/errors.js';
import type { Certificate } from '../../crypto/certificate.js';
import type { Suite } from '../../crypto/suite.js';
import { ChainClient, type FetchedEntry } from '../chain-client.js';
import { auditAgainst } from '../chain-report.js';
import {
  encodeCheckpointFile,
  maxCheckpointFileBytes,
  suiteOfCheckpointFile,
  verifyCheckpointFile,
  type KeptCheckpoint,
} from '../checkpoint-file.js';
import { readCertificates, writePublic } from '../identity-files.js';
import { readReaderFile, trustedBy } from '../reader-file.js';
import { systemNowS } from '../runtime.js';
import { callerKeys, withCaller, type CallerOptions } from './caller.js';
import { checkpointJson, findingsJson, findingsLines, isoDay } from './chain-text.js';
import { readBytes } from './epoch-files.js';
import { baseUrl, day } from './options.js';
import { exitCodes, printJson, printLine, table } from './output.js';

interface Options extends CallerOptions {
  readonly meter: string;
  readonly json?: true;
}

export function addCheckpoint(program: Command): void {
  const checkpoint = program
    .command('checkpoint')
    .description(
      'daily checkpoints that meters sign: kept, they show later whether anything was taken away or changed',
    );
  const verb = (name: string, description: string): Command =>
    checkpoint.command(name).description(description).option('--json', 'print JSON');
  const online = (name: string, description: string): Command =>
    withCaller(verb(name, description)).requiredOption('--meter <id>', 'the meter');
  online('ls', 'list the checkpoints of a meter').action(ls);
  online('keep', 'write a checkpoint into a file; the newest, where no day is named')
    .option('--day <day>', 'the day that it closes, such as 2026-01-31', day)
    .option('-o, --out <file>', 'where to; METER-DAY.checkpoint otherwise')
    .action(keep);
  verb('verify', 'check a kept checkpoint, and with --reader also the backend against it')
    .argument('<file>', 'as "keep" wrote it')
    .option('--root <file>', 'certificate of the root, PEM')
    .option('--reader <file>', 'key file of a reader, which names root and backend')
    .option('--backend <url>', 'another backend than the one in the key file', baseUrl)
    .action(verify);
}

type FetchedCheckpoint = FetchedEntry & { readonly entry: Checkpoint };

async function checkpointsOf(options: Options): Promise<readonly FetchedCheckpoint[]> {
  const found: FetchedCheckpoint[] = [];
  const client = new ChainClient(callerKeys(options), systemNowS);
  for await (const fetched of client.entries(options.meter, 0, 'checkpoint')) {
    const { entry, message } = fetched;
    if (entry.kind === 'checkpoint') found.push({ entry, message });
  }
  return found;
}

async function ls(options: Options): Promise<void> {
  const checkpoints = (await checkpointsOf(options)).map(({ entry }) => entry);
  if (options.json) for (const entry of checkpoints) printJson({ event: 'checkpoint', ...checkpointJson(entry) });
  else if (checkpoints.length === 0) printLine(`${options.meter} has signed no checkpoint yet`);
  else printLine(table([['DAY', 'SEQUENCE', 'FROM', 'READINGS', 'HASH'], ...checkpoints.map(toRow)]));
}

const toRow = ({ day, sequence, first, readings, hash }: Checkpoint): readonly string[] => [
  isoDay(day),
  String(sequence),
  String(first),
  String(readings),
  toHex(hash).slice(0, 16),
];

async function keep(options: Options & { readonly day?: number; readonly out?: string }): Promise<void> {
  const { meter, day: wanted, out } = options;
  const checkpoints = await checkpointsOf(options);
  const chosen = checkpoints.findLast(({ entry }) => wanted === undefined || entry.day === wanted);
  if (!chosen) throw new NotFoundError('checkpoint-unknown', `${meter} has signed no such checkpoint yet`);
  const { bundle, line } = await new ChainClient(callerKeys(options), systemNowS).meter(meter);
  const signer = signerIn(line, chosen.entry.meter, 'checkpoint');
  const file = out ?? `${meter}-${isoDay(chosen.entry.day)}.checkpoint`;
  writePublic(file, encodeCheckpointFile(chosen.message, bundle, line.at(-1) === signer ? undefined : signer.der));
  if (options.json) printJson({ event: 'checkpoint-kept', file, ...checkpointJson(chosen.entry) });
  else printLine(`checkpoint of ${isoDay(chosen.entry.day)}, sequence ${chosen.entry.sequence}: ${file}`);
}

interface VerifyOptions {
  readonly root?: string;
  readonly reader?: string;
  readonly backend?: string;
  readonly json?: true;
}

async function verify(file: string, options: VerifyOptions): Promise<void> {
  const bytes = readBytes(file, 'checkpoint', maxCheckpointFileBytes);
  const suite = suiteOfCheckpointFile(bytes);
  const kept = verifyCheckpointFile({ suite, trustedRoots: rootsOf(suite, options), nowS: systemNowS() }, bytes);
  const { checkpoint, meter } = kept;
  if (options.json) printJson({ event: 'checkpoint-verified', meter: meter.id, ...checkpointJson(checkpoint) });
  else {
    const { day: closed, sequence, first, readings } = checkpoint;
    printLine(`${meter.id} has signed: ${isoDay(closed)}, entries ${first} to ${sequence - 1}, ${readings} readings`);
  }
  if (options.reader !== undefined) await compare(kept, options);
}

/** @throws SetupError `root-needed` */
function rootsOf(suite: Suite, { root, reader }: VerifyOptions): readonly Certificate[] {
  if (reader !== undefined) return trustedBy(readReaderFile(reader));
  if (root !== undefined) return readCertificates(suite, root, 'root certificate');
  throw new SetupError('root-needed', 'name the certificate of the root with --root, or a reader');
}

async function compare({ checkpoint, meter }: KeptCheckpoint, options: VerifyOptions): Promise<void> {
  const client = new ChainClient(callerKeys(options), systemNowS);
  const compared = await auditAgainst(client, checkpoint, toHex(meter.certHash));
  const { findings } = compared;
  const isUnchanged = compared.checkpoint === 'same' && isWhole(findings);
  const isGivenUp = compared.checkpoint === 'given-up' && isWhole(findings);
  if (options.json) {
    const { checkpoint: state } = compared;
    printJson({ event: 'checkpoint-compared', unchanged: isUnchanged, state, ...findingsJson(findings) });
  } else {
    for (const line of findingsLines(meter.id, findings)) printLine(line);
    if (isUnchanged) printLine('the backend shows what the meter signed');
    else if (isGivenUp)
      printLine('the backend says that it has given up what this checkpoint closes, and cannot show it');
    else printLine('the backend does NOT show what the meter signed');
  }
  if (isGivenUp) process.exitCode = exitCodes.reported;
  else if (!isUnchanged) process.exitCode = exitCodes.failed;
}
