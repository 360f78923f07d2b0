import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { expectProblem } from '../rest-server.js';
import { shows } from './statements.js';
import { lamp, n, pathOf, type DirectoryUnderTest } from './under-test.js';

export function representationTests(d: DirectoryUnderTest): void {
  describe('other representations', () => {
    const id = pathOf('urn:example:a');
    const large = lamp('a', { description: 'x'.repeat(2_000) });
    const putCoded = (body: Uint8Array, encoding: string) =>
      d.backend.call('PUT', id, {
        as: n.gateway,
        body,
        headers: { 'content-type': 'application/td+json', 'content-encoding': encoding },
      });

    it('are JSON for who prefers that, and for all but Turtle', async () => {
      shows('tdd-http-representation-alternate-output', 'tdd-things-retrieve-resp-content-type');
      shows('tdd-things-list-resp-content-type', 'tdd-things-default-representation');
      await d.put(lamp('a'));
      for (const [path, type] of [
        [id, 'application/td+json'],
        ['/things', 'application/ld+json'],
      ] as const) {
        for (const [accept, given] of [
          ['application/json', 'application/json'],
          ['application/*', type],
          ['*/*', type],
          [`text/html, ${type};q=0.4, application/json;q=0.3`, type],
        ] as const) {
          expect((await d.get(path, { accept })).headers.get('content-type')).toBe(given);
        }
        expectProblem(await d.get(path, { accept: 'text/turtle' }), 406, 'not-acceptable');
      }
    });

    it('are headers alone, the same as with a body, wherever something can be got', async () => {
      shows('tdd-http-head');
      await d.put(lamp('a'));
      for (const path of [
        id,
        '/things',
        '/things?limit=1',
        '/things?format=collection',
        '/.well-known/wot',
        '/events',
        '/events/thing_created',
      ]) {
        const head = await d.call('HEAD', path);
        expect([path, head.status, head.body]).toEqual([path, 200, new Uint8Array(0)]);
        if (path.startsWith('/events')) continue;
        const whole = await d.get(path);
        for (const name of ['content-type', 'link', 'etag']) {
          expect([path, name, head.headers.get(name)]).toEqual([path, name, whole.headers.get(name)]);
        }
      }
      expect((await d.call('HEAD', '/things/urn:example:none')).status).toBe(404);
    });

    it('are compressed TDs, both ways, for who says so', async () => {
      shows('tdd-http-representation-alternate-output', 'tdd-things-representation-alternate-input');
      expect((await putCoded(new Uint8Array(gzipSync(JSON.stringify(large))), 'gzip')).status).toBe(201);
      const answer = await d.get(id, { 'accept-encoding': 'gzip' });
      expect(answer.headers.get('content-encoding')).toBe('gzip');
      expect(answer.body).toMatchObject({ description: large['description'] });
      const plain = await d.get(id, { 'accept-encoding': 'identity' });
      expect([plain.headers.get('content-encoding'), plain.body]).toMatchObject([
        null,
        { description: large['description'] },
      ]);
      for (const type of ['application/json', 'application/ld+json']) {
        const headers = { 'content-type': type };
        expect((await d.backend.call('PUT', id, { as: n.gateway, body: lamp('a'), headers })).status).toBe(204);
      }
    });

    it('are refused where they are none, or too much', async () => {
      const bomb = new Uint8Array(gzipSync(' '.repeat(20_000_000)));
      expectProblem(await putCoded(bomb, 'gzip'), 413, 'too-large');
      expectProblem(await putCoded(new Uint8Array(10), 'gzip'), 400, 'body-malformed');
      expectProblem(await putCoded(new Uint8Array(10), 'br'), 415, 'media-type-unsupported');
    });

    it('of problems are in UTF-8, and in the caller’s language', async () => {
      shows('tdd-http-error-response-lang', 'tdd-http-error-response-utf-8');
      const german = await d.get(id, { 'accept-language': 'de-AT, en;q=0.5' });
      expect(german.headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
      expect([german.headers.get('content-language'), german.body]).toMatchObject(['de', { title: 'Nicht gefunden' }]);
      for (const language of ['fr', '*', 'en-GB', 'de;q=0', ';;,x']) {
        const other = await d.get(id, { 'accept-language': language });
        expect([other.headers.get('content-language'), other.body]).toMatchObject(['en', { title: 'Not Found' }]);
      }
    });
  });
}
