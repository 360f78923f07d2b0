/** The neighbourhood in one go: the cast, the processes in their order, a reader that checks, and an honest summary. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { UnavailableError } from '../../crypto/errors.js';
import { BackendClient } from '../backend-client.js';
import { readReaderFile } from '../reader-file.js';
import { Reader } from '../reader.js';
import { codeOf, type Runtime, type RuntimeEvent } from '../runtime.js';
import { startRole, type RoleProcess } from './processes.js';
import { provisionDemo, type DemoPlan, type Deployment } from './provision.js';
import { noTally, Witness, type Tally } from './witness.js';

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
  readonly epoch: number;
}

/** The last resort: roles deliver what they have for half a second, and a busy machine must not cut that short. */
const killAfterMs = 3_000;
const witnessPeriodMs = 1_000;

interface Cast {
  readonly backend: RoleProcess;
  readonly gateway: RoleProcess;
  readonly meters: RoleProcess;
  readonly witness: Witness;
}

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
    if (stop.aborted) throw new UnavailableError('demo-stopped', 'stopped before everything had started');
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
    const starting = startCast(deployment, plan, start);
    const cast = await Promise.race([starting, aborted(stop)]);
    if (!cast) {
      starting.catch(() => undefined);
      return summaryOf({
        members: plan.meters,
        epoch,
        confirmed: 0,
        sent: 0,
        pending: 0,
        tally: noTally,
        inOrder: false,
      });
    }
    runtime.emit({ event: 'running', backendUrl: deployment.backendUrl, readers: deployment.readers });
    await watch(cast.witness, runtime, over);
    return await finish(cast, plan.meters, () => epoch);
  } finally {
    await Promise.all(roles.map((role) => role.stop(killAfterMs)));
  }
}

async function startCast(
  deployment: Deployment,
  plan: DemoPlan,
  start: (role: 'backend' | 'gateway' | 'meter') => RoleProcess,
): Promise<Cast> {
  const backend = start('backend');
  await backend.event('backend-started');
  await publishMembership(deployment, plan);
  const reader = new Reader(readReaderFile(deployment.readers.utility));
  const witness = new Witness(reader, await reader.meters());
  const [gateway, meters] = [start('gateway'), start('meter')];
  await Promise.all([gateway.event('gateway-started'), meters.event('meters-started')]);
  return { backend, gateway, meters, witness };
}

const aborted = (signal: AbortSignal): Promise<undefined> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    signal.addEventListener('abort', () => {
      resolve(undefined);
    });
  });

/** The command line's part: what the authority signed is published; no process holds its key. */
async function publishMembership({ membership, backendUrl }: Deployment, { suite }: DemoPlan): Promise<void> {
  const token = async (): Promise<string> => '';
  const client = new BackendClient({ suite, trustedRoots: [], url: backendUrl, token });
  await client.publishMembership(new Uint8Array(readFileSync(membership)));
}

async function watch(witness: Witness, { emit, log }: Runtime, over: AbortSignal): Promise<void> {
  const stopped = aborted(over);
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
  { backend, gateway, meters, witness }: Cast,
  members: number,
  newestEpoch: () => RuntimeEvent | undefined,
): Promise<DemoSummary> {
  const meterEnd = await meters.stop(killAfterMs);
  const gatewayEnd = await gateway.stop(killAfterMs);
  await witness.look();
  await backend.stop(killAfterMs);
  const results = (meterEnd?.['meters'] ?? []) as readonly MeterResult[];
  const epoch = newestEpoch();
  const atMeters = results.reduce((sum, { pendingReadings }) => sum + pendingReadings, 0);
  return summaryOf({
    members,
    epoch,
    confirmed: results.filter((meter) => epoch !== undefined && meter.epoch === epoch['epoch']).length,
    sent: results.reduce((sum, { id, lastSequence }) => sum + lastSequence - witness.startOf(id), 0),
    pending: atMeters + Number(gatewayEnd?.['pendingReadings'] ?? 0),
    tally: witness.tally,
    inOrder: meterEnd !== undefined && gatewayEnd !== undefined,
  });
}

interface Outcome {
  readonly members: number;
  readonly epoch: RuntimeEvent | undefined;
  /** Meters that have its key: those that sleep too, whom the gateway does not hear of. */
  readonly confirmed: number;
  readonly sent: number;
  /** In outboxes: some of it may be stored already, where a receipt was on its way at the end. */
  readonly pending: number;
  readonly tally: Tally;
  /** Whether every role has told its last. */
  readonly inOrder: boolean;
}

function summaryOf({ members, epoch, confirmed, sent, pending, tally, inOrder }: Outcome): DemoSummary {
  const { readingsStored, readingsOpened, chainBreaks } = tally;
  const missing = Math.max(0, sent - readingsStored);
  const readingsPending = Math.min(missing, pending);
  const readingsLost = missing - readingsPending;
  return {
    event: 'summary',
    members,
    confirmed,
    epoch: Number(epoch?.['epoch'] ?? 0),
    attempt: Number(epoch?.['attempt'] ?? 0),
    agreementMs: Math.round(Number(epoch?.['agreementMs'] ?? 0)),
    readingsSent: sent,
    readingsStored,
    readingsOpened,
    readingsPending,
    readingsLost,
    chainBreaks,
    ok:
      confirmed === members && readingsLost === 0 && chainBreaks === 0 && readingsOpened === readingsStored && inOrder,
  };
}
