/** Keys and certificates: whether they fit, who may read them, up to which root they lead, and until when. */
import { statSync } from 'node:fs';
import { verifyChain, type Role } from '../../crypto/certificate.js';
import { GridringError } from '../../crypto/errors.js';
import type { Suite } from '../../crypto/suite.js';
import { readCertificates, readIdentity, type IdentityFiles } from '../identity-files.js';
import { failure, ok, warning, type Finding } from './finding.js';

const soonS = 30 * 86_400;

export interface CheckedIdentity {
  readonly suite: Suite;
  readonly root: string;
  readonly files: IdentityFiles;
  readonly role: Role;
  readonly id: string;
  readonly nowS: number;
}

export function checkIdentity({ suite, root, files, role, id, nowS }: CheckedIdentity): readonly Finding[] {
  const check = `identity of ${id}`;
  try {
    const { leaf, certificates } = readIdentity(suite, files);
    const roots = readCertificates(suite, root, 'root certificate');
    const above = readCertificates(suite, files.certificate, 'certificate').slice(1);
    verifyChain(suite, leaf, above, roots, nowS, role);
    const ends = new Date(leaf.notAfterS * 1000).toISOString();
    const chain = `${certificates.length} certificates up to the root, valid until ${ends}`;
    return [
      leaf.id === id
        ? ok(check, `the key fits; ${chain}`)
        : failure(check, `the certificate is that of ${leaf.id}`, `set the id to ${leaf.id}, or name other files`),
      ...(leaf.notAfterS - nowS < soonS
        ? [warning(check, `the certificate ends at ${ends}`, 'issue a new one, and put it into the membership list')]
        : []),
      ...permissionsOf(files.key),
    ];
  } catch (error) {
    if (!(error instanceof GridringError)) throw error;
    return [failure(check, `${error.message} [${error.code}]`, adviceFor(error.code))];
  }
}

const advices: Readonly<Record<string, string>> = {
  'certificate-expired': 'issue a new certificate with "gridring ca issue", and put it into the membership list',
  'certificate-not-yet-valid': 'set the clock of this machine, or wait until the certificate begins',
  'certificate-role': 'issue a certificate for this role',
  'key-mismatch': 'name the key that was made with the certificate',
  'file-unreadable': 'check the path, and that the user that runs the process may read it',
};

const adviceFor = (code: string): string =>
  advices[code] ?? 'name the certificates as "gridring ca issue" wrote them, and the root.pem of the same CA';

/** Windows has other permissions. */
function permissionsOf(key: string): readonly Finding[] {
  if (process.platform === 'win32') return [];
  const mode = statSync(key).mode & 0o777;
  const name = 'permissions';
  if ((mode & 0o077) === 0) return [ok(name, `${key} is readable by its owner alone`)];
  return [failure(name, `${key} is readable by others (mode ${mode.toString(8)})`, `chmod 600 ${key}`)];
}
