/** Which directory a command asks, as whom, and what it believes of it. */
import { SetupError } from '../../crypto/errors.js';
import type { Suite } from '../../crypto/suite.js';
import { suiteByName } from '../../crypto/suite-node.js';
import { makeFetch, type Fetch } from '../bindings/tls-fetch.js';
import { DirectoryClient, type DirectoryTrust } from '../directory-client.js';
import { readCertificates } from '../identity-files.js';
import { systemNowS } from '../runtime.js';
import { loginAt } from './authorized-fetch.js';
import { defaultPort } from './options.js';

export const defaultDirectory = `http://127.0.0.1:${defaultPort}`;
export const rootHelp =
  'root certificate, PEM, for HTTPS under it, and to check that devices have signed their descriptions';

/** The id of a Thing; a name without a scheme is that of a meter. */
export const urnOf = (id: string): string => (id.includes(':') ? id : `urn:gridring:meter:${id}`);

/** With a root, it gives descriptions of devices that have signed them alone. @throws SetupError */
export function directoryAt(url: string, root?: string): DirectoryClient {
  const trust = root === undefined ? undefined : trustIn(root);
  return new DirectoryClient({ url, ...callerOf(url, trust), ...(trust && { trust }) });
}

/** As who is logged in there, where somebody is; under HTTPS by the root. */
export function callerOf(url: string, trust: DirectoryTrust | undefined): { readonly fetch?: Fetch } {
  const { fetch } = loginAt(url);
  if (fetch) return { fetch };
  return trust ? { fetch: makeFetch({ roots: trust.trustedRoots.map(({ der }) => der) }) } : {};
}

/** Trust in what is certified under the root of a file, of either suite. @throws SetupError of a file that is unusable */
export function trustIn(file: string): DirectoryTrust {
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
