/**
 * Uploads through the REST API of real backend processes, beside the same rows put straight into the same kind of
 * database. Both take turns, so that whatever else the machine does slows both.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { encodeUpload, verifyReceipt } from '../../crypto/envelope/reading.js';
import type { Suite, SuiteName } from '../../crypto/suite.js';
import type { StoredEntry } from '../../things/stores.js';
import { makeDeployment, random, type Deployment } from '../deployment.js';
import { quantile } from '../statistics.js';
import { gatewayClient, startBackend, writeBackend, type BackendProcess, type Usage } from './backends.js';
import { Load } from './load.js';
import { startPostgresServer, type PostgresServer } from '../postgres-server.js';
import { openRawPostgres, openRawSqlite, type RawDatabase } from './raw.js';

export type DatabaseKind = 'sqlite' | 'postgres';

export interface IngestRow {
  readonly suite: SuiteName;
  readonly database: DatabaseKind;
  readonly backends: number;
  /** Readings in an upload. */
  readonly batch: number;
  readonly readings: number;
  readonly perSecond: number;
  /** Of an upload, from the request until its receipt is verified. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Processor time of all backends for a reading. */
  readonly cpuUs: number;
  /** Of the largest backend, at the end. */
  readonly rssMb: number;
  /** Rows that the same database takes in a second. */
  readonly rawPerSecond: number;
  readonly toRaw: number;
  /** Signatures that one core verifies in a second, and does nothing else. */
  readonly verifiedPerSecond: number;
  readonly toVerified: number;
}

export interface IngestPlan {
  readonly suite: Suite;
  readonly database: DatabaseKind;
  /** One where the database is SQLite's. */
  readonly backends: number;
  readonly batch: number;
  readonly readings: number;
  /** Uploads that are under way at once. */
  readonly connections: number;
}

/** Sealed at once, then uploaded: what it costs to seal is no part of the measurement. */
const readingsOfRound = 10_000;
const metersOfLoad = 50;

/** @returns a row for all, and what was so far after each tenth */
export async function measureIngest(plan: IngestPlan, progress: (row: IngestRow) => void): Promise<IngestRow> {
  const folder = mkdtempSync(join(tmpdir(), 'gridring-ingest-'));
  const backends: BackendProcess[] = [];
  let server: PostgresServer | undefined;
  let raw: RawDatabase | undefined;
  try {
    const deployment = makeDeployment(plan.suite, metersOfLoad);
    server = plan.database === 'postgres' ? await startPostgresServer({ folder }) : undefined;
    const database = server ? { database: server.url } : {};
    const config = writeBackend(deployment, join(folder, 'backend'), { dataDir: 'data', ...database });
    for (let i = 0; i < plan.backends; i++) backends.push(await startBackend(config));
    raw = server ? await openRawPostgres(server.url) : openRawSqlite(folder);
    return await run(plan, deployment, backends, raw, progress);
  } finally {
    await Promise.all(backends.map((backend) => backend.stop()));
    await raw?.close();
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function run(
  plan: IngestPlan,
  deployment: Deployment,
  backends: readonly BackendProcess[],
  raw: RawDatabase,
  progress: (row: IngestRow) => void,
): Promise<IngestRow> {
  const load = new Load(deployment);
  const upload = await uploaderOf(deployment, backends);
  const latencies: number[] = [];
  const verify = verifications(deployment);
  let [stored, wallMs, rawMs, verifyMs, rounds, cpuUs, rssBytes, reported] = [0, 0, 0, 0, 0, 0, 0, 0];
  const row = (): IngestRow => ({
    suite: plan.suite.name,
    database: plan.database,
    backends: plan.backends,
    batch: plan.batch,
    readings: stored,
    perSecond: (stored / wallMs) * 1_000,
    p50Ms: quantile(latencies, 0.5),
    p99Ms: quantile(latencies, 0.99),
    cpuUs: cpuUs / stored,
    rssMb: rssBytes / 2 ** 20,
    rawPerSecond: (stored / rawMs) * 1_000,
    toRaw: rawMs / wallMs,
    verifiedPerSecond: ((rounds * verificationsOfRound) / verifyMs) * 1_000,
    toVerified: (stored / wallMs) * (verifyMs / (rounds * verificationsOfRound)),
  });
  while (stored < plan.readings) {
    const readings = load.next(Math.min(readingsOfRound, plan.readings - stored));
    const batches = cut(readings, plan.batch);
    const before = await usageOf(backends);
    wallMs += await timed(() => uploadAll(batches, plan.connections, upload, latencies));
    const after = await usageOf(backends);
    rawMs += await timed(() => inTurn(batches, (batch) => raw.insert(batch)));
    verifyMs += await timed(verify);
    rounds += 1;
    cpuUs += after.cpuUs - before.cpuUs;
    rssBytes = after.rssBytes;
    stored += readings.length;
    if (stored - reported >= plan.readings / 10 && stored < plan.readings) {
      progress(row());
      reported = stored;
    }
  }
  return row();
}

const verificationsOfRound = 1_000;

/** The least that a reading costs: one signature over as many bytes, by a key that is at hand. */
function verifications({ suite, meters }: Deployment): () => Promise<void> {
  const [meter] = meters;
  if (!meter) throw new TypeError('a load needs meters');
  const verifier = suite.verifier(meter.signer.publicKey);
  const data = random(readingBytes);
  const signature = meter.signer.sign(data);
  return async () => {
    for (let i = 0; i < verificationsOfRound; i++) verifier.verify(data, signature);
  };
}

const readingBytes = 340;

const cut = <T>(items: readonly T[], size: number): readonly (readonly T[])[] =>
  Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));

export async function timed(work: () => Promise<void>): Promise<number> {
  const startMs = performance.now();
  await work();
  return performance.now() - startMs;
}

async function inTurn<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (const item of items) await work(item);
}

async function usageOf(backends: readonly BackendProcess[]): Promise<Usage> {
  const all = await Promise.all(backends.map((backend) => backend.usage()));
  return {
    cpuUs: all.reduce((sum, { cpuUs }) => sum + cpuUs, 0),
    rssBytes: Math.max(...all.map(({ rssBytes }) => rssBytes)),
  };
}

type Uploader = (readings: readonly StoredEntry[]) => Promise<void>;

/** Uploads go to the backends in turn. */
async function uploaderOf(deployment: Deployment, backends: readonly BackendProcess[]): Promise<Uploader> {
  const { suite, gateway } = deployment;
  const clients = backends.map(({ url }) => gatewayClient(deployment, url));
  const [first] = clients;
  if (!first) throw new TypeError('no backend');
  await first.publishMembership(deployment.membershipBundle);
  const receiver = await first.certificate();
  let turn = 0;
  return async (readings) => {
    const message = encodeUpload({ grants: [], readings: readings.map((reading) => reading.message) });
    const receipt = await (clients[turn++ % clients.length] ?? first).uploadReadings(message);
    verifyReceipt(suite, receiver, gateway.certHash, message, receipt);
  };
}

/** Each connection takes the next batch as soon as its last one is stored, as a gateway does. */
async function uploadAll(
  batches: readonly (readonly StoredEntry[])[],
  connections: number,
  upload: Uploader,
  latencies: number[],
): Promise<void> {
  const waiting = batches.values();
  const connection = async (): Promise<void> => {
    for (const batch of waiting) latencies.push(await timed(() => upload(batch)));
  };
  await Promise.all(Array.from({ length: connections }, connection));
}
