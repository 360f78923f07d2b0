/** Searches of the directory by people who may be hostile, in threads that run the built program. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { Directory } from '../../things/directory.js';
import { openBackendStores, type BackendStores } from '../../servients/stores/backend.js';
import { makeEvaluator } from '../../servients/search/evaluate.js';
import { DirectorySearch, searchDefaults } from '../../servients/search/directory-search.js';
import '../support/processes.js';
import { makeNeighbourhood, nowS } from '../support/neighbourhood.js';
import { expectProblem, startBackend, type Answer, type TestBackend } from './rest-server.js';

const n = makeNeighbourhood(suiteX25519, 2);
const proofs = { suite: suiteX25519, trustedRoots: [n.root], directory: 'urn:test:backend' };
const lamp = (name: string, more: object = {}): object => ({
  '@context': ['https://www.w3.org/2022/wot/td/v1.1', { ex: 'https://example.org/' }],
  id: `urn:example:${name}`,
  title: `Lamp ${name}`,
  securityDefinitions: { nosec_sc: { scheme: 'nosec' } },
  security: 'nosec_sc',
  properties: { on: { type: 'boolean', forms: [{ href: 'http://lamp.example/' }] } },
  ...more,
});

let backend: TestBackend;
beforeAll(async () => {
  backend = await startBackend(n);
  for (const [name, more] of [
    ['a', {}],
    [
      'b',
      {
        '@type': 'ex:Lamp',
        'ex:room': 'kitchen',
        '@context': [
          'https://www.w3.org/2022/wot/td/v1.1',
          { ex: 'https://example.org/' },
          'http://nowhere.example/context',
        ],
      },
    ],
    ['c', { '@context': 'https://www.w3.org/2019/wot/td/v1' }],
  ] as const) {
    await backend.call('PUT', `/things/urn:example:${name}`, { as: n.gateway, body: lamp(name, more) });
  }
});
afterAll(() => backend.remove());

const get = (language: string, query: string, headers = {}): Promise<Answer> =>
  backend.call('GET', `/search/${language}?query=${encodeURIComponent(query)}`, { headers });
const found = async (language: string, query: string): Promise<unknown> => {
  const { status, body, headers } = await get(language, query);
  expect([status, headers.get('content-type')]).toEqual([200, 'application/json']);
  return body;
};

describe('JSONPath', () => {
  it('finds Things and parts of them, enriched and in the order of their ids', async () => {
    expect(await found('jsonpath', '$[?@.title == "Lamp b"]')).toMatchObject([
      { id: 'urn:example:b', 'ex:room': 'kitchen', registration: { created: '2026-01-01T00:00:00.000Z' } },
    ]);
    expect(await found('jsonpath', '$[?match(@.id, "urn:example:.*")].id')).toEqual([
      'urn:example:a',
      'urn:example:b',
      'urn:example:c',
    ]);
    expect(await found('jsonpath', '$[?@.nothing]')).toEqual([]);
  });

  it('sees what was registered, changed and removed since', async () => {
    const titles = () => found('jsonpath', '$[?@.id == "urn:example:new"].title');
    const path = '/things/urn:example:new';
    await backend.call('PUT', path, { as: n.gateway, body: lamp('new') });
    expect(await titles()).toEqual(['Lamp new']);
    const headers = { 'content-type': 'application/merge-patch+json' };
    await backend.call('PATCH', path, { as: n.gateway, body: { title: 'Other' }, headers });
    expect(await titles()).toEqual(['Other']);
    await backend.call('DELETE', path, { as: n.gateway });
    expect(await titles()).toEqual([]);
  });
});

describe('XPath', () => {
  it('finds Things and parts of them, in an array of maps', async () => {
    expect(await found('xpath', '?*[?title = "Lamp b"]?id')).toEqual(['urn:example:b']);
    expect(await found('xpath', 'array:size(.)')).toEqual([5]);
    expect(await found('xpath', '?*[map:contains(., "ex:room")]')).toMatchObject([{ id: 'urn:example:b' }]);
  });

  it('writes nothing to the log, whatever it traces', async () => {
    const written = vi.spyOn(console, 'log').mockImplementation(() => undefined);
    const { evaluate } = await makeEvaluator('xpath');
    expect(await evaluate('fn:trace("{""level"":50}", "label")', [])).toMatchObject({ body: '["{\\"level\\":50}"]' });
    expect(written).not.toHaveBeenCalled();
    written.mockRestore();
  });
});

describe('SPARQL', () => {
  const td = 'PREFIX td: <https://www.w3.org/2019/wot/td#>\n# Terms\n';

  it('answers SELECT and ASK in JSON', async () => {
    const select = `${td} SELECT ?thing { ?thing td:title "Lamp a"@en }`;
    const rows = { results: { bindings: [{ thing: { type: 'uri', value: 'urn:example:a' } }] } };
    expect(await found('sparql', select)).toMatchObject(rows);
    expect(await found('sparql', `${td} ASK { ?thing a <https://example.org/Lamp> }`)).toMatchObject({ boolean: true });
    const other = await get('sparql', select, { accept: 'application/sparql-results+json' });
    expect([other.headers.get('content-type'), other.body]).toMatchObject(['application/sparql-results+json', rows]);
  });

  it('answers CONSTRUCT and DESCRIBE in JSON-LD', async () => {
    for (const query of [
      `${td} CONSTRUCT { ?s td:title ?t } WHERE { ?s td:title ?t . ?s td:hasPropertyAffordance ?p }`,
      'DESCRIBE <urn:example:a>',
    ]) {
      const { status, headers, body } = await get('sparql', query);
      expect([status, headers.get('content-type')]).toEqual([200, 'application/ld+json']);
      expect(JSON.stringify(body)).toContain('"urn:example:a"');
    }
  });

  it('takes queries by POST, as they are or as a form', async () => {
    const query = 'ASK { <urn:example:c> ?p ?o }';
    const post = (body: string, type: string) =>
      backend.call('POST', '/search/sparql', { body, headers: { 'content-type': type } });
    expect((await post(query, 'application/sparql-query')).body).toMatchObject({ boolean: true });
    const form = new URLSearchParams({ query }).toString();
    expect((await post(form, 'application/x-www-form-urlencoded')).body).toMatchObject({ boolean: true });
    expectProblem(await post('other=1', 'application/x-www-form-urlencoded'), 400, 'input-invalid');
    expectProblem(await post('{}', 'application/json'), 415, 'media-type-unsupported');
  });

  it('does not change anything, nor ask anybody else', async () => {
    for (const update of [
      'INSERT DATA { <a:b> <a:c> <a:d> }',
      'DROP ALL',
      'LOAD <http://127.0.0.1/>',
      'DELETE WHERE { ?s ?p ?o }',
    ]) {
      expectProblem(await get('sparql', update), 400, 'query-malformed');
    }
    expectProblem(
      await get('sparql', 'SELECT * { SERVICE <http://127.0.0.1:1/> { ?s ?p ?o } }'),
      501,
      'query-unsupported',
    );
  });
});

describe('what is no query', () => {
  it('is refused with what is wrong', async () => {
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
      expectProblem(await backend.call('GET', `/search/${language}`), 400, 'query-malformed');
      expectProblem(await get(language, 'a'.repeat(9_000)), 400, 'input-invalid');
      expectProblem(
        await get(language, '$', { accept: 'text/turtle' }),
        language === 'jsonpath' ? 406 : 400,
        language === 'jsonpath' ? 'not-acceptable' : 'query-malformed',
      );
    }
    expectProblem(await backend.call('GET', '/search/graphql?query=x'), 404, 'no-such-resource');
  });
});

describe('a query that takes too much', () => {
  let stores: BackendStores;
  let search: DirectorySearch;
  beforeAll(async () => {
    stores = await openBackendStores({ dataDir: backend.folder + '-bombs', suite: 'x25519' });
    const directory = new Directory({ store: stores.directory, nowS: () => nowS, proofs });
    for (const name of ['a', 'b', 'c']) await directory.put(`urn:example:${name}`, lamp(name), { owner: 'urn:o' });
    search = new DirectorySearch(directory, { ...searchDefaults, timeMs: 400, prepareMs: 20_000, banMs: 60_000 });
  });
  afterAll(async () => {
    await search.close();
    await stores.close();
  });

  it('is cut off with a clear error, keeps its sender out for a while, and harms nobody else', async () => {
    const bombs = [
      ['jsonpath', '$..[?count($..[?count($..[?count($..*) > 0]) > 0]) > 0]'],
      ['xpath', 'for $a in 1 to 100000000 return $a * 2'],
      ['sparql', 'SELECT (COUNT(*) AS ?n) { ?a ?b ?c . ?d ?e ?f . ?g ?h ?i . ?j ?k ?l . ?m ?n2 ?o . ?p ?q ?r }'],
    ] as const;
    for (const [language, query] of bombs) {
      const ask = (caller: string, text: string) => search.search({ language, query: text, ids: undefined, caller });
      // The first search starts a thread and reads the Things.
      const simple = { jsonpath: '$', xpath: '1', sparql: 'ASK {}' }[language];
      await ask('friend', simple).catch(() => undefined);
      await expect(ask(`bomber of ${language}`, query)).rejects.toMatchObject({ code: 'query-too-costly' });
      await expect(ask(`bomber of ${language}`, simple)).rejects.toMatchObject({ code: 'search-paused' });
    }
  });

  it('sees only what its caller may see, whatever dataset it names', async () => {
    const ids = ['urn:example:a'];
    const ask = async (language: 'jsonpath' | 'xpath' | 'sparql', query: string): Promise<string> =>
      (await new DirectorySearchOnce(stores).ask(language, query, ids)).body;
    expect(await ask('jsonpath', '$[*].id')).toBe('["urn:example:a"]');
    expect(await ask('xpath', '?*?id')).toBe('["urn:example:a"]');
    for (const from of ['', 'FROM <urn:example:b>', 'FROM NAMED <urn:example:b>']) {
      const query = `SELECT DISTINCT ?t ${from} { { ?s <https://www.w3.org/2019/wot/td#title> ?t } UNION { GRAPH ?g { ?s <https://www.w3.org/2019/wot/td#title> ?t } } }`;
      const body = await ask('sparql', query);
      expect([body.includes('Lamp a'), body.includes('Lamp b'), body.includes('Lamp c')]).toEqual([true, false, false]);
    }
  });
});

/** With time enough to start a thread on a busy machine. */
class DirectorySearchOnce {
  readonly #directory: Directory;

  constructor({ directory }: BackendStores) {
    this.#directory = new Directory({ store: directory, nowS: () => nowS, proofs });
  }

  async ask(language: 'jsonpath' | 'xpath' | 'sparql', query: string, ids: readonly string[]) {
    const search = new DirectorySearch(this.#directory, { ...searchDefaults, timeMs: 15_000, prepareMs: 15_000 });
    try {
      return await search.search({ language, query, ids, caller: 'somebody' });
    } finally {
      await search.close();
    }
  }
}
