import { describe, expect, it } from 'vitest';
import { openBackendStores } from '../../../servients/stores/backend.js';
import { nowS } from '../../support/neighbourhood.js';
import { shows } from './statements.js';
import { discoveryContext, lamp, type Td, type DirectoryUnderTest } from './under-test.js';

export function listTests(d: DirectoryUnderTest): void {
  describe('the list', () => {
    it('is in the order of the ids, page after page by its links, until there is no next one', async () => {
      shows('tdd-things-list-only', 'tdd-things-list-method', 'tdd-things-list-resp', 'tdd-things-crudl');
      shows('tdd-things-list-resp-content-type', 'tdd-things-list-pagination', 'tdd-things-list-pagination-limit');
      shows('tdd-things-list-pagination-header-nextlink', 'tdd-things-list-pagination-header-nextlink-attr');
      shows('tdd-things-list-pagination-header-nextlink-base', 'tdd-things-list-pagination-order-default');
      shows('tdd-things-list-pagination-header-canonicallink');
      for (const name of ['c', 'a', 'b', 'Z']) await d.put(lamp(name));
      const all = await d.idsOf();
      expect(all).toEqual([
        ...['Z', 'a', 'b', 'c'].map((name) => `urn:example:${name}`),
        'urn:gridring:backend:backend-1',
        'urn:gridring:backend:backend-1:directory',
      ]);
      const found: unknown[] = [];
      let pages = 0;
      for (let path: string | undefined = '/things?limit=2'; path !== undefined; pages++) {
        const { status, headers, body } = await d.get(path);
        expect([status, headers.get('content-type')]).toEqual([200, 'application/ld+json']);
        const link = headers.get('link')!;
        expect(link).toMatch(/<\/things>; rel="canonical"; etag="[^"]+"/);
        found.push(...(body as readonly Td[]).map((td) => td['id']));
        path = /<(\/things\?offset=\d+&limit=2)>; rel="next"/.exec(link)?.[1];
      }
      expect([found, pages]).toEqual([all, 3]);
      expect(await d.idsOf('/things?offset=100')).toEqual([]);
      expect(await d.idsOf('/things?offset=100&limit=1')).toEqual([]);
      expect(await d.idsOf('/things?offset=4')).toEqual(all.slice(4));
    });

    it('is not sent again to who has it, as a whole or in pages', async () => {
      for (const path of ['/things', '/things?limit=2', '/things?format=collection']) {
        const etag = (await d.get(path)).headers.get('etag')!;
        const again = await d.get(path, { 'if-none-match': etag });
        expect([again.status, again.body, again.headers.get('etag')]).toEqual([304, new Uint8Array(0), etag]);
        await d.put(lamp(`new-${path.length}`));
        expect((await d.get(path, { 'if-none-match': etag })).status).toBe(200);
      }
    });

    it('is a collection with its pages inside, for who asks for that', async () => {
      shows('tdd-things-list-pagination-collection', 'tdd-things-list-pagination-header-canonicallink');
      for (const name of ['a', 'b']) await d.put(lamp(name));
      const answer = await d.get('/things?limit=3&format=collection');
      const first = answer.body as Td;
      expect(first).toMatchObject({
        '@context': discoveryContext,
        '@type': 'ThingCollection',
        '@id': '/things?offset=0&limit=3&format=collection',
        total: 4,
        next: '/things?offset=3&limit=3&format=collection',
      });
      expect(answer.headers.get('link')).toContain(`<${String(first['next'])}>; rel="next"`);
      const rest = (await d.get(String(first['next']))).body as Td;
      expect(rest).not.toHaveProperty('next');
      const members = [...(first['members'] as Td[]), ...(rest['members'] as Td[])];
      expect(members.map((td) => td['id'])).toEqual(await d.idsOf());
      expect((await d.get('/things?format=collection')).body).toMatchObject({ total: 4 });
    });

    it('without a limit is whole, however long it is', async () => {
      shows('tdd-things-list-resp');
      const names = Array.from({ length: 210 }, (_, i) => `many-${String(i).padStart(3, '0')}`);
      const { folder } = d.backend;
      await d.backend.close();
      const stores = await openBackendStores({ dataDir: folder, suite: 'x25519' });
      const content = { modifiedS: nowS, ttlS: 60, expiresS: null, owner: 'urn:x' };
      for (const name of names) {
        await stores.directory.changeEntry(`urn:example:${name}`, () => ({
          ...content,
          td: JSON.stringify(lamp(name)),
        }));
      }
      await stores.close();
      await d.start(folder);
      expect((await d.idsOf()).slice(0, -2)).toEqual(names.map((name) => `urn:example:${name}`));
      const { headers, body } = await d.call('HEAD', '/things');
      expect([headers.get('content-type'), body]).toEqual(['application/ld+json', new Uint8Array(0)]);
      d.backend.clockS += 60;
    });

    it('has another etag after every change', async () => {
      shows('tdd-things-list-pagination-header-canonicallink');
      const etag = async (): Promise<string | undefined> =>
        /etag="([^"]+)"/.exec((await d.get('/things?limit=1')).headers.get('link')!)?.[1];
      const before = await etag();
      expect(await etag()).toBe(before);
      await d.put(lamp('a', { registration: { ttl: 10 } }));
      const created = await etag();
      d.backend.clockS += 10;
      expect(new Set([before, created, await etag()]).size).toBe(3);
    });
  });
}
