/** Two backends on one PostgreSQL database: what one of them is told holds at the other, at once. */
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { makeTokenKey, proofFor, startIssuer } from '../support/issuer.js';
import { makeNeighbourhood, nowS, type Principal } from '../support/neighbourhood.js';
import { startPostgres } from '../support/postgres.js';
import { agree } from '../support/ring.js';
import { dataOf, listen, readEvents } from './event-reader.js';
import { asJson, audience, boundHeaders, expectProblem, startBackend, type TestBackend } from './rest-server.js';

const server = await startPostgres();
afterAll(() => server?.stop());

const n = makeNeighbourhood(suiteX25519, 3);
const founding = agree(n);
const second = agree(n, { players: founding.players, epoch: 2, reason: 'periodic' });
const [first, next] = [founding, second].map(({ published }) => published.record);

const running: TestBackend[] = [];
afterEach(async () => {
  for (const backend of running.splice(0)) await backend.remove();
});

describe.skipIf(server === undefined)('two backends on one database', () => {
  async function startTwo(): Promise<readonly [TestBackend, TestBackend, string]> {
    const database = await server!.newDatabase();
    const [one, two] = await Promise.all([startBackend(n, { database }), startBackend(n, { database })]);
    running.push(one, two);
    return [one, two, database];
  }

  it('hold the same lists: who is revoked at one is kept out by the other', async () => {
    const [one, two] = await startTwo();
    await one.call('POST', '/api/v1/memberships', { body: n.bundle(n.list()) });
    const record = { body: first!, as: n.gateway };
    expect((await two.call('POST', '/api/v1/epochs', record)).status).toBe(200);
    expect((await one.call('POST', '/api/v1/epochs', record)).status).toBe(200);
    const list = n.list({ version: 2 });
    const entries = list.entries.filter(({ certHash }) => toHex(certHash) !== toHex(n.gateway.certHash));
    await one.call('POST', '/api/v1/memberships', { body: n.bundle({ ...list, entries }) });
    expectProblem(await two.call('POST', '/api/v1/epochs', { body: next!, as: n.gateway }), 403, 'refused');
    const shown = await two.call('GET', '/api/v1/groups', { as: n.utility });
    expect(shown.body).toMatchObject({ groups: [{ gid: toHex(n.gid), listVersion: 2, epoch: 1 }] });
  });

  it('refuse the other’s list where it is another of the same version, and an older one', async () => {
    const [one, two] = await startTwo();
    const publish = (backend: TestBackend, version: number, graceS = 60) =>
      backend.call('POST', '/api/v1/memberships', { body: n.bundle(n.list({ version, policy: { graceS } })) });
    expect((await publish(one, 2)).status).toBe(200);
    expectProblem(await publish(two, 2, 61), 409, 'membership-conflict');
    expectProblem(await publish(two, 1), 409, 'membership-rollback');
    expect((await publish(two, 2)).status).toBe(200);
  });

  it('know of each other’s accounts and proofs: one that was shown is no use, and who is disabled is so at both', async () => {
    const database = await server!.newDatabase();
    const issuer = await startIssuer(audience, () => nowS);
    const publicOrigin = 'https://backend.example';
    const options = { database, publicOrigin, issuers: [{ issuer: issuer.url }] };
    const [one, two] = await Promise.all([startBackend(n, options), startBackend(n, options)]);
    running.push(one, two);
    const at = async (
      backend: TestBackend,
      path: string,
      caller: Readonly<Record<string, string>> | Principal,
      init: RequestInit = {},
    ) => {
      const called = { method: init.method ?? 'GET', url: `${publicOrigin}/api/v1/${path}` };
      const headers = 'certHash' in caller ? await boundHeaders(n, caller as Principal, called) : caller;
      return fetch(`http://127.0.0.1:${backend.port}/api/v1/${path}`, {
        ...init,
        headers: { ...headers, ...(init.body !== undefined && { 'content-type': 'application/json' }) },
      });
    };
    const brought = { method: 'POST', body: JSON.stringify(asJson(n.bundle(n.list()))) };
    expect((await at(one, 'memberships', {}, brought)).status).toBe(200);
    const household = async (subject: string, meter: string) => {
      const body = { issuer: issuer.url, subject, name: subject, roles: ['HOUSEHOLD'], meters: [meter] };
      const made = await at(one, 'users', n.authority, { method: 'POST', body: JSON.stringify(body) });
      return (await made.json()) as { readonly id: string };
    };
    const { id } = await household('here', n.meters[0]!.certificate.id);
    await household('elsewhere', 'meter-77');

    const key = await makeTokenKey('ES256');
    const token = await issuer.token({ sub: 'here', cnf: { jkt: key.thumbprint } });
    const url = `${publicOrigin}/api/v1/groups`;
    const dpop = await proofFor(key, { method: 'GET', url, token, iat: nowS });
    const shown = { authorization: `DPoP ${token}`, dpop };
    expect((await at(one, 'groups', shown)).status).toBe(200);
    expect((await at(two, 'groups', shown)).status).toBe(401);

    const follow = async (subject: string) => {
      const bearer = { authorization: `Bearer ${await issuer.token({ sub: subject })}` };
      const reader = readEvents(await at(two, 'events', bearer));
      await reader.until('retry');
      return reader;
    };
    const [ofIt, ofAnother] = [await follow('here'), await follow('elsewhere')];
    const record = { method: 'POST', body: JSON.stringify(asJson(first!)) };
    expect((await at(one, 'epochs', n.gateway, record)).status).toBe(200);
    await ofIt.until(toHex(n.gid));
    const disabled = { method: 'PATCH', body: JSON.stringify({ disabled: true }) };
    expect((await at(one, `users/${id}`, n.authority, disabled)).status).toBe(200);
    await ofIt.rest();
    const bearer = { authorization: `Bearer ${await issuer.token({ sub: 'here' })}` };
    expect((await at(two, 'groups', bearer)).status).toBe(401);
    await two.close();
    expect(await ofAnother.rest()).not.toContain(toHex(n.gid));
    await issuer.close();
  });

  it('tell all listeners of what either of them takes, and resume a stream that the other began', async () => {
    const [one, two] = await startTwo();
    await one.call('POST', '/api/v1/memberships', { body: n.bundle(n.list()) });
    const events = await listen(one, n.meters[0]!);
    await two.call('POST', '/api/v1/epochs', { body: first!, as: n.gateway });
    const id = /^id: (\S+)\ndata/m.exec(await events.until('"epoch":1'))![1]!;
    await one.call('POST', '/api/v1/epochs', { body: next!, as: n.gateway });
    const resumed = await listen(two, n.meters[0]!, { 'last-event-id': id });
    const text = await resumed.until('"epoch":2');
    expect(dataOf(text)).toMatchObject([{ epoch: 2 }]);
    expect(text).not.toContain('gap');
  });

  it('say what is no longer kept of what a listener missed, and know it all the same', async () => {
    const [one, two, database] = await startTwo();
    const events = await listen(one, n.meters[0]!, {}, 'events/memberships');
    const [, life] = /^id: (\S+)\.0$/m.exec(await events.until('.0'))!;
    for (const version of [1, 2, 3]) {
      await one.call('POST', '/api/v1/memberships', { body: n.bundle(n.list({ version })) });
    }
    await server!.run(database, 'DELETE FROM event WHERE position <= 2');
    const resume = async (id: string) =>
      (await listen(two, n.meters[0]!, { 'last-event-id': id }, 'events/memberships')).until('"listVersion":3');
    expect(dataOf(await resume(`${life!}.0`))).toMatchObject([{ missed: 2 }, { listVersion: 3 }]);
    expect(dataOf(await resume(`${life!}.2`))).toMatchObject([{ listVersion: 3 }]);
    expect(await resume('another.1')).toContain('event: gap\ndata: {}');
    const shown = await two.call('GET', '/api/v1/groups', { as: n.utility });
    expect(shown.body).toMatchObject({ groups: [{ listVersion: 3 }] });
  });

  it('serve on when the database cuts all their connections: a listener misses nothing', async () => {
    const [one, two] = await startTwo();
    const events = await listen(one, n.meters[0]!, {}, 'events/memberships');
    await server!.run(
      await server!.newDatabase(),
      'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename IS NOT NULL',
    );
    const publish = () => two.call('POST', '/api/v1/memberships', { body: n.bundle(n.list()) });
    await vi.waitFor(async () => {
      expect((await publish()).status).toBe(200);
    });
    expect(dataOf(await events.until('"listVersion":1'))).toMatchObject([{ listVersion: 1 }]);
    await vi.waitFor(async () => {
      expect((await one.call('GET', '/health')).status).toBe(200);
    });
  });

  it('name one revision of the directory, whichever of them has changed it', async () => {
    const [one, two] = await startTwo();
    const revision = async (backend: TestBackend) => (await backend.call('GET', '/things')).headers.get('link');
    const before = await revision(one);
    expect(await revision(two)).toBe(before);
    await two.restart().then((again) => running.splice(1, 1, again));
    expect(await revision(one)).not.toBe(before);
    expect(await revision(one)).toBe(await revision(running[1]!));
  });
});
