/** `gridring ca init|issue`: a small certificate authority in a folder. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { Option, type Command } from 'commander';
import { toHex } from '../../crypto/bytes.js';
import { parseCertificate, roles, type Role } from '../../crypto/certificate.js';
import type { SuiteName } from '../../crypto/suite.js';
import { suiteByName } from '../../crypto/suite-node.js';
import { caFiles, initCa, issue, openCa } from '../ca.js';
import { writeIdentity } from '../identity-files.js';
import { systemNowS } from '../runtime.js';
import { wholeNumber } from './options.js';
import { printJson, printLine } from './output.js';

const suiteOption = (): Option =>
  new Option('--suite <name>', 'key types').choices(['x25519', 'p256']).default('x25519');

interface InitOptions {
  readonly dir: string;
  readonly suite: SuiteName;
  readonly name: string;
  readonly json?: true;
}

interface IssueOptions {
  readonly dir: string;
  readonly suite: SuiteName;
  readonly role: Role;
  readonly id: string;
  readonly out: string;
  readonly days: number;
  readonly json?: true;
}

export function addCa(program: Command): void {
  const ca = program.command('ca').description('a small certificate authority in a folder');
  ca.command('init')
    .description('make a root and an issuing CA')
    .requiredOption('--dir <folder>', 'where its keys and certificates go')
    .addOption(suiteOption())
    .option('--name <text>', 'name in the certificates', 'Gridring')
    .option('--json', 'print JSON')
    .action(({ dir, suite, name, json }: InitOptions) => {
      initCa(suiteByName(suite), dir, { name, nowS: systemNowS(), random: randomBytes });
      const { root, rootKey } = caFiles(dir);
      if (json) printJson({ event: 'ca-made', root, rootKey, suite });
      else
        printLine(
          `CA made in ${dir}. Give ${root} to every device; keep ${rootKey} offline, issuing does not need it.`,
        );
    });
  ca.command('issue')
    .description('make a key and certify it')
    .requiredOption('--dir <folder>', 'folder of the CA')
    .addOption(suiteOption())
    .addOption(new Option('--role <role>', 'what it may be').choices(roles).makeOptionMandatory())
    .requiredOption('--id <id>', 'its name: 1 to 64 of a-z, 0-9 and hyphen')
    .requiredOption('--out <folder>', 'where certificate.pem and key.pem go')
    .option('--days <n>', 'how long the certificate is valid', wholeNumber(1, 3_650), 365)
    .option('--json', 'print JSON')
    .action(({ dir, suite: name, role, id, out, days, json }: IssueOptions) => {
      const suite = suiteByName(name);
      const issued = issue(openCa(suite, dir), { role, id, days, nowS: systemNowS(), random: randomBytes });
      const files = { certificate: join(out, 'certificate.pem'), key: join(out, 'key.pem') };
      writeIdentity(suite, files, issued);
      const certHash = toHex(parseCertificate(suite, issued.chain[0] ?? new Uint8Array(0)).certHash);
      if (json) printJson({ event: 'issued', role, id, certHash, ...files });
      else printLine(`urn:gridring:${role}:${id} certified for ${days} days: ${files.certificate}, ${files.key}`);
    });
}
