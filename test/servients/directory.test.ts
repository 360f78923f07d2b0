import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { limits } from '../../crypto/limits.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { openBackendStores } from '../../servients/stores/backend.js';
import { validateTd } from '../../td/validate-td.js';
import { makeNeighbourhood, nowS, type Principal } from '../support/neighbourhood.js';
import { expectFits, expectProblem, startBackend, tokenFor, type Answer, type TestBackend } from './rest-server.js';

const n = makeNeighbourhood(suiteX25519, 2);
const otherGateway = n.certify('gateway', 'gw-2');
const discoveryContext = 'https://www.w3.org/2022/wot/discovery';

type Td = Readonly<Record<string, unknown>>;

const anonymous: Td = {
  '@context': 'https://www.w3.org/2022/wot/td/v1.1',
  title: 'Lamp',
  securityDefinitions: { nosec_sc: { scheme: 'nosec' } },
  security: 'nosec_sc',
};
const lamp = (name: string, more: Td = {}): Td => ({ ...anonymous, id: `urn:example:${name}`, ...more });
const pathOf = (id: unknown): string => `/things/${encodeURIComponent(String(id))}`;

let backend: TestBackend;
beforeEach(async () => {
  backend = await startBackend(n);
});
afterEach(() => backend.remove());

const get = (path: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> =>
  backend.call('GET', path, { headers });
const write = (method: string, path: string, td?: unknown, as: Principal | undefined = n.gateway): Promise<Answer> =>
  backend.call(method, path, {
    as,
    ...(td !== undefined && { body: td, headers: { 'content-type': 'application/td+json' } }),
  });
const put = (td: Td, as?: Principal): Promise<Answer> => write('PUT', pathOf(td['id']), td, as);
const idsOf = async (path = '/things'): Promise<readonly unknown[]> =>
  ((await get(path)).body as readonly Td[]).map((td) => td['id']);

describe('a Thing Description', () => {
  it('is created, retrieved, replaced and deleted under its id', async () => {
    const id = pathOf('urn:example:a');
    expect((await put(lamp('a'))).status).toBe(201);
    const { status, headers, body } = await get(id);
    expect([status, headers.get('content-type')]).toEqual([200, 'application/td+json']);
    expect(body).toEqual({
      ...lamp('a'),
      '@context': ['https://www.w3.org/2022/wot/td/v1.1', discoveryContext],
      registration: {
        created: '2026-01-01T00:00:00.000Z',
        modified: '2026-01-01T00:00:00.000Z',
        retrieved: '2026-01-01T00:00:00.000Z',
      },
    });
    backend.clockS += 60;
    expect((await put(lamp('a', { title: 'Lamp 2' }))).status).toBe(204);
    expect((await get(id)).body).toMatchObject({
      title: 'Lamp 2',
      registration: { created: '2026-01-01T00:00:00.000Z', modified: '2026-01-01T00:01:00.000Z' },
    });
    expect((await write('DELETE', id)).status).toBe(204);
    expectProblem(await get(id), 404, 'td-unknown');
    expectProblem(await write('DELETE', id), 404, 'td-unknown');
  });

  it('without an id gets one, which is a UUID, and lives under it', async () => {
    const created = await write('POST', '/things', anonymous);
    expect(created.status).toBe(201);
    const location = created.headers.get('location')!;
    const id = decodeURIComponent(location.replace('/things/', ''));
    expect(id).toMatch(/^urn:uuid:[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/);
    expect((await get(location)).body).toMatchObject({ id, title: 'Lamp' });
    expect((await put({ ...anonymous, id, title: 'Now named' })).status).toBe(204);
  });

  it('can be put back as it was retrieved', async () => {
    await put(lamp('a', { '@context': ['https://www.w3.org/2022/wot/td/v1.1', { ex: 'https://example.org/' }] }));
    const { body } = await get(pathOf('urn:example:a'));
    expect((await put(body as Td)).status).toBe(204);
    expect((await get(pathOf('urn:example:a'))).body).toEqual(body);
    expect(validateTd(body).valid).toBe(true);
  });

  it('is given as JSON to who prefers that, and by HEAD without its body', async () => {
    await put(lamp('a'));
    const json = await get(pathOf('urn:example:a'), { accept: 'application/json' });
    expect(json.headers.get('content-type')).toBe('application/json');
    expectProblem(await get(pathOf('urn:example:a'), { accept: 'text/turtle' }), 406, 'not-acceptable');
    for (const path of [pathOf('urn:example:a'), '/things', '/.well-known/wot']) {
      const head = await backend.call('HEAD', path);
      expect([head.status, head.body]).toEqual([200, new Uint8Array(0)]);
    }
  });

  it('keeps an id with a slash, a percent sign and a fragment apart from the path', async () => {
    const td = lamp('a/b%20c#d');
    expect((await put(td)).status).toBe(201);
    expect((await get(pathOf(td['id']))).body).toMatchObject({ id: td['id'] });
  });
});

describe('what is refused, with the fields that are wrong', () => {
  const errorsOf = ({ body }: Answer): readonly { readonly field: string; readonly description: string }[] => {
    expectFits('problem', body);
    return (body as { readonly validationErrors: readonly { field: string; description: string }[] }).validationErrors;
  };

  it('what is no Thing Description', async () => {
    const answer = await put({ ...lamp('a'), title: undefined });
    expectProblem(answer, 400, 'td-invalid');
    expect(errorsOf(answer)).toEqual([{ field: '(root)', description: 'title is required' }]);
    const meaning = await put(lamp('a', { security: 'basic_sc' }));
    expect(errorsOf(meaning)).toEqual([{ field: 'security', description: 'basic_sc is not in securityDefinitions' }]);
    for (const nothing of ['[]', '"td"', '5', 'null', '{}']) {
      expectProblem(await write('PUT', pathOf('urn:example:a'), nothing), 400, 'td-invalid');
    }
  });

  it('a Thing Model in a Thing Description’s place', async () => {
    const answer = await put(lamp('a', { '@type': 'tm:ThingModel' }));
    expectProblem(answer, 400, 'td-invalid');
    expect(errorsOf(answer)).toEqual([{ field: '@type', description: 'belongs to a Thing Model' }]);
  });

  it('an id that is another than the address, an anonymous one at an address, and one with an id at none', async () => {
    const answers = [
      await write('PUT', pathOf('urn:example:b'), lamp('a')),
      await write('PUT', pathOf('urn:example:b'), anonymous),
      await write('POST', '/things', lamp('a')),
    ];
    for (const answer of answers) {
      expectProblem(answer, 400, 'td-invalid');
      expect(errorsOf(answer)).toMatchObject([{ field: 'id' }]);
    }
  });

  it('a time to live that is none', async () => {
    for (const ttl of [0, -1, '60', null, 1e300]) {
      const answer = await put(lamp('a', { registration: { ttl } }));
      expectProblem(answer, 400, 'td-invalid');
      expect(errorsOf(answer)).toMatchObject([{ field: 'registration.ttl' }]);
    }
    for (const expires of ['tomorrow', '2025-12-31T23:59:59Z', 5]) {
      expect(errorsOf(await put(lamp('a', { registration: { expires } })))).toMatchObject([
        { field: 'registration.expires' },
      ]);
    }
    expect(errorsOf(await put(lamp('a', { registration: 'now' })))).toMatchObject([{ field: 'registration' }]);
  });

  it('bytes that are too many, no JSON, or of another type', async () => {
    const large = lamp('a', { description: 'x'.repeat(limits.thingDescription) });
    expectProblem(await put(large), 413, 'too-large');
    expectProblem(await write('PUT', pathOf('urn:example:a'), '{"id":'), 400, 'body-malformed');
    const turtle = { as: n.gateway, body: '<a> <b> <c>.', headers: { 'content-type': 'text/turtle' } };
    expectProblem(await backend.call('PUT', pathOf('urn:example:a'), turtle), 415, 'media-type-unsupported');
    expectProblem(await backend.call('PUT', pathOf('urn:example:a'), { as: n.gateway }), 400, 'td-invalid');
  });

  it('questions that the directory does not understand', async () => {
    for (const query of ['sort_by=title', 'format=xml', 'limit=0', 'limit=x', 'offset=-1', 'limit=1&limit=2']) {
      expectProblem(await get(`/things?${query}`), 400, 'input-invalid');
    }
  });
});

describe('a partial update', () => {
  const patch = (id: string, body: unknown, headers: Readonly<Record<string, string>> = {}, as = n.gateway) =>
    backend.call('PATCH', pathOf(id), {
      as,
      body,
      headers: { 'content-type': 'application/merge-patch+json', ...headers },
    });
  const titleOf = async () => ((await get(pathOf('urn:example:a'))).body as Td)['title'];

  it('replaces, adds and removes what a merge patch names, deep inside as well, and leaves the rest', async () => {
    const links = [{ href: 'https://a.example/' }];
    await put(lamp('a', { support: 'https://s.example/', version: { instance: '1', model: '2' }, links }));
    const change = { title: 'Lantern', description: 'New', support: null, version: { model: null } };
    expect((await patch('urn:example:a', change)).status).toBe(204);
    const { body } = await get(pathOf('urn:example:a'));
    expect(body).toMatchObject({ title: 'Lantern', description: 'New', links });
    expect(body).toMatchObject({ version: { instance: '1' } });
    expect(body).not.toHaveProperty('support');
    expect(body).not.toHaveProperty('version.model');
  });

  it('that is empty renews a time to live, and leaves an absolute end as it is', async () => {
    await put(lamp('a', { registration: { ttl: 90 } }));
    await put(lamp('b', { registration: { expires: '2026-01-01T00:01:30+00:00' } }));
    backend.clockS += 60;
    for (const id of ['urn:example:a', 'urn:example:b']) expect((await patch(id, {})).status).toBe(204);
    const registrationOf = async (name: string) => ((await get(pathOf(name))).body as Td)['registration'];
    expect(await registrationOf('urn:example:a')).toMatchObject({ ttl: 90, expires: '2026-01-01T00:02:30.000Z' });
    expect(await registrationOf('urn:example:b')).toMatchObject({ expires: '2026-01-01T00:01:30.000Z' });
    expect(await registrationOf('urn:example:b')).not.toHaveProperty('ttl');
    await patch('urn:example:b', { registration: { expires: '2026-01-01T01:00:00Z' } });
    await patch('urn:example:a', { registration: { expires: '2026-01-02T00:00:00Z' } });
    expect(await registrationOf('urn:example:a')).toMatchObject({ expires: '2026-01-01T00:02:30.000Z' });
    expect(await registrationOf('urn:example:b')).toMatchObject({ expires: '2026-01-01T01:00:00.000Z' });
    await patch('urn:example:a', { registration: { ttl: null } });
    expect(await registrationOf('urn:example:a')).not.toHaveProperty('expires');
  });

  it('that would spoil the TD is refused, with the fields, and changes nothing', async () => {
    await put(lamp('a'));
    for (const [change, field] of [
      [{ title: null }, '(root)'],
      [{ security: 'basic_sc' }, 'security'],
      [{ id: 'urn:example:b' }, 'id'],
      [{ id: null }, 'id'],
      [{ registration: { ttl: -1 } }, 'registration.ttl'],
    ] as const) {
      const answer = await patch('urn:example:a', change);
      expectProblem(answer, 400, 'td-invalid');
      expect(answer.body).toMatchObject({ validationErrors: [{ field }] });
    }
    for (const body of ['[]', '"x"', 'null']) {
      expectProblem(await patch('urn:example:a', body), 400, 'patch-malformed');
    }
    expectProblem(await patch('urn:example:a', '{"x":'.repeat(5_000)), 400, 'body-malformed');
    expectProblem(
      await patch('urn:example:a', { title: 'x' }, { 'content-type': 'application/json-patch+json' }),
      415,
      'media-type-unsupported',
    );
    expectProblem(await patch('urn:example:nobody', {}), 404, 'td-unknown');
    expectProblem(await patch('urn:example:a', { title: 'Mine' }, {}, otherGateway), 403, 'refused');
    expect(await titleOf()).toBe('Lamp');
  });

  it('is made to what was read, where it says so', async () => {
    await put(lamp('a'));
    const tag = (await get(pathOf('urn:example:a'))).headers.get('etag')!;
    expect((await patch('urn:example:a', { title: 'One' }, { 'if-match': tag })).status).toBe(204);
    expectProblem(await patch('urn:example:a', { title: 'Two' }, { 'if-match': tag }), 412, 'precondition-failed');
    expect(await titleOf()).toBe('One');
  });
});

describe('other representations', () => {
  const large = lamp('a', { description: 'x'.repeat(2_000) });

  it('are compressed TDs, both ways, for who says so', async () => {
    const headers = { 'content-type': 'application/td+json', 'content-encoding': 'gzip' };
    const compressed = (td: unknown) => ({
      as: n.gateway,
      headers,
      body: new Uint8Array(gzipSync(JSON.stringify(td))),
    });
    expect((await backend.call('PUT', pathOf('urn:example:a'), compressed(large))).status).toBe(201);
    const answer = await backend.request('GET', pathOf('urn:example:a'), { headers: { 'accept-encoding': 'gzip' } });
    expect(answer.headers.get('content-encoding')).toBe('gzip');
    expect(await answer.json()).toMatchObject({ description: large['description'] });
    const plain = await get(pathOf('urn:example:a'), { 'accept-encoding': 'identity' });
    expect([plain.headers.get('content-encoding'), plain.body]).toMatchObject([
      null,
      { description: large['description'] },
    ]);
  });

  it('are refused where they are none, or too much', async () => {
    const call = (body: Uint8Array, encoding: string) =>
      backend.call('PUT', pathOf('urn:example:a'), {
        as: n.gateway,
        body,
        headers: { 'content-type': 'application/td+json', 'content-encoding': encoding },
      });
    const bomb = new Uint8Array(gzipSync(' '.repeat(20_000_000)));
    expectProblem(await call(bomb, 'gzip'), 413, 'too-large');
    expectProblem(await call(new Uint8Array(10), 'gzip'), 400, 'body-malformed');
    expectProblem(await call(new Uint8Array(10), 'br'), 415, 'media-type-unsupported');
  });

  it('of problems are in UTF-8, and in the caller’s language', async () => {
    const german = await get(pathOf('urn:example:none'), { 'accept-language': 'de-AT, en;q=0.5' });
    expect(german.headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
    expect([german.headers.get('content-language'), german.body]).toMatchObject(['de', { title: 'Nicht gefunden' }]);
    for (const language of ['fr', '*', 'en-GB', 'de;q=0', ';;,x']) {
      const other = await get(pathOf('urn:example:none'), { 'accept-language': language });
      expect([other.headers.get('content-language'), other.body]).toMatchObject(['en', { title: 'Not Found' }]);
    }
  });
});

describe('who may write', () => {
  it('nobody without a token of a gateway', async () => {
    await put(lamp('a'));
    expectProblem(await backend.call('PUT', pathOf('urn:example:a'), { body: lamp('a') }), 401, 'token-missing');
    expectProblem(await backend.call('DELETE', pathOf('urn:example:a')), 401, 'token-missing');
    const expired = await tokenFor(n, n.gateway, { timeS: nowS - 3_600 });
    const late = await backend.call('DELETE', pathOf('urn:example:a'), { token: expired });
    expectProblem(late, 401, 'token-expired');
    for (const other of [n.operator, n.utility, n.meters[0]!, n.authority, n.backend]) {
      expectProblem(await put(lamp('a'), other), 403, 'refused');
    }
  });

  it('nobody over an entry of somebody else, nor over the backend’s own', async () => {
    await put(lamp('a'));
    expectProblem(await put(lamp('a', { title: 'Mine' }), otherGateway), 403, 'refused');
    expectProblem(await write('DELETE', pathOf('urn:example:a'), undefined, otherGateway), 403, 'refused');
    const own = await get(pathOf('urn:gridring:backend:backend-1'));
    expectProblem(await put(own.body as Td), 403, 'refused');
    expect((await get(pathOf('urn:example:a'))).body).toMatchObject({ title: 'Lamp' });
  });

  it('no gateway that was removed from the membership list', async () => {
    await backend.call('POST', '/api/v1/memberships', { body: n.bundle(n.list()) });
    expect((await put(lamp('a'))).status).toBe(201);
    const list = n.list({ version: 2 });
    const entries = list.entries.filter(({ certHash }) => certHash !== n.gateway.certHash);
    await backend.call('POST', '/api/v1/memberships', { body: n.bundle({ ...list, entries }) });
    expectProblem(await put(lamp('b')), 403, 'refused');
    expectProblem(await write('DELETE', pathOf('urn:example:a')), 403, 'refused');
  });
});

describe('an entry with a time to live', () => {
  it('says when it ends, and is gone then: not retrieved, not listed, and free for somebody else', async () => {
    await put(lamp('a', { registration: { ttl: 90 } }));
    await put(lamp('b', { registration: { expires: '2026-01-01T00:01:00Z' } }));
    expect((await get(pathOf('urn:example:a'))).body).toMatchObject({
      registration: { ttl: 90, expires: '2026-01-01T00:01:30.000Z' },
    });
    backend.clockS = nowS + 60;
    expectProblem(await get(pathOf('urn:example:b')), 404, 'td-unknown');
    expect(await idsOf()).toContain('urn:example:a');
    backend.clockS = nowS + 90;
    expect(await idsOf()).not.toContain('urn:example:a');
    expectProblem(await write('DELETE', pathOf('urn:example:a')), 404, 'td-unknown');
    expect((await put(lamp('a'), otherGateway)).status).toBe(201);
  });

  it('is removed from the database without anybody asking for it', async () => {
    await backend.remove();
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    backend = await startBackend(n);
    await put(lamp('a', { registration: { ttl: 90 } }));
    backend.clockS = nowS + 90;
    vi.advanceTimersByTime(60_000);
    vi.useRealTimers();
    await expect
      .poll(() => backend.logged)
      .toContainEqual(expect.objectContaining({ ids: ['urn:example:a'], msg: 'Thing Descriptions have expired' }));
  });

  it('lives on when it is registered again in time', async () => {
    await put(lamp('a', { registration: { ttl: 90 } }));
    backend.clockS = nowS + 60;
    expect((await put(lamp('a', { registration: { ttl: 90 } }))).status).toBe(204);
    backend.clockS = nowS + 120;
    expect((await get(pathOf('urn:example:a'))).status).toBe(200);
  });
});

describe('the list', () => {
  it('is in the order of the ids, page after page by its links, until there is no next one', async () => {
    for (const name of ['c', 'a', 'b', 'Z']) await put(lamp(name));
    const all = await idsOf();
    expect(all).toEqual([
      ...['Z', 'a', 'b', 'c'].map((name) => `urn:example:${name}`),
      'urn:gridring:backend:backend-1',
      'urn:gridring:backend:backend-1:directory',
    ]);
    const found: unknown[] = [];
    let pages = 0;
    for (let path: string | undefined = '/things?limit=2'; path !== undefined; pages++) {
      const { headers, body } = await get(path);
      expect(headers.get('content-type')).toBe('application/ld+json');
      const link = headers.get('link')!;
      expect(link).toMatch(/<\/things>; rel="canonical"; etag="[^"]+"/);
      found.push(...(body as readonly Td[]).map((td) => td['id']));
      path = /<(\/things\?offset=\d+&limit=2)>; rel="next"/.exec(link)?.[1];
    }
    expect([found, pages]).toEqual([all, 3]);
    expect(await idsOf('/things?offset=100')).toEqual([]);
    expect(await idsOf('/things?offset=100&limit=1')).toEqual([]);
    expect(await idsOf('/things?offset=4')).toEqual(all.slice(4));
  });

  it('is a collection with its pages inside, for who asks for that', async () => {
    for (const name of ['a', 'b']) await put(lamp(name));
    const first = (await get('/things?limit=3&format=collection')).body as Td;
    expect(first).toMatchObject({
      '@context': discoveryContext,
      '@type': 'ThingCollection',
      '@id': '/things?offset=0&limit=3&format=collection',
      total: 4,
      next: '/things?offset=3&limit=3&format=collection',
    });
    const rest = (await get(String(first['next']))).body as Td;
    expect(rest).not.toHaveProperty('next');
    expect([...(first['members'] as Td[]), ...(rest['members'] as Td[])].map((td) => td['id'])).toEqual(await idsOf());
    expect((await get('/things?format=collection')).body).toMatchObject({ total: 4 });
  });

  it('without a limit is whole, however long it is', async () => {
    const names = Array.from({ length: 450 }, (_, i) => `many-${String(i).padStart(3, '0')}`);
    const { folder } = backend;
    await backend.close();
    const stores = await openBackendStores({ dataDir: folder, suite: 'x25519' });
    const content = { modifiedS: nowS, ttlS: null, expiresS: null, owner: 'urn:x' };
    for (const name of names) {
      await stores.directory.changeEntry(`urn:example:${name}`, () => ({ ...content, td: JSON.stringify(lamp(name)) }));
    }
    await stores.close();
    backend = await startBackend(n, {}, folder);
    expect((await idsOf()).slice(0, -2)).toEqual(names.map((name) => `urn:example:${name}`));
    const { headers, body } = await backend.call('HEAD', '/things');
    expect([headers.get('content-type'), body]).toEqual(['application/ld+json', new Uint8Array(0)]);
  });

  it('has another etag after every change', async () => {
    const etag = async (): Promise<string | undefined> =>
      /etag="([^"]+)"/.exec((await get('/things')).headers.get('link')!)?.[1];
    const before = await etag();
    expect(await etag()).toBe(before);
    await put(lamp('a', { registration: { ttl: 10 } }));
    const created = await etag();
    backend.clockS += 10;
    expect(new Set([before, created, await etag()]).size).toBe(3);
  });
});

describe('the backend’s own entries', () => {
  it('are the backend’s TD and the directory’s, which is also the well-known one', async () => {
    const wellKnown = await get('/.well-known/wot');
    expect(wellKnown.headers.get('content-type')).toBe('application/td+json');
    expect(wellKnown.body).toMatchObject({ '@type': ['ThingDirectory'], base: `${backend.url}/` });
    expect((await get(pathOf('urn:gridring:backend:backend-1:directory'))).body).toEqual(wellKnown.body);
    for (const td of (await get('/things')).body as readonly Td[])
      expect(validateTd(td)).toMatchObject({ valid: true });
  });

  it('tell the truth after a restart on another port', async () => {
    const { folder, url } = backend;
    await put(lamp('a'));
    await backend.close();
    backend = await startBackend(n, {}, folder);
    expect(backend.url).not.toBe(url);
    expect((await get('/.well-known/wot')).body).toMatchObject({ base: `${backend.url}/` });
    expect(await idsOf()).toHaveLength(3);
  });
});
