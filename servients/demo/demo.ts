/** The neighbourhood in one go: the cast, the processes in their order, a reader that checks, and an honest summary. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BackendClient } from '../backend-client.js';
import { readReaderFile } from '../reader-file.js';
import { Reader } from '../reader.js';
import { codeOf, type Runtime, type RuntimeEvent } from '../runtime.js';
import { startRole, type RoleProcess } from './processes.js';
import { provisionDemo, type DemoPlan, type Deployment } from './provision.js';
import { Witness, type Tally } from './witness.js';

export type DemoSummary = Tally & {
  readonly event: 'summary';
  readonly readingsSent: number;
  readonly members: number;
  readonly confirmed: number;
  readonly epoch: number;
  readonly attempt: number;
  readonly agreementMs: number;
  /** Readings that stand in the outboxes of meters and gateway: they are sent after the next start. */
  readonly readingsPending: number;
  readonly readingsLost: number;
  readonly ok: boolean;
};

interface MeterResult {
  readonly id: string;
  readonly lastSequence: number;
  readonly pendingReadings: number;
}

/** How long a role has to stop: together less than two seconds, the reader's last look included. */
const killAfterMs = { meter: 900, gateway: 800, backend: 800 };
const witnessPeriodMs = 1_000;

/** Runs until `stop` is aborted or a role ends by itself. @throws SetupError, UnavailableError when it cannot start */
export async function runDemo(plan: DemoPlan, runtime: Runtime, stop: AbortSignal): Promise<DemoSummary> {
  const started = performance.now();
  const deployment = provisionDemo(plan);
  runtime.emit({
    event: 'provisioned',
    folder: plan.folder,
    created: deployment.created,
    ms: performance.now() - started,
  });
  const failed = new AbortController();
  const over = AbortSignal.any([stop, failed.signal]);
  const roles: RoleProcess[] = [];
  let epoch: RuntimeEvent | undefined;
  const start = (role: 'backend' | 'gateway' | 'meter'): RoleProcess => {
    const child = startRole(
      role,
      deployment.configs[role],
      join(plan.folder, 'logs'),
      (event) => {
        if (event.event === 'epoch') epoch = event;
        if (event.event !== 'stopped' && event.event !== 'error') runtime.emit(event);
      },
      (ended, code) => {
        runtime.emit({ event: 'role-ended', role: ended, exitCode: code });
        failed.abort();
      },
    );
    roles.push(child);
    return child;
  };
  try {
    const backend = start('backend');
    await backend.event('backend-started');
    await publishMembership(deployment, plan);
    const reader = new Reader(readReaderFile(deployment.readers.utility));
    const witness = new Witness(reader, await reader.meters());
    const [gateway, meters] = [start('gateway'), start('meter')];
    await Promise.all([gateway.event('gateway-started'), meters.event('meters-started')]);
    runtime.emit({ event: 'running', backendUrl: deployment.backendUrl, readers: deployment.readers });
    await watch(witness, runtime, over);
    return await finish({ backend, gateway, meters }, witness, plan.meters, () => epoch);
  } finally {
    await Promise.all(roles.map((role) => role.stop(500)));
  }
}

/** The command line's part: what the authority signed is published; no process holds its key. */
async function publishMembership({ membership, backendUrl }: Deployment, { suite }: DemoPlan): Promise<void> {
  const token = async (): Promise<string> => '';
  const client = new BackendClient({ suite, trustedRoots: [], url: backendUrl, token });
  await client.publishMembership(new Uint8Array(readFileSync(membership)));
}

async function watch(witness: Witness, { emit, log }: Runtime, over: AbortSignal): Promise<void> {
  const stopped = new Promise<void>((resolve) => {
    if (over.aborted) resolve();
    over.addEventListener('abort', () => {
      resolve();
    });
  });
  while (!over.aborted) {
    try {
      await witness.look();
      emit({ event: 'readings', ...witness.tally });
    } catch (error) {
      log.warn({ code: codeOf(error), err: error }, 'the reader could not look');
    }
    await Promise.race([stopped, new Promise((resolve) => setTimeout(resolve, witnessPeriodMs).unref())]);
  }
}

/** Meters first, then the gateway, then a last look at what the backend holds, then the backend. */
async function finish(
  {
    backend,
    gateway,
    meters,
  }: { readonly backend: RoleProcess; readonly gateway: RoleProcess; readonly meters: RoleProcess },
  witness: Witness,
  members: number,
  newestEpoch: () => RuntimeEvent | undefined,
): Promise<DemoSummary> {
  const meterEnd = await meters.stop(killAfterMs.meter);
  const gatewayEnd = await gateway.stop(killAfterMs.gateway);
  await witness.look();
  await backend.stop(killAfterMs.backend);
  const results = (meterEnd?.['meters'] ?? []) as readonly MeterResult[];
  const readingsSent = results.reduce((sum, { id, lastSequence }) => sum + lastSequence - witness.startOf(id), 0);
  const atMeters = results.reduce((sum, { pendingReadings }) => sum + pendingReadings, 0);
  const readingsPending = atMeters + Number(gatewayEnd?.['pendingReadings'] ?? 0);
  const { readingsStored, readingsOpened, chainBreaks } = witness.tally;
  const readingsLost = readingsSent - readingsStored - readingsPending;
  const epoch = newestEpoch();
  const confirmed = Number(epoch?.['confirmed'] ?? 0);
  const stoppedInOrder = meterEnd !== undefined && gatewayEnd !== undefined;
  return {
    event: 'summary',
    members,
    confirmed,
    epoch: Number(epoch?.['epoch'] ?? 0),
    attempt: Number(epoch?.['attempt'] ?? 0),
    agreementMs: Math.round(Number(epoch?.['agreementMs'] ?? 0)),
    readingsSent,
    readingsStored,
    readingsOpened,
    readingsPending,
    readingsLost,
    chainBreaks,
    ok:
      confirmed === members &&
      readingsLost === 0 &&
      chainBreaks === 0 &&
      readingsOpened === readingsStored &&
      stoppedInOrder,
  };
}
