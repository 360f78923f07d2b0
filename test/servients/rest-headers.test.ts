/** What answers say beside their bodies: to pages of other origins, to whoever follows a trace, and of what is to go. */
import Fastify from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { makeFetch } from '../../servients/bindings/tls-fetch.js';
import { inTrace, parseTraceparent } from '../../servients/bindings/trace.js';
import { refusalOf } from '../../servients/bindings/peer-refusal.js';
import { addDeprecations } from '../../servients/rest/deprecation.js';
import { json, operation } from '../../servients/rest/operation.js';
import { makeNeighbourhood } from '../support/neighbourhood.js';
import { expectFits, startBackend, tokenFor, type TestBackend } from './rest-server.js';

const n = makeNeighbourhood(suiteX25519, 2);
const ours = 'https://dashboard.example';
let backend: TestBackend;
beforeAll(async () => {
  backend = await startBackend(n, { cors: { origins: [ours] } });
});
afterAll(() => backend.remove());

describe('a page of another origin', () => {
  const preflight = (origin: string, path = '/api/v1/groups') =>
    backend.request('OPTIONS', path, {
      headers: { origin, 'access-control-request-method': 'GET', 'access-control-request-headers': 'authorization' },
    });

  it('that is configured may ask with a token, and read the answer, its headers and refusals', async () => {
    const asked = await preflight(ours);
    expect([asked.status, asked.headers.get('access-control-allow-origin')]).toEqual([204, ours]);
    expect(asked.headers.get('access-control-allow-methods')).toBe('GET, HEAD');
    expect(asked.headers.get('access-control-allow-headers')).toMatch(/\bauthorization\b.*\bdpop\b/);
    const token = await tokenFor(n, n.utility);
    for (const call of [{ token }, {}]) {
      const { headers } = await backend.request('GET', '/api/v1/groups', { ...call, headers: { origin: ours } });
      expect(headers.get('access-control-allow-origin')).toBe(ours);
      expect(headers.get('access-control-expose-headers')).toContain('etag');
      expect(headers.get('vary')).toMatch(/^origin/);
    }
  });

  it('that is not, or is almost, may not; and no page ever with the cookies of the browser', async () => {
    for (const origin of ['https://dashboard.example.evil', 'http://dashboard.example', `${ours}:444`, 'null', '*']) {
      const { status, headers } = await preflight(origin);
      expect([origin, status, headers.get('access-control-allow-origin')]).toEqual([origin, 405, null]);
    }
    const { headers } = await preflight(ours);
    expect(headers.get('access-control-allow-credentials')).toBeNull();
    expect((await preflight(ours, '/nothing')).status).toBe(404);
  });

  it('may not where none is configured', async () => {
    const other = await startBackend(n);
    const { headers } = await other.request('GET', '/api/v1/identity', { headers: { origin: ours } });
    expect([headers.get('access-control-allow-origin'), headers.get('vary')]).toEqual([null, 'accept, authorization']);
    await other.remove();
  });
});

describe('a trace', () => {
  const traceId = 'ab'.repeat(16);
  const given = `00-${traceId}-00f067aa0ba902b7-01`;

  it('goes on from a caller of ours to the log and the refusal, with another parent for each request', async () => {
    const seen: string[] = [];
    const send = makeFetch({ roots: [] });
    await inTrace(parseTraceparent(given), async () => {
      for (const path of ['/nothing', '/api/v1/meters']) {
        const response = await send(backend.url + path);
        const problem = (await response.json()) as { readonly traceId?: string; readonly requestId: string };
        expectFits('problem', problem);
        expect(problem.traceId).toBe(traceId);
        expect(refusalOf(response.status, Buffer.from(JSON.stringify(problem))).requestId).toBe(problem.requestId);
        seen.push(String(backend.logged.at(-1)?.['traceId']));
      }
    });
    expect(seen).toEqual([traceId, traceId]);
    await send(`${backend.url}/nothing`);
    expect(backend.logged.at(-1)?.['traceId']).toMatch(/^(?!abab)[0-9a-f]{32}$/);
  });

  it.each([
    ['none', undefined],
    ['of another version', `01-${traceId}-00f067aa0ba902b7-01`],
    ['all zeros', `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`],
    ['without a parent', `00-${traceId}-${'0'.repeat(16)}-01`],
    ['in capitals', given.toUpperCase()],
    ['with more behind it', `${given}-x`],
    ['two in one', `${given}, ${given}`],
  ])('that is %s is not believed', (_what, value) => {
    expect(parseTraceparent(value)).toBeUndefined();
    expect(parseTraceparent(given)).toEqual({ traceId, sampled: true });
  });
});

describe('an operation that is to go', () => {
  const described = (sunset: string) =>
    operation({
      ...{ id: 'old', tag: 'Service', summary: 'Old', gives: { 200: json('problem', 'It') } },
      deprecation: { since: '2026-01-01T00:00:00Z', sunset, instead: '/api/v2/new' },
    });
  const serving = (sunset: string) => {
    const app = Fastify();
    addDeprecations(app);
    app.get('/old', { schema: { ...described(sunset), response: {} } }, async () => ({}));
    app.get('/new', async () => ({}));
    return app;
  };

  it('says since when, until when, and what is there instead; others say nothing', async () => {
    const app = serving('2027-02-01T00:00:00Z');
    const { headers } = await app.inject('/old');
    expect(headers).toMatchObject({
      deprecation: '@1767225600',
      sunset: 'Mon, 01 Feb 2027 00:00:00 GMT',
      link: '</api/v2/new>; rel="successor-version"',
    });
    expect((await app.inject('/new')).headers).not.toHaveProperty('deprecation');
    expect(described('2027-02-01T00:00:00Z')).toMatchObject({ deprecated: true });
  });

  it('keeps a server from starting where it would go in less than a year', () => {
    expect(() => serving('2026-12-01T00:00:00Z')).toThrow('less than a year');
  });
});
