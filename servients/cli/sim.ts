/** `gridring sim`: a bad network between two programs, whichever they are; the same seed makes the same network. */
import { lookup } from 'node:dns/promises';
import { isIP, SocketAddress } from 'node:net';
import { InvalidArgumentError, type Command } from 'commander';
import { SetupError } from '../../crypto/errors.js';
import { noImpairment, type Counts, type Impairment } from '../sim/impairment.js';
import type { Endpoint, LinkPlan } from '../sim/link.js';
import type { Range } from '../sim/random.js';
import { startSimulator, type Simulator } from '../sim/simulator.js';
import { rate, timeRange } from './options.js';
import { eventPrinter, exitCodes } from './output.js';
import { stopRequested } from './stop.js';

export interface ImpairmentOptions {
  readonly loss?: number;
  readonly delay?: Range;
  /** True where the option stands without a value. */
  readonly reorder?: number | true;
  readonly duplicate?: number | true;
  readonly seed: string;
}

interface Options extends ImpairmentOptions {
  readonly udp: readonly Route[];
  readonly tcp: readonly Route[];
  readonly json?: true;
}

interface Route {
  readonly listen: Endpoint;
  readonly host: string;
  readonly port: number;
}

const usualRate = 0.05;
const countsPeriodMs = 5_000;

export const addImpairmentOptions = (command: Command): Command =>
  command
    .option('--loss <share>', 'datagrams that are lost, each way, such as 20%', rate)
    .option('--delay <time>', 'how long each way takes, such as 300ms or 50..400ms', timeRange)
    .option('--reorder [share]', 'datagrams that others overtake; without a share, 5%', rate)
    .option('--duplicate [share]', 'datagrams that come twice; without a share, 5%', rate)
    .option('--seed <text>', 'the same seed makes the same decisions', '1');

export const impairmentOf = ({ loss, delay, reorder, duplicate }: ImpairmentOptions): Impairment => ({
  lossRate: loss ?? noImpairment.lossRate,
  delayMs: delay ?? noImpairment.delayMs,
  reorderRate: reorder === true ? usualRate : (reorder ?? noImpairment.reorderRate),
  duplicateRate: duplicate === true ? usualRate : (duplicate ?? noImpairment.duplicateRate),
});

export function addSim(program: Command): void {
  const collect = (text: string, before: readonly Route[]): readonly Route[] => [...before, route(text)];
  const command = program
    .command('sim')
    .description('stand between programs as a bad network: loss, delay, reordering, duplicates, from a seed')
    .option(
      '--udp <route>',
      'port to listen on and where to pass it on, [address:]port:host:port; repeatable',
      collect,
      [],
    )
    .option('--tcp <route>', 'the same for TCP', collect, [])
    .option('--json', 'print events as JSON');
  addImpairmentOptions(command)
    .addHelpText(
      'after',
      `
Example: gridring sim --udp 5683:127.0.0.1:15683 --loss 20% --delay 50..400ms --seed 7

Each direction is impaired by itself. Decisions follow from the seed, the port, the direction, and the order in which
clients appear. TCP repairs loss: there it is a pause of 1 s, 3 s, 7 s … as its retransmission takes, and reordering and
duplicates do not apply.`,
    )
    .action(simulate);
}

async function simulate(options: Options): Promise<void> {
  const { udp, tcp, seed, json } = options;
  if (udp.length + tcp.length === 0) {
    throw new SetupError('route-missing', 'nothing to stand between: --udp 5683:127.0.0.1:15683, for example');
  }
  const emit = eventPrinter(json ?? false, describe);
  const links = await Promise.all([
    ...udp.map((given) => linkOf('udp', given)),
    ...tcp.map((given) => linkOf('tcp', given)),
  ]);
  const simulator = await startSimulator({ links, impairment: impairmentOf(options), seed });
  for (const { protocol, listen, target } of simulator.links) emit({ event: 'listening', protocol, listen, target });
  emit({ event: 'sim-started', links: simulator.links.length, seed, ...impairmentOf(options) });
  const timer = setInterval(whenChanged(simulator, emit), countsPeriodMs);
  const stopping = stopRequested();
  stopping.started();
  await stopping.asked;
  clearInterval(timer);
  const { counts } = simulator;
  await simulator.close();
  emit({ event: 'stopped', role: 'sim', ...counts });
  process.exit(exitCodes.done);
}

function whenChanged(simulator: Simulator, emit: ReturnType<typeof eventPrinter>): () => void {
  let before = simulator.counts;
  return () => {
    if (simulator.counts !== before) emit({ event: 'counts', ...simulator.counts });
    before = simulator.counts;
  };
}

const routeForm = /^(?:(\[[0-9a-f:.%]+\]|[0-9.]+):)?(\d{1,5}):(\[[0-9a-f:.%]+\]|[^\s:[\]]+):(\d{1,5})$/i;

function route(text: string): Route {
  const [, address = '127.0.0.1', listenPort = '', host = '', port = ''] = routeForm.exec(text) ?? [];
  const listen = { address: unbracketed(address), port: Number(listenPort) };
  if (
    isIP(listen.address) === 0 ||
    listenPort === '' ||
    listen.port > 65_535 ||
    !(Number(port) > 0) ||
    Number(port) > 65_535
  ) {
    throw new InvalidArgumentError('[address:]port:host:port is needed, such as 5683:127.0.0.1:15683.');
  }
  return { listen, host: unbracketed(host), port: Number(port) };
}

const unbracketed = (host: string): string => host.replace(/^\[(.*)\]$/, '$1');

/** @throws SetupError `host-unknown` */
async function linkOf(protocol: LinkPlan['protocol'], { listen, host, port }: Route): Promise<LinkPlan> {
  try {
    const { address, family } = await lookup(host);
    const { address: canonical } = new SocketAddress({ address, family: family === 6 ? 'ipv6' : 'ipv4' });
    return { protocol, listen, target: { address: canonical, port } };
  } catch (cause) {
    throw new SetupError('host-unknown', `no address is known of ${host}; check the name`, cause);
  }
}

const shown = ({ address, port }: Endpoint): string =>
  isIP(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`;

type Event = Parameters<ReturnType<typeof eventPrinter>>[0];

function describe(event: Event): string | undefined {
  switch (event.event) {
    case 'listening': {
      const { protocol, listen, target } = event as unknown as LinkPlan;
      return `${protocol} ${shown(listen)} → ${shown(target)}`;
    }
    case 'sim-started':
      return `seed ${String(event['seed'])}; Ctrl-C stops it`;
    case 'counts':
    case 'stopped':
      return describeCounts(event as unknown as Counts);
    default:
      return undefined;
  }
}

export const describeCounts = (c: Counts): string =>
  `${c.forwarded} forwarded, ${c.lost} lost, ${c.delayed} delayed, ${c.reordered} reordered, ${c.duplicated} duplicated, ${c.overflowed} dropped for want of room`;
