/** The program as its users start it: real processes of what the build has made, watched by what they print. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { RuntimeEvent } from '../../servients/runtime.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
export const program = join(root, 'dist/servients/cli/main.js');

/** A test of an old build would tell nothing of the code beside it. */
function assertBuilt(): void {
  const built = statSync(program, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const newer = ['crypto', 'td', 'things', 'servients', 'bench', 'soak']
    .flatMap((folder) => readdirSync(join(root, folder), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() && statSync(join(entry.parentPath, entry.name)).mtimeMs > built)
    .map(({ name }) => name);
  if (newer.length > 0) throw new Error(`dist is older than ${newer.join(', ')}: npm run build`);
}
assertBuilt();

export interface Ended {
  /** Undefined when a signal ended it. */
  readonly code: number | undefined;
  readonly out: string;
  readonly errors: string;
}

export interface Running {
  readonly pid: number;
  /** What it has printed on standard output, as far as that was JSON. */
  readonly events: readonly RuntimeEvent[];
  readonly ended: Promise<Ended>;
  /** The first event of the name that fits, past or to come. @throws Error with all output when the process ends before */
  event(name: string, fits?: (event: RuntimeEvent) => boolean): Promise<RuntimeEvent>;
  /** Standard error so far: the log of a role. */
  log(): string;
  /** Sends the signal and waits for the end. */
  end(signal?: NodeJS.Signals): Promise<Ended>;
}

const children = new Set<ChildProcess>();

/** For the end of a test file: nothing of it goes on. */
export async function endAll(): Promise<void> {
  const closed = [...children].map((child) => once(child, 'close'));
  for (const child of children) child.kill('SIGKILL');
  await Promise.all(closed);
}

/** Starts `gridring` with the arguments. */
export const start = (...args: readonly string[]): Running => startCommand([process.execPath, program, ...args]);

/** Starts `npm run soak` with the arguments. */
export const startSoak = (...args: readonly string[]): Running =>
  startCommand([process.execPath, join(root, 'dist/soak/main.js'), ...args]);

/** Runs `npm run bench` with the arguments to its end. */
export const runBench = (...args: readonly string[]): Promise<Ended> =>
  startCommand([process.execPath, join(root, 'dist/bench/main.js'), ...args]).ended;

/** Runs `gridring` to its end. */
export const run = (...args: readonly string[]): Promise<Ended> => start(...args).ended;

export function startCommand(
  [command = '', ...args]: readonly string[],
  options: { readonly cwd?: string } = {},
): Running {
  const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  children.add(child);
  const events: RuntimeEvent[] = [];
  const listeners = new Set<() => void>();
  let [out, errors] = ['', ''];
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  createInterface({ input: child.stdout }).on('line', (line) => {
    out += `${line}\n`;
    const event = parseEvent(line);
    if (event) events.push(event);
    for (const listener of listeners) listener();
  });
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      children.delete(child);
      resolve({ code: code ?? undefined, out, errors });
      for (const listener of listeners) listener();
    });
  });
  return {
    pid: child.pid ?? -1,
    events,
    ended,
    log: () => errors,
    event: (name, fits = () => true) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const found = events.find((event) => event.event === name && fits(event));
          if (found) resolve(found);
          else if (children.has(child)) return;
          else reject(new Error(`ended without the event ${name}:\n${out}${errors}`));
          listeners.delete(look);
        };
        listeners.add(look);
        look();
      }),
    end: (signal = 'SIGTERM') => {
      child.kill(signal);
      return ended;
    },
  };
}

function parseEvent(line: string): RuntimeEvent | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? (value as RuntimeEvent) : undefined;
  } catch {
    return undefined;
  }
}

/** Of all processes that have the text in their command line. */
export const processesWith = (text: string): readonly number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => commandLine(pid).includes(text))
    .map(Number);

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

/** The first of so many ports in a row that are free now, for UDP and TCP; below those that the kernel gives out. */
export async function freePorts(count: number): Promise<number> {
  const slots = Math.floor(12_000 / count);
  for (;;) {
    const first = 20_000 + Math.floor(Math.random() * slots) * count;
    const free = await Promise.all(Array.from({ length: count }, (_, i) => isFree(first + i)));
    if (free.every(Boolean)) return first;
  }
}

async function isFree(port: number): Promise<boolean> {
  const [tcp, udp] = [createServer(), createSocket('udp4')];
  try {
    await Promise.all([
      once(tcp.listen(port, '127.0.0.1'), 'listening'),
      once(udp.bind(port, '127.0.0.1'), 'listening'),
    ]);
    return true;
  } catch {
    return false;
  } finally {
    tcp.close();
    udp.close();
  }
}
