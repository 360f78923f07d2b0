/** What a backend with many meters answers: the lists of meters and of Things page by page, one meter, one Thing. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import type { Suite, SuiteName } from '../crypto/suite.js';
import { openBackendStores, type BackendDatabase } from '../servients/stores/backend.js';
import { makeUncallableTd } from '../td/make-td.js';
import { makeTown, nowS, type Deployment } from './deployment.js';
import { gatewayClient, startBackend, writeBackend, type BackendProcess } from './ingest/backends.js';
import { Load } from './ingest/load.js';
import { timed, type DatabaseKind } from './ingest/measure.js';
import { startPostgresServer } from './postgres-server.js';
import { quantile } from './statistics.js';

export interface MetersRow {
  readonly suite: SuiteName;
  readonly database: DatabaseKind;
  readonly meters: number;
  readonly groups: number;
  readonly request: string;
  readonly requests: number;
  /** From the request to the last byte of the answer. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Of the last tenth of the requests: the last pages. */
  readonly lastP50Ms: number;
  /** Of the backend, after these requests. */
  readonly rssMb: number;
}

const metersOfGroup = 63;
const pageMeters = 100;
const rounds = 5;

/** Over a database with the groups' lists, and of each meter one reading and one Thing. */
export async function measureMeters(
  suite: Suite,
  database: DatabaseKind,
  meterCount: number,
): Promise<readonly MetersRow[]> {
  const town = makeTown(suite, meterCount, Math.ceil(meterCount / metersOfGroup));
  const [first] = town;
  if (!first) throw new TypeError('a town has groups');
  const folder = mkdtempSync(join(tmpdir(), 'gridring-meters-'));
  const server = database === 'postgres' ? await startPostgresServer({ folder }) : undefined;
  try {
    const dataDir = join(folder, 'backend/data');
    const place = { dataDir, ...(server && { database: server.url }) };
    const config = writeBackend(first, join(folder, 'backend'), place);
    await fill(town, { ...place, suite: suite.name });
    const backend = await startBackend(config);
    try {
      const requests = await measureRequests(town, first, backend);
      return requests.map((row) => ({
        suite: suite.name,
        database,
        meters: meterCount,
        groups: town.length,
        ...row,
      }));
    } finally {
      await backend.stop();
    }
  } finally {
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Straight into the store: over REST, lists and Things come no faster than is good for a backend. */
async function fill(town: readonly Deployment[], database: BackendDatabase): Promise<void> {
  const stores = await openBackendStores(database);
  for (const group of town) {
    const { list, listHash } = group.membership;
    const row = { version: list.version, revision: list.revision, listHash, publishedS: nowS() };
    await stores.backend.saveMembership(group.gid, row, group.membershipBundle);
    await stores.backend.accept(new Load(group).next(group.meters.length), nowS());
    for (const { id } of group.meters) {
      const entry = { td: tdOf(id), modifiedS: nowS(), ttlS: null, expiresS: null, owner: group.gateway.id };
      await stores.directory.changeEntry(urnOf(id), () => entry);
    }
  }
  await stores.close();
}

const urnOf = (id: string): string => `urn:gridring:meter:${id}`;
const thingUrl = (url: string, id: string): string => `${url}/things/${encodeURIComponent(urnOf(id))}`;
const nameless = JSON.stringify(makeUncallableTd({ id: urnOf('NAME'), title: 'NAME', version: 'bench' }));
const tdOf = (id: string): string => nameless.replaceAll('NAME', id);

type RequestRow = Omit<MetersRow, 'suite' | 'database' | 'meters' | 'groups'>;

async function measureRequests(
  town: readonly Deployment[],
  deployment: Deployment,
  backend: BackendProcess,
): Promise<readonly RequestRow[]> {
  const client = gatewayClient(deployment, backend.url);
  const ids = town.flatMap(({ meters }) => meters.slice(0, 3).map(({ id }) => id));
  const walks: readonly (readonly [string, () => AsyncIterable<number>])[] = [
    ['meters, pages of 100', () => meterPages(client, town)],
    ['things, pages of 100', () => thingPages(backend.url, town)],
    ['one meter', () => each(ids, (id) => client.get(`meters/${id}/readings?last=1`))],
    ['one thing', () => each(ids, async (id) => (await fetch(thingUrl(backend.url, id))).json())],
  ];
  const rows: RequestRow[] = [];
  for (const [request, walk] of walks) {
    const [all, last]: [number[], number[]] = [[], []];
    for (let round = 0; round < rounds; round++) {
      const latencies: number[] = [];
      for await (const latencyMs of walk()) latencies.push(latencyMs);
      all.push(...latencies);
      last.push(...latencies.slice(-Math.ceil(latencies.length / 10)));
    }
    const { rssBytes } = await backend.usage();
    rows.push({
      request,
      requests: all.length,
      p50Ms: quantile(all, 0.5),
      p99Ms: quantile(all, 0.99),
      lastP50Ms: quantile(last, 0.5),
      rssMb: rssBytes / 2 ** 20,
    });
  }
  return rows;
}

async function* each(ids: readonly string[], ask: (id: string) => Promise<unknown>): AsyncGenerator<number> {
  for (const id of ids) {
    yield await timed(async () => {
      await ask(id);
    });
  }
}

interface MetersPage {
  readonly meters: readonly { readonly certHash: string }[];
  readonly next?: string;
}

const countOf = (town: readonly Deployment[]): number => town.reduce((sum, { meters }) => sum + meters.length, 0);

/** @throws Error unless the pages together have every meter once */
async function* meterPages(
  client: ReturnType<typeof gatewayClient>,
  town: readonly Deployment[],
): AsyncGenerator<number> {
  const seen = new Set<string>();
  let count = 0;
  for (let after: string | undefined = ''; after !== undefined;) {
    const query: string = after === '' ? '' : `&after=${after}`;
    const startMs = performance.now();
    const page = (await client.get(`meters?limit=${pageMeters}${query}`)) as MetersPage;
    yield performance.now() - startMs;
    for (const { certHash } of page.meters) seen.add(certHash);
    count += page.meters.length;
    after = page.next;
  }
  requireAll([seen.size, count], town);
}

/** @throws Error unless the pages together have every Thing once */
async function* thingPages(url: string, town: readonly Deployment[]): AsyncGenerator<number> {
  const seen = new Set<string>();
  let count = 0;
  for (let path: string | undefined = '/things'; path !== undefined;) {
    const startMs = performance.now();
    const response: Response = await fetch(url + path);
    const things = (await response.json()) as readonly { readonly id: string }[];
    yield performance.now() - startMs;
    // Backend and directory are Things too.
    const meters = things.filter(({ id }) => id.startsWith(urnOf('')));
    for (const { id } of meters) seen.add(id);
    count += meters.length;
    path = /<([^>]*)>; rel="next"/.exec(response.headers.get('link') ?? '')?.[1];
  }
  requireAll([seen.size, count], town);
}

function requireAll(found: readonly number[], town: readonly Deployment[]): void {
  if (found.some((count) => count !== countOf(town))) throw new Error(`not every one once, but ${found.join(' and ')}`);
}
