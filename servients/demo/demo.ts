/** The neighbourhood in one go: the cast, the processes in their order, a reader that checks, and an honest summary. */
import { readFileSync } from 'node:fs';
import { parseSign1 } from '../../crypto/cose.js';
import { limits } from '../../crypto/limits.js';
import { memberCount, parseMembershipBundle, parseMembershipList } from '../../crypto/membership.js';
import { BackendClient } from '../backend-client.js';
import { readReaderFile } from '../reader-file.js';
import { Reader } from '../reader.js';
import { codeOf, type Runtime, type RuntimeEvent } from '../runtime.js';
import type { Counts } from '../sim/impairment.js';
import { Cast } from './cast.js';
import { crashNowAndThen, KeyWatch } from './faults.js';
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
  /** Processes that were killed. */
  readonly crashes: number;
  /** What the simulated network did; absent without one. */
  readonly network?: Counts;
  readonly ok: boolean;
};

interface MeterResult {
  readonly id: string;
  readonly readings: number;
  readonly pendingReadings: number;
  readonly epoch: number;
}

const witnessPeriodMs = 1_000;
/** After the last crash: a gateway gathers its members, agrees, and under loss that takes two rounds' deadlines. */
const settleMs = 180_000;

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
  const keys = new KeyWatch();
  // Nothing is restarted once the processes are being ended for good; until then a crash is always followed by a start.
  const closing = new AbortController();
  const cast = new Cast(plan, deployment, runtime, closing.signal, (event) => {
    keys.hear(event);
  });
  try {
    const starting = startAll(cast, deployment, plan);
    const witness = await Promise.race([starting, aborted(stop)]);
    if (!witness) {
      closing.abort();
      starting.catch(() => undefined);
      const nothing = { confirmed: 0, sent: 0, pending: 0, crashes: 0, tally: noTally, inOrder: false };
      return summaryOf({ members: plan.meters, epoch: keys.newest, ...nothing });
    }
    runtime.emit({ event: 'running', backendUrl: deployment.backendUrl, readers: deployment.readers });
    const crashes = await watchAll(cast, witness, plan, runtime, AbortSignal.any([stop, cast.ended]));
    if (crashes > 0 && !cast.ended.aborted) {
      runtime.emit({ event: 'settling' });
      await keys.settled(listedMembers(deployment), settleMs);
    }
    return await finish(cast, witness, { members: listedMembers(deployment), epoch: keys.newest, crashes });
  } finally {
    closing.abort();
    await cast.endAll();
  }
}

async function startAll(cast: Cast, deployment: Deployment, plan: DemoPlan): Promise<Witness> {
  if (plan.network) await cast.start('sim');
  await cast.start('backend');
  await publishMembership(deployment, plan);
  const reader = new Reader(readReaderFile(deployment.readers.utility));
  const witness = new Witness(reader, await reader.meters());
  await Promise.all([cast.start('gateway'), cast.start('meter')]);
  return witness;
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
  const client = new BackendClient({ suite, trustedRoots: [], url: backendUrl });
  await client.publishMembership(new Uint8Array(readFileSync(membership)));
}

/** @returns how many crashes there were */
async function watchAll(
  cast: Cast,
  witness: Witness,
  { crashEveryMs, seed }: DemoPlan,
  runtime: Runtime,
  over: AbortSignal,
): Promise<number> {
  const crashing = crashEveryMs && crashNowAndThen(cast, { everyMs: crashEveryMs, seed }, runtime, over);
  await Promise.all([watch(witness, runtime, over), crashing]);
  return (await crashing) ?? 0;
}

/** Whoever the authority has added or removed meanwhile: its file has the list that it signed last. */
function listedMembers({ membership }: Deployment): number {
  const { listMessage } = parseMembershipBundle(new Uint8Array(readFileSync(membership)));
  return memberCount(parseMembershipList(parseSign1(listMessage, limits.membership).payload));
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
  cast: Cast,
  witness: Witness,
  state: Pick<Outcome, 'members' | 'epoch' | 'crashes'>,
): Promise<DemoSummary> {
  const meterEnd = await cast.end('meter');
  const gatewayEnd = await cast.end('gateway');
  await witness.look();
  await cast.end('backend');
  const network = await cast.end('sim');
  const results = (meterEnd?.['meters'] ?? []) as readonly MeterResult[];
  const atMeters = results.reduce((sum, { pendingReadings }) => sum + pendingReadings, 0);
  return summaryOf({
    ...state,
    confirmed: results.filter(({ epoch }) => epoch === state.epoch?.['epoch']).length,
    sent: results.reduce((sum, { id, readings }) => sum + readings - witness.startOf(id), 0),
    pending: atMeters + Number(gatewayEnd?.['pendingReadings'] ?? 0),
    tally: witness.tally,
    network: network && countsOf(network),
    inOrder: meterEnd !== undefined && gatewayEnd !== undefined,
  });
}

const countsOf = ({ event: _event, role: _role, ...counts }: RuntimeEvent): Counts => counts as unknown as Counts;

interface Outcome {
  readonly members: number;
  readonly epoch: RuntimeEvent | undefined;
  /** Meters that have its key: those that sleep too, whom the gateway does not hear of. */
  readonly confirmed: number;
  readonly sent: number;
  /** In outboxes: some of it may be stored already, where a receipt was on its way at the end. */
  readonly pending: number;
  readonly crashes: number;
  readonly tally: Tally;
  readonly network?: Counts | undefined;
  /** Whether every role has told its last. */
  readonly inOrder: boolean;
}

function summaryOf(outcome: Outcome): DemoSummary {
  const { members, epoch, confirmed, sent, pending, crashes, tally, network, inOrder } = outcome;
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
    crashes,
    ...(network && { network }),
    ok:
      confirmed === members && readingsLost === 0 && chainBreaks === 0 && readingsOpened === readingsStored && inOrder,
  };
}
