import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Servient } from '@node-wot/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { VerificationError } from '../../crypto/errors.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { HttpServer } from '../../servients/bindings/http-server.js';
import { makeTokenSource, makeTokenVerifier, parseAuthorization } from '../../servients/bindings/token.js';
import { makePki } from './http-pki.js';
import { bodyOf, exchange, statusOf } from './http-raw.js';
import { meterInit, runThing, type RunningThing } from './http-things.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

let running: RunningThing;
const at = (path: string, init: RequestInit = {}): Promise<Response> =>
  fetch(`${running.origin}/meter-m-1${path}`, init);
const post = (
  path: string,
  type: string,
  body: string | Uint8Array<ArrayBuffer>,
  headers: Readonly<Record<string, string>> = {},
) => at(path, { method: 'POST', headers: { 'content-type': type, ...headers }, body });

async function problemOf(response: Response): Promise<unknown> {
  expect(response.headers.get('content-type')).toMatch(/^application\/problem\+json/);
  return response.json();
}

describe('a Thing over HTTP', () => {
  beforeEach(async () => {
    running = await runThing();
  });
  afterEach(() => running.servient.shutdown());

  it('describes itself with one form per affordance and media type, relative to its base', async () => {
    const response = await at('');
    expect(response.headers.get('content-type')).toMatch(/^application\/td\+json/);
    const td = (await response.json()) as WoT.ThingDescription;
    expect(td.base).toBe(`${running.origin}/meter-m-1/`);
    expect(td.properties?.['identity']?.forms).toEqual([
      { href: 'properties/identity', op: 'readproperty', 'htv:methodName': 'GET', contentType: 'application/json' },
    ]);
    expect(td.properties?.['keyStatus']?.forms[1]).toEqual({
      href: 'properties/keyStatus',
      op: ['observeproperty', 'unobserveproperty'],
      'htv:methodName': 'GET',
      subprotocol: 'sse',
      'htv:headers': [{ 'htv:fieldName': 'Last-Event-ID' }],
    });
    const rekey = { href: 'actions/rekey', op: 'invokeaction', 'htv:methodName': 'POST' };
    expect(td.actions?.['rekey']?.forms).toEqual([
      { ...rekey, contentType: 'application/json' },
      { ...rekey, contentType: 'application/cose' },
    ]);
    expect(td.actions?.['add']?.forms).toHaveLength(1);
    expect(td.events?.['reading']?.forms).toHaveLength(1);
    expect(JSON.stringify(td).length).toBeLessThan(2_500);
  });

  it('is found by CoRE link format, filtered by what is asked for', async () => {
    const links = async (query: string): Promise<readonly unknown[]> => {
      const response = await fetch(`${running.origin}/.well-known/core${query}`);
      return [response.status, response.headers.get('content-type'), await response.text()];
    };
    const all = [200, 'application/link-format', '</meter-m-1>;rt="wot.thing";ct=432'];
    expect(await links('')).toEqual(all);
    expect(await links('?rt=wot.%2A&href=/meter*')).toEqual(all);
    expect(await links('?rt=wot.directory')).toEqual([200, 'application/link-format', '']);
    expect((await links('?rt=%zz'))[0]).toBe(400);
  });

  it('is at the well-known address while it is the only one', async () => {
    const wellKnown = (): Promise<Response> => fetch(`${running.origin}/.well-known/wot`);
    expect(await (await wellKnown()).json()).toMatchObject({ id: 'urn:gridring:meter:m-1' });
    const wot = await running.servient.start();
    const second = await wot.produce({ ...meterInit, id: 'urn:gridring:meter:m-2' });
    await second.expose();
    expect((await wellKnown()).status).toBe(404);
    expect((await fetch(`${running.origin}/meter-m-1-2`)).status).toBe(200);
    await second.destroy();
    expect((await wellKnown()).status).toBe(200);
    expect((await fetch(`${running.origin}/meter-m-1-2`)).status).toBe(404);
  });

  it('gives properties and takes actions, as JSON and as COSE bytes', async () => {
    expect(await (await at('/properties/identity')).json()).toBe('m-1');
    const added = await post('/actions/add', 'application/json; charset=utf-8', '{"n":1}');
    expect(await added.json()).toEqual({ n: 2 });
    const asJson = await post('/actions/rekey', 'application/json', '{"message":"AgME"}');
    expect(await asJson.json()).toEqual({ message: 'BAMC' });
    const asCose = await post('/actions/rekey', 'application/cose', Uint8Array.of(2, 3, 4));
    expect(asCose.headers.get('content-type')).toBe('application/cose');
    expect(new Uint8Array(await asCose.arrayBuffer())).toEqual(Uint8Array.of(4, 3, 2));
    expect(running.received).toEqual([Uint8Array.of(2, 3, 4), Uint8Array.of(2, 3, 4)]);
  });

  it('answers 204 to an action without input and output', async () => {
    expect((await at('/actions/forget', { method: 'POST' })).status).toBe(204);
  });

  it('answers HEAD like GET, without a body and without opening a stream', async () => {
    for (const [path, type] of [
      ['', 'application/td+json'],
      ['/properties/identity', 'application/json'],
      ['/events/reading', 'text/event-stream'],
    ] as const) {
      const response = await at(path, { method: 'HEAD' });
      expect(response.status).toBe(200);
      expect(response.headers.get('content-type')).toContain(type);
    }
    expect(running.server.openStreams).toBe(0);
  });

  it.each([
    ['DELETE', '', 'GET, HEAD'],
    ['PUT', '/properties/identity', 'GET, HEAD'],
    ['GET', '/actions/add', 'POST'],
    ['POST', '/events/reading', 'GET, HEAD'],
    ['OPTIONS', '/actions/rekey', 'POST'],
  ])('%s %s is answered with 405 and Allow: %s', async (method, path, allow) => {
    const response = await at(path, { method });
    expect(response.headers.get('allow')).toBe(allow);
    expect(await problemOf(response)).toMatchObject({ status: 405, code: 'method-not-allowed' });
  });

  it.each([
    '/nothing',
    '/properties/nothing',
    '/actions/identity',
    '/properties/identity/more',
    '/properties/__proto__',
  ])('%s is answered with 404, whatever the method', async (path) => {
    expect(await problemOf(await at(path))).toMatchObject({ status: 404, code: 'no-such-resource' });
    expect((await at(path, { method: 'POST', body: 'x' })).status).toBe(404);
  });

  it.each([
    ['', 'text/html'],
    ['/properties/identity', 'text/event-stream'],
    ['/properties/identity', 'application/cbor, application/json;q=0'],
    ['/events/reading', 'application/json'],
  ])('what is at %s cannot be had as %s: 406', async (path, accept) => {
    expect(await problemOf(await at(path, { headers: { accept } }))).toMatchObject({ status: 406 });
  });

  it('an action answers in the media type of its input, or 406 before it runs', async () => {
    const response = await post('/actions/rekey', 'application/cose', Uint8Array.of(2), { accept: 'application/json' });
    expect(await problemOf(response)).toMatchObject({ status: 406, code: 'not-acceptable' });
    expect(running.received).toEqual([]);
  });

  it('a media type that the affordance does not take is 415, with those that it takes', async () => {
    const response = await post('/actions/rekey', 'text/plain', 'hello');
    expect(response.headers.get('accept')).toBe('application/json, application/cose');
    expect(await problemOf(response)).toMatchObject({ status: 415, code: 'media-type-unsupported' });
    expect((await post('/actions/add', 'application/cose', Uint8Array.of(1))).status).toBe(415);
    const untyped =
      'POST /meter-m-1/actions/add HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}';
    expect(statusOf(await exchange(running.port, untyped))).toBe(415);
  });

  it('a body that its schema or its encoding refuses is 400', async () => {
    for (const body of ['{"n":"x"}', '{"n":', '', '[]', '{"__proto__":{"n":1}}']) {
      expect(await problemOf(await post('/actions/add', 'application/json', body))).toMatchObject({ status: 400 });
    }
    const padded = await post('/actions/rekey', 'application/json', '{"message":"AgM="}');
    expect(await problemOf(padded)).toMatchObject({ status: 400, code: 'base64url-malformed' });
  });

  it('a body above the limit is 413 before the rest of it is sent', async () => {
    const head = 'POST /meter-m-1/actions/add HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n';
    const response = await exchange(running.port, `${head}Content-Length: 300000\r\n\r\n{`);
    expect(bodyOf(response)).toMatchObject({ status: 413, code: 'too-large' });
  });

  it('a refusal of the behaviour keeps its class: a conflict says which, a failed verification nothing', async () => {
    const conflict = await post('/actions/rekey', 'application/cose', Uint8Array.of(0));
    expect(await problemOf(conflict)).toMatchObject({ status: 409, code: 'epoch-stale', detail: 'epoch 3 is over' });
    const forged = await post('/actions/rekey', 'application/cose', Uint8Array.of(1));
    expect(await problemOf(forged)).toEqual({
      ...{ type: 'about:blank', title: 'Forbidden', status: 403, code: 'refused' },
      requestId: forged.headers.get('x-request-id'),
    });
  });

  it('a part that is full says when to come again', async () => {
    const full = await post('/actions/rekey', 'application/cose', Uint8Array.of(255));
    expect(full.headers.get('retry-after')).toBe('10');
    expect(await problemOf(full)).toMatchObject({ status: 503, code: 'disk-full', retryAfterS: 10 });
  });

  it('2,500 actions, a third of them refused, leave the process no larger', async () => {
    await running.servient.shutdown();
    running = await runThing({ limits: { requestsPerMinute: 100_000 } });
    const base = 'HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 7\r\n';
    const send = async (count: number): Promise<void> => {
      const requests = Array.from({ length: count }, (_, i) => {
        const end = i === count - 1 ? 'Connection: close\r\n\r\n' : '\r\n';
        return `POST /meter-m-1/actions/${i % 3 === 0 ? 'nothing' : 'add'} ${base}${end}{"n":1}`;
      });
      const response = await exchange(running.port, requests.join(''));
      expect(response.match(/HTTP\/1\.1 200/g)).toHaveLength(count - Math.ceil(count / 3));
      collectGarbage();
    };
    await send(500);
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < 5; i++) await send(500);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(4_000_000);
  }, 60_000);
});

describe('a Thing that only callers with a token may use', () => {
  const nowS = Math.floor(Date.now() / 1000);
  const audience = 'http://gateway.example';
  const pki = makePki(suiteX25519, nowS);
  const tokenOf = (role: 'gateway' | 'reader') => makeTokenSource(pki.holder(role, 'a-1'), audience, () => nowS)();

  beforeEach(async () => {
    const verify = makeTokenVerifier({ suite: suiteX25519, trustedRoots: [pki.root], audience });
    running = await runThing({
      authentication: {
        algorithm: 'EdDSA',
        authenticate: async ({ headers }) => {
          const { certificate } = await verify(parseAuthorization(headers.authorization).token, nowS);
          if (certificate.role !== 'gateway') throw new VerificationError('role-wrong', 'only gateways may');
        },
      },
    });
  });
  afterEach(() => running.servient.shutdown());

  it('says so in its TD, which needs a token itself', async () => {
    expect((await at('')).status).toBe(401);
    const td = (await (await at('', { headers: { authorization: `Bearer ${await tokenOf('gateway')}` } })).json()) as {
      readonly security: unknown;
      readonly securityDefinitions: unknown;
    };
    expect(td.security).toEqual(['bearer_sc']);
    expect(td.securityDefinitions).toMatchObject({ bearer_sc: { scheme: 'bearer', format: 'jwt', alg: 'EdDSA' } });
  });

  it('answers 401 with a challenge to a missing, an invalid and an expired token, 403 to a role that may not', async () => {
    const missing = await at('/properties/identity');
    expect(missing.headers.get('www-authenticate')).toBe('Bearer realm="gridring"');
    expect(await problemOf(missing)).toMatchObject({ status: 401, code: 'token-missing' });
    const invalid = await at('/properties/identity', { headers: { authorization: 'Bearer abc' } });
    expect(invalid.headers.get('www-authenticate')).toContain('error="invalid_token"');
    expect(await problemOf(invalid)).toMatchObject({ status: 401, code: 'token-invalid' });
    const old = await makeTokenSource(pki.holder('gateway', 'a-1'), audience, () => nowS - 1_000)();
    const expired = await at('/properties/identity', { headers: { authorization: `Bearer ${old}` } });
    expect(expired.headers.get('www-authenticate')).toContain('error="invalid_token"');
    expect(await problemOf(expired)).toMatchObject({ status: 401, code: 'token-expired' });
    const reader = await at('/properties/identity', {
      headers: { authorization: `Bearer ${await tokenOf('reader')}` },
    });
    expect(await problemOf(reader)).toMatchObject({ status: 403, code: 'refused' });
    expect((await at('/properties/nothing')).status).toBe(401);
  });

  it('refuses before it reads the body', async () => {
    const head = 'POST /meter-m-1/actions/add HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n';
    expect(statusOf(await exchange(running.port, `${head}Content-Length: 300000\r\n\r\n`))).toBe(401);
  });
});

describe('a server', () => {
  it('that cannot have its port says which', async () => {
    running = await runThing();
    const second = new HttpServer({ port: running.port, address: '127.0.0.1' });
    await expect(second.start(new Servient())).rejects.toMatchObject({ code: 'port-unusable' });
    await second.stop();
    await running.servient.shutdown();
  });

  it('takes further routes beside its Things, under the same limits and problems', async () => {
    const servient = new Servient();
    const server = new HttpServer({ port: 0, address: '127.0.0.1', limits: { requestsPerMinute: 2 } });
    void server.app.register(async (routes) => {
      routes.post('/api/v1/echo', async (request) => request.body);
    });
    servient.addServer(server);
    await servient.start();
    const send = (method: string) =>
      fetch(`http://127.0.0.1:${server.getPort()}/api/v1/echo`, {
        method,
        ...(method === 'POST' && { headers: { 'content-type': 'application/json' }, body: '{"n":1}' }),
      });
    expect(await (await send('POST')).json()).toEqual({ n: 1 });
    expect((await send('DELETE')).headers.get('allow')).toBe('POST');
    expect((await send('POST')).status).toBe(429);
    await servient.shutdown();
  });
});
