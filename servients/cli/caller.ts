/** Who asks a backend, as commands that look at a community are told: a key file, or the login of a person. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { parseCertificate, type Certificate } from '../../crypto/certificate.js';
import { GridringError, SetupError } from '../../crypto/errors.js';
import type { Suite } from '../../crypto/suite.js';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import { fromPem } from '../../crypto/certificate/pem.js';
import type { Asking } from '../chain-client.js';
import { readText } from '../identity-files.js';
import { readReaderFile } from '../reader-file.js';
import { demoFolder } from './authority-options.js';
import { authorizedFetch } from './authorized-fetch.js';
import { loginUrls, readLogin } from './login-file.js';
import { baseUrl } from './options.js';

export interface CallerOptions {
  readonly reader?: string;
  readonly backend?: string;
  /** Of commands that need it for something else too. */
  readonly root?: string;
}

/** The key file of who asks where nobody says another, and nobody is logged in. */
export const usualFile = join(demoFolder, 'readers/utility.json');

export const withCaller = (command: Command): Command =>
  command
    .option('--reader <file>', `key file of who asks; otherwise the login of "gridring login", or ${usualFile}`)
    .option('--backend <url>', 'the backend, where it is not that of the key file, or of the only login', baseUrl);

/**
 * A key file that is named; else who is logged in at the backend that is named; else the usual key file; else the only
 * login there is.
 * @throws SetupError `caller-needed`, `file-unreadable`, `reader-file-unusable`, `login-rootless`
 */
export function callerKeys({ reader, backend, root }: CallerOptions): Asking {
  const logins = loginUrls();
  if (reader === undefined && backend !== undefined && logins.includes(backend)) return loggedIn(backend, root);
  const file = reader ?? (existsSync(usualFile) ? usualFile : undefined);
  if (file !== undefined) {
    const keys = readReaderFile(file);
    return backend === undefined ? keys : { ...keys, backend: { ...keys.backend, url: backend } };
  }
  const [only, ...others] = backend === undefined ? logins : [];
  if (only !== undefined && others.length === 0) return loggedIn(only, root);
  const advice = others.length > 0 ? `--backend: ${logins.join(' or ')}` : '"gridring login --url URL --root FILE"';
  throw new SetupError('caller-needed', `say who asks: a key file (--reader), or a login (${advice})`);
}

function loggedIn(url: string, rootFile: string | undefined): Asking {
  const given = rootFile !== undefined && existsSync(rootFile) ? fromPem(readText(rootFile, 'root certificate')) : [];
  const [der] = [...given, ...readLogin(url).roots.map((root) => new Uint8Array(Buffer.from(root, 'base64')))];
  if (!der) {
    throw new SetupError(
      'login-rootless',
      `what a backend shows is verified by the root of the deployment: "gridring login --url ${url} --root FILE"`,
    );
  }
  return { ...rootIn(der), backend: { url }, send: authorizedFetch(url) };
}

/** A certificate says itself of which suite its key is. */
function rootIn(der: Uint8Array): { readonly suite: Suite; readonly root: Certificate } {
  try {
    return { suite: suiteX25519, root: parseCertificate(suiteX25519, der) };
  } catch (error) {
    if (!(error instanceof GridringError)) throw error;
    return { suite: suiteP256, root: parseCertificate(suiteP256, der) };
  }
}
