/**
 * An exported audit log: lines of JSON, each in exactly one form, so that nothing in it can be changed unseen. The first
 * says which log it is and where it begins; then come all checkpoints, then all entries up to the last checkpoint.
 */
import { parseAuditCheckpoint, verifyAuditCheckpoint, algorithmOfAuditCheckpoint } from '../crypto/audit/checkpoint.js';
import { auditStart, type AuditEntry, type AuditPlace } from '../crypto/audit/entry.js';
import { AuditVerifier, type AuditResult } from '../crypto/audit/verify.js';
import { fromBase64Url, fromHex, toBase64Url, toHex } from '../crypto/bytes.js';
import type { Certificate } from '../crypto/certificate.js';
import { MalformedError } from '../crypto/errors.js';
import { limits } from '../crypto/limits.js';
import { suiteP256, suiteX25519 } from '../crypto/suite-node.js';
import type { Suite } from '../crypto/suite.js';
import { auditEntryJson, parseAuditEntryJson } from './audit-json.js';

const format = 'gridring-audit-1';

export interface AuditHeader {
  /** 16 bytes. */
  readonly log: Uint8Array;
  /** The entry that was given up last; the start of the log where none was. */
  readonly start: AuditPlace;
}

export const headerLine = ({ log, start }: AuditHeader): string =>
  JSON.stringify({ format, log: toHex(log), after: start.sequence, previousHash: toHex(start.hash) });
export const checkpointLine = (message: Uint8Array): string => JSON.stringify({ checkpoint: toBase64Url(message) });
export const entryLine = (entry: AuditEntry): string => JSON.stringify(auditEntryJson(entry));

/** Where a log begins of which these are the oldest that there are: a checkpoint closes what was given up. */
export const startOf = (firstEntry: AuditEntry | undefined, firstCheckpoint: Uint8Array | undefined): AuditPlace => {
  if (firstEntry !== undefined) return { sequence: firstEntry.sequence - 1, hash: firstEntry.previousHash };
  return firstCheckpoint === undefined ? auditStart : parseAuditCheckpoint(firstCheckpoint);
};

/** The suite whose signatures it holds; whatever that is, everything must verify under it. @throws MalformedError */
const suiteOfAudit = (checkpoint: Uint8Array): Suite =>
  algorithmOfAuditCheckpoint(checkpoint) === suiteX25519.signatureAlgorithm ? suiteX25519 : suiteP256;

export interface AuditCheck {
  /** Reads the root for the suite that the file is of. */
  readonly roots: (suite: Suite) => readonly Certificate[];
  /** Checkpoints that somebody kept, as `signAuditCheckpoint` makes them. */
  readonly kept: readonly Uint8Array[];
}

/**
 * Reads an export line by line, and checks all of it with nothing but the root's certificate.
 * @throws MalformedError `audit-malformed` with the line; VerificationError as `verifyAuditCheckpoint`
 */
export async function verifyAuditFile(
  chunks: AsyncIterable<Uint8Array>,
  { roots, kept }: AuditCheck,
): Promise<AuditResult> {
  const checkpoints: Uint8Array[] = [];
  let header: AuditHeader | undefined;
  let verifier: AuditVerifier | undefined;
  const begin = (): AuditVerifier => {
    const [first] = checkpoints;
    if (header === undefined || first === undefined) throw malformed('it has no header, or no checkpoint');
    const suite = suiteOfAudit(first);
    const check = { suite, trustedRoots: roots(suite) };
    const verified = checkpoints.map((message) => verifyAuditCheckpoint(check, message));
    return new AuditVerifier({
      ...header,
      suite,
      checkpoints: verified,
      kept: kept.map((message) => verifyAuditCheckpoint(check, message)),
    });
  };
  let number = 0;
  for await (const line of linesOf(chunks)) {
    number += 1;
    const value = parseLine(line, number);
    if (number === 1) header = parseHeader(value, line);
    else if (typeof value['checkpoint'] === 'string') {
      if (verifier) throw malformed(`line ${number}: a checkpoint among the entries`);
      checkpoints.push(checkpointOf(value['checkpoint'], line, number));
    } else {
      verifier ??= begin();
      verifier.add(entryOf(value, line, number));
    }
  }
  return (verifier ?? begin()).end({ sealed: true });
}

function parseLine(line: string, number: number): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value === 'object' && value !== null) return value as Readonly<Record<string, unknown>>;
  } catch {
    // As below.
  }
  throw malformed(`line ${number} is no JSON object`);
}

function parseHeader({ log, after, previousHash }: Readonly<Record<string, unknown>>, line: string): AuditHeader {
  if (typeof log !== 'string' || typeof previousHash !== 'string' || typeof after !== 'number') throw notAnExport();
  if (!/^[0-9a-f]{32}$/.test(log) || !/^[0-9a-f]{64}$/.test(previousHash)) throw notAnExport();
  const header = { log: fromHex(log), start: { sequence: after, hash: fromHex(previousHash) } };
  if (headerLine(header) !== line) throw notAnExport();
  return header;
}

function checkpointOf(text: string, line: string, number: number): Uint8Array {
  try {
    const message = fromBase64Url(text);
    if (checkpointLine(message) === line) return message;
  } catch {
    // As below.
  }
  throw malformed(`line ${number} is no checkpoint`);
}

function entryOf(value: Readonly<Record<string, unknown>>, line: string, number: number): AuditEntry {
  try {
    const entry = parseAuditEntryJson(value);
    if (entryLine(entry) === line) return entry;
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
  }
  throw malformed(`line ${number} is no entry, or not in the form in which entries are written`);
}

/** Every line ends with a line feed: one that does not was cut off. @throws MalformedError */
async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let rest = '';
  for await (const chunk of chunks) {
    const lines = (rest + decode(() => decoder.decode(chunk, { stream: true }))).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > limits.auditLine) throw malformed('a line is too long');
    yield* lines;
  }
  rest += decode(() => decoder.decode());
  if (rest !== '') throw malformed('the last line is cut off');
}

function decode(work: () => string): string {
  try {
    return work();
  } catch (cause) {
    throw malformed('it is not UTF-8', cause);
  }
}

const notAnExport = (): MalformedError => malformed('it does not begin as an export of an audit log');
const malformed = (why: string, cause?: unknown): MalformedError =>
  new MalformedError('audit-malformed', `the file is not what was exported: ${why}`, cause);
