/** What a household sees of the directory: its own meter, and of its neighbour's not even that it exists. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { startIssuer, type Issuer } from '../support/issuer.js';
import { makeNeighbourhood, type Principal } from '../support/neighbourhood.js';
import { readEvents } from './event-reader.js';
import { audience, signedTd, startBackend, type Answer, type TestBackend } from './rest-server.js';
import '../support/processes.js';

const n = makeNeighbourhood(suiteX25519, 3);
const [own, neighbour] = n.meters as [Principal, Principal];
const urnOf = ({ certificate }: Principal): string => `urn:gridring:meter:${certificate.id}`;

describe.each([
  ['an open directory', true],
  ['a directory with tokens', false],
])('%s tells a household nothing of its neighbour', (_, open) => {
  let backend: TestBackend;
  let issuer: Issuer;
  let token: string;
  let serialS: number;
  beforeAll(async () => {
    issuer = await startIssuer(audience, () => backend.clockS);
    backend = await startBackend(n, { directory: { open }, issuers: [{ issuer: issuer.url }] });
    serialS = backend.clockS - 100;
    await backend.call('POST', '/api/v1/memberships', { body: n.bundle(n.list()) });
    const account = { issuer: issuer.url, subject: 'home', name: 'Home', roles: ['HOUSEHOLD'] };
    const body = { ...account, meters: [own.certificate.id] };
    expect((await backend.call('POST', '/api/v1/users', { as: n.authority, body })).status).toBe(201);
    token = await issuer.token({ sub: 'home' });
    await register(own, 'Ours');
    await register(neighbour, 'Theirs');
  });
  afterAll(async () => {
    await backend.remove();
    await issuer.close();
  });

  async function register(device: Principal, title: string): Promise<void> {
    const body = signedTd(n, device, { title }, { timeS: serialS++ });
    const { status } = await backend.call('PUT', `/things/${urnOf(device)}`, { as: n.gateway, body });
    expect([201, 204]).toContain(status);
  }
  const get = (path: string, headers = {}): Promise<Answer> => backend.call('GET', path, { token, headers });
  const search = (query: string): string => `/search/jsonpath?query=${encodeURIComponent(query)}`;

  it.each<[string, string, unknown]>([
    ['the list', '/things', undefined],
    ['a page', '/things?limit=1000', undefined],
    ['a page beyond its own', '/things?offset=3&limit=10', []],
    ['the total of the collection', '/things?format=collection&limit=1', { total: 3 }],
    ['a search for all', search('$[*].id'), undefined],
    ['a search for the neighbour', search('$[?@.title == "Theirs"]'), []],
    ['a search by what has no bounds', search('$..[?@ == "Theirs"]'), []],
  ])('in %s', async (__, path, expected) => {
    const { status, headers, body } = await get(path);
    expect(status).toBe(200);
    expect(JSON.stringify(body)).not.toMatch(/Theirs|meter-02/);
    expect(headers.get('link') ?? '').not.toMatch(/offset=[4-9]/);
    if (expected === undefined) expect(JSON.stringify(body)).toContain(urnOf(own));
    else expect(body).toMatchObject(expected as object);
  });

  it.each(['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE'])(
    'by %s of its entry, which is answered as that of nobody',
    async (method) => {
      const isWrite = !['GET', 'HEAD'].includes(method);
      const [theirs, nobodys] = await Promise.all(
        [urnOf(neighbour), 'urn:gridring:meter:meter-99'].map(async (id) => {
          const body = isWrite && method !== 'DELETE' ? {} : undefined;
          const {
            status,
            headers,
            body: answer,
          } = await backend.call(method, `/things/${id}`, { token, ...(body && { body }) });
          const problem = { ...(answer as object), requestId: '', instance: '' };
          return { status, etag: headers.get('etag'), problem: JSON.stringify(problem).replaceAll(id, 'ID') };
        }),
      );
      expect(theirs).toEqual(nobodys);
      expect(theirs?.status).toBe(isWrite ? 403 : 404);
    },
  );

  it('by tags: the list that it sees is the same after the neighbour has changed', async () => {
    const tag = async (): Promise<string> => (await get('/things')).headers.get('etag')!;
    const before = await tag();
    await register(neighbour, 'Theirs anew');
    expect(await tag()).toBe(before);
    expect((await get('/things', { 'if-none-match': before })).status).toBe(304);
    await register(own, 'Ours anew');
    expect(await tag()).not.toBe(before);
  });

  it('in notifications', async () => {
    const stream = readEvents(
      await backend.request('GET', '/events?diff=true', { token, headers: { accept: 'text/event-stream' } }),
    );
    await register(neighbour, 'Theirs once more');
    await register(own, 'Ours once more');
    const text = await stream.until('Ours once more');
    expect(text).not.toMatch(/Theirs|meter-02/);
  });
});
