import { describe, expect, it } from 'vitest';
import { validateTd } from '../../../td/validate-td.js';
import { expectProblem } from '../rest-server.js';
import { shows } from './statements.js';
import { anonymous, discoveryContext, lamp, pathOf, type Td, type DirectoryUnderTest } from './under-test.js';

export function thingTests(d: DirectoryUnderTest): void {
  describe('a Thing Description', () => {
    it('is created, retrieved, replaced and deleted under its id', async () => {
      shows('tdd-things-crud', 'tdd-things-crudl', 'tdd-things-create-known-td', 'tdd-things-create-known-td-resp');
      shows('tdd-things-create-known-contenttype', 'tdd-things-update-contenttype', 'tdd-things-update');
      shows('tdd-things-retrieve', 'tdd-things-retrieve-resp', 'tdd-things-retrieve-resp-content-type');
      shows('tdd-things-update-resp', 'tdd-things-delete', 'tdd-things-delete-resp', 'tdd-context-injection');
      shows('tdd-registrationinfo-vocab-created', 'tdd-registrationinfo-vocab-modified');
      shows('tdd-registrationinfo-vocab-retrieved', 'tdd-things-default-representation');
      const id = pathOf('urn:example:a');
      expect((await d.put(lamp('a'))).status).toBe(201);
      const { status, headers, body } = await d.get(id);
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
      d.backend.clockS += 60;
      expect((await d.put(lamp('a', { title: 'Lamp 2' }))).status).toBe(204);
      d.backend.clockS += 60;
      expect((await d.get(id)).body).toMatchObject({
        title: 'Lamp 2',
        registration: {
          created: '2026-01-01T00:00:00.000Z',
          modified: '2026-01-01T00:01:00.000Z',
          retrieved: '2026-01-01T00:02:00.000Z',
        },
      });
      const gone = await d.write('DELETE', id);
      expect([gone.status, gone.body]).toEqual([204, new Uint8Array(0)]);
      expectProblem(await d.get(id), 404, 'td-unknown');
      expectProblem(await d.write('DELETE', id), 404, 'td-unknown');
    });

    it('without an id gets one, which is a UUID, and lives under it', async () => {
      shows('tdd-things-create-known-vs-anonymous', 'tdd-things-create-anonymous-td', 'tdd-anonymous-td-local-uuid');
      shows('tdd-things-create-anonymous-contenttype', 'tdd-things-create-anonymous-id', 'tdd-anonymous-td-identifier');
      shows('tdd-things-create-anonymous-td-resp');
      const created = await d.write('POST', '/things', anonymous);
      expect(created.status).toBe(201);
      const location = created.headers.get('location')!;
      const id = decodeURIComponent(location.replace('/things/', ''));
      expect(id).toMatch(/^urn:uuid:[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/);
      expect((await d.get(location)).body).toMatchObject({ id, title: 'Lamp' });
      expect(await d.idsOf()).toContain(id);
      expect((await d.put({ ...anonymous, id, title: 'Now named' })).status).toBe(204);
    });

    it('can be put back as it was retrieved', async () => {
      await d.put(lamp('a', { '@context': ['https://www.w3.org/2022/wot/td/v1.1', { ex: 'https://example.org/' }] }));
      const body = await d.thing('a');
      expect((await d.put(body)).status).toBe(204);
      expect(await d.thing('a')).toEqual(body);
      expect(validateTd(body).valid).toBe(true);
    });

    it('keeps an id with a slash, a percent sign and a fragment apart from the path', async () => {
      const td = lamp('a/b%20c#d');
      expect((await d.put(td)).status).toBe(201);
      expect((await d.get(pathOf(td['id']))).body).toMatchObject({ id: td['id'] });
    });
  });

  describe('the backend’s own entries', () => {
    it('are the backend’s TD and the directory’s, which is also the well-known one', async () => {
      const wellKnown = await d.backend.call('GET', '/.well-known/wot');
      expect(wellKnown.headers.get('content-type')).toBe('application/td+json');
      expect(wellKnown.body).toMatchObject({ '@type': ['ThingDirectory'], base: `${d.backend.url}/` });
      expect((await d.get(pathOf('urn:gridring:backend:backend-1:directory'))).body).toEqual(wellKnown.body);
      for (const td of (await d.get('/things')).body as readonly Td[])
        expect(validateTd(td)).toMatchObject({ valid: true });
    });

    it('tell the truth after a restart on another port', async () => {
      const { folder, url } = d.backend;
      await d.put(lamp('a'));
      await d.backend.close();
      await d.start(folder);
      expect(d.backend.url).not.toBe(url);
      expect((await d.get('/.well-known/wot')).body).toMatchObject({ base: `${d.backend.url}/` });
      expect(await d.idsOf()).toHaveLength(3);
    });
  });
}
