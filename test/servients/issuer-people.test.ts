/** People at the embedded issuer: a real server, a browser's cookies, and openid-client as the client that is not ours. */
import { createHash } from 'node:crypto';
import { decodeJwt } from 'jose';
import * as oidc from 'openid-client';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { Passwords } from '../../servients/issuer/password.js';
import { LoginThrottle } from '../../servients/issuer/throttle.js';
import { makeNeighbourhood, nowS } from '../support/neighbourhood.js';
import { Browser } from './browser.js';
import { startBackend, type TestBackend } from './rest-server.js';

const n = makeNeighbourhood(suiteX25519, 2);
const password = 'correct horse battery';
/** Of the audit log, from when a test began. */
async function auditTail(): Promise<() => Promise<readonly Record<string, unknown>[]>> {
  const read = async (query: string) =>
    ((await backend.call('GET', `/api/v1/audit?${query}`, { as: n.operator })).body as { entries: object[] })
      .entries as Record<string, unknown>[];
  const from = (await read('last=1'))[0]?.['sequence'];
  return async () =>
    (await read(`after=${String(from)}`)).map(({ actor, action, outcome, details }) => ({
      actor,
      action,
      outcome,
      details,
    }));
}

const redirectUri = 'http://127.0.0.1:54321/callback';
let backend: TestBackend;
let issuer: string;
let config: oidc.Configuration;

beforeAll(async () => {
  // oidc-provider and openid-client have no other clock.
  vi.useFakeTimers({ toFake: ['Date'], now: nowS * 1000 });
  backend = await startBackend(n, { embeddedIssuer: true, passwords: new Passwords({ log2N: 4, r: 1, p: 1 }) });
  issuer = `${backend.url}/oidc`;
  config = await oidc.discovery(new URL(issuer), 'gridring-cli', undefined, oidc.None(), {
    // eslint-disable-next-line @typescript-eslint/no-deprecated -- loopback
    execute: [oidc.allowInsecureRequests],
  });
});
afterAll(async () => {
  await backend.remove();
  vi.useRealTimers();
});

interface Begun {
  readonly browser: Browser;
  readonly loginUrl: string;
  readonly page: Response;
  readonly verifier: string;
  readonly state: string;
}

async function begin(parameters: Record<string, string> = {}, browser = new Browser()): Promise<Begun> {
  const [verifier, state] = [oidc.randomPKCECodeVerifier(), oidc.randomState()];
  const url = oidc.buildAuthorizationUrl(config, {
    ...{ redirect_uri: redirectUri, scope: 'openid users:manage users:read readings:read', state },
    ...{ code_challenge: await oidc.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256' },
    ...parameters,
  });
  const { at, response } = await browser.visit(url.href, issuer);
  return { browser, loginUrl: at, page: response, verifier, state };
}

const logIn = ({ browser, loginUrl }: Begun, username = 'admin', typed = password) =>
  browser.submit(loginUrl, issuer, [
    ['username', username],
    ['password', typed],
  ]);

async function tokensFor(begun: Begun, at: string, keys: oidc.CryptoKeyPair) {
  const checks = { pkceCodeVerifier: begun.verifier, expectedState: begun.state };
  return oidc.authorizationCodeGrant(config, new URL(at), checks, undefined, {
    DPoP: oidc.getDPoPHandle(config, keys),
  });
}
const refusal = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'granted',
    (error: unknown) => (error as { readonly error?: string }).error,
  );

describe('the first administrator', () => {
  it('sets a password by a link that works once, and no other way', async () => {
    const browser = new Browser();
    const link = String(backend.firstLogin);
    expect(link).toMatch(new RegExp(`^${issuer}/link/[\\w-]{32}$`));
    expect(await (await browser.request(link)).text()).toContain('value="admin"');
    const choose = (one: string, two = one) =>
      browser.submit(
        link,
        issuer,
        [one, two].map((p) => ['password', p]),
      );
    for (const [one = '', two] of [['too short'], [password, `${password}!`], ['my name is admin']]) {
      expect((await choose(one, two)).response.status).toBe(400);
    }
    expect((await choose(password)).response.status).toBe(200);
    expect((await choose('another long password')).response.status).toBe(400);
    expect((await browser.request(`${issuer}/link/${'a'.repeat(32)}`)).status).toBe(400);
  });

  it('logs in, and gets a short-lived token for what the roles allow, bound to a key', async () => {
    const begun = await begin();
    const { at } = await logIn(begun);
    expect(at.startsWith(`${redirectUri}?`)).toBe(true);
    const tokens = await tokensFor(begun, at, await oidc.randomDPoPKeyPair('ES256'));
    expect(tokens.token_type).toBe('dpop');
    const { scope, sub, exp = 0, iat = 0, cnf } = decodeJwt(tokens.access_token);
    // SECADM and RBACMNT may not fetch readings.
    expect(String(scope).split(' ').sort()).toEqual(['users:manage', 'users:read']);
    expect([exp - iat, typeof sub]).toEqual([600, 'string']);
    expect(cnf).toHaveProperty('jkt');
  });

  it('goes on with refresh tokens, each used once; an old one ends all of them', async () => {
    const keys = await oidc.randomDPoPKeyPair('ES256');
    const begun = await begin();
    const first = await tokensFor(begun, (await logIn(begun)).at, keys);
    const DPoP = oidc.getDPoPHandle(config, keys);
    const renew = (token: string | undefined, handle = DPoP) =>
      oidc.refreshTokenGrant(config, String(token), undefined, { DPoP: handle });
    const other = oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair('ES256'));
    expect(await refusal(renew(first.refresh_token, other))).toBe('invalid_grant');
    const second = await renew(first.refresh_token);
    expect(second.refresh_token).not.toBe(first.refresh_token);
    expect(await refusal(renew(first.refresh_token))).toBe('invalid_grant');
    expect(await refusal(renew(second.refresh_token))).toBe('invalid_grant');
  });

  it('ends a session by revoking its refresh token', async () => {
    const keys = await oidc.randomDPoPKeyPair('ES256');
    const begun = await begin();
    const { refresh_token: token = '' } = await tokensFor(begun, (await logIn(begun)).at, keys);
    await oidc.tokenRevocation(config, token);
    const DPoP = oidc.getDPoPHandle(config, keys);
    expect(await refusal(oidc.refreshTokenGrant(config, token, undefined, { DPoP }))).toBe('invalid_grant');
  });

  it('who is logged in already is asked before another program gets a token', async () => {
    const browser = new Browser();
    await logIn(await begin({}, browser));
    const again = await begin({}, browser);
    expect(await again.page.text()).toContain('<strong>gridring on the command line</strong> asks to act for you');
    const stopped = await browser.submit(again.loginUrl, issuer, [['stop', 'yes']]);
    expect(new URL(stopped.at).searchParams.get('error')).toBe('access_denied');
    const once = await begin({}, browser);
    const { at } = await browser.submit(once.loginUrl, issuer, []);
    const keys = await oidc.randomDPoPKeyPair('ES256');
    expect((await tokensFor(once, at, keys)).token_type).toBe('dpop');
  });
});

describe('the login page', () => {
  it('has no script, cannot be framed, and sets cookies that scripts and other sites do not have', async () => {
    const { browser, page } = await begin();
    const html = await page.text();
    expect(html).not.toMatch(/<script|javascript:| on\w+=/i);
    expect(html).toMatch(/<html lang="en">[\s\S]*<label for="username">[\s\S]*<label for="password">/);
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
    expect(page.headers.get('content-security-policy')).toContain("frame-ancestors 'none'");
    expect(browser.cookies.size).toBeGreaterThan(0);
    for (const { attributes } of browser.cookies.values()) expect(attributes).toMatch(/samesite=lax.*httponly/i);
  });

  it('speaks German to who asks for it, and English to everybody else', async () => {
    for (const [asked, language, title] of [
      ['de-AT,de;q=0.9,en;q=0.8', 'de', 'Anmelden'],
      ['fr', 'en', 'Log in'],
    ] as const) {
      const { browser, loginUrl } = await begin({}, new Browser({ 'accept-language': asked }));
      expect(await (await browser.request(loginUrl)).text()).toMatch(
        new RegExp(`<html lang="${language}">[^]*<h1>${title}</h1>`),
      );
    }
    const german = new Browser({ 'accept-language': 'de' });
    const { response } = await logIn(await begin({}, german), 'nobody-again', 'x');
    expect(await response.text()).toContain('Benutzername oder Passwort ist falsch');
    const used = await (await german.request(`${issuer}/link/${'a'.repeat(32)}`)).text();
    expect(used).toContain('Dieser Link wurde schon benutzt');
  });

  it('has no script either where a device’s code is typed, and a label for it', async () => {
    const html = await (await new Browser().request(`${issuer}/device`)).text();
    expect(html).not.toMatch(/<script|javascript:| on\w+=|placeholder/i);
    expect(html).toMatch(/<label for="user-code">[^]*<input[^>]* id="user-code"/);
  });

  it('gives the session another name when somebody logs in, so that one fixed before is worth nothing', async () => {
    const begun = await begin();
    const sessions = () => [...begun.browser.cookies].filter(([name]) => name.startsWith('gridring_session '));
    const before = sessions().map(([, { value }]) => value);
    await logIn(begun);
    const after = sessions().map(([, { value }]) => value);
    expect(after).toHaveLength(1);
    expect(before).not.toContain(after[0]);
  });

  it('is nobody’s without the cookie of the browser that began', async () => {
    const { loginUrl } = await begin();
    const thief = new Browser();
    expect((await thief.request(loginUrl)).status).toBe(404);
    const { response } = await thief.submit(loginUrl, issuer, [['username', 'admin']]);
    expect(response.status).toBe(404);
  });

  it('sends nobody elsewhere than to the address that the client is known by', async () => {
    const evil = [
      'https://evil.example/callback',
      'http://127.0.0.1.evil.example/callback',
      'http://127.0.0.1:1/other',
    ];
    for (const uri of evil) {
      const { page, loginUrl } = await begin({ redirect_uri: uri });
      expect([page.status, page.headers.get('location'), loginUrl.startsWith(issuer)]).toEqual([400, null, true]);
      expect(await page.text()).not.toContain('<a ');
    }
  });

  it('is begun only so often from one address, and not for long, for each leaves something in the database', async () => {
    const { headers } = await fetch(`${issuer}/session/end`);
    expect(headers.get('ratelimit-policy')).toBe('"requests";q=600;w=60');
    const [, expires] = /gridring_session=.*expires=([^;]+)/.exec(headers.get('set-cookie') ?? '') ?? [];
    expect(Date.parse(expires ?? '') / 1000 - nowS).toBe(900);
    expect((await fetch(`${issuer}/request`, { method: 'POST' })).status).toBe(404);
  });

  it('of a device’s code runs the one line that sends its form, and no other', async () => {
    const page = await fetch(`${issuer}/device?user_code=ABCD-EFGH`);
    const [, line = ''] = /<script>([\s\S]*?)<\/script>/.exec(await page.text()) ?? [];
    const hash = createHash('sha256').update(line).digest('base64');
    expect(page.headers.get('content-security-policy')).toContain(`script-src 'none' 'sha256-${hash}';`);
  });

  it('wants a proof key for every code (RFC 7636)', async () => {
    const { loginUrl } = await begin({ code_challenge: '', code_challenge_method: '' });
    expect(new URL(loginUrl).searchParams.get('error')).toBe('invalid_request');
  });

  it('shows what was typed as text', async () => {
    const begun = await begin();
    const { response } = await logIn(begun, '"><img src=x>');
    expect(await response.text()).toContain('&quot;&gt;&lt;img src=x&gt;');
  });

  it('says the same of a wrong password and of an unknown name, and waits longer and longer', async () => {
    const begun = await begin();
    const answers: (readonly [number, string])[] = [];
    for (const name of ['nobody', 'nobody', 'nobody', 'nobody', 'nobody', 'nobody']) {
      const { response } = await logIn(begun, name, 'wrong');
      answers.push([response.status, /role="alert">(.*?)</.exec(await response.text())?.[1] ?? '']);
    }
    const { response } = await logIn(begun, 'admin', 'wrong');
    expect(answers[0]).toEqual([401, 'User name or password is wrong, or the account is disabled.']);
    expect(answers.at(-1)).toEqual([429, 'Too many failed tries. Wait 1 seconds.']);
    expect([response.status, /role="alert">(.*?)</.exec(await response.text())?.[1]]).toEqual(answers[0]);
    // Others are not kept out.
    expect((await logIn(begun)).at.startsWith(redirectUri)).toBe(true);
  });
});

describe('the audit log', () => {
  const person = expect.stringMatching(/^urn:gridring:person:/) as string;

  it('tells of logins, of tokens that were given out, renewed and revoked, and of guesses at a name that is known', async () => {
    const tail = await auditTail();
    const begun = await begin();
    await logIn(begun, 'admin', 'a guess');
    await logIn(begun, 'nobody-at-all', 'a guess');
    const { at } = await logIn(begun);
    const keys = await oidc.randomDPoPKeyPair('ES256');
    const DPoP = oidc.getDPoPHandle(config, keys);
    const first = await tokensFor(begun, at, keys);
    const next = await oidc.refreshTokenGrant(config, String(first.refresh_token), undefined, { DPoP });
    await oidc.tokenRevocation(config, String(next.refresh_token));
    const client = 'gridring-cli';
    const address = '127.0.0.1';
    expect(await tail()).toEqual([
      {
        actor: 'anonymous',
        action: 'login.password',
        outcome: 'refused',
        details: { address, reason: 'password-wrong' },
      },
      { actor: person, action: 'login.password', outcome: 'done', details: { address } },
      { actor: person, action: 'token.issue', outcome: 'done', details: { client, by: 'authorization_code' } },
      { actor: person, action: 'token.issue', outcome: 'done', details: { client, by: 'refresh_token' } },
      { actor: person, action: 'token.revoke', outcome: 'done', details: { client, by: 'revocation' } },
    ]);
  });

  it('tells how the first administrator came to a password', async () => {
    const { body } = await backend.call('GET', '/api/v1/audit?limit=4', { as: n.operator });
    const actor = 'urn:gridring:backend:backend-1';
    expect((body as { entries: unknown }).entries).toMatchObject([
      { actor, action: 'user.create', subject: person, details: { roles: 'SECADM RBACMNT' } },
      { actor, action: 'login-link.make', subject: person },
      { actor, action: 'backend.start' },
      { actor: person, action: 'login-link.use', subject: person },
    ]);
  });
});

describe('delays after failed logins', () => {
  const fail = (throttle: LoginThrottle, user: string, address: string, atMs: number): number => {
    const waitMs = throttle.begin(user, address, atMs);
    if (waitMs === 0) throttle.failed(user, address, atMs);
    return waitMs;
  };

  it('double, also for tries at once, and end with a success', () => {
    const throttle = new LoginThrottle();
    const at = (ms: number) => throttle.begin('anna', 'a', ms);
    expect([0, 0, 0, 0, 0].map(at)).toEqual([0, 0, 0, 0, 0]);
    expect([at(0), at(999), at(1_000), at(1_001), at(3_000)]).toEqual([1_000, 1, 0, 1_999, 0]);
    throttle.succeeded('anna', 'a');
    expect(at(3_001)).toBe(0);
  });

  it('hold back who tries many names from one address, and nobody at another', () => {
    const throttle = new LoginThrottle();
    for (let i = 0; i <= 20; i++) expect(fail(throttle, `user-${String(i)}`, 'a', 0)).toBe(0);
    expect(throttle.begin('anna', 'a', 0)).toBe(1_000);
    expect(throttle.begin('anna', 'b', 0)).toBe(0);
  });

  it('take all addresses of an IPv6 network for one, which one host may have', () => {
    const throttle = new LoginThrottle();
    for (let i = 0; i <= 20; i++) expect(fail(throttle, `user-${String(i)}`, `2001:db8::${i.toString(16)}`, 0)).toBe(0);
    expect(throttle.begin('anna', '2001:db8::ffff', 0)).toBe(1_000);
    expect(throttle.begin('anna', '2001:db8:0:1::1', 0)).toBe(0);
  });

  it('hold back who tries one name from many addresses, but not its owner at home', () => {
    const throttle = new LoginThrottle();
    throttle.begin('anna', 'home', 0);
    throttle.succeeded('anna', 'home');
    for (let i = 0; i <= 50; i++) expect(fail(throttle, 'anna', `bot-${String(i)}`, 0)).toBe(0);
    expect(throttle.begin('anna', 'bot-new', 0)).toBe(1_000);
    expect(throttle.begin('anna', 'home', 0)).toBe(0);
  });
});

describe('passwords', () => {
  it('are stored with salt and parameters, and verify under those they were stored with', async () => {
    const [cheap, dearer] = [new Passwords({ log2N: 4, r: 1, p: 1 }), new Passwords({ log2N: 5, r: 8, p: 1 })];
    const [one, two] = [await cheap.hash(password), await cheap.hash(password)];
    expect(one).toMatch(/^scrypt\$4\$1\$1\$[\w-]{22}\$[\w-]{43}$/);
    expect(one).not.toBe(two);
    expect(await dearer.matches(password, one)).toBe(true);
    expect(await dearer.matches(`${password} `, one)).toBe(false);
    expect(await dearer.matches(password, undefined)).toBe(false);
  });

  it('of a stampede of logins are checked two at a time; what is too much is told so, and health is answered meanwhile', async () => {
    const passwords = new Passwords({ log2N: 10, r: 8, p: 1 });
    const stored = await passwords.hash(password);
    let ended = 0;
    const stampede = Promise.allSettled(
      Array.from({ length: 300 }, () =>
        passwords.matches(password, stored).finally(() => {
          ended += 1;
        }),
      ),
    );
    expect((await fetch(`${backend.url}/health`)).status).toBe(200);
    // Those 42 that there was no room for were refused at once; of the others most wait.
    expect(ended).toBeLessThan(200);
    const outcomes = await stampede;
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(258);
    const reasons = outcomes.flatMap((o) => (o.status === 'rejected' ? [(o.reason as { code: string }).code] : []));
    expect(new Set(reasons)).toEqual(new Set(['logins-busy']));
  });
});
