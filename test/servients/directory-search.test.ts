/** Searches of the directory by people who may be hostile, in threads that run the built program. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { Directory } from '../../things/directory.js';
import { openBackendStores, type BackendStores } from '../../servients/stores/backend.js';
import { DirectorySearch, searchDefaults } from '../../servients/search/directory-search.js';
import '../support/processes.js';
import { nowS } from '../support/neighbourhood.js';

const proofs = { suite: suiteX25519, trustedRoots: [], directory: 'urn:test:backend' };
const lamp = (name: string, more: object = {}): object => ({
  '@context': ['https://www.w3.org/2022/wot/td/v1.1', { ex: 'https://example.org/' }],
  id: `urn:example:${name}`,
  title: `Lamp ${name}`,
  securityDefinitions: { nosec_sc: { scheme: 'nosec' } },
  security: 'nosec_sc',
  properties: { on: { type: 'boolean', forms: [{ href: 'http://lamp.example/' }] } },
  ...more,
});

describe('a query that takes too much', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'gridring-bombs-'));
  let stores: BackendStores;
  let search: DirectorySearch;
  beforeAll(async () => {
    stores = await openBackendStores({ dataDir, suite: 'x25519' });
    const directory = new Directory({ store: stores.directory, nowS: () => nowS, proofs });
    for (const name of ['a', 'b', 'c']) await directory.put(`urn:example:${name}`, lamp(name), { owner: 'urn:o' });
    search = new DirectorySearch(directory, { ...searchDefaults, timeMs: 400, prepareMs: 20_000, banMs: 60_000 });
  });
  afterAll(async () => {
    await search.close();
    await stores.close();
    rmSync(dataDir, { recursive: true });
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
