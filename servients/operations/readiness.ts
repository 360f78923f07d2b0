/** Whether a process can do its work now: it has started, is not about to stop, and has what it needs. */
import { statfs } from 'node:fs/promises';
import { codeOf } from '../runtime.js';

export interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly detail?: string;
}

/** Resolves where all is well; what it throws, or the text that it gives, says what is not. */
type Probe = () => Promise<string | undefined>;

export class Readiness {
  readonly #probes = new Map<string, Probe>();
  #state: 'starting' | 'started' | 'stopping' = 'starting';

  /** One of the same name takes the place of the one before: what it is of was started anew. */
  add(name: string, probe: Probe): void {
    this.#probes.set(name, probe);
  }

  started(): void {
    if (this.#state === 'starting') this.#state = 'started';
  }

  /** What had stopped begins anew, within the same process. */
  again(): void {
    this.#state = 'starting';
  }

  /** From now on whoever balances load sends nothing more; what is under way goes on. */
  drain(): void {
    this.#state = 'stopping';
  }

  async read(): Promise<{ readonly ready: boolean; readonly checks: readonly Check[] }> {
    const running: Check = {
      name: 'running',
      ok: this.#state === 'started',
      ...(this.#state !== 'started' && { detail: this.#state }),
    };
    const checks = [running, ...(await Promise.all([...this.#probes].map(([name, probe]) => checkOf(name, probe))))];
    return { ready: checks.every(({ ok }) => ok), checks };
  }
}

/** Whoever may ask is not told more of an error than its code. */
async function checkOf(name: string, probe: Probe): Promise<Check> {
  try {
    const detail = await probe();
    return detail === undefined ? { name, ok: true } : { name, ok: false, detail };
  } catch (error) {
    return { name, ok: false, detail: codeOf(error) };
  }
}

/** Below this a database cannot be expected to take another hour of writes. */
const leastRoomBytes = 64_000_000;

/** Of the file system of a folder. */
export async function spaceIn(folder: string): Promise<{ readonly freeBytes: number; readonly sizeBytes: number }> {
  const { bavail, blocks, bsize } = await statfs(folder);
  return { freeBytes: bavail * bsize, sizeBytes: blocks * bsize };
}

/** Whether it has room. @returns what is wrong, undefined where nothing is */
export async function roomIn(folder: string): Promise<string | undefined> {
  const { freeBytes } = await spaceIn(folder);
  return freeBytes >= leastRoomBytes ? undefined : `${freeBytes} bytes are free: make room`;
}
