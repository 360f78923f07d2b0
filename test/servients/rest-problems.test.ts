/** What the backend answers to what it does not take: problem documents, whose codes are all written down. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { problemCodes } from '../../servients/rest/problem-codes.js';
import { makeThing } from '../../td/make-td.js';
import { makeNeighbourhood } from '../support/neighbourhood.js';
import { expectFits, expectProblem, startBackend, type TestBackend } from './rest-server.js';

const root = new URL('../../', import.meta.url);

/** All modules that the backend is made of. */
function modulesOf(entry: URL, found = new Map<string, string>()): ReadonlyMap<string, string> {
  if (found.has(entry.href)) return found;
  const text = readFileSync(entry, 'utf8');
  found.set(entry.href, text);
  for (const [, path = ''] of text.matchAll(/(?:from |import\()'(\.[^']+)\.js'/g)) {
    const file = new URL(`${path}.ts`, entry);
    if (existsSync(file)) modulesOf(file, found);
  }
  return found;
}

/** Of errors that a caller is told the code of. */
const told =
  /(?:Malformed|Conflict|NotFound|Limit|Unavailable)Error\(\s*'([a-z0-9-]+)'|(?:HttpRefusal|problemOf)\(\s*\d+,\s*'([a-z0-9-]+)'/g;

/** Pages for people, CoAP, what lies behind a meter or a gateway, and what a reader finds when it opens what is sealed. */
const elsewhere =
  /servients\/(?:bindings\/coap-|core-directory\/|sources\/|issuer\/)|things\/(?:endpoint|link-)|crypto\/envelope\/(?:senml|sealing|obeying)/;

/** Of what is read from the backend's own files and database. */
const ofOwn = new Set(['audit-malformed', 'suite-unknown']);

describe('the codes of problems', () => {
  const modules = [...modulesOf(new URL('servients/backend.ts', root))].filter(([file]) => !elsewhere.test(file));
  const documented = readFileSync(new URL('docs/errors.md', root), 'utf8');

  it('that the backend can give are all in the table', () => {
    const given = modules.flatMap(([file, text]) =>
      [...text.matchAll(told)].map((match) => `${match[1] ?? match[2] ?? ''} (${fileURLToPath(file)})`),
    );
    expect(given.length).toBeGreaterThan(50);
    const missing = given.filter((each) => {
      const code = each.split(' ')[0] ?? '';
      return !Object.hasOwn(problemCodes, code) && !ofOwn.has(code);
    });
    expect(missing).toEqual([]);
  });

  it('in the table are those of docs/errors.md, in its words', () => {
    const rows = [...documented.matchAll(/^\| `([a-z0-9-]+)` +\| ([\d, ]+?) +\| (.+?) +\| (.+?) +\|$/gm)];
    const sorted = Object.entries(problemCodes).sort(([a], [b]) => (a < b ? -1 : 1));
    expect(rows.map((row) => row.slice(1))).toEqual(
      sorted.map(([code, { statuses, meaning, remedy }]) => [code, statuses.join(', '), meaning, remedy]),
    );
  });
});

describe('a backend', () => {
  const n = makeNeighbourhood(suiteX25519, 2);
  let backend: TestBackend;
  beforeAll(async () => {
    backend = await startBackend(n, { http: { limits: { requestsPerMinute: 60 } } });
  });
  afterAll(() => backend.remove());

  it('refuses with a document that leads to what its code means, and names the request', async () => {
    const answer = await backend.call('GET', '/api/v1/meters', { headers: { 'x-request-id': 'mine.1' } });
    expectProblem(answer, 401, 'token-missing');
    expectFits('problem', answer.body);
    const { type, requestId } = answer.body as { readonly type: string; readonly requestId: string };
    expect([requestId, answer.headers.get('x-request-id')]).toEqual(['mine.1', 'mine.1']);
    const page = await (await backend.request('GET', type)).text();
    expect(page).toContain(`id="${type.split('#')[1] ?? ''}"`);
    expect([...page.matchAll(/<h2 /g)]).toHaveLength(Object.keys(problemCodes).length);
  });

  it('logs the trace that a request belongs to, and nothing that is no trace', async () => {
    const traceId = 'ab'.repeat(16);
    await backend.call('GET', '/nothing', { headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-01` } });
    await backend.call('GET', '/nothing', { headers: { traceparent: `00-${'0'.repeat(32)}-00f067aa0ba902b7-01` } });
    const traces = backend.logged.filter(({ code }) => code === 'no-such-resource').map((line) => line['traceId']);
    expect(traces).toEqual([traceId, undefined]);
  });

  it('does not send again what the caller has', async () => {
    const first = await backend.call('GET', '/api/v1/identity');
    const etag = first.headers.get('etag') ?? '';
    expect(etag).toMatch(/^"[\w-]+"$/);
    const again = await backend.call('GET', '/api/v1/identity', { headers: { 'if-none-match': `"x", ${etag}` } });
    expect([again.status, (again.body as Uint8Array).length]).toEqual([304, 0]);
    expect(again.headers.get('etag')).toBe(etag);
    const head = await backend.request('HEAD', '/api/v1/identity');
    expect([head.status, head.headers.get('etag')]).toEqual([200, etag]);
  });

  it('lets a gateway change only what it has read, when it asks for that', async () => {
    const td = makeThing('meter', { id: 'urn:example:m', title: 'Meter', version: '1' });
    const body = { ...td, base: 'http://127.0.0.1:1/', properties: {}, actions: {}, events: {} };
    const path = `/things/${encodeURIComponent('urn:example:m')}`;
    const put = (title: string, headers: Readonly<Record<string, string>> = {}) =>
      backend.call('PUT', path, { as: n.gateway, body: { ...body, title }, headers });
    await put('One');
    const seen = { 'if-match': (await backend.call('GET', path)).headers.get('etag') ?? '' };
    expect((await put('Two', seen)).status).toBe(204);
    expectProblem(await put('Three', seen), 412, 'precondition-failed');
    expectProblem(await backend.call('DELETE', path, { as: n.gateway, headers: seen }), 412, 'precondition-failed');
    expect((await backend.call('GET', path)).body).toMatchObject({ title: 'Two' });
    expect((await put('Three', { 'if-match': '*' })).status).toBe(204);
  });

  it('answers a repeat under an Idempotency-Key as the first time, and creates nothing twice', async () => {
    const td = {
      '@context': 'https://www.w3.org/2022/wot/td/v1.1',
      title: 'Lamp',
      securityDefinitions: { nosec_sc: { scheme: 'nosec' } },
      security: 'nosec_sc',
    };
    const post = (key: string, body: object) =>
      backend.call('POST', '/things', { as: n.gateway, body, headers: { 'idempotency-key': key } });
    const count = async () => ((await backend.call('GET', '/things')).body as readonly unknown[]).length;
    const before = await count();
    const first = await post('order-1', td);
    expect(first.status).toBe(201);
    const again = await post('order-1', td);
    expect([again.status, again.headers.get('location')]).toEqual([201, first.headers.get('location')]);
    expectProblem(await post('order-1', { ...td, title: 'Fan' }), 422, 'idempotency-key-reused');
    expectProblem(await post('order-2', { title: 'no TD' }), 400, 'td-invalid');
    expect((await post('order-2', td)).headers.get('location')).not.toBe(first.headers.get('location'));
    expectProblem(await post('a b', td), 400, 'input-invalid');
    expect(await count()).toBe(before + 2);
  });

  it('says how many requests are left, and with 429 when there are more', async () => {
    const { headers } = await backend.call('GET', '/api/v1/identity');
    expect(headers.get('ratelimit-policy')).toBe('"requests";q=60;w=60');
    expect(headers.get('ratelimit')).toMatch(/^"requests";r=\d+;t=\d+$/);
    let answer = await backend.call('GET', '/health');
    while (answer.status === 200) answer = await backend.call('GET', '/health');
    expectProblem(answer, 429, 'too-many-requests');
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
  });
});
