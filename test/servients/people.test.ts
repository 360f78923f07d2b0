/** People from their accounts to their tokens: `gridring user`, the links, a browser's login, verbs, and the end of it all. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { authorizedFetch, fetchWithin } from '../../servients/cli/authorized-fetch.js';
import { readLogin, writeLogin } from '../../servients/cli/login-file.js';
import { Passwords } from '../../servients/issuer/password.js';
import { makeNeighbourhood, nowS } from '../support/neighbourhood.js';
import { runHeard, runHere } from '../support/verbs.js';
import { Browser } from './browser.js';
import { readEvents } from './event-reader.js';
import { audience, expectFits, expectProblem, startBackend, type TestBackend } from './rest-server.js';

const n = makeNeighbourhood(suiteX25519, 2);
const password = 'correct horse battery';
const folder = mkdtempSync(join(tmpdir(), 'gridring-people-'));
const config = join(folder, 'backend.json');
const options = { embeddedIssuer: true, passwords: new Passwords({ log2N: 4, r: 1, p: 1 }) };
let backend: TestBackend;
let configured: string | undefined;

beforeAll(async () => {
  // oidc-provider and openid-client have no other clock.
  vi.useFakeTimers({ toFake: ['Date'], now: nowS * 1000 });
  ({ XDG_CONFIG_HOME: configured } = process.env);
  process.env['XDG_CONFIG_HOME'] = folder;
  backend = await startBackend(n, options);
  const { folder: dataDir, port } = backend;
  const files = { root: 'root.pem', certificate: 'certificate.pem', key: 'key.pem' };
  const listen = { address: '127.0.0.1', port };
  writeFileSync(config, JSON.stringify({ id: 'backend-1', suite: 'x25519', dataDir, listen, audience, ...files }));
});
afterAll(async () => {
  if (configured === undefined) delete process.env['XDG_CONFIG_HOME'];
  else process.env['XDG_CONFIG_HOME'] = configured;
  await backend.remove();
  rmSync(folder, { recursive: true });
  vi.useRealTimers();
});

/** For what is told apart by the second. */
function passTime(): void {
  backend.clockS += 2;
  vi.setSystemTime(backend.clockS * 1000);
}

const choosePassword = (link: string) =>
  new Browser().submit(link, backend.url, [
    ['password', password],
    ['password', password],
  ]);

/** @returns what the program printed, and how it ended */
async function logIn(username: string, typed = password): Promise<string> {
  const browse = async (address: string): Promise<void> => {
    const browser = new Browser();
    const page = await browser.visit(address, backend.url);
    const { at } = await browser.submit(page.at, backend.url, [
      ['username', username],
      ['password', typed],
    ]);
    await fetch(at);
  };
  const { code, out } = await runHeard(
    (line) => {
      const { event, address } = JSON.parse(line) as { readonly event: string; readonly address: string };
      if (event === 'login') void browse(address);
    },
    ...['login', '--url', backend.url, '--json'],
  );
  expect(code).toBe(0);
  return out;
}

const user = async (...args: readonly string[]): Promise<readonly [number | undefined, Record<string, unknown>]> => {
  const { code, out } = await runHere('user', ...args, '--json');
  return [Number(code), JSON.parse(out.trimEnd().split('\n').at(-1) ?? '{}') as Record<string, unknown>];
};
const remotely = (...args: readonly string[]) => user(...args, '--url', backend.url);
const me = async (): Promise<Response> => authorizedFetch(backend.url)(`${backend.url}/api/v1/me`);
const lastCode = (): unknown => backend.logged.at(-1)?.['code'];

describe('a person', () => {
  it('is made by gridring user at a backend that runs, with a link that is shown once', async () => {
    expect(await remotely('ls')).toMatchObject([2, { code: 'login-missing' }]);
    await choosePassword(String(backend.firstLogin));
    await logIn('admin');
    const [code, made] = await remotely('add', 'bert', '--role', 'viewer');
    expect([code, made]).toMatchObject([0, { event: 'link', via: 'api', name: 'bert', username: 'bert' }]);
    const [, again] = await remotely('link', 'bert');
    // The link before has ended.
    expect((await choosePassword(String(made['link']))).response.status).toBe(400);
    expect((await choosePassword(String(again['link']))).response.status).toBe(200);
    expect((await choosePassword(String(again['link']))).response.status).toBe(400);
    const login = { username: 'bert', passwordSet: true };
    expect(await remotely('show', 'bert')).toMatchObject([0, { roles: ['VIEWER'], disabled: false, login }]);
    expect(JSON.stringify(backend.logged)).not.toMatch(/oidc\/link\/[\w-]{20}/);
  });

  it('is told what is wrong with a name, and no account is left behind', async () => {
    for (const [name, code, exit] of [
      ['Bert the Great', 'input-invalid', 3],
      ['bert', 'username-taken', 3],
    ] as const) {
      expect(await remotely('add', name, '--role', 'viewer')).toMatchObject([exit, { code }]);
    }
    expect(await remotely('add', 'carla', '--role', 'king')).toMatchObject([4, { code: 'role-unknown' }]);
    for (const verb of ['show', 'link', 'reset', 'disable', 'enable']) {
      expect(await remotely(verb, 'nobody')).toMatchObject([4, { code: 'account-unknown' }]);
    }
    const { out } = await runHere('user', 'ls', '--url', backend.url);
    expect(
      out
        .replaceAll(/[0-9a-f-]{36}/g, '…')
        .split('\n')
        .sort(),
    ).toEqual([
      '',
      'NAME   ROLES           STATE  ID',
      'admin  SECADM RBACMNT         …',
      'bert   VIEWER                 …',
    ]);
  });

  it('logs in with a browser, and has a token bound to a key; disabled, it and its streams end at once', async () => {
    await logIn('bert');
    expect(await (await me()).json()).toMatchObject({ kind: 'person', roles: ['VIEWER'] });
    expect((await runHere('user', 'ls', '--url', backend.url)).code).toBe(3);
    const headers = { accept: 'text/event-stream' };
    const stream = readEvents(await authorizedFetch(backend.url)(`${backend.url}/api/v1/events`, { headers }));
    expect(stream.response.status).toBe(200);
    const ofBert = readLogin(backend.url);
    const asBert = fetchWithin(ofBert);

    await logIn('admin');
    const disabled = await remotely('disable', 'bert');
    expect(disabled).toMatchObject([0, { event: 'account', via: 'api', name: 'bert', disabled: true }]);
    await stream.rest();
    expect([(await asBert(`${backend.url}/api/v1/me`)).status, lastCode()]).toEqual([401, 'token-account-disabled']);

    // Let in again, what was given out before is worth nothing: neither the token nor what renews it.
    expect(await remotely('enable', 'bert')).toMatchObject([0, { disabled: false }]);
    expect([(await asBert(`${backend.url}/api/v1/me`)).status, lastCode()]).toEqual([401, 'token-session-ended']);
    writeLogin(backend.url, { ...ofBert, expiresS: 0 });
    await expect(me()).rejects.toMatchObject({ code: 'login-ended' });
    passTime();
    await logIn('bert');
    expect((await me()).status).toBe(200);
  });

  it('who logs out has a token no more, even where somebody has kept it', async () => {
    const kept = fetchWithin(readLogin(backend.url));
    expect((await kept(`${backend.url}/api/v1/me`)).status).toBe(200);
    const out = `logged out at ${backend.url}\n`;
    expect(await runHere('logout', '--url', backend.url)).toMatchObject({ code: 0, out });
    expect([(await kept(`${backend.url}/api/v1/me`)).status, lastCode()]).toEqual([401, 'token-revoked']);
    await expect(me()).rejects.toMatchObject({ code: 'login-missing' });
  });

  it('whose password is reset has none, nor a session, until a link was used', async () => {
    await logIn('bert');
    const asBert = fetchWithin(readLogin(backend.url));
    await logIn('admin');
    const [code, made] = await remotely('reset', 'bert');
    expect([code, made]).toMatchObject([0, { event: 'link', reset: true, username: 'bert' }]);
    expect(await remotely('show', 'bert')).toMatchObject([0, { login: { passwordSet: false } }]);
    expect((await asBert(`${backend.url}/api/v1/me`)).status).toBe(401);
    passTime();
    await choosePassword(String(made['link']));
    await logIn('bert');
    expect((await me()).status).toBe(200);
  });
});

describe('the links of the API', () => {
  const made = async (body: object, as = n.authority) => {
    const { body: account } = await backend.call('POST', '/api/v1/users', { as: n.authority, body });
    const { id } = account as { readonly id: string };
    return (more: object = {}) => backend.call('POST', `/api/v1/users/${id}/login-links`, { as, body: more });
  };
  const roles = ['VIEWER'];

  it('give an account that has none a user name, and are kept nowhere', async () => {
    const link = await made({ name: 'Zoë Müller', roles });
    expectProblem(await link(), 400, 'username-unfit');
    expectProblem(await link({ username: 'bert' }), 409, 'username-taken');
    const answer = await link({ username: 'zoe' });
    expect([answer.status, answer.headers.get('cache-control')]).toEqual([201, 'no-store']);
    expectFits('login.link', answer.body);
    expect(answer.body).toMatchObject({
      username: 'zoe',
      link: expect.stringMatching(/\/oidc\/link\/[\w-]{32}$/) as string,
    });
    const { body } = await backend.call('GET', '/api/v1/audit?last=1', { as: n.operator });
    const actor = 'urn:gridring:authority:community';
    expect(body).toMatchObject({ entries: [{ actor, action: 'login-link.make' }] });
    expect(JSON.stringify(body)).not.toContain('oidc/link');
  });

  it('are not for accounts of other issuers, nor for nobody, nor from who may not manage accounts', async () => {
    const elsewhere = { name: 'Ada', roles, issuer: 'https://login.example', subject: 'ada' };
    expectProblem(await (await made(elsewhere))(), 409, 'account-elsewhere');
    expectProblem(
      await backend.call('POST', '/api/v1/users', { as: n.authority, body: { ...elsewhere, username: 'ada' } }),
      400,
      'input-invalid',
    );
    const nobody = '/api/v1/users/00000000-0000-4000-8000-000000000000';
    expectProblem(
      await backend.call('POST', `${nobody}/login-links`, { as: n.authority, body: {} }),
      404,
      'account-unknown',
    );
    expectProblem(await backend.call('GET', `${nobody}/login`, { as: n.authority }), 404, 'login-unknown');
    expectProblem(await (await made({ name: 'dora', roles }, n.operator))(), 403, 'refused');
  });
});

describe('gridring user on the machine of a backend', () => {
  const locally = (...args: readonly string[]) => user(...args, '--config', config);

  it('asks a backend that runs, as who is logged in there; and goes into the database of one that is stopped', async () => {
    await logIn('admin');
    expect(await locally('show', 'bert')).toMatchObject([0, { via: 'api', name: 'bert' }]);
    await backend.close();
    expect(await locally('show', 'bert')).toMatchObject([0, { via: 'database', login: { passwordSet: true } }]);
    expect(await remotely('ls')).toMatchObject([5, { code: 'backend-unreachable' }]);
    const [, added] = await locally('add', 'emil', '--role', 'household', '--meter', 'meter-01');
    expect(added).toMatchObject({
      event: 'link',
      via: 'database',
      link: expect.stringContaining(backend.url) as string,
    });
    for (const [name, code] of [
      ['emil', 'username-taken'],
      ['Emil', 'username-unfit'],
    ] as const) {
      expect(await locally('add', name)).toMatchObject([3, { code }]);
    }
    const { out } = await runHere('user', 'show', 'emil', '--config', config);
    expect(out).toMatch(/^roles +HOUSEHOLD\nmeters +urn:gridring:meter:meter-01\nuser name +emil\npassword +none/m);
    const roles = ['OPERATOR', 'VIEWER'];
    expect(await locally('role', 'emil', '--role', 'operator', '--role', 'viewer')).toMatchObject([0, { roles }]);
    expect(await locally('disable', 'emil')).toMatchObject([0, { disabled: true }]);
    expect(await locally('enable', 'emil')).toMatchObject([0, { disabled: false }]);
    expect(await locally('reset', 'bert')).toMatchObject([0, { event: 'link', reset: true }]);
    backend = await backend.restart();
    const { body } = await backend.call('GET', '/api/v1/audit?last=9', { as: n.operator });
    const local = (body as { entries: { actor: string; action: string }[] }).entries.filter(({ actor }) =>
      actor.startsWith('local:'),
    );
    expect(local.map(({ action }) => action)).toEqual([
      ...['user.create', 'login-link.make', 'user.change', 'user.change', 'user.change'],
      ...['user.end-sessions', 'login-link.reset'],
    ]);
  });
});
