/** `gridring login|logout`: a person at a backend's issuer, by a browser here or on another device. */
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Command } from 'commander';
import type { JWK } from 'jose';
import type { Configuration } from 'openid-client';
import { SetupError, UnavailableError } from '../../crypto/errors.js';
import { fromPem } from '../../crypto/certificate/pem.js';
import { scopes } from '../auth/roles.js';
import { sendJson } from '../api-request.js';
import { PeerRefusal } from '../bindings/peer-refusal.js';
import { systemNowS } from '../runtime.js';
import { readText } from '../identity-files.js';
import { discover, findIssuer, refusedBy } from '../issuer-client.js';
import { commandLineClientId, fetchUnder, fetchWithin, importedKeys, tokenFields } from './authorized-fetch.js';
import { readLogin, writeLogin, type StoredLogin } from './login-file.js';
import { baseUrl, defaultPort } from './options.js';
import { printJson, printLine } from './output.js';

interface LoginOptions {
  readonly url: string;
  readonly root?: string;
  readonly device?: true;
  readonly json?: true;
}

const waitMs = 600_000;
/** All that there are: a token has those of them that the account's roles allow. */
const scope = ['openid', ...Object.keys(scopes)].join(' ');
const defaultUrl = `http://127.0.0.1:${defaultPort}`;

export function addLogin(program: Command): void {
  program
    .command('login')
    .description('log in at a backend, as a person')
    .option('--url <url>', 'the backend', baseUrl, defaultUrl)
    .option('--root <file>', "the deployment's root certificate, PEM, where the backend serves HTTPS under it")
    .option('--device', 'by a browser on another device, with a code')
    .option('--json', 'print JSON')
    .action(logIn);
  program
    .command('logout')
    .description('end the login at a backend')
    .option('--url <url>', 'the backend', baseUrl, defaultUrl)
    .option('--json', 'print JSON')
    .action(logOut);
}

async function logIn({ url, root, device, json }: LoginOptions): Promise<void> {
  const roots = root === undefined ? [] : fromPem(readText(root, 'root certificate')).map(base64);
  const send = fetchUnder(roots);
  const issuer = await findIssuer(send, url);
  if (issuer === undefined) {
    throw new SetupError(
      'issuer-missing',
      `${url} has no issuer: its configuration needs "issuer": {"embedded": true}`,
    );
  }
  const oidc = await import('openid-client');
  const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }) as JWK;
  const show = (address: string, code?: string): void => {
    if (json) printJson({ event: 'login', address, ...(code !== undefined && { code }) });
    else printLine(`open ${address}${code === undefined ? '' : `, and check that it shows ${code}`}`);
  };
  try {
    const config = await discover(send, issuer, commandLineClientId, oidc.None());
    const tokens = await (device ? byDevice(config, key, show) : byBrowser(config, key, show));
    writeLogin(url, { issuer, key, roots, ...tokenFields(tokens) });
  } catch (cause) {
    throw refusedBy(issuer, cause);
  }
  if (json) printJson({ event: 'logged-in', url });
  else printLine(`logged in at ${url}`);
}

const base64 = (der: Uint8Array): string => Buffer.from(der).toString('base64');

/** RFC 8252 §7.3: the browser comes back to a port of this machine that is open for this one answer. */
async function byBrowser(config: Configuration, key: JWK, show: (address: string) => void) {
  const oidc = await import('openid-client');
  const server = createServer().listen(0, '127.0.0.1');
  try {
    await once(server, 'listening');
    const redirectUri = `http://127.0.0.1:${(server.address() as AddressInfo).port}/callback`;
    const [pkceCodeVerifier, expectedState] = [oidc.randomPKCECodeVerifier(), oidc.randomState()];
    const address = oidc.buildAuthorizationUrl(config, {
      ...{ redirect_uri: redirectUri, scope, state: expectedState, code_challenge_method: 'S256' },
      code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier),
    });
    show(address.href);
    const back = await answerTo(server, redirectUri, expectedState);
    const DPoP = oidc.getDPoPHandle(config, await importedKeys(key));
    return await oidc.authorizationCodeGrant(config, back, { pkceCodeVerifier, expectedState }, undefined, { DPoP });
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

/** Whatever else comes to the port is not for us. */
function answerTo(server: Server, redirectUri: string, state: string): Promise<URL> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new UnavailableError('login-timeout', 'nobody has logged in for ten minutes'));
    }, waitMs);
    server.on('request', (request, response) => {
      const url = new URL(request.url ?? '/', redirectUri);
      const isOurs = url.pathname === '/callback' && url.searchParams.get('state') === state;
      const text = isOurs ? 'This page can be closed; go back to the command line.' : 'There is nothing here.';
      response.writeHead(isOurs ? 200 : 404, { 'content-type': 'text/plain; charset=utf-8', connection: 'close' });
      response.end(text, () => {
        if (!isOurs) return;
        clearTimeout(timer);
        resolve(url);
      });
    });
  });
}

async function byDevice(config: Configuration, key: JWK, show: (address: string, code: string) => void) {
  const oidc = await import('openid-client');
  const started = await oidc.initiateDeviceAuthorization(config, { scope });
  show(started.verification_uri_complete ?? started.verification_uri, started.user_code);
  const DPoP = oidc.getDPoPHandle(config, await importedKeys(key));
  return oidc.pollDeviceAuthorizationGrant(config, started, undefined, { DPoP });
}

/** The issuer ends what renews the token, the backend the token itself. */
async function endToken(login: StoredLogin, url: string): Promise<void> {
  try {
    await sendJson({ url, fetch: fetchWithin(login) }, 'DELETE', 'me/session');
  } catch (error) {
    // It had ended before.
    if (!(error instanceof PeerRefusal) || error.status !== 401) throw error;
  }
}

async function logOut({ url, json }: Pick<LoginOptions, 'url' | 'json'>): Promise<void> {
  const login = readLogin(url);
  const { issuer, refreshToken, roots, expiresS } = login;
  const oidc = await import('openid-client');
  // The file is emptied first: whatever the issuer says, this machine is logged out.
  writeLogin(url, undefined);
  if (expiresS > systemNowS()) await endToken(login, url);
  try {
    await oidc.tokenRevocation(
      await discover(fetchUnder(roots), issuer, commandLineClientId, oidc.None()),
      refreshToken,
    );
  } catch (cause) {
    throw refusedBy(issuer, cause);
  }
  if (json) printJson({ event: 'logged-out', url });
  else printLine(`logged out at ${url}`);
}
