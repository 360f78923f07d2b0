/** The processes of a demonstration: started, killed and started again, and stopped. */
import { join } from 'node:path';
import { UnavailableError } from '../../crypto/errors.js';
import type { Runtime, RuntimeEvent } from '../runtime.js';
import { startRole, type RoleProcess } from './processes.js';
import type { DemoPlan, Deployment } from './provision.js';

export type Role = 'backend' | 'gateway' | 'meter' | 'sim';

/** What a role prints when it is ready. */
const readyEvents = {
  backend: 'backend-started',
  gateway: 'gateway-started',
  meter: 'meters-started',
  sim: 'sim-started',
} as const;

/** The last resort: roles deliver what they have for half a second, and a busy machine must not cut that short. */
const killAfterMs = 3_000;

export class Cast {
  readonly #plan: DemoPlan;
  readonly #deployment: Deployment;
  readonly #runtime: Runtime;
  readonly #stop: AbortSignal;
  readonly #ended = new AbortController();
  readonly #onEvent: (event: RuntimeEvent) => void;
  readonly #processes = new Map<Role, RoleProcess>();

  /** Nothing is started once `stop` is aborted. */
  constructor(
    plan: DemoPlan,
    deployment: Deployment,
    runtime: Runtime,
    stop: AbortSignal,
    onEvent: (event: RuntimeEvent) => void,
  ) {
    this.#plan = plan;
    this.#deployment = deployment;
    this.#runtime = runtime;
    this.#stop = stop;
    this.#onEvent = onEvent;
  }

  /** Aborted when a process has ended that nobody had told to. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /** Resolves when it is ready. @throws SetupError, UnavailableError */
  async start(role: Role): Promise<void> {
    if (this.#stop.aborted) throw new UnavailableError('demo-stopped', 'stopped before everything had started');
    this.#onEvent({ event: 'starting', role });
    const child = startRole(
      role,
      this.#arguments(role),
      join(this.#plan.folder, 'logs'),
      (event) => {
        this.#onEvent(event);
        if (event.event !== 'stopped' && event.event !== 'error') this.#runtime.emit(event);
      },
      (ended, code) => {
        this.#runtime.emit({ event: 'role-ended', role: ended, exitCode: code });
        this.#ended.abort();
      },
    );
    this.#processes.set(role, child);
    await child.event(readyEvents[role]);
  }

  /** Kills without warning, and starts again when `meanwhile` is done. */
  async crash(role: Role, meanwhile: () => Promise<void> = async () => undefined): Promise<void> {
    await this.#processes.get(role)?.crash();
    await meanwhile();
    await this.start(role);
  }

  /** Of the process that plays the role now. */
  pidOf(role: Role): number | undefined {
    return this.#processes.get(role)?.pid;
  }

  /** @returns the role's last event; undefined when it was not there or had to be killed */
  async end(role: Role): Promise<RuntimeEvent | undefined> {
    return this.#processes.get(role)?.stop(killAfterMs);
  }

  async endAll(): Promise<void> {
    await Promise.all([...this.#processes.values()].map((child) => child.stop(killAfterMs)));
  }

  #arguments(role: Role): readonly string[] {
    if (role !== 'sim') return ['--config', this.#deployment.configs[role]];
    const { network, seed } = this.#plan;
    const routes = this.#deployment.links.flatMap(({ protocol, listen, target }) => [
      `--${protocol}`,
      `${listen.address}:${listen.port}:${target.address}:${target.port}`,
    ]);
    if (!network) return [...routes, '--seed', seed];
    const { lossRate, delayMs, reorderRate, duplicateRate } = network;
    const percent = (rate: number): string => `${rate * 100}%`;
    const impairment = [
      ...['--loss', percent(lossRate), '--delay', `${delayMs.min}..${delayMs.max}ms`],
      ...['--reorder', percent(reorderRate), '--duplicate', percent(duplicateRate)],
    ];
    return [...routes, ...impairment, '--seed', seed];
  }
}
