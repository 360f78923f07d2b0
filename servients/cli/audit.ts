/** `gridring audit`: who did what, and whether nobody has changed that since. */
import { createReadStream, createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Option, type Command } from 'commander';
import { auditOutcomes, type AuditEntry } from '../../crypto/audit/entry.js';
import { parseAuditCheckpoint } from '../../crypto/audit/checkpoint.js';
import type { AuditFinding, AuditResult } from '../../crypto/audit/verify.js';
import type { Certificate } from '../../crypto/certificate.js';
import { SetupError } from '../../crypto/errors.js';
import { limits } from '../../crypto/limits.js';
import type { Suite } from '../../crypto/suite.js';
import { AuditClient, exportLines } from '../audit-client.js';
import { verifyAuditFile } from '../audit-file.js';
import { auditEntryJson } from '../audit-json.js';
import { backendOf } from '../chain-client.js';
import { readCertificates, writePublic } from '../identity-files.js';
import { systemNowS } from '../runtime.js';
import { trustedBy } from '../reader-file.js';
import { callerKeys, withCaller, type CallerOptions } from './caller.js';
import { readBytes } from './epoch-files.js';
import { wholeNumber } from './options.js';
import { exitCodes, printJson, printLine, table } from './output.js';

export function addAudit(program: Command): void {
  const audit = program.command('audit').description('the audit log of a backend: who did what, or was refused it');
  const verb = (name: string, description: string): Command =>
    withCaller(audit.command(name).description(description)).option('--json', 'print JSON');
  verb('ls', 'list entries, the newest last')
    .option('--last <n>', 'how many', wholeNumber(1, 1_000), 50)
    .option('--actor <name>', 'only of this actor')
    .option('--action <name>', 'only this, e.g. membership.publish')
    .option('--subject <name>', 'only on this')
    .addOption(new Option('--outcome <outcome>', 'only with this end').choices([...auditOutcomes]))
    .option('--since <time>', 'not before, e.g. 2026-01-31T00:00:00Z')
    .option('--until <time>', 'not after')
    .action(ls);
  verb('export', 'write all of it into a file that anybody can verify with the root certificate')
    .option('-o, --out <file>', 'where to', 'audit.jsonl')
    .action(exportLog);
  verb('checkpoint', 'keep how far the log has come, signed by the backend, to hold it to that later')
    .option('-o, --out <file>', 'where to', 'audit.checkpoint')
    .action(keep);
  verb('verify', 'tell whether an entry was altered, left out, moved or cut off')
    .argument('[file]', 'an export; without one, the log as the backend shows it now')
    .option('--root <file>', 'certificate of the root, PEM; for an export, nothing else is needed')
    .option('--checkpoint <file>', 'a checkpoint that was kept; may be repeated', collect, [])
    .action(verify);
}

interface Options extends CallerOptions {
  readonly json?: true;
}

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];
const clientOf = (options: CallerOptions): AuditClient => new AuditClient(backendOf(callerKeys(options), systemNowS));

const filters = ['actor', 'action', 'subject', 'outcome', 'since', 'until'] as const;
type Filters = { readonly [Name in (typeof filters)[number]]?: string };

async function ls(options: Options & Filters & { readonly last: number }): Promise<void> {
  const filter = Object.fromEntries(filters.flatMap((name) => (options[name] ? [[name, options[name]]] : [])));
  const entries = await clientOf(options).last(options.last, filter);
  if (options.json) for (const entry of entries) printJson(auditEntryJson(entry));
  else printLine(entries.length > 0 ? table([columns, ...entries.map(toRow)]) : 'there is no such entry');
}

const columns = ['SEQUENCE', 'TIME', 'OUTCOME', 'ACTION', 'ACTOR', 'SUBJECT', 'DETAILS'];

const toRow = (entry: AuditEntry): readonly string[] => [
  String(entry.sequence),
  auditEntryJson(entry).time,
  entry.outcome,
  entry.action,
  entry.actor,
  entry.subject === '' ? '-' : entry.subject,
  Object.entries(entry.details)
    .map(([name, value]) => `${name}=${String(value)}`)
    .join(' '),
];

/** Line by line: a log of years does not fit into memory. */
async function* bytesOf(lines: AsyncIterable<string>): AsyncGenerator<Uint8Array> {
  for await (const line of lines) yield Buffer.from(`${line}\n`);
}

async function exportLog(options: Options & { readonly out: string }): Promise<void> {
  const { out, json } = options;
  try {
    await pipeline(Readable.from(bytesOf(exportLines(clientOf(options)))), createWriteStream(out, { mode: 0o600 }));
  } catch (cause) {
    const { code, path } = cause as NodeJS.ErrnoException;
    if (path === undefined) throw cause;
    throw new SetupError('file-unwritable', `${out} cannot be written (${code ?? 'error'}); choose another`, cause);
  }
  if (json) printJson({ event: 'audit-exported', file: out });
  else printLine(`audit log: ${out}; "gridring audit verify ${out} --root FILE" checks it`);
}

async function keep(options: Options & { readonly out: string }): Promise<void> {
  const message = await clientOf(options).checkpoint();
  writePublic(options.out, message);
  const { number, sequence } = parseAuditCheckpoint(message);
  if (options.json) printJson({ event: 'audit-checkpoint-kept', file: options.out, number, sequence });
  else printLine(`checkpoint ${number}, entries up to ${sequence}: ${options.out}`);
}

interface VerifyOptions extends Options {
  readonly root?: string;
  readonly checkpoint: readonly string[];
}

async function verify(file: string | undefined, options: VerifyOptions): Promise<void> {
  const kept = options.checkpoint.map((path) => readBytes(path, 'checkpoint', limits.endorsement));
  const chunks = file === undefined ? bytesOf(exportLines(clientOf(options))) : chunksOf(file);
  const result = await verifyAuditFile(chunks, { roots: rootsOf(file, options), kept });
  if (options.json) printJson({ event: 'audit-verified', ...result });
  else for (const line of resultLines(result)) printLine(line);
  if (result.findings.length > 0) process.exitCode = exitCodes.failed;
  else if (result.uncompared > 0) process.exitCode = exitCodes.reported;
}

/** @throws SetupError `root-needed` */
function rootsOf(file: string | undefined, options: VerifyOptions): (suite: Suite) => readonly Certificate[] {
  const { root } = options;
  if (root !== undefined) return (suite) => readCertificates(suite, root, 'root certificate');
  if (file !== undefined) throw new SetupError('root-needed', 'name the certificate of the root with --root');
  return () => trustedBy(callerKeys(options));
}

/** @throws SetupError `file-unreadable` */
async function* chunksOf(file: string): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of createReadStream(file)) yield chunk as Uint8Array;
  } catch (cause) {
    throw new SetupError('file-unreadable', `export: ${file} cannot be read; check the path`, cause);
  }
}

const findingTexts: Readonly<Record<AuditFinding['kind'], (of: string) => string>> = {
  altered: (of) => `ALTERED: entry ${of} is not as it was written`,
  missing: (of) => `MISSING: entry ${of}`,
  misplaced: (of) => `MISPLACED: entry ${of} does not follow the one before it`,
  'contradicts-checkpoint': (of) => `CHANGED: up to entry ${of}, the log is not the one that a checkpoint tells of`,
  'checkpoint-missing': (of) => `MISSING: checkpoint ${of}`,
  'other-log': (of) => `FOREIGN: checkpoint ${of} is of another log`,
  truncated: (of) => `CUT OFF: entry ${of}, of which a checkpoint tells`,
};

function resultLines({ entries, lastSequence, checkpoints, uncompared, findings }: AuditResult): readonly string[] {
  const found = findings.map(({ kind, first, last }) =>
    findingTexts[kind](first === last ? `${first}` : `${first} to ${last}`),
  );
  const given = uncompared > 0 ? [`${uncompared} of the kept checkpoints tell only of entries that were given up`] : [];
  const verdict = found.length === 0 ? 'nothing was altered, left out, moved or cut off' : 'the log is NOT what it was';
  return [...found, ...given, `${entries} entries up to ${lastSequence}, ${checkpoints} checkpoints: ${verdict}`];
}
