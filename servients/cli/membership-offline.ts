/** `gridring membership sign`, where the authority's key is, and `publish --signed`, where the list is in use. */
import { existsSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { toHex } from '../../crypto/bytes.js';
import { SetupError } from '../../crypto/errors.js';
import { writeDurably } from '../durable-file.js';
import { openList, replaceListFile, type OpenList } from '../membership/list-file.js';
import { readSigningRequest, signRequest } from '../membership/signing-request.js';
import { systemNowS } from '../runtime.js';
import { withAdvice } from './membership-drafts.js';
import {
  changesOf,
  openAuthority,
  openFile,
  publish,
  report,
  standingWarnings,
  type FileOptions,
} from './membership-sign.js';
import { printLine } from './output.js';

export interface OfflineSignOptions {
  readonly root: string;
  readonly authority: string;
  readonly out?: string;
  readonly yes?: true;
  readonly json?: true;
}

/** @throws SetupError `request-unusable`, `confirmation-needed`, `not-confirmed`, `base-moved` */
export async function signOffline(file: string, options: OfflineSignOptions): Promise<void> {
  const request = readSigningRequest(file, options.root, systemNowS());
  const { list, base, suite } = request;
  const result = {
    ...{ gid: toHex(list.gid), version: list.version, changes: changesOf(request) },
    warnings: base ? standingWarnings(base.membership, list) : [],
  };
  if (!options.yes) {
    report({}, result);
    await confirm('Sign this list? Type "yes": ');
  }
  const authority = openAuthority(suite, options.authority);
  const signed = withAdvice(() => signRequest(options.authority, authority, request, systemNowS()));
  const out = options.out ?? `${file.replace(/\.json$/, '')}.signed.cbor`;
  writeDurably(out, signed.bundle, 0o644);
  report(options, { ...result, listHash: toHex(signed.membership.listHash), file: out });
  if (!options.json) printLine(`bring it back, and: gridring membership publish --signed ${basename(out)}`);
}

async function confirm(question: string): Promise<void> {
  if (!process.stdin.isTTY) {
    throw new SetupError(
      'confirmation-needed',
      'nobody is there to be asked: say --yes if that is what is to be signed',
    );
  }
  const lines = createInterface({ input: process.stdin, output: process.stdout });
  try {
    if ((await lines.question(question)).trim() === 'yes') return;
  } finally {
    lines.close();
  }
  throw new SetupError('not-confirmed', 'nothing was signed');
}

/**
 * Takes a list that was signed elsewhere into the file, and publishes it.
 * @throws SetupError `base-moved` where the file's list is no longer the one that it was made from
 */
export async function publishSigned(
  signedFile: string,
  options: FileOptions & { readonly url: string },
): Promise<void> {
  const { file, root, url, json } = options;
  const signed = withAdvice(() => openList(readSigned(signedFile), root, systemNowS()));
  if (existsSync(file)) takeOver(signed, signedFile, options);
  else writeDurably(file, signed.bundle, 0o644);
  await publish(signed, url, json);
}

function takeOver(signed: OpenList, signedFile: string, options: FileOptions): void {
  const current = openFile(options);
  if (toHex(current.membership.listHash) === toHex(signed.membership.listHash)) return;
  const isSameGroup = toHex(current.list.gid) === toHex(signed.list.gid);
  if (!isSameGroup || signed.list.version !== current.list.version + 1) {
    throw new SetupError(
      'base-moved',
      `${signedFile} does not follow list ${current.list.version} of ${options.file}: prepare the change anew, from that one`,
    );
  }
  replaceListFile(options.file, current, signed);
}

function readSigned(path: string): Uint8Array {
  try {
    return new Uint8Array(readFileSync(path));
  } catch (cause) {
    throw new SetupError('file-unreadable', `signed list: ${path} cannot be read; check the path`, cause);
  }
}
