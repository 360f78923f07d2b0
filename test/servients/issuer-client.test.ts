/** Callers of a backend with tokens of its issuer: a device by its certificate, over HTTP and HTTPS, and a person's commands. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { decodeJwt } from 'jose';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import { toHex } from '../../crypto/bytes.js';
import { toPem } from '../../crypto/certificate/pem.js';
import { addAudit } from '../../servients/cli/audit.js';
import { addEpoch } from '../../servients/cli/epoch.js';
import { addGaps } from '../../servients/cli/gaps.js';
import { addGrant } from '../../servients/cli/grant.js';
import { addGroup } from '../../servients/cli/group.js';
import { addRoles } from '../../servients/cli/roles.js';
import { addThings } from '../../servients/cli/things.js';
import { codeOf, jsonOf, runVerb } from '../support/verbs.js';
import { authorizedFetch } from '../../servients/cli/authorized-fetch.js';
import { addLogin } from '../../servients/cli/login.js';
import { fetchAs, makeDeviceFetch } from '../../servients/issuer-client.js';
import { Passwords } from '../../servients/issuer/password.js';
import { makeNeighbourhood, nowS, type Neighbourhood, type Principal } from '../support/neighbourhood.js';
import { Browser } from './browser.js';
import {
  audience,
  expectProblem,
  issuingOf,
  startBackend,
  tokenFor,
  type Answer,
  type TestBackend,
} from './rest-server.js';

beforeAll(() => {
  // oidc-provider and openid-client have no other clock.
  vi.useFakeTimers({ toFake: ['Date'], now: nowS * 1000 });
});
afterAll(() => {
  vi.useRealTimers();
});

interface Sent {
  readonly authorization: string | null;
  readonly proof: string | null;
}

function callerAs(n: Neighbourhood, { secret, certificate }: Principal, url: string) {
  const sent: Sent[] = [];
  const clock = { nowS };
  const send = makeDeviceFetch({
    send: (target, init) => {
      const headers = new Headers(init?.headers);
      if (target.includes('/api/'))
        sent.push({ authorization: headers.get('authorization'), proof: headers.get('dpop') });
      return fetch(target, init);
    },
    ...{ url, audience, nowS: () => clock.nowS },
    holder: { suite: n.suite, secret, certificate, intermediates: [issuingOf(n)] },
  });
  return { send, sent, clock };
}

describe.each([suiteX25519, suiteP256])('a device that calls a backend, suite $name', (suite) => {
  const n = makeNeighbourhood(suite, 2);
  let backend: TestBackend;
  beforeAll(async () => {
    backend = await startBackend(n, { embeddedIssuer: true });
    await backend.call('POST', '/api/v1/memberships', { body: n.bundle(n.list()) });
  });
  afterAll(() => backend.remove());

  it('shows one token of the issuer with a proof of its own for each request, until it is due', async () => {
    const { send, sent, clock } = callerAs(n, n.gateway, backend.url);
    const statuses = [1, 2].map(async () => (await send(`${backend.url}/api/v1/groups`)).status);
    expect(await Promise.all(statuses)).toEqual([200, 200]);
    clock.nowS += 241;
    expect((await send(`${backend.url}/api/v1/groups`)).status).toBe(200);
    expect(sent.every(({ authorization }) => authorization?.startsWith('DPoP '))).toBe(true);
    const [one, two, three] = sent;
    expect(one?.authorization).toBe(two?.authorization);
    expect(three?.authorization).not.toBe(one?.authorization);
    expect(new Set(sent.map(({ proof }) => proof)).size).toBe(3);
    expect(decodeJwt(String(one?.authorization).slice(5))).toMatchObject({ iss: `${backend.url}/oidc`, aud: audience });
  });

  it('is refused with tokens that it signs itself: a gateway with any, others with those that are bound to no key', async () => {
    const bearer = async (as: Principal): Promise<Answer> =>
      backend.call('GET', '/api/v1/groups', { token: await tokenFor(n, as) });
    expectProblem(await bearer(n.gateway), 401, 'token-self-signed');
    expectProblem(await bearer(n.utility), 401, 'token-unbound');
    const bound = async (as: Principal): Promise<number> => {
      const key = { suite, ...as, certificates: [as.certificate.der, issuingOf(n).der] };
      return (await fetchAs(key, audience, [], () => nowS)(`${backend.url}/api/v1/groups`)).status;
    };
    expect([await bound(n.gateway), await bound(n.utility), await bound(n.authority)]).toEqual([401, 200, 200]);
  });

  it('is refused when somebody else repeats what it has sent', async () => {
    const { send, sent } = callerAs(n, n.gateway, backend.url);
    await send(`${backend.url}/api/v1/groups`);
    const { authorization, proof } = sent[0]!;
    const headers = { authorization: String(authorization), dpop: String(proof) };
    expect((await fetch(`${backend.url}/api/v1/groups`, { headers })).status).toBe(401);
    expect(
      (await fetch(`${backend.url}/api/v1/groups`, { headers: { authorization: headers.authorization } })).status,
    ).toBe(401);
  });
});

describe('a device that calls a backend without an issuer', () => {
  it('shows a token that it signs itself and that is bound to its key, with a proof for each request', async () => {
    const n = makeNeighbourhood(suiteX25519, 2);
    const backend = await startBackend(n);
    await backend.call('POST', '/api/v1/memberships', { body: n.bundle(n.list()) });
    const { send, sent } = callerAs(n, n.gateway, backend.url);
    expect((await send(`${backend.url}/api/v1/groups`)).status).toBe(200);
    const { authorization, proof } = sent[0]!;
    expect(authorization).toMatch(/^DPoP /);
    const groups = async (headers: Record<string, string>): Promise<unknown> => {
      const { status, body } = await backend.call('GET', '/api/v1/groups', { headers });
      return [status, (body as { readonly code: string }).code, backend.logged.at(-1)?.['code']];
    };
    const dpop = String(proof);
    expect(await groups({ authorization: String(authorization), dpop })).toEqual([
      401,
      'proof-invalid',
      'proof-replayed',
    ]);
    const taken = String(authorization).replace('DPoP', 'Bearer');
    expect(await groups({ authorization: taken })).toEqual([401, 'token-invalid', 'token-scheme']);
    await backend.remove();
  });
});

describe('gridring login', () => {
  const n = makeNeighbourhood(suiteX25519, 2);
  const password = 'correct horse battery';
  const folder = mkdtempSync(join(tmpdir(), 'gridring-login-'));
  const lines: string[] = [];
  let backend: TestBackend;
  let configured: string | undefined;
  const capture = (): void => {
    vi.spyOn(process.stdout, 'write').mockImplementation((text) => lines.push(String(text)) > 0);
  };

  beforeAll(async () => {
    ({ XDG_CONFIG_HOME: configured } = process.env);
    process.env['XDG_CONFIG_HOME'] = folder;
    capture();
    backend = await startBackend(n, { embeddedIssuer: true, passwords: new Passwords({ log2N: 4, r: 1, p: 1 }) });
    const twice = [1, 2].map(() => ['password', password] as const);
    await new Browser().submit(String(backend.firstLogin), backend.url, twice);
  });
  afterAll(async () => {
    vi.restoreAllMocks();
    if (configured === undefined) delete process.env['XDG_CONFIG_HOME'];
    else process.env['XDG_CONFIG_HOME'] = configured;
    await backend.remove();
    rmSync(folder, { recursive: true });
  });

  const run = async (...args: readonly string[]): Promise<unknown> => {
    const program = new Command().exitOverride();
    addLogin(program);
    return program.parseAsync([...args, '--url', backend.url, '--json'], { from: 'user' });
  };
  const shown = (): Promise<{ readonly address: string; readonly code?: string }> =>
    vi.waitFor(() => {
      const line = lines.map((text) => text.trim()).find((text) => text.startsWith('{"event":"login"'));
      if (line === undefined) throw new Error('no address yet');
      return JSON.parse(line) as { readonly address: string; readonly code?: string };
    });
  const credentials = [
    ['username', 'admin'],
    ['password', password],
  ] as const;
  const me = async (): Promise<number> => (await authorizedFetch(backend.url)(`${backend.url}/api/v1/users`)).status;

  it('opens a port for the one answer of the browser, and keeps the login in a file of the user’s own', async () => {
    const root = join(folder, 'root.pem');
    writeFileSync(root, toPem(n.root.der));
    const done = run('login', '--root', root);
    const { address } = await shown();
    const browser = new Browser();
    const page = await browser.visit(address, backend.url);
    const { at } = await browser.submit(page.at, backend.url, credentials);
    expect(at).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/callback\?/);
    expect((await fetch(at.replace(/state=[^&]*/, 'state=forged'))).status).toBe(404);
    expect((await fetch(at)).status).toBe(200);
    await done;
    const path = join(folder, 'gridring/logins.json');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path, 'utf8')).not.toContain(password);
    expect(await me()).toBe(200);
  });

  it('lets its person use commands without a key file, as far as its roles go', async () => {
    await backend.call('POST', '/api/v1/memberships', { body: n.bundle(n.list()) });
    const at = ['--backend', backend.url];
    expect(await jsonOf(addGroup, 'group', 'status', ...at)).toMatchObject({ gid: toHex(n.gid), listVersion: 1 });
    expect(await runVerb(addRoles, 'meter', 'ls', ...at)).toMatch(/meter-01/);
    expect(await runVerb(addGrant, 'grant', 'ls', ...at)).toMatch(/utility +all meters/);
    expect(await runVerb(addAudit, 'audit', 'ls', ...at)).toMatch(/membership\.publish/);
    expect(await runVerb(addEpoch, 'epoch', 'ls', ...at)).toMatch(/no epoch/);
    expect(await runVerb(addThings, 'things', '--directory', backend.url)).toMatch(/urn:gridring:backend:backend-1/);
    expect(await codeOf(runVerb(addGaps, 'gaps', ...at, '--meter', 'meter-01'))).toBe('refused');
    capture();
  });

  it('is renewed once where the token has ended, by whichever command is first, and ends with logout', async () => {
    vi.setSystemTime((nowS + 900) * 1000);
    backend.clockS = nowS + 900;
    expect(await Promise.all([me(), me(), me()])).toEqual([200, 200, 200]);
    await run('logout');
    await expect(me()).rejects.toMatchObject({ code: 'login-missing' });
  });

  it('works by a code on another device', async () => {
    lines.length = 0;
    const done = run('login', '--device');
    const { address, code } = await shown();
    const browser = new Browser();
    const { at, response } = await browser.visit(address, backend.url);
    const fieldsOf = (html: string) =>
      [...html.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g)].map(
        ([, name = '', value = '']) => [name, value] as const,
      );
    let page = await browser.submit(at, backend.url, fieldsOf(await response.text()));
    const confirm = await page.response.text();
    expect(confirm).toContain(code);
    page = await browser.submit(`${backend.url}/oidc/device`, backend.url, fieldsOf(confirm));
    page = await browser.submit(page.at, backend.url, credentials);
    expect(await page.response.text()).toContain('Go back to the device');
    await done;
    expect(await me()).toBe(200);
  }, 30_000);
});
