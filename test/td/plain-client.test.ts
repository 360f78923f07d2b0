/** A WoT client that knows nothing but a Thing Description, node-wot's own, finds its way to plain routes. */
import { HttpClientFactory } from '@node-wot/binding-http';
import { Servient } from '@node-wot/core';
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeTd } from '../../td/make-td.js';

const token = 'a.b.c';
const served = { id: 'urn:gridring:meter:m7', title: 'Meter 7' };
const backendId = 'urn:gridring:backend:b1';
const directoryId = 'urn:gridring:gateway:g1:directory';

let server: FastifyInstance;
let servient: Servient;
let wot: typeof WoT;
let base: string;
let requests: { readonly route: string; readonly body: unknown; readonly authorized: boolean }[] = [];

function record(request: FastifyRequest): void {
  const route = `${request.method} ${decodeURIComponent(request.url)}`;
  requests.push({ route, body: request.body, authorized: request.headers.authorization === `Bearer ${token}` });
}

beforeAll(async () => {
  server = Fastify({ forceCloseConnections: true });
  server.addContentTypeParser('application/td+json', { parseAs: 'string' }, (_request, body, done) => {
    done(null, JSON.parse(String(body)));
  });
  server.addHook('preHandler', async (request) => {
    record(request);
  });
  server.get('/health', () => ({ status: 'ok', version: '0.1.0', uptimeS: 5, checks: [] }));
  server.get('/api/v1/groups', () => ({ groups: [] }));
  server.post('/api/v1/readings', () => ({ message: 'AAEC' }));
  server.get('/things', (_request, reply) => reply.type('application/ld+json').send(JSON.stringify([served])));
  server.get('/things/:id', (_request, reply) => reply.type('application/td+json').send(JSON.stringify(served)));
  server.post('/things', (_request, reply) => reply.code(201).header('location', '/things/urn:uuid:1').send());
  server.put('/things/:id', (_request, reply) => reply.code(204).send());
  server.delete('/things/:id', (_request, reply) => reply.code(204).send());
  base = `${await server.listen({ host: '127.0.0.1', port: 0 })}/`;
  servient = new Servient();
  servient.addClientFactory(new HttpClientFactory());
  servient.addCredentials({ [backendId]: { token }, [directoryId]: { token } });
  wot = await servient.start();
});

afterAll(async () => {
  await servient.shutdown();
  await server.close();
});

async function consume(kind: 'backend' | 'directory', id: string): Promise<WoT.ConsumedThing> {
  requests = [];
  return wot.consume(makeTd(kind, { id, title: kind, version: '0.1.0', base, tokenAlgorithm: 'EdDSA' }));
}

describe('the backend, for a client that knows only its Thing Description', () => {
  // node-wot decides at the first interaction whether it sends a token, and heeds a form's security only as an array.
  test('reads what needs a token after what needs none', async () => {
    const backend = await consume('backend', backendId);
    expect(await (await backend.readProperty('health')).value()).toMatchObject({ status: 'ok' });
    expect(await (await backend.readProperty('groups')).value()).toEqual({ groups: [] });
    expect(requests.at(-1)).toMatchObject({ route: 'GET /api/v1/groups', authorized: true });
  });

  test('takes a message as JSON and answers with one', async () => {
    const backend = await consume('backend', backendId);
    const receipt = await backend.invokeAction('uploadReadings', { message: 'AAA' });
    expect(await receipt?.value()).toEqual({ message: 'AAEC' });
    expect(requests).toEqual([{ route: 'POST /api/v1/readings', body: { message: 'AAA' }, authorized: true }]);
  });
});

describe('the directory, for a client that knows only its Thing Description', () => {
  const uriVariables = { id: served.id };

  test('lists pages and gives one Thing Description, to a stranger too', async () => {
    const directory = await consume('directory', 'urn:gridring:gateway:without-credentials');
    const page = await directory.readProperty('things', { uriVariables: { offset: 10, limit: 5 } });
    expect(await page.value()).toEqual([served]);
    const thing = await directory.invokeAction('retrieveThing', undefined, { uriVariables });
    expect(await thing?.value()).toEqual(served);
    expect(requests.map(({ route }) => route)).toEqual(['GET /things?offset=10&limit=5', `GET /things/${served.id}`]);
  });

  test('takes, replaces and deletes one, with a token', async () => {
    const directory = await consume('directory', directoryId);
    await directory.invokeAction('createThing', served, { uriVariables });
    await directory.invokeAction('createAnonymousThing', { title: 'No id' });
    await directory.invokeAction('updateThing', served, { uriVariables });
    await directory.invokeAction('deleteThing', undefined, { uriVariables });
    expect(requests).toMatchObject([
      { route: `PUT /things/${served.id}`, body: served, authorized: true },
      { route: 'POST /things', body: { title: 'No id' }, authorized: true },
      { route: `PUT /things/${served.id}`, body: served, authorized: true },
      { route: `DELETE /things/${served.id}`, authorized: true },
    ]);
  });
});
