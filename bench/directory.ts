/**
 * What a directory with many Things answers, beside what the same machine does with the same text and nothing else: a bare
 * Fastify route over one SELECT on the same database, and the libraries of the searches over values in memory.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import Fastify from 'fastify';
import { jsonpath, type JSONValue } from 'json-p3';
import pg from 'pg';
import { DatabaseSync } from '@photostructure/sqlite';
import type { Suite } from '../crypto/suite.js';
import { parseCertificate } from '../crypto/certificate.js';
import { readEventStream, type ReadEvent } from '../servients/bindings/event-stream.js';
import { fetchAs } from '../servients/issuer-client.js';
import { searchDefaults } from '../servients/search/directory-search.js';
import { openBackendStores, type BackendDatabase } from '../servients/stores/backend.js';
import { makeUncallableTd } from '../td/make-td.js';
import { makeTown, nowS, type Deployment } from './deployment.js';
import { audience, startBackend, writeBackend, type BackendProcess } from './ingest/backends.js';
import { timed, type DatabaseKind } from './ingest/measure.js';
import { startPostgresServer } from './postgres-server.js';
import { quantile } from './statistics.js';

export interface DirectoryRow {
  readonly database: DatabaseKind;
  readonly things: number;
  readonly request: string;
  readonly requests: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Of the native limit; null where there is none. */
  readonly nativeP50Ms: number | null;
  readonly toNative: number | null;
  /** Of the backend, after these requests. */
  readonly rssMb: number;
}

const pageThings = 100;
const counts = { list: 5, page: 200, one: 1_000, put: 500, event: 200, search: 20 } as const;

const urnOf = (i: number): string => `urn:example:meter:${String(i).padStart(6, '0')}`;
const tdOf = (i: number): string =>
  JSON.stringify(makeUncallableTd({ id: urnOf(i), title: `Meter ${i}`, version: 'bench' }));

export async function measureDirectory(
  suite: Suite,
  database: DatabaseKind,
  things: number,
): Promise<readonly DirectoryRow[]> {
  const [deployment] = makeTown(suite, 2, 1);
  if (!deployment) throw new TypeError('a town has groups');
  const folder = mkdtempSync(join(tmpdir(), 'gridring-directory-'));
  const server = database === 'postgres' ? await startPostgresServer({ folder }) : undefined;
  const dataDir = join(folder, 'backend/data');
  const place = { dataDir, ...(server && { database: server.url }) };
  try {
    const config = writeBackend(deployment, join(folder, 'backend'), place);
    await fill(things, { ...place, suite: suite.name });
    const backend = await startBackend(config);
    const native = await startNative(server?.url ?? join(dataDir, 'backend.db'), database);
    try {
      const run = new DirectoryRun(deployment, backend, native, things);
      return (await run.all()).map((row) => ({ database, things, ...row }));
    } finally {
      await native.stop();
      await backend.stop();
    }
  } finally {
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Straight into the store, in the order of no index. */
async function fill(things: number, database: BackendDatabase): Promise<void> {
  const { directory, close } = await openBackendStores(database).then((stores) => ({
    directory: stores.directory,
    close: () => stores.close(),
  }));
  for (let i = 0; i < things; i++) {
    const number = (i * 7_919) % things;
    const entry = { td: tdOf(number), modifiedS: nowS(), ttlS: null, expiresS: null, owner: 'urn:bench' };
    await directory.changeEntry(urnOf(number), () => entry);
  }
  await close();
}

interface Native {
  readonly url: string;
  stop(): Promise<void>;
}

/** Texts of TDs by their ids, as they are in the database. */
interface Texts {
  one(id: string): Promise<string>;
  page(offset: number, limit: number): Promise<readonly string[]>;
  close(): Promise<void>;
}

async function openTexts(place: string, database: DatabaseKind): Promise<Texts> {
  const [oneSql, pageSql] = ['SELECT td FROM directory_entry WHERE id =', 'SELECT td FROM directory_entry ORDER BY id'];
  if (database === 'sqlite') {
    const connection = new DatabaseSync(place, { readOnly: true });
    const one = connection.prepare(`${oneSql} ?`);
    const page = connection.prepare(`${pageSql} LIMIT ? OFFSET ?`);
    return {
      one: async (id) => (one.get(id) as { readonly td: string }).td,
      page: async (offset, limit) => (page.all(limit, offset) as { readonly td: string }[]).map(({ td }) => td),
      close: async () => {
        connection.close();
      },
    };
  }
  const client = new pg.Client(place);
  await client.connect();
  const ask = async (name: string, text: string, values: readonly unknown[]): Promise<readonly string[]> =>
    (await client.query<{ readonly td: string }>({ name, text, values: [...values] })).rows.map(({ td }) => td);
  return {
    one: async (id) => (await ask('one', `${oneSql} $1`, [id]))[0] ?? '',
    page: (offset, limit) => ask('page', `${pageSql} LIMIT $1 OFFSET $2`, [limit, offset]),
    close: () => client.end(),
  };
}

async function startNative(place: string, database: DatabaseKind): Promise<Native> {
  const texts = await openTexts(place, database);
  const app = Fastify();
  const json = 'application/json';
  app.get<{ Params: { readonly id: string } }>('/one/:id', async ({ params }, reply) =>
    reply.type(json).send(Buffer.from(await texts.one(params.id))),
  );
  app.get<{ Querystring: { readonly offset: string; readonly limit: string } }>('/page', async ({ query }, reply) => {
    const page = await texts.page(Number(query.offset), Number(query.limit));
    return reply.type(json).send(Buffer.from(`[${page.join()}]`));
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  const address = app.server.address();
  return {
    url: `http://127.0.0.1:${typeof address === 'object' ? (address?.port ?? 0) : 0}`,
    stop: async () => {
      await app.close();
      await texts.close();
    },
  };
}

type Row = Omit<DirectoryRow, 'database' | 'things'>;
type Work = (i: number) => Promise<unknown>;

class DirectoryRun {
  readonly #backend: BackendProcess;
  readonly #native: Native;
  readonly #things: number;
  readonly #gateway: ReturnType<typeof fetchAs>;

  constructor(deployment: Deployment, backend: BackendProcess, native: Native, things: number) {
    this.#backend = backend;
    this.#native = native;
    this.#things = things;
    this.#gateway = gatewayFetch(deployment);
  }

  async all(): Promise<readonly Row[]> {
    const { url } = this.#backend;
    const [native, things] = [this.#native.url, this.#things];
    const pages = Math.ceil(things / pageThings);
    const offsetOf = (i: number): number => ((i * 37) % pages) * pageThings;
    const idOf = (i: number): string => encodeURIComponent(urnOf((i * 37) % things));
    const rows = [
      await this.#measure(
        'list, whole',
        counts.list,
        () => read(`${url}/things`),
        () => read(`${native}/page?offset=0&limit=${things}`),
      ),
      await this.#measure(
        `page of ${pageThings}`,
        counts.page,
        (i) => read(`${url}/things?limit=${pageThings}&offset=${offsetOf(i)}`),
        (i) => read(`${native}/page?limit=${pageThings}&offset=${offsetOf(i)}`),
      ),
      await this.#measure(
        'one, by its id',
        counts.one,
        (i) => read(`${url}/things/${idOf(i)}`),
        (i) => read(`${native}/one/${idOf(i)}`),
      ),
      await this.#measure('registration', counts.put, (i) => this.#put(`urn:example:new:${i}`, i)),
    ];
    return [...rows, await this.#notifications(), ...(await this.#searches())];
  }

  async #measure(request: string, requests: number, work: Work, nativeWork?: Work): Promise<Row> {
    const [latencies, natives]: [number[], number[]] = [[], []];
    await work(0);
    await nativeWork?.(0);
    // In turns, so that whatever else the machine does slows both.
    for (let i = 0; i < requests; i++) {
      latencies.push(await timedWork(work, i));
      if (nativeWork) natives.push(await timedWork(nativeWork, i));
    }
    return this.#row(request, latencies, natives);
  }

  async #row(request: string, latencies: readonly number[], natives: readonly number[] = []): Promise<Row> {
    const { rssBytes } = await this.#backend.usage();
    const p50Ms = quantile(latencies, 0.5);
    const nativeP50Ms = natives.length === 0 ? null : quantile(natives, 0.5);
    return {
      request,
      requests: latencies.length,
      p50Ms,
      p99Ms: quantile(latencies, 0.99),
      nativeP50Ms,
      toNative: nativeP50Ms === null ? null : p50Ms / nativeP50Ms,
      rssMb: rssBytes / 2 ** 20,
    };
  }

  async #put(id: string, i: number): Promise<void> {
    const response = await this.#gateway(`${this.#backend.url}/things/${encodeURIComponent(id)}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/td+json' },
      body: tdOf(i).replace(urnOf(i), id),
    });
    if (!response.ok) throw new Error(`a registration was answered with ${response.status}`);
  }

  /** From the request that registers until a listener has heard of it. */
  async #notifications(): Promise<Row> {
    const ending = new AbortController();
    const { body } = await fetch(`${this.#backend.url}/events`, { signal: ending.signal });
    const told = readEventStream(body);
    const latencies: number[] = [];
    for (let i = 0; i < counts.event; i++) {
      const startMs = performance.now();
      const [heard] = await Promise.all([told.next(), this.#put(`urn:example:told:${i}`, i)]);
      const { data = '' } = (heard.value ?? {}) as Partial<ReadEvent>;
      if (!data.includes(`told:${i}`)) throw new Error('told of another');
      latencies.push(performance.now() - startMs);
    }
    ending.abort();
    return this.#row('registration, until a listener knows', latencies);
  }

  async #searches(): Promise<readonly Row[]> {
    const tds = JSON.parse(await read(`${this.#backend.url}/things`)) as JSONValue[];
    const title = (i: number): string => `Meter ${(i * 37) % this.#things}`;
    const xpath = loadXPath();
    const sparql = (i: number): string =>
      `SELECT ?s { ?s <https://www.w3.org/2019/wot/td#title> ?t FILTER(STR(?t) = "${title(i)}") }`;
    const rows: Row[] = [];
    for (const [language, queryOf, native] of [
      ['jsonpath', (i) => `$[?@.title == "${title(i)}"].id`, async (q) => jsonpath.query(q, tds).values()],
      ['xpath', (i) => `?*[?title = "${title(i)}"]?id`, async (q) => xpath(q, tds)],
      ['sparql', sparql, undefined],
    ] as const satisfies readonly (readonly [string, (i: number) => string, ((q: string) => Promise<unknown>)?])[]) {
      const ask: Work = (i) => read(`${this.#backend.url}/search/${language}?query=${encodeURIComponent(queryOf(i))}`);
      try {
        const readyMs = await timed(() => untilReady(() => ask(0)));
        rows.push(await this.#row(`${language}, until the first answer`, [readyMs]));
        rows.push(await this.#measure(language, counts.search, ask, native && ((i) => native(queryOf(i)))));
      } catch (error) {
        if (!isCutOff(error)) throw error;
        rows.push(await this.#row(`${language}, cut off on this busy machine`, [searchDefaults.timeMs]));
      }
    }
    return rows;
  }
}

const timedWork = (work: Work, i: number): Promise<number> =>
  timed(async () => {
    await work(i);
  });

const isCutOff = (error: unknown): boolean => String(error).includes('query-too-costly');

/** While the Things are read, a search is told to come back. */
async function untilReady(ask: () => Promise<unknown>): Promise<void> {
  for (const endMs = performance.now() + 600_000; ;) {
    try {
      await ask();
      return;
    } catch (error) {
      if (performance.now() > endMs || isCutOff(error)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }
}

async function read(url: string): Promise<string> {
  const response = await fetch(url);
  const text = await response.text();
  if (!response.ok) throw new Error(`${url} was answered with ${response.status}: ${text.slice(0, 200)}`);
  return text;
}

function gatewayFetch({ suite, root, gateway }: Deployment): ReturnType<typeof fetchAs> {
  const { certificates, secret } = gateway;
  const [certificate] = certificates.map((der) => parseCertificate(suite, der));
  if (certificate?.role !== 'gateway') throw new TypeError('the gateway has no certificate');
  return fetchAs({ suite, secret, certificate, certificates }, audience, [root.der], nowS);
}

interface FontoXPath {
  evaluateXPathToArray(query: string, item: unknown, facade: null, variables: object, options: object): unknown;
  readonly Language: { readonly XPATH_3_1_LANGUAGE: string };
}

function loadXPath(): (query: string, item: unknown) => unknown {
  const fonto = createRequire(import.meta.url)('fontoxpath') as FontoXPath;
  const language = fonto.Language.XPATH_3_1_LANGUAGE;
  return (query, item) =>
    fonto.evaluateXPathToArray(`array { ${query} }`, item, null, {}, { language, disableCache: true });
}
