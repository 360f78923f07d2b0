/** Who is let in: every route of a real backend with every role, with bad tokens and bad proofs, and after a revocation. */
import { randomUUID } from 'node:crypto';
import Fastify from 'fastify';
import { UnsecuredJWT } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import type { Role } from '../../crypto/certificate.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { requireGuards } from '../../servients/rest/access.js';
import { certificateRoles, personRoles, type PersonRole, type Scope } from '../../servients/auth/roles.js';
import { makeTokenKey, proofFor, startIssuer, tokenKeyOf, type Issuer, type TokenKey } from '../support/issuer.js';
import { makeNeighbourhood, nowS, type Principal } from '../support/neighbourhood.js';
import { readEvents, type EventReader } from './event-reader.js';
import { exchange } from './http-raw.js';
import {
  audience,
  expectFits,
  expectProblem,
  signedTd,
  startBackend,
  tokenFor,
  type Answer,
  type TestBackend,
} from './rest-server.js';

const n = makeNeighbourhood(suiteX25519, 3);
const people = Object.keys(personRoles) as readonly PersonRole[];
const [own, neighbour] = n.meters;

let backend: TestBackend;
let issuer: Issuer;
const subjectOf = (role: PersonRole): string => `person-${role}`;
const tokenOf = (role: PersonRole, claims: object = {}): Promise<string> =>
  issuer.token({ sub: subjectOf(role), ...claims });
const call = (method: string, path: string, token?: string): Promise<Answer> =>
  backend.call(method, path, token === undefined ? {} : { token });

interface AccountBody {
  readonly id: string;
  readonly roles: readonly string[];
}
const accounts = new Map<PersonRole, AccountBody>();

async function createAccount(body: object): Promise<AccountBody> {
  const answer = await backend.call('POST', '/api/v1/users', { as: n.authority, body });
  expect(answer.status).toBe(201);
  expectFits('account', answer.body);
  return answer.body as AccountBody;
}

beforeAll(async () => {
  issuer = await startIssuer(audience, () => backend.clockS);
  backend = await startBackend(n, {
    issuers: [{ issuer: issuer.url, rolesClaim: 'roles' }],
    http: { limits: { requestsPerMinute: 1_000_000 } },
  });
  await backend.call('POST', '/api/v1/memberships', { body: n.bundle(n.list()) });
  for (const role of people) {
    const meters = role === 'HOUSEHOLD' ? [own!.certificate.id] : [];
    const account = { issuer: issuer.url, subject: subjectOf(role), name: role, roles: [role], meters };
    accounts.set(role, await createAccount(account));
  }
});
afterAll(async () => {
  await backend.remove();
  await issuer.close();
});

/** Of a route, with something in the place of each parameter. */
const pathOf = (url: string): string => {
  const gid = url.includes('/groups/') ? toHex(n.gid) : '';
  return url
    .replace(':gid', gid)
    .replace(':key', '1.1')
    .replace(/\/users\/:id/, `/users/${randomUUID()}`)
    .replace(':certHash', toHex(own!.certHash))
    .replace(/:\w+/g, 'nobody')
    .replace('*', 'nothing');
};

const guardedRoutes = () => backend.routes.filter(({ guard }) => guard !== 'open');

/** Headers are all that is asked: streams go on for ever. */
async function statusOf(method: string, url: string, headers: Readonly<Record<string, string>>): Promise<Response> {
  const response = await backend.request(method, pathOf(url), { headers });
  await response.body?.cancel();
  return response;
}

async function refusedScope(method: string, url: string, token: string): Promise<string | undefined> {
  const response = await statusOf(method, url, { authorization: `Bearer ${token}` });
  expect([method, url, response.status]).not.toEqual([method, url, 401]);
  return /insufficient_scope", scope="([a-z:]+)"/.exec(response.headers.get('www-authenticate') ?? '')?.[1];
}

describe('every route', () => {
  it('says whom it lets in, and there are routes for most of what may be let in for', () => {
    const guards = new Set(backend.routes.map(({ guard }) => guard));
    for (const guard of ['open', 'known', 'meters:read', 'users:manage', 'gateway']) expect(guards).toContain(guard);
    expect(guardedRoutes().length).toBeGreaterThan(25);
    const open = backend.routes.filter(({ guard }) => guard === 'open').map(({ method, url }) => `${method} ${url}`);
    expect(open.filter((route) => !/^(?:GET|HEAD) /.test(route))).toEqual([
      // A signature of the authority, and a one-time code, are let in instead of a token.
      'POST /api/v1/memberships',
      'POST /api/v1/enrolments/requests',
      // A question to the directory, which is open here.
      'POST /search/sparql',
    ]);
  });

  it('that does not say so keeps the server from starting', async () => {
    const app = Fastify();
    void app.register(async (scope) => {
      requireGuards(scope, () => undefined);
      scope.get('/forgotten', async () => 'everything');
    });
    await expect(app.ready()).rejects.toThrow('GET /forgotten does not say whom it lets in');
  });

  const expectLet = async (token: string, has: readonly Scope[]): Promise<void> => {
    for (const { method, url, guard } of guardedRoutes()) {
      // Ends the caller's own token.
      if (url === '/api/v1/me/session') continue;
      const let_ = guard === 'known' || has.includes(guard as Scope);
      expect([method, url, await refusedScope(method, url, token)]).toEqual([method, url, let_ ? undefined : guard]);
    }
  };

  it.each(people)('lets a person with the role %s do what the table says, and no more', async (role) => {
    await expectLet(await tokenOf(role), personRoles[role]);
  });

  const holders: Readonly<Record<Role, Principal>> = {
    meter: own!,
    gateway: n.gateway,
    backend: n.backend,
    reader: n.utility,
    operator: n.operator,
    authority: n.authority,
  };
  it.each(Object.keys(holders) as readonly Role[])(
    'lets a certificate of a %s do what the table says',
    async (role) => {
      await expectLet(await tokenFor(n, holders[role]), certificateRoles[role]);
    },
  );

  it('lets in nobody with no token, and nobody with one that is bad in any way', async () => {
    const good = { sub: subjectOf('VIEWER') };
    const foreign = await startIssuer(audience, () => nowS);
    const other = makeNeighbourhood(suiteX25519, 1, 'elsewhere');
    const bad: Readonly<Record<string, string>> = {
      'for another audience': await issuer.token({ ...good, aud: 'urn:another' }),
      expired: await issuer.token({ ...good, iat: nowS - 2_000, exp: nowS - 1_000 }),
      'not valid yet': await issuer.token({ ...good, nbf: nowS + 1_000 }),
      'issued in the future': await issuer.token({ ...good, iat: nowS + 1_000, exp: nowS + 2_000 }),
      'for a year': await issuer.token({ ...good, exp: nowS + 31_536_000 }),
      'without an end': await issuer.token({ ...good, exp: undefined }),
      'without an id': await issuer.token({ ...good, jti: undefined }),
      'of no algorithm': new UnsecuredJWT({ ...good, iss: issuer.url, aud: audience })
        .setExpirationTime(nowS + 99)
        .encode(),
      'of another type': await issuer.token(good, { typ: 'JWT' }),
      'an ID token': await issuer.token(good, { typ: 'id_token+jwt' }),
      'of an unknown issuer': await foreign.token(good),
      'of another’s key in the issuer’s name': await foreign.token({ ...good, iss: issuer.url }),
      'of an unknown key': await foreign.token({ ...good, iss: issuer.url }, { kid: 'two' }),
      'with a critical extension': await issuer.token(good, { crit: ['x'], x: 1 }).catch(() => 'a.b.c'),
      'bound in a way that is not known': await issuer.token({ ...good, cnf: { kid: 'x' } }),
      'bound to a TLS certificate that is not there': await issuer.token({
        ...good,
        cnf: { 'x5t#S256': 'A'.repeat(43) },
      }),
      'of another root': await tokenFor(other, other.gateway),
      'of a certificate, expired': await tokenFor(n, n.operator, { timeS: nowS - 3_600 }),
      'no token': 'nonsense',
      long: 'a'.repeat(13_000),
    };
    await foreign.close();
    for (const { method, url } of guardedRoutes()) {
      const { status } = await statusOf(method, url, {});
      expect([method, url, status]).toEqual([method, url, 401]);
    }
    for (const [what, token] of Object.entries(bad)) {
      const answer = await call('GET', '/api/v1/groups', token);
      expect([what, answer.status, (answer.body as { code: string }).code]).toEqual([
        what,
        401,
        what.endsWith('expired') ? 'token-expired' : 'token-invalid',
      ]);
      expect(answer.headers.get('www-authenticate')).toBe('Bearer realm="gridring", error="invalid_token"');
    }
    expect((await call('GET', '/api/v1/groups', await issuer.token(good))).status).toBe(200);
  });

  it('refuses algorithms beside ES256 and EdDSA, whatever key is claimed', async () => {
    const [, payload] = (await tokenOf('VIEWER')).split('.');
    for (const alg of ['none', 'HS256', 'RS256', 'PS256', 'ES384', 'NONE', '']) {
      const header = Buffer.from(JSON.stringify({ alg, kid: 'one', typ: 'at+jwt' })).toString('base64url');
      for (const signature of ['', 'AAAA']) {
        expectProblem(await call('GET', '/api/v1/groups', `${header}.${payload!}.${signature}`), 401, 'token-invalid');
      }
    }
  });
});

describe('a person', () => {
  it('may no more than its token was given for', async () => {
    const token = await tokenOf('OPERATOR', { scope: 'openid groups:read users:manage' });
    expect((await call('GET', '/api/v1/me', token)).body).toMatchObject({
      kind: 'person',
      roles: ['OPERATOR'],
      scopes: [{ scope: 'groups:read', reach: 'all' }],
    });
    expectProblem(await call('GET', '/api/v1/meters', token), 403, 'refused');
  });

  it('without an account has the roles that the issuer gives, where that may, and none that are not known', async () => {
    const token = await issuer.token({ sub: 'nobody here', roles: ['VIEWER', 'ROOT', 7] });
    expect((await call('GET', '/api/v1/me', token)).body).toMatchObject({ roles: ['VIEWER'] });
    expect((await call('GET', '/api/v1/groups', token)).status).toBe(200);
    expectProblem(await call('GET', '/api/v1/users', token), 403, 'refused');
    const household = await issuer.token({ sub: 'nobody here', roles: 'HOUSEHOLD' });
    expect((await call('GET', '/api/v1/meters', household)).body).toEqual({ meters: [] });
  });

  it('is told who it is, as the schemas say', async () => {
    expectFits('me', (await call('GET', '/api/v1/me', await tokenOf('HOUSEHOLD'))).body);
    expectFits('me', (await call('GET', '/api/v1/me', await tokenFor(n, n.operator))).body);
    expectFits('roles', (await call('GET', '/api/v1/roles', await tokenOf('RBACMNT'))).body);
  });

  it('waits for nobody when an issuer cannot be reached, and is told that from a bad token', async () => {
    const away = await startIssuer(audience, () => nowS);
    const two = await startBackend(n, { issuers: [{ issuer: away.url }, { issuer: issuer.url, rolesClaim: 'roles' }] });
    away.failing = true;
    const get = (token: string) => two.call('GET', '/api/v1/roles', { token });
    const refused = await get(await away.token({ sub: 'a' }));
    expectProblem(refused, 503, 'issuer-unreachable');
    expect(refused.headers.get('retry-after')).toBe('5');
    expect((await get(await issuer.token({ sub: 'b', roles: ['VIEWER'] }))).status).toBe(200);
    await two.remove();
    await away.close();
  });
});

describe('a household', () => {
  it('sees its own meters, and of its neighbours not even that they exist', async () => {
    const token = await tokenOf('HOUSEHOLD');
    const { body } = await call('GET', '/api/v1/meters', token);
    expect(body).toMatchObject({ meters: [{ certHash: toHex(own!.certHash) }] });
    expect((body as { meters: unknown[] }).meters).toHaveLength(1);
    const withoutNames = ({ body: problem }: Answer): object => ({
      ...(problem as object),
      requestId: '',
      instance: '',
    });
    for (const resource of ['readings', 'chain', 'dropped', 'grants']) {
      const asked = (name: string) => call('GET', `/api/v1/meters/${name}/${resource}`, token);
      expect((await asked(own!.certificate.id)).status).toBe(200);
      const nowhere = await asked('meter-99');
      expectProblem(nowhere, 404, 'meter-unknown');
      for (const name of [neighbour!.certificate.id, toHex(neighbour!.certHash), `urn:gridring:meter:meter-02`]) {
        const hidden = await asked(name);
        expect([hidden.status, withoutNames(hidden)]).toEqual([404, withoutNames(nowhere)]);
      }
    }
  });

  it('sees the groups of its meters, and no others', async () => {
    const token = await tokenOf('HOUSEHOLD');
    expect((await call('GET', '/api/v1/groups', token)).body).toMatchObject({ groups: [{ gid: toHex(n.gid) }] });
    const moved = await createAccount({
      ...{ issuer: issuer.url, subject: 'elsewhere', name: 'E', roles: ['HOUSEHOLD'] },
      meters: ['meter-77'],
    });
    expect(moved.roles).toEqual(['HOUSEHOLD']);
    const stranger = await issuer.token({ sub: 'elsewhere' });
    expect((await call('GET', '/api/v1/groups', stranger)).body).toEqual({ groups: [] });
    const known = await call('GET', `/api/v1/groups/${toHex(n.gid)}/epochs`, stranger);
    const unknown = await call('GET', `/api/v1/groups/${'0'.repeat(32)}/epochs`, stranger);
    expectProblem(known, 404, 'group-unknown');
    expect((known.body as { detail: string }).detail).toBe((unknown.body as { detail: string }).detail);
    expect((await call('GET', `/api/v1/groups/${toHex(n.gid)}/epochs`, token)).status).toBe(200);
  });
});

describe('the directory', () => {
  const idsIn = ({ body }: Answer): readonly string[] =>
    (body as readonly { readonly id: string }[]).map(({ id }) => id);

  it('shows a household its own meters, the backend and its gateway, and neither its neighbours nor whether there are any', async () => {
    const [mine, theirs] = [own!, neighbour!].map(({ certificate }) => `urn:gridring:meter:${certificate.id}`);
    for (const device of [own!, neighbour!]) {
      const body = signedTd(n, device);
      expect((await backend.call('PUT', `/things/${String(body['id'])}`, { as: n.gateway, body })).status).toBe(201);
    }
    const token = await tokenOf('HOUSEHOLD');
    const seen = await call('GET', '/things', token);
    expect(idsIn(seen)).toEqual(['urn:gridring:backend:backend-1', 'urn:gridring:backend:backend-1:directory', mine]);
    expect(idsIn(await call('GET', '/things?limit=1&offset=2', token))).toEqual([mine]);
    expect((await call('GET', `/things/${mine!}`, token)).status).toBe(200);
    const hidden = await call('GET', `/things/${theirs!}`, token);
    expectProblem(hidden, 404, 'td-unknown');
    const nothing = await call('GET', `/things/urn:gridring:meter:meter-99`, token);
    const detail = ({ body }: Answer): string => (body as { readonly detail: string }).detail;
    expect(detail(hidden).replace('meter-02', 'meter-99')).toBe(detail(nothing));
    expect(idsIn(await call('GET', '/things', await tokenOf('VIEWER')))).toContain(theirs);
    expect(idsIn(await call('GET', '/things'))).toContain(theirs);
    expectProblem(await call('GET', '/things', await tokenOf('RBACMNT')), 403, 'refused');
  });

  it('asks for a token where it is not open', async () => {
    const closed = await startBackend(n, { directory: { open: false } });
    expectProblem(await closed.call('GET', '/things'), 401, 'token-missing');
    expectProblem(await closed.call('GET', '/things/urn:gridring:backend:backend-1'), 401, 'token-missing');
    expect((await closed.call('GET', '/things', { as: n.gateway })).status).toBe(200);
    expect((await closed.call('GET', '/.well-known/wot')).status).toBe(200);
    await closed.remove();
  });
});

describe('a token that is bound to a key', () => {
  let key: TokenKey;
  let token: string;
  const url = (): string => `${backend.url}/api/v1/groups`;
  const show = (proof: string | undefined, scheme = 'DPoP', path = '/api/v1/groups'): Promise<Answer> =>
    backend.call('GET', path, {
      headers: { authorization: `${scheme} ${token}`, ...(proof !== undefined && { dpop: proof }) },
    });
  const prove = (claims: object = {}, header: object = {}): Promise<string> =>
    proofFor(key, { method: 'GET', url: url(), token, iat: backend.clockS }, { ...claims }, { ...header });

  beforeAll(async () => {
    key = await makeTokenKey('EdDSA');
    token = await tokenOf('VIEWER', { cnf: { jkt: key.thumbprint } });
  });

  it('counts with a proof of the key, for each request a new one', async () => {
    expect((await show(await prove())).status).toBe(200);
    expect((await show(await prove(), 'DPoP', '/api/v1/groups?')).status).toBe(200);
    expect((await show(await prove({ htu: url().replace('127.0.0.1', 'localhost') }))).status).toBe(200);
    const proof = await prove();
    expect((await show(proof)).status).toBe(200);
    const replayed = await show(proof);
    expectProblem(replayed, 401, 'proof-invalid');
    expect(replayed.headers.get('www-authenticate')).toMatch(/^DPoP .*error="invalid_dpop_proof", algs="ES256 EdDSA"$/);
    expect(backend.logged.at(-1)).toMatchObject({ code: 'proof-replayed' });
  });

  it('does not count as a bearer token, and a token that is not bound does not count with a proof', async () => {
    expectProblem(await show(await prove(), 'Bearer'), 401, 'token-invalid');
    expect(backend.logged.at(-1)).toMatchObject({ code: 'token-scheme' });
    const unbound = await tokenOf('VIEWER');
    const headers = { authorization: `DPoP ${unbound}`, dpop: await prove() };
    expectProblem(await backend.call('GET', '/api/v1/groups', { headers }), 401, 'token-invalid');
  });

  it('is refused with a proof that is missing, of another key, for something else, old, or none', async () => {
    const thief = await makeTokenKey('EdDSA');
    const of = { method: 'GET', url: url(), token, iat: nowS };
    const cases: Readonly<Record<string, readonly [string | undefined, string]>> = {
      missing: [undefined, 'proof-missing'],
      'of another key': [await proofFor(thief, of), 'proof-key'],
      'signed by another key': [await proofFor({ ...thief, jwk: key.jwk }, of), 'proof-signature'],
      'for another method': [await prove({ htm: 'POST' }), 'proof-claims'],
      'for another path': [await prove({ htu: `${url()}/x` }), 'proof-claims'],
      'for another server': [await prove({ htu: 'https://evil.example/api/v1/groups' }), 'proof-claims'],
      'for no address': [await prove({ htu: 7 }), 'proof-claims'],
      'for another token': [await prove({ ath: 'AAAA' }), 'proof-claims'],
      'without an id': [await prove({ jti: undefined }), 'proof-claims'],
      old: [await prove({ iat: nowS - 301 }), 'proof-expired'],
      'of the future': [await prove({ iat: nowS + 301 }), 'proof-expired'],
      'without a time': [await prove({ iat: undefined }), 'proof-expired'],
      'of another type': [await prove({}, { typ: 'JWT' }), 'proof-malformed'],
      'without a key': [await prove({}, { jwk: undefined }), 'proof-malformed'],
      'with a private key': [await prove({}, { jwk: { ...key.jwk, d: 'AAAA' } }), 'proof-malformed'],
      'no JWT': ['nonsense', 'proof-malformed'],
      long: ['a'.repeat(5_000), 'proof-malformed'],
      'two of them': [`${await prove()}, ${await prove()}`, 'proof-malformed'],
    };
    for (const [what, [proof, code]] of Object.entries(cases)) {
      expectProblem(await show(proof), 401, 'proof-invalid');
      expect([what, backend.logged.at(-1)]).toMatchObject([what, { code }]);
    }
  });

  it('is refused with the proof that another server was shown, also where the request names that one as its target', async () => {
    const htu = 'http://evil.example/api/v1/groups';
    const headers = `Host: evil.example\r\nAuthorization: DPoP ${token}\r\nDPoP: ${await prove({ htu })}`;
    const { port } = new URL(backend.url);
    expect(await exchange(Number(port), `GET ${htu} HTTP/1.1\r\n${headers}\r\nConnection: close\r\n\r\n`)).toMatch(
      /^HTTP\/1\.1 401 /,
    );
    expect(backend.logged.at(-1)).toMatchObject({ code: 'proof-claims' });
  });

  it('of a device is bound to the key of its certificate, which says who the device is', async () => {
    const { certificate } = n.gateway;
    const ofDevice = await tokenKeyOf(n.suite, n.gateway);
    const certificates = [certificate.der, n.certificates[0]!].map((der) => Buffer.from(der).toString('base64'));
    const claims = { sub: `urn:gridring:gateway:${certificate.id}`, certificates, cnf: { jkt: ofDevice.thumbprint } };
    const me = async (differs: object, by = ofDevice): Promise<Answer> => {
      const bound = await issuer.token({ ...claims, ...differs });
      const proof = await proofFor(by, { method: 'GET', url: `${backend.url}/api/v1/me`, token: bound, iat: nowS });
      return backend.call('GET', '/api/v1/me', { headers: { authorization: `DPoP ${bound}`, dpop: proof } });
    };
    const known = await me({});
    expect(known.body).toMatchObject({ kind: 'device', subject: claims.sub, certHash: toHex(n.gateway.certHash) });
    expect((await me({ scope: 'meters:read' })).body).toMatchObject({ scopes: [{ scope: 'meters:read' }] });
    const cases = [
      ['token-unbound', { cnf: undefined }, ofDevice],
      ['token-untrusted', { cnf: { jkt: key.thumbprint } }, key],
      ['token-untrusted', { sub: 'urn:gridring:gateway:gw-9' }, ofDevice],
      ['token-untrusted', { certificates: certificates.slice(0, 1) }, ofDevice],
      ['token-claims', { certificates: ['!'] }, ofDevice],
      ['proof-key', {}, key],
    ] as const;
    for (const [code, differs, by] of cases) {
      expect((await me(differs, by)).status).toBe(401);
      expect(backend.logged.at(-1)).toMatchObject({ code });
    }
  });
});

describe('what is revoked', () => {
  const create = (subject: string, body: object = {}): Promise<AccountBody> =>
    createAccount({ issuer: issuer.url, subject, name: subject, roles: ['VIEWER'], ...body });
  const change = (id: string, body: object): Promise<Answer> =>
    backend.call('PATCH', `/api/v1/users/${id}`, { as: n.authority, body });
  const follow = async (token: string): Promise<EventReader> => {
    const reader = readEvents(await backend.request('GET', '/api/v1/events', { token }));
    expect(reader.response.status).toBe(200);
    await reader.until('retry');
    return reader;
  };

  it('is so at once: who is disabled is refused, its streams end, others’ go on, and its old tokens never count again', async () => {
    const { id } = await create('disabled');
    const token = await issuer.token({ sub: 'disabled' });
    const [ofIt, ofAnother] = [await follow(token), await follow(await tokenOf('VIEWER'))];
    expect((await change(id, { disabled: true })).body).toMatchObject({ disabled: true });
    await ofIt.rest();
    expectProblem(await call('GET', '/api/v1/groups', token), 401, 'token-invalid');
    expect(backend.logged.at(-1)).toMatchObject({ code: 'token-account-disabled' });
    expect((await change(id, { disabled: false })).status).toBe(200);
    expectProblem(await call('GET', '/api/v1/groups', token), 401, 'token-invalid');
    expect(backend.logged.at(-1)).toMatchObject({ code: 'token-session-ended' });
    backend.clockS += 2;
    expect((await call('GET', '/api/v1/groups', await issuer.token({ sub: 'disabled' }))).status).toBe(200);
    await ofAnother.response.body?.cancel().catch(() => undefined);
  });

  it('ends streams whose holder has lost the right to them, and only where rights have changed', async () => {
    const { id } = await create('changing');
    const stream = await follow(await issuer.token({ sub: 'changing' }));
    expect((await change(id, { name: 'Another' })).status).toBe(200);
    expect((await change(id, { roles: ['RBACMNT'] })).status).toBe(200);
    await stream.rest();
    expectProblem(await call('GET', '/api/v1/groups', await issuer.token({ sub: 'changing' })), 403, 'refused');
  });

  it('is a token that its holder has ended, and no other of the same person', async () => {
    await create('leaving');
    const [one, two] = [await issuer.token({ sub: 'leaving' }), await issuer.token({ sub: 'leaving' })];
    const stream = await follow(one);
    expect((await call('DELETE', '/api/v1/me/session', one)).status).toBe(204);
    await stream.rest();
    expectProblem(await call('GET', '/api/v1/me', one), 401, 'token-invalid');
    expect((await call('GET', '/api/v1/me', two)).status).toBe(200);
  });

  it('are all sessions of an account, where somebody ends them', async () => {
    const { id } = await create('stolen');
    const stream = await follow(await issuer.token({ sub: 'stolen' }));
    expect((await backend.call('DELETE', `/api/v1/users/${id}/sessions`, { as: n.authority })).status).toBe(204);
    await stream.rest();
  });

  it('is a certificate whose account is disabled, and one that no list names any more', async () => {
    const [one, two] = [n.certify('operator', 'op-1'), n.certify('meter', 'meter-88')];
    const { id } = await create('certified');
    const enrolled = await backend.call('POST', `/api/v1/users/${id}/certificates`, {
      ...{ as: n.authority, body: { certHash: toHex(one.certHash) } },
    });
    expect(enrolled.body).toMatchObject({ certHashes: [toHex(one.certHash)] });
    const token = await tokenFor(n, one, { timeS: backend.clockS });
    const stream = await follow(token);
    await change(id, { disabled: true });
    await stream.rest();
    expectProblem(await call('GET', '/api/v1/groups', token), 401, 'token-invalid');

    const publish = (version: number, add: readonly Principal[]) =>
      backend.call('POST', '/api/v1/memberships', { body: n.bundle(n.list({ version, add }), add) });
    expect((await publish(2, [two])).status).toBe(200);
    const ofMeter = await tokenFor(n, two, { timeS: backend.clockS });
    const listening = await follow(ofMeter);
    expect((await publish(3, [])).status).toBe(200);
    await listening.rest();
    expectProblem(await call('GET', '/api/v1/groups', ofMeter), 403, 'refused');
  });
});

describe('accounts', () => {
  it('are listed page by page, and changed only as they were read', async () => {
    const first = await call('GET', '/api/v1/users?limit=3', await tokenOf('SECAUD'));
    expectFits('account-page', first.body);
    const { next } = first.body as { readonly next: string };
    const second = await call('GET', `/api/v1/users?limit=500&after=${next}`, await tokenOf('SECAUD'));
    const idsIn = ({ body }: Answer): readonly string[] =>
      (body as { readonly accounts: readonly AccountBody[] }).accounts.map(({ id }) => id);
    expect(new Set([...idsIn(first), ...idsIn(second)]).size).toBe(3 + idsIn(second).length);

    const path = `/api/v1/users/${accounts.get('INSTALLER')!.id}`;
    const { headers } = await call('GET', path, await tokenOf('RBACMNT'));
    const rename = async (etag: string): Promise<Answer> =>
      backend.call('PATCH', path, {
        token: await tokenOf('RBACMNT'),
        headers: { 'if-match': etag },
        body: { name: 'I' },
      });
    expect((await rename(headers.get('etag')!)).status).toBe(200);
    expectProblem(await rename(headers.get('etag')!), 412, 'precondition-failed');
  });

  it('are changed by somebody else, for nobody gives rights to itself', async () => {
    const own = accounts.get('RBACMNT')!;
    const body = { roles: ['RBACMNT', 'SECADM'] };
    const patch = backend.call('PATCH', `/api/v1/users/${own.id}`, { token: await tokenOf('RBACMNT'), body });
    expectProblem(await patch, 409, 'account-own');
  });

  it('change with all of it in the audit log, however long a name or a list of meters is', async () => {
    const meters = Array.from({ length: 64 }, (_, i) => `${'m'.repeat(60)}-${String(i)}`);
    const { id } = await createAccount({ name: 'H', roles: ['HOUSEHOLD'], meters });
    const body = { name: '\ud800'.repeat(128), roles: ['SECADM'], meters: meters.toReversed() };
    expect((await backend.call('PATCH', `/api/v1/users/${id}`, { as: n.authority, body })).status).toBe(200);
    const log = await backend.call('GET', '/api/v1/audit?last=2', { as: n.authority });
    const { entries } = log.body as {
      readonly entries: readonly { readonly details: Readonly<Record<string, string>> }[];
    };
    const metersIn = (details: Readonly<Record<string, string>> = {}): readonly string[] =>
      Object.keys(details).flatMap((name) => (name.startsWith('meters') ? (details[name] ?? '').split(' ') : []));
    expect(entries[1]?.details).toMatchObject({ roles: 'SECADM' });
    for (const { details } of entries) expect(metersIn(details).toSorted()).toEqual(meters.toSorted());
  });

  it('are refused where they are not what they should be, and nothing is kept', async () => {
    const body = { issuer: issuer.url, subject: subjectOf('VIEWER'), name: 'A', roles: [] };
    const create = (differs: object): Promise<Answer> =>
      backend.call('POST', '/api/v1/users', { as: n.authority, body: { ...body, ...differs } });
    expectProblem(await create({}), 409, 'account-exists');
    const bad = [
      { roles: ['ROOT'] },
      { password: 'x' },
      { name: '' },
      { name: 'a\nb' },
      { meters: ['../x'] },
      { issuer: undefined },
    ];
    for (const differs of bad) expectProblem(await create({ subject: 'new', ...differs }), 400, 'input-invalid');
    expectProblem(await call('GET', `/api/v1/users/${randomUUID()}`, await tokenOf('RBACMNT')), 404, 'account-unknown');
    expectProblem(await call('GET', '/api/v1/users/1', await tokenOf('RBACMNT')), 400, 'input-invalid');
  });
});
