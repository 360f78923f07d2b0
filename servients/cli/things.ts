/** `gridring things` and `gridring td ID`: what is in the directory. */
import type { Command } from 'commander';
import { GridringError, SetupError } from '../../crypto/errors.js';
import { isReservedId, verifyRegistration } from '../../crypto/registration.js';
import type { Suite } from '../../crypto/suite.js';
import { suiteByName } from '../../crypto/suite-node.js';
import { DirectoryClient, type DirectoryTrust } from '../directory-client.js';
import { readCertificates } from '../identity-files.js';
import { systemNowS } from '../runtime.js';
import { makeFetch, type Fetch } from '../bindings/tls-fetch.js';
import { authorizedFetch } from './authorized-fetch.js';
import { loginUrls } from './login-file.js';
import { baseUrl } from './options.js';
import { exitCodes, printJson, printLine, table } from './output.js';

export const defaultPort = 8470;
const defaultDirectory = `http://127.0.0.1:${defaultPort}`;

interface Options {
  readonly directory: string;
  readonly root?: string;
  readonly json?: true;
}

const rootHelp = 'root certificate, PEM, for HTTPS under it, and to check that devices have signed their descriptions';

export function addThings(program: Command): void {
  program
    .command('things')
    .description('list the Things of a directory')
    .option('--directory <url>', 'the directory', baseUrl, defaultDirectory)
    .option('--root <file>', rootHelp)
    .option('--json', 'print one JSON object a Thing')
    .action(async ({ directory, root, json }: Options) => {
      const trust = root === undefined ? undefined : trustIn(root);
      const tds = await new DirectoryClient({ url: directory, ...callerOf(directory, trust) }).things();
      const rows = tds.map((td) => ({
        ...{ id: td.id ?? '', title: td.title, at: addressOf(td) },
        ...(trust && { signed: signedBy(td, trust) }),
      }));
      if (json) for (const row of rows) printJson(row);
      else
        printLine(
          table([['ID', 'TITLE', 'AT', ...(trust ? ['SIGNED'] : [])], ...rows.map((row) => Object.values(row))]),
        );
      const isForged = rows.some(({ id, signed }) => isReservedId(id) && signed !== undefined && signed !== 'yes');
      if (isForged) process.exitCode = exitCodes.refused;
    });
  program
    .command('td <id>')
    .description('print the Thing Description of a Thing')
    .option('--directory <url>', 'the directory', baseUrl, defaultDirectory)
    .option('--root <file>', rootHelp)
    .option('--json', 'print it on one line')
    .action(async (id: string, { directory, root, json }: Options) => {
      const urn = id.startsWith('urn:') ? id : `urn:gridring:meter:${id}`;
      const trust = root === undefined ? undefined : trustIn(root);
      const known = { ...callerOf(directory, trust), ...(trust && { trust }) };
      const td = await new DirectoryClient({ url: directory, ...known }).thing(urn);
      if (json) printJson(td);
      else printLine(JSON.stringify(td, null, 2));
    });
}

/** As who is logged in there, where somebody is; under HTTPS by the root. */
function callerOf(directory: string, trust: DirectoryTrust | undefined): { readonly fetch?: Fetch } {
  if (loginUrls().includes(directory)) return { fetch: authorizedFetch(directory) };
  return trust ? { fetch: makeFetch({ roots: trust.trustedRoots.map(({ der }) => der) }) } : {};
}

/** Trust in what is certified under the root of a file, of either suite. @throws SetupError of a file that is unusable */
function trustIn(file: string): DirectoryTrust {
  const trust = (suite: Suite): DirectoryTrust => ({
    ...{ suite, nowS: systemNowS },
    trustedRoots: readCertificates(suite, file, 'root certificate'),
  });
  try {
    return trust(suiteByName('x25519'));
  } catch (error) {
    if (!(error instanceof SetupError && error.code === 'certificate-unusable')) throw error;
    return trust(suiteByName('p256'));
  }
}

/** Whether the device has signed it, or why that cannot be said; nothing of a Thing that is no device of ours. */
function signedBy(td: WoT.ThingDescription, trust: DirectoryTrust): string {
  if (!isReservedId(td.id)) return '';
  try {
    verifyRegistration({ ...trust, nowS: trust.nowS() }, { ...td });
    return 'yes';
  } catch (error) {
    if (!(error instanceof GridringError)) throw error;
    return error.code;
  }
}

/** The base, or the origin of the first form. */
function addressOf({ base, properties, actions }: WoT.ThingDescription): string {
  if (base !== undefined) return base;
  const [affordance] = [...Object.values(properties ?? {}), ...Object.values(actions ?? {})];
  const href = affordance?.forms[0]?.href;
  return href === undefined ? '' : new URL(href).origin;
}
