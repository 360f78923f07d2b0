/** The roots that are trusted, on disk: the file that the configuration names, and beside it those that were trusted before. */
import { existsSync } from 'node:fs';
import { toPem } from '../crypto/certificate/pem.js';
import type { Certificate } from '../crypto/certificate.js';
import type { Suite } from '../crypto/suite.js';
import { equalBytes } from '../crypto/bytes.js';
import { writeDurably } from './durable-file.js';
import { readCertificates } from './identity-files.js';
import { codeOf, type Runtime } from './runtime.js';
import { fileError } from './stores/sqlite/store-error.js';
import { GridringError } from '../crypto/errors.js';

/** Where those are that were trusted before. */
export const retiredFile = (rootFile: string): string => `${rootFile}.retired`;

export interface Trust {
  readonly trustedRoots: readonly Certificate[];
  readonly retiredRoots: readonly Certificate[];
}

/** @throws SetupError `file-unreadable`, `certificate-unusable` */
export function readTrust(suite: Suite, rootFile: string): Trust {
  const retired = retiredFile(rootFile);
  return {
    trustedRoots: readCertificates(suite, rootFile, 'root certificate'),
    retiredRoots: existsSync(retired) ? readCertificates(suite, retired, 'retired root certificate') : [],
  };
}

/**
 * Trusts these roots and no others from the next start on; those that go are kept apart, for what was signed under them.
 * @throws SetupError, UnavailableError as the file system says
 */
export function writeTrust(suite: Suite, rootFile: string, roots: readonly Certificate[]): void {
  const { trustedRoots, retiredRoots } = readTrust(suite, rootFile);
  const isAmong = (some: readonly Certificate[]) => (root: Certificate) =>
    some.some(({ certHash }) => equalBytes(certHash, root.certHash));
  const gone = trustedRoots.filter((root) => !isAmong(roots)(root) && !isAmong(retiredRoots)(root));
  const pemOf = (some: readonly Certificate[]): string => some.map(({ der }) => toPem(der)).join('');
  try {
    if (gone.length > 0) writeDurably(retiredFile(rootFile), pemOf([...retiredRoots, ...gone]), 0o644);
    writeDurably(rootFile, pemOf(roots), 0o644);
  } catch (cause) {
    throw cause instanceof GridringError ? cause : fileError(rootFile, cause);
  }
}

/** The same for a process. @returns whether it is to be started anew */
export function takeTrust(
  { suite, rootFile, runtime }: { readonly suite: Suite; readonly rootFile: string; readonly runtime: Runtime },
  roots: readonly Certificate[],
): boolean {
  const names = roots.map(({ certHash }) => Buffer.from(certHash).toString('hex'));
  try {
    writeTrust(suite, rootFile, roots);
  } catch (error) {
    if (!(error instanceof GridringError)) throw error;
    runtime.log.error({ roots: names, code: codeOf(error), err: error }, 'other roots are to be trusted; see the disk');
    return false;
  }
  runtime.log.warn({ roots: names }, 'other roots are trusted from now on');
  runtime.emit({ event: 'trust-changed', roots: names });
  return true;
}
