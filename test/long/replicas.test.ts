/** Backend processes on one PostgreSQL database, killed and restarted while gateways upload and readers listen. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { makeDeployment, nowS } from '../../bench/deployment.js';
import { audience, writeBackend } from '../../bench/ingest/backends.js';
import { Load } from '../../bench/ingest/load.js';
import { parseCertificate } from '../../crypto/certificate.js';
import { encodeUpload } from '../../crypto/envelope/reading.js';
import { UnavailableError } from '../../crypto/errors.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { BackendClient } from '../../servients/backend-client.js';
import { fetchAs } from '../../servients/issuer-client.js';
import { dataOf, readEvents } from '../servients/event-reader.js';
import { startPostgres } from '../support/postgres.js';
import { endAll, program, startCommand, type Running } from '../support/processes.js';

const server = await startPostgres();
const folder = mkdtempSync(join(tmpdir(), 'gridring-replicas-'));
afterAll(async () => {
  await endAll();
  await server?.stop();
  rmSync(folder, { recursive: true });
});

const deployment = makeDeployment(suiteX25519, 4);
const { suite, root, gateway } = deployment;
const [certificate] = gateway.certificates.map((der) => parseCertificate(suite, der));
if (certificate?.role !== 'gateway') throw new Error('the gateway has a certificate');
const send = fetchAs({ suite, ...gateway, certificate }, audience, [root.der], nowS);

interface Replica extends Running {
  readonly client: BackendClient;
  listen(lastEventId?: string): Promise<ReturnType<typeof readEvents>>;
}

async function startReplica(config: string, database: string): Promise<Replica> {
  const args = [process.execPath, program, 'backend', '--config', config, '--json', '--log-level', 'warn'];
  const running = startCommand(['env', `DATABASE_URL=${database}`, ...args]);
  const url = String((await running.event('backend-started'))['url']);
  return {
    ...running,
    client: new BackendClient({ suite, trustedRoots: [root], url, fetch: send }),
    listen: async (lastEventId) =>
      readEvents(
        await send(`${url}/api/v1/events/memberships`, {
          headers: {
            accept: 'text/event-stream',
            ...(lastEventId !== undefined && { 'last-event-id': lastEventId }),
          },
        }),
      ),
  };
}

/** Uploads until it is told to stop, and each upload until a replica has taken it, as a gateway does behind a balancer. */
class Gateways {
  /** In service, the one that is asked first at the front. */
  replicas: readonly Replica[];
  readonly #load = new Load(deployment);
  /** Readings that a replica has acknowledged. */
  acknowledged = 0;
  /** What a client that tries again must never see. */
  readonly errors: unknown[] = [];
  #stopped = false;

  constructor(...replicas: readonly Replica[]) {
    this.replicas = replicas;
  }

  async run(connections: number): Promise<void> {
    await Promise.all(Array.from({ length: connections }, (_, i) => this.#upload(i)));
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Waits until so many more were acknowledged. */
  async more(count: number): Promise<void> {
    for (const goal = this.acknowledged + count; this.acknowledged < goal && this.errors.length === 0;) await sleep(5);
  }

  async #upload(connection: number): Promise<void> {
    for (let turn = connection; !this.#stopped; turn++) {
      const readings = this.#load.next(6);
      await this.#deliver(encodeUpload({ grants: [], readings: readings.map(({ message }) => message) }), turn);
      this.acknowledged += readings.length;
      await sleep(25);
    }
  }

  async #deliver(message: Uint8Array, turn: number): Promise<void> {
    for (let attempt = turn; ; attempt++) {
      try {
        await this.replicas[attempt % this.replicas.length]!.client.uploadReadings(message);
        return;
      } catch (error) {
        if (!(error instanceof UnavailableError)) this.errors.push(error);
        if (this.errors.length > 0) return;
        await sleep(5);
      }
    }
  }
}

describe.skipIf(server === undefined)('backends on one database', () => {
  it('lose and double nothing when one is killed and the other restarted, and resume a stream of events', async () => {
    const database = await server!.newDatabase();
    const config = writeBackend(deployment, folder, { dataDir: 'data' });
    const [first, second] = await Promise.all([startReplica(config, database), startReplica(config, database)]);
    await first.client.publishMembership(deployment.membershipBundle);
    const stream = await first.listen();
    await second.client.publishMembership(deployment.nextList(deployment.meters));
    const id = /^id: (\S+)\ndata/m.exec(await stream.until('"listVersion":2'))![1]!;

    const gateways = new Gateways(first, second);
    const uploads = gateways.run(3);
    await gateways.more(60);
    await first.end('SIGKILL');
    await stream.rest();
    await gateways.more(60);
    await second.client.publishMembership(deployment.nextList(deployment.meters));
    const resumed = await second.listen(id);
    expect(dataOf(await resumed.until('"listVersion":3'))).toMatchObject([{ listVersion: 3 }]);

    const third = await startReplica(config, database);
    gateways.replicas = [third, second];
    await gateways.more(60);
    const { code } = await second.end('SIGTERM');
    expect(code).toBe(0);
    expect(dataOf(await resumed.rest())).toHaveLength(1);
    await gateways.more(60);
    gateways.stop();
    await uploads;

    expect(gateways.errors).toEqual([]);
    const [stored] = await server!.run(
      database,
      `SELECT count(*)::integer AS entries, count(DISTINCT (meter, sequence))::integer AS sequences,
         sum((previous_hash = before)::integer)::integer AS chained,
         (SELECT sum(readings)::integer FROM meter) AS counted, (SELECT count(*)::integer FROM meter) AS meters
       FROM (SELECT *, lag(hash) OVER (PARTITION BY meter ORDER BY sequence) AS before FROM reading) AS entry`,
    );
    const all = gateways.acknowledged;
    expect(stored).toEqual({ entries: all, sequences: all, chained: all - 4, counted: all, meters: 4 });
  });
});
