import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { makeEvaluator } from '../../../servients/search/evaluate.js';
import { expectProblem, type Answer } from '../rest-server.js';
import { shows } from './statements.js';
import { DirectoryUnderTest, lamp, pathOf, type Td } from './under-test.js';

const context = ['https://www.w3.org/2022/wot/td/v1.1', { ex: 'https://example.org/' }];
const searched = (name: string, more: Td = {}): Td =>
  lamp(name, {
    '@context': context,
    title: `Lamp ${name}`,
    properties: { on: { type: 'boolean', forms: [{ href: 'http://lamp.example/' }] } },
    ...more,
  });

export function searchTests({ open }: DirectoryUnderTest): void {
  describe('the search', () => {
    // The Things are the same for all of these tests.
    const d = new DirectoryUnderTest(open);
    beforeAll(async () => {
      await d.start();
      await d.put(searched('a'));
      const unknown = [...context, 'http://nowhere.example/context'];
      await d.put(searched('b', { '@type': 'ex:Lamp', 'ex:room': 'kitchen', '@context': unknown }));
      await d.put(searched('c', { '@context': 'https://www.w3.org/2019/wot/td/v1' }));
    });
    afterAll(() => d.backend.remove());

    const get = (language: string, query: string, headers = {}): Promise<Answer> =>
      d.get(`/search/${language}?query=${encodeURIComponent(query)}`, headers);
    const found = async (language: string, query: string): Promise<unknown> => {
      const { status, body, headers } = await get(language, query);
      expect([status, headers.get('content-type')]).toEqual([200, 'application/json']);
      return body;
    };
    const td = 'PREFIX td: <https://www.w3.org/2019/wot/td#>\n# Terms\n';

    it('by JSONPath finds Things and parts of them, enriched and in the order of their ids', async () => {
      shows('tdd-search-large-tdds', 'tdd-context-injection');
      expect(await found('jsonpath', '$[?@.title == "Lamp b"]')).toMatchObject([
        { id: 'urn:example:b', 'ex:room': 'kitchen', registration: { created: '2026-01-01T00:00:00.000Z' } },
      ]);
      expect(await found('jsonpath', '$[?match(@.id, "urn:example:.*")].id')).toEqual(
        ['a', 'b', 'c'].map((name) => `urn:example:${name}`),
      );
      expect(await found('jsonpath', '$[?@.nothing]')).toEqual([]);
    });

    it('sees what was registered, changed and removed since', async () => {
      shows('tdd-anonymous-td-identifier');
      const titles = () => found('jsonpath', '$[?@.id == "urn:example:new"].title');
      await d.put(searched('new'));
      expect(await titles()).toEqual(['Lamp new']);
      await d.patch('urn:example:new', { title: 'Other' });
      expect(await titles()).toEqual(['Other']);
      const { headers } = await d.write('POST', '/things', { ...searched('x', { title: 'Nobody' }), id: undefined });
      const anonymous = decodeURIComponent(headers.get('location')!.replace('/things/', ''));
      expect(await found('jsonpath', '$[?@.title == "Nobody"].id')).toEqual([anonymous]);
      for (const id of ['urn:example:new', anonymous]) await d.write('DELETE', pathOf(id));
      expect(await titles()).toEqual([]);
    });

    it('by XPath finds Things and parts of them, in an array of maps', async () => {
      shows('tdd-search-large-tdds');
      expect(await found('xpath', '?*[?title = "Lamp b"]?id')).toEqual(['urn:example:b']);
      expect(await found('xpath', 'array:size(.)')).toEqual([5]);
      expect(await found('xpath', '?*[map:contains(., "ex:room")]')).toMatchObject([{ id: 'urn:example:b' }]);
    });

    it('by XPath writes nothing to the log, whatever it traces', async () => {
      const written = vi.spyOn(console, 'log').mockImplementation(() => undefined);
      const { evaluate } = await makeEvaluator('xpath');
      expect(await evaluate('fn:trace("{""level"":50}", "label")', [])).toMatchObject({
        body: '["{\\"level\\":50}"]',
      });
      expect(written).not.toHaveBeenCalled();
      written.mockRestore();
    });

    it('by SPARQL answers SELECT and ASK in JSON', async () => {
      shows('tdd-search-sparql', 'tdd-search-sparql-version', 'tdd-search-sparql-method-get');
      shows('tdd-search-sparql-resp-select-ask', 'tdd-search-large-tdds');
      const select = `${td} SELECT ?thing { ?thing td:title "Lamp a"@en }`;
      const rows = { results: { bindings: [{ thing: { type: 'uri', value: 'urn:example:a' } }] } };
      expect(await found('sparql', select)).toMatchObject(rows);
      expect(await found('sparql', `${td} ASK { ?thing a <https://example.org/Lamp> }`)).toMatchObject({
        boolean: true,
      });
      const other = await get('sparql', select, { accept: 'application/sparql-results+json' });
      expect([other.headers.get('content-type'), other.body]).toMatchObject(['application/sparql-results+json', rows]);
    });

    it('by SPARQL answers CONSTRUCT and DESCRIBE in JSON-LD', async () => {
      shows('tdd-search-sparql-resp-describe-construct');
      for (const query of [
        `${td} CONSTRUCT { ?s td:title ?t } WHERE { ?s td:title ?t . ?s td:hasPropertyAffordance ?p }`,
        'DESCRIBE <urn:example:a>',
      ]) {
        const { status, headers, body } = await get('sparql', query);
        expect([status, headers.get('content-type')]).toEqual([200, 'application/ld+json']);
        expect(JSON.stringify(body)).toContain('"urn:example:a"');
      }
    });

    it('by SPARQL takes queries by POST, as they are or as a form', async () => {
      shows('tdd-search-sparql-method-post');
      const query = 'ASK { <urn:example:c> ?p ?o }';
      const post = (body: string, type: string) => d.call('POST', '/search/sparql', { 'content-type': type }, body);
      expect((await post(query, 'application/sparql-query')).body).toMatchObject({ boolean: true });
      const form = new URLSearchParams({ query }).toString();
      expect((await post(form, 'application/x-www-form-urlencoded')).body).toMatchObject({ boolean: true });
      expectProblem(await post('other=1', 'application/x-www-form-urlencoded'), 400, 'input-invalid');
      expectProblem(await post('{}', 'application/json'), 415, 'media-type-unsupported');
    });

    it('by SPARQL does not change anything, nor ask anybody else', async () => {
      shows('tdd-search-sparql-error', 'tdd-http-unsupported-feature');
      for (const update of [
        'INSERT DATA { <a:b> <a:c> <a:d> }',
        'DROP ALL',
        'LOAD <http://127.0.0.1/>',
        'DELETE WHERE { ?s ?p ?o }',
      ]) {
        expectProblem(await get('sparql', update), 400, 'query-malformed');
      }
      const federated = 'SELECT * { SERVICE <http://127.0.0.1:1/> { ?s ?p ?o } }';
      expectProblem(await get('sparql', federated), 501, 'query-unsupported');
    });

    it('tells by HEAD of what kind the answer would be', async () => {
      shows('tdd-http-head');
      for (const [language, query, type] of [
        ['jsonpath', '$', 'application/json'],
        ['xpath', '1', 'application/json'],
        ['sparql', 'ASK {}', 'application/json'],
        ['sparql', 'DESCRIBE <urn:example:a>', 'application/ld+json'],
      ] as const) {
        const head = await d.call('HEAD', `/search/${language}?query=${encodeURIComponent(query)}`);
        expect([head.status, head.headers.get('content-type'), head.body]).toEqual([200, type, new Uint8Array(0)]);
      }
    });

    it('refuses what is no query, with what is wrong', async () => {
      for (const [language, query] of [
        ['jsonpath', '$['],
        ['jsonpath', 'x'],
        ['xpath', '?*['],
        ['xpath', 'doc("file:///etc/passwd")'],
        ['sparql', 'SELECT'],
        ['sparql', 'SELECT * {'],
      ] as const) {
        expectProblem(await get(language, query), 400, 'query-malformed');
      }
      for (const language of ['jsonpath', 'xpath', 'sparql']) {
        expectProblem(await d.get(`/search/${language}`), 400, 'query-malformed');
        expectProblem(await get(language, 'a'.repeat(9_000)), 400, 'input-invalid');
        expectProblem(
          await get(language, '$', { accept: 'text/turtle' }),
          language === 'jsonpath' ? 406 : 400,
          language === 'jsonpath' ? 'not-acceptable' : 'query-malformed',
        );
      }
      expectProblem(await d.get('/search/graphql?query=x'), 404, 'no-such-resource');
    });
  });
}
