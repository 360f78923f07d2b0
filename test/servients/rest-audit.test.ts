/** The audit log of a running backend, as who may read it finds it. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parseAuditCheckpoint } from '../../crypto/audit/checkpoint.js';
import { fromBase64Url, toHex } from '../../crypto/bytes.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { AuditClient, exportLines } from '../../servients/audit-client.js';
import { verifyAuditFile } from '../../servients/audit-file.js';
import { makeNeighbourhood, nowS } from '../support/neighbourhood.js';
import { agree, makePlayers } from '../support/ring.js';
import { expectFits, expectProblem, startBackend, type TestBackend } from './rest-server.js';

interface Entry {
  readonly sequence: number;
  readonly actor: string;
  readonly action: string;
  readonly subject: string;
  readonly outcome: string;
  readonly requestId: string | null;
  readonly details: Readonly<Record<string, unknown>>;
}

const n = makeNeighbourhood(suiteX25519, 3);
const { published } = agree(n, { players: makePlayers(n) });
const [leaver] = n.meters;
let backend: TestBackend;
beforeAll(async () => {
  backend = await startBackend(n);
});
afterAll(() => backend.remove());

const entriesFor = async (query: string): Promise<readonly Entry[]> => {
  const { status, body } = await backend.call('GET', `/api/v1/audit?${query}`, { as: n.operator });
  expect(status).toBe(200);
  expectFits('audit-page', body);
  return (body as { readonly entries: readonly Entry[] }).entries;
};
const client = (of = backend): AuditClient => {
  const json = (method: string) => async (path: string) =>
    (await of.call(method, `/api/v1/${path}`, { as: n.operator })).body;
  return new AuditClient({ get: json('GET'), post: json('POST') });
};

async function* exported(): AsyncGenerator<Uint8Array> {
  for await (const line of exportLines(client())) yield Buffer.from(`${line}\n`);
}

it('tells who did what: start, lists, revocations, epochs and grants that were read, once each', async () => {
  const headers = { 'x-request-id': 'request-1' };
  const publish = (list: Uint8Array) => backend.call('POST', '/api/v1/memberships', { body: list, headers });
  for (let i = 0; i < 2; i++) expect((await publish(n.bundle(n.list()))).status).toBe(200);
  for (let i = 0; i < 2; i++) {
    const { status } = await backend.call('POST', '/api/v1/epochs', { body: published.record, as: n.gateway });
    expect(status).toBe(200);
  }
  await backend.call('GET', '/api/v1/meters/meter-02/grants', { as: n.utility });
  await publish(n.bundle(n.list({ version: 2, without: [leaver!] })));
  const gid = toHex(n.gid);
  const self = 'urn:gridring:backend:backend-1';
  expect(await entriesFor('limit=50')).toMatchObject([
    { sequence: 1, actor: self, action: 'backend.start', details: { database: 'sqlite', suite: 'x25519' } },
    { sequence: 2, action: 'membership.publish', subject: gid, requestId: 'request-1', details: { version: '1.0' } },
    { sequence: 3, actor: 'urn:gridring:gateway:gw-1', action: 'epoch.record', details: { epoch: 1, members: 3 } },
    { sequence: 4, actor: 'urn:gridring:reader:utility', action: 'grant.read' },
    { sequence: 5, action: 'membership.publish', details: { version: '2.0' } },
    { sequence: 6, action: 'membership.revoke', subject: `urn:gridring:meter:${leaver!.certificate.id}` },
  ]);
});

it('tells what a known caller was refused, and nothing of who is not known', async () => {
  const from = (await entriesFor('last=1')).at(-1)!.sequence;
  await backend.call('POST', '/api/v1/epochs', { body: Uint8Array.of(1, 2), as: n.gateway });
  await backend.call('GET', '/api/v1/meters/meter-99/grants', { as: n.utility });
  await backend.call('GET', '/api/v1/meters');
  await backend.call('GET', '/api/v1/meters', { token: 'e30.e30.AAAA' });
  expect(await entriesFor(`after=${from}`)).toMatchObject([
    { actor: 'urn:gridring:gateway:gw-1', action: 'request.refuse', outcome: 'refused' },
    { actor: 'urn:gridring:reader:utility', details: { code: 'meter-unknown', route: '/api/v1/meters/:id/grants' } },
  ]);
});

it('does not let a flood of refusals fill the log', async () => {
  const before = (await entriesFor('last=1')).at(-1)!.sequence;
  const ask = () => backend.call('GET', '/api/v1/meters/nothing/grants', { as: n.utility });
  await Promise.all(Array.from({ length: 40 }, ask));
  expect((await entriesFor('last=1')).at(-1)!.sequence - before).toBeLessThan(25);
});

it('tells of a gateway that another one replaces, and of exports', async () => {
  const from = (await entriesFor('last=1')).at(-1)!.sequence;
  const successor = n.certify('gateway', 'gw-2');
  const list = { ...n.listUnder(successor, 3), version: 3 };
  expect((await backend.call('POST', '/api/v1/memberships', { body: n.bundle(list, [successor]) })).status).toBe(200);
  const exports = ['readings.ndjson', 'readings.csv', 'epochs.ndjson', 'epochs.csv'];
  for (const name of exports) await backend.request('GET', `/api/v1/exports/${name}`, { as: n.authority });
  const [gone, come] = [n.gateway, successor].map(({ certHash }) => toHex(certHash));
  const actor = 'urn:gridring:authority:community';
  expect(await entriesFor(`after=${from}`)).toMatchObject([
    { action: 'membership.publish' },
    { action: 'gateway.replace', subject: 'urn:gridring:gateway:gw-1', details: { replaced: gone, by: come } },
    { action: 'membership.revoke', subject: 'urn:gridring:gateway:gw-1' },
    { actor, action: 'export.readings', subject: 'all' },
    { actor, action: 'export.readings' },
    { actor, action: 'export.epochs' },
    { actor, action: 'export.epochs' },
  ]);
});

it('is nobody’s but who may audit', async () => {
  for (const as of [n.utility, n.household, n.gateway, n.meters[1]!]) {
    for (const path of ['audit', 'audit/checkpoints']) {
      expect((await backend.call('GET', `/api/v1/${path}`, { as })).status).toBe(403);
    }
  }
  expectProblem(await backend.call('GET', '/api/v1/audit'), 401, 'token-missing');
});

it('refuses a query that makes no sense', async () => {
  for (const query of ['last=1&after=1', 'outcome=maybe', 'since=yesterday', 'limit=0', 'who=me', 'actor=']) {
    const { status } = await backend.call('GET', `/api/v1/audit?${query}`, { as: n.operator });
    expect([query, status]).toEqual([query, 400]);
  }
});

it('is exported whole, and verifies; a checkpoint that was kept is in it', async () => {
  const kept = await client().checkpoint();
  const check = { roots: () => [n.root], kept: [kept] };
  const result = await verifyAuditFile(exported(), check);
  expect(result).toMatchObject({ findings: [], unsealed: 0, uncompared: 0 });
  expect(result.checkpoints).toBeGreaterThan(1);
});

it('is signed for at the end and after an hour, and goes on after a restart', async () => {
  const { sequence } = parseAuditCheckpoint(await client().checkpoint());
  backend = await backend.restart();
  const { body } = await backend.call('GET', '/api/v1/audit/checkpoints', { as: n.operator });
  expectFits('audit-checkpoints', body);
  const messages = (body as { readonly checkpoints: readonly { readonly message: string }[] }).checkpoints;
  // The stop, which the last checkpoint tells of, and the start after it.
  expect(parseAuditCheckpoint(fromBase64Url(messages.at(-1)!.message)).sequence).toBe(sequence + 1);
  expect((await entriesFor('last=2')).map(({ action }) => action)).toEqual(['backend.stop', 'backend.start']);
  expect(backend.clockS).toBe(nowS);
  expect((await verifyAuditFile(exported(), { roots: () => [n.root], kept: [] })).findings).toEqual([]);
});
