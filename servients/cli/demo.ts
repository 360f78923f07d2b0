/** `gridring demo`: a whole neighbourhood on this machine, as separate processes with real sockets. */
import { Option, type Command } from 'commander';
import { join, relative, resolve } from 'node:path';
import type { Profile } from '../../crypto/membership.js';
import type { SuiteName } from '../../crypto/suite.js';
import { suiteByName } from '../../crypto/suite-node.js';
import { limits } from '../../crypto/limits.js';
import { runDemo, type DemoSummary } from '../demo/demo.js';
import type { DemoPlan } from '../demo/provision.js';
import { makeLog, type RuntimeEvent } from '../runtime.js';
import { softwareVersion } from '../version.js';
import { defaultPort, numberFrom, timeRange, wholeNumber } from './options.js';
import { eventPrinter, exitCodes, printLine } from './output.js';
import type { Range } from '../sim/random.js';
import { addImpairmentOptions, describeCounts, impairmentOf, type ImpairmentOptions } from './sim.js';

interface Options extends ImpairmentOptions {
  readonly clockError?: Range;
  readonly crash?: Range;
  readonly meters: number;
  readonly suite: SuiteName;
  readonly profile: Profile;
  readonly speed: number;
  readonly sleepy: number;
  readonly dataDir: string;
  readonly port: number;
  readonly for?: number;
  readonly json?: true;
}

export function addDemo(program: Command): void {
  const command = program
    .command('demo')
    .description('run a whole neighbourhood here: backend, gateway and meters, real readings, sealed and opened')
    .option('--meters <n>', 'how many meters', wholeNumber(2, limits.ringMembers), 15)
    .addOption(new Option('--suite <name>', 'key types').choices(['x25519', 'p256']).default('x25519'))
    .addOption(
      new Option('--profile <name>', 'what each member verifies: all signatures, or its neighbours’')
        .choices(['full', 'constrained'])
        .default('full'),
    )
    .option('--speed <x>', 'how much faster than life the readings are replayed', numberFrom(1), 60)
    .option(
      '--sleepy <n>',
      'how many meters cannot be called, and wake up every 5 s',
      wholeNumber(0, limits.ringMembers),
      0,
    )
    .option('--data-dir <folder>', 'keys, databases and logs', 'gridring-data')
    .option('--port <n>', 'first of the ports that are used', wholeNumber(1, 65_000), defaultPort)
    .option('--for <seconds>', 'stop by itself, that long after everything has started', numberFrom(1))
    .option('--json', 'print one JSON object a line, the last one a summary')
    .option('--clock-error <time>', 'each meter’s clock is wrong by up to so much, such as 90s', timeRange)
    .option('--crash <time>', 'kill one process after each such time, such as 10..30s, and start it again', timeRange);
  addImpairmentOptions(command)
    .addHelpText(
      'after',
      `
Ports: backend N, gateway N+1 (HTTP) and N+2 (CoAP), meters from N+10.
The folder is kept: a second start goes on with the same identities and the next epoch.
With --loss, --delay, --reorder or --duplicate a simulator has those ports, between gateway and every meter, and what is
behind it listens on ports that are higher by 200.`,
    )
    .action(async (options: Options) => {
      process.exitCode = await demo(options);
    });
}

async function demo(options: Options): Promise<number> {
  const { meters, suite, dataDir, for: forSeconds, json } = options;
  const stop = new AbortController();
  const requestStop = (): void => {
    stop.abort();
  };
  process.once('SIGINT', requestStop);
  process.once('SIGTERM', requestStop);
  const started = performance.now();
  const folder = resolve(dataDir);
  if (!json)
    printLine(`gridring ${softwareVersion()}: ${meters} meters, suite ${suite}, everything in ${show(folder)}\n`);
  const print = eventPrinter(json ?? false, describer(started, meters));
  const emit = (event: RuntimeEvent): void => {
    if (event.event === 'running' && forSeconds !== undefined) setTimeout(requestStop, forSeconds * 1000).unref();
    print(event);
  };
  const plan = planOf(options, folder);
  const summary = await runDemo(plan, { log: makeLog('error'), emit, version: softwareVersion() }, stop.signal);
  emit({ ...summary });
  return summary.ok ? exitCodes.done : exitCodes.failed;
}

function planOf(options: Options, folder: string): DemoPlan {
  const { meters, suite, profile, speed, sleepy, port, seed, loss, delay, reorder, duplicate, clockError, crash } =
    options;
  const isImpaired = [loss, delay, reorder, duplicate].some((option) => option !== undefined);
  return {
    ...{ folder, suite: suiteByName(suite), profile, meters, speed, sleepy, port, seed },
    ...(isImpaired && { network: impairmentOf(options) }),
    ...(clockError && { clockErrorS: clockError.max / 1_000 }),
    ...(crash && { crashEveryMs: crash }),
  };
}

const show = (path: string): string => {
  const short = relative(process.cwd(), path);
  return short.startsWith('..') ? path : `./${short}`;
};

/** One line an event that a person wants to see; the many of one kind are counted into one. */
function describer(started: number, meters: number): (event: RuntimeEvent) => string | undefined {
  let registered = 0;
  let lastReadingsMs = 0;
  const line = (topic: string, text: string): string => {
    const seconds = ((performance.now() - started) / 1000).toFixed(1).padStart(6);
    return `${seconds} s  ${topic.padEnd(10)} ${text}`;
  };
  return (event) => {
    const field = (name: string): string => String(event[name]);
    const number = (name: string): number => Number(event[name]);
    switch (event.event) {
      case 'provisioned':
        return event['created'] === true
          ? line('authority', `CA, certificates and membership list made and signed in ${number('ms').toFixed(0)} ms`)
          : line('authority', 'identities and membership list of the last start taken up again');
      case 'backend-started':
        return [
          line('backend', `${field('url')}, with the directory at ${field('url')}/things`),
          ...(event['firstLogin'] === undefined
            ? []
            : [line('admin', `choose a password once, within a day: ${field('firstLogin')}`)]),
        ].join('\n');
      case 'gateway-started':
        return line('gateway', `coap://127.0.0.1:${field('coapPort')} and http://127.0.0.1:${field('httpPort')}`);
      case 'meters-started':
        return line('meters', `${field('meters')} meters, each with its own certificate, store and port`);
      case 'registered':
        registered += 1;
        return registered === meters + 1
          ? line('directory', `gateway and all ${meters} meters enrolled and registered`)
          : undefined;
      case 'agreement-started':
        return line('ring', `asking ${field('members')} members, found through the directory, for their shares`);
      case 'agreement-failed':
        return line('ring', `no epoch was agreed (${field('code')}); trying again`);
      case 'epoch':
        return line('ring', describeEpoch(event));
      case 'epoch-endorsed':
        return line('backend', `epoch ${field('epoch')} verified from its record and endorsed`);
      case 'sim-started':
        return line('network', `bad on purpose between gateway and meters, by seed ${field('seed')}`);
      case 'crash':
        return line(field('role'), 'killed, and started again');
      case 'settling':
        return line('crashes', 'over; waiting until everybody is keyed again');
      case 'backend-away':
        return line('gateway', `the backend does not answer (${field('code')}); buffering`);
      case 'backend-back':
        return line('gateway', 'the backend answers again');
      case 'running':
        return describeRunning(event, line);
      case 'readings': {
        if (number('readingsStored') === 0 || performance.now() - lastReadingsMs < 5_000) return undefined;
        lastReadingsMs = performance.now();
        return line(
          'readings',
          `${field('readingsStored')} sealed readings stored, ${field('readingsOpened')} opened by their reader`,
        );
      }
      case 'role-ended':
        return line(field('role'), `ended by itself with code ${field('exitCode')}; see its log`);
      case 'summary':
        return describeSummary(event as unknown as DemoSummary);
      default:
        return undefined;
    }
  };
}

function describeEpoch(event: RuntimeEvent): string {
  const [members, confirmed] = [Number(event['members']), Number(event['confirmed'])];
  const agreed = `${confirmed} of ${members} members confirmed one key in ${Number(event['agreementMs']).toFixed(0)} ms`;
  const fetched = confirmed < members ? ', the others fetch the end of it' : '';
  const provisional = event['provisional'] === true ? '; provisional until the backend has verified it' : '';
  return `epoch ${String(event['epoch'])}: ${agreed}${fetched}${provisional}`;
}

function describeRunning(event: RuntimeEvent, line: (topic: string, text: string) => string): string {
  const { utility, household } = event['readers'] as { readonly utility: string; readonly household: string };
  return [
    line('readers', `${show(utility)} opens all meters, ${show(household)} one`),
    line('look', `npx gridring things --directory ${String(event['backendUrl'])}`),
    line('look', `npx gridring read --meter meter-01 --reader ${show(household)}`),
    line('look', `npx gridring epoch show --reader ${show(utility)}`),
    line('logs', `${show(join(utility, '../../logs'))}; Ctrl-C stops everything`),
  ].join('\n');
}

const describeSummary = (s: DemoSummary): string =>
  `
${s.ok ? 'All is well' : 'NOT all is well'}: epoch ${s.epoch}, ${s.confirmed} of ${s.members} members confirmed${s.confirmed > 0 ? ` in ${s.agreementMs} ms` : ''};
${s.readingsSent} readings sent, ${s.readingsStored} stored, ${s.readingsOpened} opened, ${s.readingsPending} waiting, ${s.readingsLost} lost${s.chainBreaks > 0 ? `, ${s.chainBreaks} chain breaks` : ''}.${describeFaults(s)}`;

function describeFaults({ crashes, network }: DemoSummary): string {
  const faults = [
    ...(crashes > 0 ? [`${crashes} processes killed`] : []),
    ...(network ? [`network: ${describeCounts(network)}`] : []),
  ];
  return faults.length > 0 ? `\n${faults.join('; ')}.` : '';
}
