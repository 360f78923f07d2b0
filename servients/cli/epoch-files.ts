/**
 * What `gridring epoch` checks by itself: proofs and verdicts, with the root's certificate and nothing else. That something does not verify is
 * a finding, with an exit code of its own, and no fault in the use of the command.
 */
import { readFileSync } from 'node:fs';
import { GridringError, SetupError } from '../../crypto/errors.js';
import { limits } from '../../crypto/limits.js';
import { verifyMembership } from '../../crypto/membership.js';
import { announcementOfVerdict, verifyVerdict } from '../../crypto/ring/blame.js';
import type { Announcement } from '../../crypto/ring/messages.js';
import { judgedAtS, parseProof, verifyProof } from '../../crypto/ring/proof.js';
import { announcementOf } from '../../crypto/ring/record.js';
import { suiteById } from '../../crypto/suite-node.js';
import { readCertificates } from '../identity-files.js';
import { holderNamed } from '../key-holders.js';
import { systemNowS } from '../runtime.js';
import { checkLines, epochJson, verdictJson, verdictLines } from './epoch-text.js';
import { exitCodes, printJson, printLine, reportError } from './output.js';

interface Options {
  readonly root: string;
  readonly json?: true;
}

/** `gridring epoch verify`. @throws SetupError `file-unreadable` */
export function verifyProofFile(file: string, options: Options & { readonly meter?: string }): void {
  const { meter, json } = options;
  const bytes = readBytes(file, 'proof', limits.proof);
  finding(options, () => {
    const check = checkFor(options, announcementOf(parseProof(bytes).record));
    const proof = verifyProof(check, bytes);
    const canRead = meter === undefined ? {} : { meter, canRead: holderNamed(proof, meter) !== undefined };
    if (json) printJson({ event: 'proof-verified', ...epochJson(proof), ...canRead });
    else for (const line of checkLines(proof, canRead)) printLine(line);
  });
}

interface VerdictOptions extends Options {
  readonly membership: string;
  readonly gateway?: string;
}

/** `gridring epoch verdict`. @throws SetupError `file-unreadable`, `verdict-needed`, and as `fetchVerdicts` */
export async function verifyVerdicts(file: string | undefined, options: VerdictOptions): Promise<void> {
  const bundle = readBytes(options.membership, 'membership list', limits.membership);
  const verdicts = await verdictsFrom(file, options);
  if (verdicts.length === 0 && !options.json) printLine('the gateway shows no verdict');
  for (const verdict of verdicts) verifyOne(verdict, bundle, options);
}

async function verdictsFrom(file: string | undefined, { gateway }: VerdictOptions): Promise<readonly Uint8Array[]> {
  if (file !== undefined && gateway === undefined) return [readBytes(file, 'verdict', limits.verdict)];
  if (file !== undefined || gateway === undefined) {
    throw new SetupError('verdict-needed', 'name the file of a verdict, or a gateway with --gateway');
  }
  const { fetchVerdicts } = await import('../verdicts.js');
  return fetchVerdicts(gateway);
}

function verifyOne(bytes: Uint8Array, bundle: Uint8Array, options: Options): void {
  finding(options, () => {
    const announcement = announcementOfVerdict(bytes);
    const check = checkFor(options, announcement);
    const nowS = judgedAtS(check.nowS, announcement, bundle);
    const membership = verifyMembership({ ...check, nowS }, bundle);
    const verdict = verifyVerdict(check.suite, membership, bytes, nowS);
    if (options.json) printJson({ event: 'verdict-verified', ...verdictJson(membership, verdict) });
    else for (const line of verdictLines(membership, verdict)) printLine(line);
  });
}

/** The suite is what the announcement says; whatever it says, everything must verify under it. */
function checkFor({ root }: Options, announcement: Announcement) {
  const suite = suiteById(announcement.suite);
  return { suite, trustedRoots: readCertificates(suite, root, 'root certificate'), nowS: systemNowS() };
}

function finding({ json }: Options, check: () => void): void {
  try {
    check();
  } catch (error) {
    if (!(error instanceof GridringError) || error instanceof SetupError) throw error;
    reportError(error, json ?? false);
    process.exitCode = exitCodes.failed;
  }
}

/** @throws SetupError `file-unreadable` */
export function readBytes(file: string, what: string, maxBytes: number): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = new Uint8Array(readFileSync(file));
  } catch (cause) {
    throw new SetupError('file-unreadable', `${what}: ${file} cannot be read; check the path`, cause);
  }
  if (bytes.length <= maxBytes) return bytes;
  throw new SetupError('file-unreadable', `${what}: ${file} is none, it has more than ${maxBytes} bytes`);
}
