/** `gridring ca init|issue`: a small certificate authority in a folder. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { Option, type Command } from 'commander';
import { toBase64Url, toHex } from '../../crypto/bytes.js';
import { parseCertificate, roles, type Role } from '../../crypto/certificate.js';
import { toPem } from '../../crypto/certificate/pem.js';
import { SetupError } from '../../crypto/errors.js';
import { deriveKeyPair } from '../../crypto/hpke.js';
import type { SuiteName } from '../../crypto/suite.js';
import { suiteByName } from '../../crypto/suite-node.js';
import { caFiles, initCa, issue, openCa } from '../ca.js';
import { writeIdentity, writePublic } from '../identity-files.js';
import { writeReaderFile } from '../reader-file.js';
import { systemNowS } from '../runtime.js';
import { demoFolder, withAuthority, withList } from './authority-options.js';
import type { RolloverOptions } from './ca-rollover.js';
import { withCaller } from './caller.js';
import { baseUrl, collect, ipAddress, suiteOption, wholeNumber } from './options.js';
import { printJson, printLine } from './output.js';

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
  readonly backend?: string;
  readonly audience: string;
  readonly dns: readonly string[];
  readonly ip: readonly string[];
  readonly json?: true;
}

function addRollover(ca: Command): void {
  const rollover = ca.command('rollover').description('move a deployment to a new root, without touching its devices');
  const step = (name: 'plan' | 'apply' | 'finish', description: string): void => {
    withCaller(withAuthority(withList(rollover.command(name))))
      .description(description)
      .option('--dry-run', 'say what would change, and sign nothing')
      .option('--json', 'print JSON')
      .option('--ca <folder>', 'folder of the CA in use', join(demoFolder, 'ca'))
      .requiredOption('--next <folder>', 'folder of the next CA; "plan" makes it')
      .option('--name <text>', 'name in the certificates of the next CA', 'Gridring')
      .option('--days <n>', 'how long certificates are valid', wholeNumber(1, 3_650), 365)
      .option(
        '--keys <file>',
        'a further key file of a reader or operator that is here; may be given again',
        collect,
        [],
      )
      .action(async (options: RolloverOptions) => {
        const steps = await import('./ca-rollover.js');
        await steps[name](options);
      });
  };
  step('plan', 'make the next CA, and say who hangs on the one in use; changes nothing for anybody');
  step('apply', 'have everybody trust both roots, and certify all keys under the new one; may be run again');
  step('finish', 'have everybody trust the new root alone; refused while somebody hangs on the old one');
}

export function addCa(program: Command): void {
  const ca = program.command('ca').description('a small certificate authority in a folder');
  addRollover(ca);
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
    .requiredOption(
      '--out <folder>',
      'where certificate.pem and key.pem go; of a reader, certificate.pem and reader.json; of an operator with --backend, operator.json too',
    )
    .option('--days <n>', 'how long the certificate is valid', wholeNumber(1, 3_650), 365)
    .option('--backend <url>', 'where a reader fetches what it reads, and an operator sends commands', baseUrl)
    .option('--dns <name>', 'of a backend: a name under which it serves HTTPS; may be given again', collect, [])
    .option('--ip <address>', 'of a backend: an address under which it serves HTTPS; may be given again', ipAddress, [])
    .option('--audience <text>', "the backend's, as in its configuration", 'gridring-backend')
    .option('--json', 'print JSON')
    .action((options: IssueOptions) => {
      if (options.role === 'reader' || (options.role === 'operator' && options.backend !== undefined)) {
        issuePerson(options, options.role);
      } else issueIdentity(options);
    });
}

function issueIdentity(options: IssueOptions): void {
  const { out, role, id, days, json } = options;
  const suite = suiteByName(options.suite);
  const issued = issueFor(options);
  const files = { certificate: join(out, 'certificate.pem'), key: join(out, 'key.pem') };
  writeIdentity(suite, files, issued);
  if (json) printJson({ event: 'issued', role, id, certHash: issued.certHash, ...files });
  else printLine(`urn:gridring:${role}:${id} certified for ${days} days: ${files.certificate}, ${files.key}`);
}

/** Readers and operators have one key file, which also holds the key to which others seal what is for them. */
function issuePerson(options: IssueOptions, role: 'reader' | 'operator'): void {
  const { out, id, days, backend: url, audience, json } = options;
  if (url === undefined)
    throw new SetupError(`${role}-incomplete`, `a ${role} needs --backend, where it fetches what it may see`);
  const suite = suiteByName(options.suite);
  const { root, chain, secret, certHash } = issueFor(options);
  const hpke = deriveKeyPair(suite, randomBytes(32));
  const files = { certificate: join(out, 'certificate.pem'), keys: join(out, `${role}.json`) };
  // What signs requests to a gateway takes it from here.
  if (role === 'operator') writeIdentity(suite, { ...files, key: join(out, 'key.pem') }, { chain, secret });
  writeReaderFile(files.keys, { suite, chain, secret, hpkeSecret: hpke.secret, root, backend: { url, audience } });
  writePublic(files.certificate, chain.map(toPem).join(''));
  const hpkeKey = toBase64Url(hpke.key.hpkePublicKey);
  if (json) {
    printJson({ event: 'issued', role, id, certHash, hpkeKey, certificate: files.certificate, [role]: files.keys });
    return;
  }
  printLine(
    `urn:gridring:${role}:${id} certified for ${days} days: ${files.certificate}; its keys are in ${files.keys}`,
  );
  const does = role === 'reader' ? { verb: 'read', options: '--reads all ' } : { verb: 'command', options: '' };
  printLine(`Let it ${does.verb}: gridring membership add ${files.certificate} ${does.options}--hpke-key=${hpkeKey}`);
}

function issueFor({ dir, suite: name, role, id, days, dns, ip }: IssueOptions) {
  const suite = suiteByName(name);
  const ca = openCa(suite, dir);
  const servedAs = { dnsNames: dns, ipAddresses: ip };
  const { chain, secret } = issue(ca, { role, id, days, servedAs, nowS: systemNowS(), random: randomBytes });
  const { certHash } = parseCertificate(suite, chain[0] ?? new Uint8Array(0));
  return { chain, secret, certHash: toHex(certHash), root: ca.root.der };
}
