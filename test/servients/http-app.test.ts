import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyInstance, FastifyPluginAsync } from 'fastify';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConflictError, VerificationError } from '../../crypto/errors.js';
import { makeHttpApp, type HttpAppOptions } from '../../servients/bindings/http-app.js';
import { bodyOf, exchange, open, statusOf, until } from './http-raw.js';

let app: FastifyInstance;
let port: number;
let refusals: string[];
let requests: string[];

async function start(options: HttpAppOptions = {}, more: FastifyPluginAsync = async () => undefined): Promise<void> {
  refusals = [];
  requests = [];
  app = makeHttpApp({
    ...options,
    observer: {
      request: (method, route, status) => requests.push(`${method} ${route} ${status}`),
      refused: (code) => refusals.push(code),
    },
  });
  await app.register(async (routes) => {
    routes.get('/ping', async () => ({ pong: true }));
    routes.post('/echo', async (request) => request.body);
    routes.put(
      '/typed/:id',
      { schema: { body: { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] } } },
      async () => ({ ok: true }),
    );
    routes.get('/fails/:how', async (request) => {
      const { how } = request.params as { readonly how: string };
      if (how === 'conflict') throw new ConflictError('epoch-stale', 'epoch 3 is over');
      if (how === 'forged') throw new VerificationError('signature-invalid', 'the second signature does not verify');
      throw new Error('a secret detail');
    });
  });
  await app.register(more);
  await app.listen({ port: 0, host: '127.0.0.1' });
  port = (app.server.address() as { readonly port: number }).port;
}

const get = (path: string, init: RequestInit = {}): Promise<Response> => fetch(`http://127.0.0.1:${port}${path}`, init);

async function problemOf(response: Response): Promise<unknown> {
  expect(response.headers.get('content-type')).toMatch(/^application\/problem\+json/);
  return response.json();
}

describe('a problem document answers every refusal', () => {
  beforeEach(() => start());
  afterEach(() => app.close());

  it('404 for a path without a resource, without repeating the path', async () => {
    expect(await problemOf(await get('/nothing?x=1'))).toEqual({
      type: 'about:blank',
      title: 'Not Found',
      status: 404,
      code: 'no-such-resource',
      detail: 'there is nothing under this path',
      requestId: expect.stringMatching(/^[\da-f-]{36}$/) as string,
    });
  });

  it('405 with Allow for a method that the resource has not, even an unknown one', async () => {
    for (const method of ['DELETE', 'PATCH', 'PROPFIND']) {
      const response = await get('/ping', { method });
      expect(response.headers.get('allow')).toBe('GET, HEAD');
      expect(await problemOf(response)).toMatchObject({ status: 405, code: 'method-not-allowed' });
    }
    expect((await get('/typed/7')).headers.get('allow')).toBe('PUT');
  });

  it('413 for a declared body above the limit, before a byte of it is read', async () => {
    const response = await exchange(
      port,
      'POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 20000000\r\n\r\n',
    );
    expect(statusOf(response)).toBe(413);
    expect(bodyOf(response)).toMatchObject({ code: 'too-large' });
  });

  it('415 for an unknown media type, 400 for broken JSON and for a body that the schema refuses', async () => {
    const send = (type: string, body: string) =>
      get('/typed/7', { method: 'PUT', headers: { 'content-type': type }, body });
    expect(await problemOf(await send('text/csv', 'n'))).toMatchObject({ status: 415, code: 'media-type-unsupported' });
    expect(await problemOf(await send('application/json', '{'))).toMatchObject({ status: 400, code: 'body-malformed' });
    expect(await problemOf(await send('application/json', '{"n":"x"}'))).toMatchObject({ code: 'input-invalid' });
  });

  it('409 with the code for a conflict, 403 without a reason for a failed verification', async () => {
    expect(await problemOf(await get('/fails/conflict'))).toMatchObject({ status: 409, code: 'epoch-stale' });
    const forged = await get('/fails/forged');
    expect(await problemOf(forged)).toEqual({
      ...{ type: 'about:blank', title: 'Forbidden', status: 403, code: 'refused' },
      requestId: forged.headers.get('x-request-id'),
    });
    expect(refusals).toEqual(['epoch-stale', 'signature-invalid']);
  });

  it('500 without the text of the error', async () => {
    const response = await get('/fails/otherwise');
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain('secret');
  });

  it('carries a request id: its own, or the caller’s where that is harmless', async () => {
    expect((await get('/ping')).headers.get('x-request-id')).toMatch(/^[\da-f-]{36}$/);
    expect((await get('/nothing', { headers: { 'x-request-id': 'abc.1' } })).headers.get('x-request-id')).toBe('abc.1');
    const odd = await get('/ping', { headers: { 'x-request-id': 'a b{}' } });
    expect(odd.headers.get('x-request-id')).toMatch(/^[\da-f-]{36}$/);
  });

  it('counts requests by the pattern of their route', async () => {
    await get('/fails/conflict');
    await get('/nothing');
    expect(requests).toEqual(['GET /fails/:how 409', 'GET  404']);
  });
});

describe('malformed requests are refused and the server keeps serving', () => {
  beforeEach(() => start({ limits: { headersTimeoutMs: 200, requestTimeoutMs: 400 } }));
  afterEach(async () => {
    expect((await get('/ping')).status).toBe(200);
    await app.close();
  });

  const end = 'Connection: close\r\n\r\n';
  const json = 'Content-Type: application/json\r\n';
  it.each<[string, number, string]>([
    ['no Host', 400, `GET /ping HTTP/1.1\r\n${end}`],
    ['a malformed Host', 400, `GET /ping HTTP/1.1\r\nHost: a[b:c/%\r\n${end}`],
    ['an empty Host', 400, `GET /ping HTTP/1.1\r\nHost:\r\n${end}`],
    ['two Hosts', 400, `GET /ping HTTP/1.1\r\nHost: a\r\nHost: b\r\n${end}`],
    ['the target //', 404, `GET // HTTP/1.1\r\nHost: a\r\n${end}`],
    ['the target http://[/', 400, `GET http://[/ HTTP/1.1\r\nHost: a\r\n${end}`],
    ['the target http://[', 400, `GET http://[ HTTP/1.1\r\nHost: a\r\n${end}`],
    ['the target *', 404, `OPTIONS * HTTP/1.1\r\nHost: a\r\n${end}`],
    ['a target with a fragment and no path', 404, `GET /#/../ping HTTP/1.1\r\nHost: a\r\n${end}`],
    ['bad percent-encoding', 400, `GET /%ZZ HTTP/1.1\r\nHost: a\r\n${end}`],
    ['percent-encoding that is not UTF-8', 400, `GET /typed/%ff%fe HTTP/1.1\r\nHost: a\r\n${end}`],
    ['bad percent-encoding with a method without routes', 400, `PROPFIND /%E0%A4%A HTTP/1.1\r\nHost: a\r\n${end}`],
    ['an overlong path parameter', 414, `PUT /typed/${'a'.repeat(500)} HTTP/1.1\r\nHost: a\r\n${end}`],
    ['an upgrade', 200, `GET /ping HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n`],
    ['an unknown expectation', 417, `POST /echo HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n${end}`],
    ['an unknown method', 400, `STEAL /ping HTTP/1.1\r\nHost: a\r\n${end}`],
    ['garbage', 400, '\u0016\u0003\u0001\u0000\u00a5\u0001\u0000\u0000garbage\r\n\r\n'],
    ['oversized headers', 431, `GET /ping HTTP/1.1\r\nHost: a\r\nX-Big: ${'a'.repeat(20_000)}\r\n${end}`],
    ['a line feed inside a header name', 400, `GET /ping HTTP/1.1\r\nHost: a\r\nX\n: y\r\n${end}`],
    [
      'Content-Length and Transfer-Encoding together',
      400,
      `POST /echo HTTP/1.1\r\nHost: a\r\n${json}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /ping HTTP/1.1\r\nHost: a\r\n${end}`,
    ],
    ['two Content-Lengths', 400, `POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}1`],
    [
      'an obfuscated Transfer-Encoding',
      400,
      `POST /echo HTTP/1.1\r\nHost: a\r\n${json}Transfer-Encoding: xchunked\r\n\r\n`,
    ],
    [
      'a chunk size that is no number',
      400,
      `POST /echo HTTP/1.1\r\nHost: a\r\n${json}Transfer-Encoding: chunked\r\n\r\nzz\r\n`,
    ],
  ])('%s', async (_name, status, request) => {
    const response = await exchange(port, Buffer.from(request, 'latin1'));
    expect(statusOf(response)).toBe(status);
    expect(response.match(/HTTP\/1\.1/g)).toHaveLength(1);
    if (status !== 200) {
      expect(response).toMatch(/content-type: application\/problem\+json/i);
      expect(bodyOf(response)).toMatchObject({ status, type: 'about:blank' });
    }
  });

  it('CONNECT closes the connection', async () => {
    expect(await exchange(port, 'CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n')).not.toContain('200');
  });

  it('20 MB of chunks are cut off at the limit, not collected', async () => {
    const chunk = `10000\r\n${'a'.repeat(65_536)}\r\n`;
    const head = `POST /echo HTTP/1.1\r\nHost: a\r\n${json}Transfer-Encoding: chunked\r\n\r\n`;
    const before = process.memoryUsage().rss;
    await exchange(port, head, ...Array<string>(320).fill(chunk));
    expect(refusals).toContain('too-large');
    expect(process.memoryUsage().rss - before).toBeLessThan(100_000_000);
  });

  it('20 MB to a path that does not exist are not waited for', async () => {
    const head = 'POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n';
    await exchange(port, head, 'a'.repeat(100_000));
    expect(refusals).toEqual(['no-such-resource']);
  });

  it('a client that sends its headers or its body a byte at a time is cut off', async () => {
    const slow = [
      'GET /ping HTTP/1.1\r\nHost: a\r\nX-Slow: ',
      `POST /echo HTTP/1.1\r\nHost: a\r\n${json}Content-Length: 1000\r\n\r\n`,
    ];
    const responses = slow.map(async (head) => {
      const socket = await open(port);
      socket.write(head);
      const drip = setInterval(() => socket.write('a'), 20);
      const response = await until(socket, '}');
      clearInterval(drip);
      socket.destroy();
      return statusOf(response);
    });
    expect(await Promise.all(responses)).toEqual([408, 408]);
  });

  it('a client that connects and says nothing is cut off', async () => {
    const silent = await open(port);
    silent.resume();
    await once(silent, 'end');
    silent.destroy();
  });

  it('clients that close their half in mid-request, or vanish, leave nothing behind', async () => {
    const halves = ['GET /pi', `POST /echo HTTP/1.1\r\nHost: a\r\n${json}Content-Length: 10\r\n\r\n{"a"`];
    for (const half of halves) {
      const halfOpen = await open(port);
      halfOpen.resume();
      halfOpen.end(half);
      await once(halfOpen, 'end');
      halfOpen.destroy();
      const vanishing = await open(port);
      vanishing.write(half);
      vanishing.resetAndDestroy();
    }
    expect((await get('/ping')).headers.get('connection')).toBe('keep-alive');
  });

  it('a pipelined second request that is garbage ends the connection after the first answer', async () => {
    const response = await exchange(port, 'GET /ping HTTP/1.1\r\nHost: a\r\n\r\n\u0001\u0002\r\n\r\n');
    expect(response.match(/HTTP\/1\.1 200/g) ?? []).toHaveLength(statusOf(response) === 200 ? 1 : 0);
  });
});

describe('limits', () => {
  afterEach(() => app.close());

  it('a client above its rate gets 429 with Retry-After, also for paths that do not exist', async () => {
    await start({ limits: { requestsPerMinute: 3 } });
    for (let i = 0; i < 3; i++) expect((await get('/ping')).status).toBe(200);
    for (const path of ['/ping', '/nothing']) {
      const refused = await get(path);
      expect(await problemOf(refused)).toMatchObject({ status: 429, code: 'too-many-requests' });
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    }
  });

  it('connections above the cap are closed', async () => {
    await start({ limits: { connections: 2 } });
    const held = await Promise.all([open(port), open(port)]);
    expect(await exchange(port, 'GET /ping HTTP/1.1\r\nHost: a\r\n\r\n')).toBe('');
    for (const socket of held) socket.destroy();
  });
});

describe('the end', () => {
  it('waits for a request under way, then lets its connection go', async () => {
    let release: (() => void) | undefined;
    await start({}, async (routes) => {
      routes.get('/slow', async () => {
        await new Promise<void>((resolve) => (release = resolve));
        return { done: true };
      });
    });
    const socket = await open(port);
    socket.write('GET /slow HTTP/1.1\r\nHost: a\r\n\r\n');
    while (release === undefined) await sleep(1);
    const closed = app.close();
    release();
    expect(await until(socket, 'done')).toMatch(/^HTTP\/1\.1 200/);
    socket.resume();
    await Promise.all([closed, once(socket, 'end')]);
    socket.destroy();
  });

  it('does not wait for idle, silent and stalled connections', async () => {
    await start({ limits: { drainMs: 100 } });
    const [idle, silent, stalled] = await Promise.all([open(port), open(port), open(port)]);
    idle.write('GET /ping HTTP/1.1\r\nHost: a\r\n\r\n');
    await until(idle, 'pong');
    stalled.write('POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{');
    await app.close();
    for (const socket of [idle, silent, stalled]) socket.destroy();
  });
});
