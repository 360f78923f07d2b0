/** What a stranger or a confused client sends to the API: each is refused by name, and changes nothing. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { limits } from '../../crypto/limits.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { makeNeighbourhood } from '../support/neighbourhood.js';
import { exchange } from './http-raw.js';
import { expectProblem, startBackend, tokenFor, type TestBackend } from './rest-server.js';

const n = makeNeighbourhood(suiteX25519, 2);
const gid = toHex(n.list().gid);
const json = { 'content-type': 'application/json' };
const deep = (depth: number): string => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`;

describe('a backend is sent', () => {
  let backend: TestBackend;
  let before: unknown;
  const state = async (): Promise<unknown> => {
    const paths = ['/things', '/api/v1/groups', `/api/v1/groups/${gid}/lists`, '/api/v1/meters'];
    return Promise.all(paths.map(async (path) => (await backend.call('GET', path, { as: n.gateway })).body));
  };
  beforeAll(async () => {
    backend = await startBackend(n, { http: { limits: { requestsPerMinute: 100_000 } } });
    await backend.call('POST', '/api/v1/memberships', { body: n.bundle(n.list()) });
    before = await state();
  });
  afterAll(async () => {
    expect(await state()).toEqual(before);
    await backend.remove();
  });

  it.each<[string, string, number, string]>([
    ['SQL where an id belongs', "/api/v1/meters/m' OR '1'='1/readings", 400, 'input-invalid'],
    ['SQL where a group belongs', `/api/v1/groups/${gid}';DROP TABLE epoch;--/epochs`, 400, 'input-invalid'],
    ['SQL where a number belongs', `/api/v1/groups/${gid}/epochs?limit=1;DROP TABLE epoch`, 400, 'input-invalid'],
    ['a line break and colours for the log', '/api/v1/meters/%0d%0aFATAL%1b[31m/readings', 400, 'input-invalid'],
    ['a NUL', '/api/v1/meters/meter-01%00/readings', 400, 'input-invalid'],
    ['a path out of the tree', '/api/v1/meters/..%2f..%2fetc%2fpasswd/readings', 400, 'input-invalid'],
    ['one that is encoded twice', '/api/v1/meters/%252e%252e%252f/readings', 400, 'input-invalid'],
    ['one out of the reference page', '/api/v1/docs/static/..%2f..%2fpackage.json', 404, 'no-such-resource'],
    ['one with a backslash', '/api/v1/docs/static/..%5cpackage.json', 404, 'no-such-resource'],
    ['an unknown field', '/api/v1/meters?limit=1&debug=1', 400, 'input-invalid'],
    ['a field twice', '/api/v1/meters?limit=1&limit=2', 400, 'input-invalid'],
    ['a field with the name of a prototype', '/api/v1/meters?__proto__=1', 400, 'input-invalid'],
    ['a number beyond all', '/api/v1/meters?limit=1e309', 400, 'input-invalid'],
    ['a name in another alphabet', '/api/v1/meters/mеter-01/readings', 400, 'input-invalid'],
    ['an id that no Thing has, for the log', '/things/a%0d%0ab%1b[2J', 404, 'td-unknown'],
  ])('%s', async (_name, path, status, code) => {
    expectProblem(await backend.call('GET', path, { as: n.gateway }), status, code);
  });

  it.each<[string, string | Uint8Array, Readonly<Record<string, string>>, number, string]>([
    ['half of a JSON text', '{"message":', json, 400, 'body-malformed'],
    ['nothing at all', '', json, 400, 'body-malformed'],
    ['a name twice', '{"message":"AA","message":"AB"}', json, 400, 'body-malformed'],
    ['a name twice, once disguised', '{"message":"AA","mess\\u0061ge":"AB"}', json, 400, 'body-malformed'],
    ['__proto__', '{"message":"AA","__proto__":{"admin":true}}', json, 400, 'body-malformed'],
    ['constructor.prototype', '{"constructor":{"prototype":{}},"message":"AA"}', json, 400, 'body-malformed'],
    ['what nests too deep', deep(limits.jsonDepth + 1), json, 400, 'body-malformed'],
    ['what nests without an end', '['.repeat(200_000), json, 400, 'body-malformed'],
    ['bytes that are no UTF-8', Buffer.from([0x22, 0xff, 0x22]), json, 400, 'body-malformed'],
    ['an unknown field', '{"message":"AA","debug":true}', json, 400, 'input-invalid'],
    ['a number for a text', '{"message":7}', json, 400, 'input-invalid'],
    ['a list for an object', '["AA"]', json, 400, 'input-invalid'],
    ['more than a body may be', `{"message":"${'A'.repeat(limits.requestBody)}"}`, json, 413, 'too-large'],
    ['XML', '<message/>', { 'content-type': 'application/xml' }, 415, 'media-type-unsupported'],
    ['plain text', 'AA', { 'content-type': 'text/plain' }, 415, 'media-type-unsupported'],
    ['a form', 'message=AA', { 'content-type': 'application/x-www-form-urlencoded' }, 415, 'media-type-unsupported'],
    ['bytes that are no CBOR', Buffer.from([0xff]), { 'content-type': 'application/cose' }, 400, 'cbor-malformed'],
  ])('%s as a list', async (_name, body, headers, status, code) => {
    // An address of its own each: only a few lists a minute are looked at.
    const response = await backend.request('POST', '/api/v1/memberships', { body, headers });
    if (response.status === 429) return;
    expectProblem({ status: response.status, headers: response.headers, body: await response.json() }, status, code);
  });

  it('text for the log, which arrives there on one line and without control characters', async () => {
    const [escape, bell] = ['\u001b', '\u0007'];
    await backend.call('GET', `/things/${encodeURIComponent(`x\r\n{"level":60}${escape}[2J${bell}`)}`);
    await backend
      .call('GET', '/api/v1/identity', { headers: { 'x-request-id': 'a b', 'user-agent': `${bell}x` } })
      .catch(() => undefined);
    const lines = backend.logged.map((line) => JSON.stringify(line));
    expect(lines.some((line) => line.includes('td-unknown'))).toBe(true);
    for (const line of lines) expect(line).not.toMatch(/[\u0000-\u001f]/);
    expect(backend.logged.filter((line) => line['level'] === 60)).toEqual([]);
  });

  it('pipelined requests, which are answered in their order, each for itself', async () => {
    const token = await tokenFor(n, n.gateway);
    const one = (path: string, more = ''): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n${more}\r\n`;
    const response = await exchange(
      backend.port,
      one('/api/v1/groups', `Authorization: Bearer ${token}\r\n`) +
        one('/api/v1/groups') +
        one('/health/live', 'Connection: close\r\n'),
    );
    expect([...response.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)).toEqual(['200', '401', '200']);
  });

  it('a request inside the body of another, which is not taken for one', async () => {
    const inner = 'GET /api/v1/groups HTTP/1.1\r\nHost: a\r\n\r\n';
    const head = `POST /api/v1/memberships HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n`;
    for (const framing of [
      `Content-Length: ${inner.length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${inner}`,
      `Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n${inner}`,
      `Content-Length: 0, ${inner.length}\r\n\r\n${inner}`,
      `Content-Length : ${inner.length}\r\n\r\n${inner}`,
      `Connection: close\r\nContent-Length: ${inner.length}\r\n\r\n${inner}`,
    ]) {
      const response = await exchange(backend.port, head + framing);
      expect([...response.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)).toEqual(['400']);
    }
  });
});
