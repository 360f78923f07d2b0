/** Garbage at twice the rate that is let in, against gateway and meters, from addresses of its own, while an honest rekey has to end. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { coapDefaults } from '../servients/bindings/coap-endpoint.js';
import { seededRandom, type SeededRandom } from '../servients/sim/random.js';
import { sleep } from '../servients/runtime.js';
import { makeTargets } from './fuzz/targets.js';
import { mutate } from './fuzz/mutate.js';
import { garbage, type UdpTarget } from './garbage.js';
import { require, type Scenario, type SoakContext } from './scenario.js';
import { Town, townPlan } from './town.js';

const settleMs = 90_000;
/** Of gateway and meters together: what their limits let them keep, and garbage that is not collected yet. */
const mostGrowthBytes = 400_000_000;
const batch = 40;
const hosts = [2, 3, 4].map((host) => `127.0.0.${host}`);
/** To each port: a whole link's worth, and beyond what a server takes from one address. */
const perSecond = 2 * coapDefaults.rate.perSecond * hosts.length;

async function run({ seed, budgetMs, most = Infinity, folder, port, say }: SoakContext): Promise<void> {
  const town = new Town({ ...townPlan(folder, seed, port), speed: 60 });
  town.configureGateway({ windowMs: 500 });
  const stop = new AbortController();
  const endMs = performance.now() + budgetMs;
  try {
    await town.start();
    await town.settled(settleMs);
    const quiet = memoryOf(town);
    const flooding = flood(seed, port, most, stop.signal);
    let [rekeys, longestMs, grownBytes] = [0, 0, 0];
    do {
      await town.cast.crash('gateway');
      longestMs = Math.max(longestMs, await town.settled(settleMs));
      rekeys += 1;
      grownBytes = Math.max(grownBytes, memoryOf(town) - quiet);
    } while (performance.now() < endMs);
    stop.abort();
    const sent = await flooding;
    require(grownBytes < mostGrowthBytes, `memory grew by ${megabytes(grownBytes)} under the flood`);
    say(
      `${sent.datagrams} datagrams and ${sent.requests} HTTP requests of garbage; meanwhile ${rekeys} rekeys, ` +
        `the longest in ${longestMs.toFixed(0)} ms; memory of gateway and meters grew by ${megabytes(grownBytes)}`,
    );
  } finally {
    stop.abort();
    await town.close();
  }
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`;

/** Resident memory of gateway and meters, in bytes. */
function memoryOf({ cast }: Town): number {
  const resident = (['gateway', 'meter'] as const).map((role) => {
    const status = readFileSync(`/proc/${String(cast.pidOf(role))}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1_000;
  });
  return resident.reduce((sum, bytes) => sum + bytes, 0);
}

interface Flood {
  readonly messages: readonly Uint8Array[];
  readonly signal: AbortSignal;
  readonly sent: { datagrams: number; requests: number };
}

/** Until told to stop, or until so many datagrams are sent to each port. */
async function flood(seed: string, port: number, most: number, signal: AbortSignal): Promise<Flood['sent']> {
  const messages = makeTargets().flatMap(({ valid }) => valid);
  const spent = new AbortController();
  const shared = { messages, sent: { datagrams: 0, requests: 0 }, signal: AbortSignal.any([signal, spent.signal]) };
  const udpTargets: readonly UdpTarget[] = [
    { port: port + 2, thing: 'gateway', actions: ['enrol', 'submitReadings', 'submitToken', 'rekey'] },
    { port: port + 10, thing: 'meter-01', actions: ['rekey', 'agree', 'confirm', 'activate', 'updateMembership'] },
    { port: port + 11, thing: 'meter-02', actions: ['rekey', 'agree', 'confirm', 'activate', 'endorse'] },
  ];
  const http = floodHttp(shared, port + 1, seededRandom(seed, 'http'));
  await Promise.all(udpTargets.map((target, i) => floodUdp(shared, target, most, seededRandom(seed, 'udp', i))));
  spent.abort();
  await http;
  return shared.sent;
}

/** From loopback addresses that nobody else has, for servers count by address. */
async function floodUdp(
  { messages, sent, signal }: Flood,
  target: UdpTarget,
  most: number,
  random: SeededRandom,
): Promise<void> {
  const sockets = await Promise.all(hosts.map(openSocket));
  const started = performance.now();
  for (let count = 0; count < most && !signal.aborted; count += batch) {
    for (let i = 0; i < batch; i++) {
      const socket = sockets[Math.floor(random.next() * sockets.length)];
      socket?.send(garbage(target, messages, random), target.port, '127.0.0.1', () => undefined);
    }
    sent.datagrams += batch;
    await sleep(started + (count / perSecond) * 1_000 - performance.now(), signal);
  }
  for (const socket of sockets) socket.close();
}

async function openSocket(address: string): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.on('error', () => undefined);
  await once(socket.bind(0, address), 'listening');
  return socket;
}

async function floodHttp({ messages, sent, signal }: Flood, port: number, random: SeededRandom): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 20 });
  const paths = [
    '/gateway/actions/enrol',
    '/gateway/actions/submitReadings',
    '/%ZZ',
    '//',
    '/gateway/properties/groups',
  ];
  const ask = (): Promise<void> =>
    new Promise((resolve) => {
      const options = { port, host: '127.0.0.1', localAddress: '127.0.0.5', agent, method: 'POST' };
      const headers = { 'content-type': random.next() < 0.5 ? 'application/json' : 'application/cose' };
      const asked = request(
        { ...options, headers, path: paths[Math.floor(random.next() * paths.length)] },
        (response) => {
          response.resume().once('close', resolve);
        },
      );
      asked.once('error', () => {
        resolve();
      });
      asked.end(mutate(random, messages));
    });
  while (!signal.aborted) {
    await Promise.all(Array.from({ length: 10 }, ask));
    sent.requests += 10;
    await new Promise(setImmediate);
  }
  agent.destroy();
}

export const floodScenario: Scenario = { name: 'flood', share: 0.1, run };
