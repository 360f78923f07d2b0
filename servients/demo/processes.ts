/** Roles as child processes: their events come as JSON lines, their logs go to files, and they end when told or orphaned. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createWriteStream, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { SetupError, UnavailableError } from '../../crypto/errors.js';
import type { RuntimeEvent } from '../runtime.js';

export interface RoleProcess {
  readonly pid: number;
  /** Resolves with the first event of this name. @throws SetupError, UnavailableError when the process ends before */
  event(name: string): Promise<RuntimeEvent>;
  /** Told to stop. @returns its last event; undefined when it had to be killed */
  stop(killAfterMs: number): Promise<RuntimeEvent | undefined>;
  /** Killed without warning, as by a failure of power. */
  crash(): Promise<void>;
}

const program = fileURLToPath(new URL('../cli/main.js', import.meta.url));

/** Starts `gridring <role> <args>`; `onEvent` hears every event, `onExit` of an end that nobody asked for. */
export function startRole(
  role: string,
  args: readonly string[],
  logFolder: string,
  onEvent: (event: RuntimeEvent) => void,
  onExit: (role: string, code: number | null) => void,
): RoleProcess {
  mkdirSync(logFolder, { recursive: true });
  // In a group of its own, so that Ctrl-C reaches the parent alone, which stops the roles in their order; the channel
  // ends the child when the parent is killed.
  const child = spawn(process.execPath, [program, role, ...args, '--json'], {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    detached: true,
  });
  child.stderr?.pipe(createWriteStream(join(logFolder, `${role}.log`), { flags: 'a' }));
  return watch(role, child, onEvent, onExit);
}

function watch(
  role: string,
  child: ChildProcess,
  onEvent: (event: RuntimeEvent) => void,
  onExit: (role: string, code: number | null) => void,
): RoleProcess {
  const seen = new Map<string, RuntimeEvent>();
  const waiting = new Map<string, (event: RuntimeEvent) => void>();
  let stopping = false;
  const exited = new Promise<number | null>((resolve) => {
    child.once('close', (code) => {
      resolve(code);
      if (!stopping) onExit(role, code);
    });
  });
  if (child.stdout) {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const event = parseEvent(line);
      if (!event) return;
      seen.set(event.event, event);
      waiting.get(event.event)?.(event);
      onEvent(event);
    });
  }
  return {
    pid: child.pid ?? -1,
    event: (name) =>
      Promise.race([
        new Promise<RuntimeEvent>((resolve) => {
          const known = seen.get(name);
          if (known) resolve(known);
          else waiting.set(name, resolve);
        }),
        exited.then(() => {
          throw endedEarly(role, seen.get('error'));
        }),
      ]),
    stop: async (killAfterMs) => {
      stopping = true;
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), killAfterMs);
      await exited;
      clearTimeout(timer);
      return seen.get('stopped');
    },
    crash: async () => {
      stopping = true;
      child.kill('SIGKILL');
      await exited;
    },
  };
}

function parseEvent(line: string): RuntimeEvent | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null && 'event' in value ? (value as RuntimeEvent) : undefined;
  } catch {
    return undefined;
  }
}

function endedEarly(role: string, error: RuntimeEvent | undefined): Error {
  if (error && typeof error['code'] === 'string')
    return new SetupError(error['code'], `${role}: ${String(error['message'])}`);
  return new UnavailableError('role-ended', `the ${role} ended before it was ready; its log says why`);
}
