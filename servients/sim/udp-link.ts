/** A UDP port behind which a bad network lies: each client is a flow with a socket of its own towards the target. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv6 } from 'node:net';
import { SetupError } from '../../crypto/errors.js';
import { DatagramPath } from './impairment.js';
import { labelsOf, type Direction, type Endpoint, type Link, type LinkOptions } from './link.js';
import { seededRandom } from './random.js';

interface Flow {
  readonly upstream: Socket;
  readonly there: DatagramPath;
}

/** @throws SetupError `port-unusable` */
export async function openUdpLink(options: LinkOptions): Promise<Link> {
  const { listen } = options.plan;
  const socket = createSocket({ type: socketType(listen), reuseAddr: false });
  try {
    await once(socket.bind(listen.port, listen.address), 'listening');
  } catch (cause) {
    socket.close();
    throw new SetupError(
      'port-unusable',
      `cannot listen on UDP ${listen.address} port ${listen.port}: choose another`,
      cause,
    );
  }
  return new UdpLink(options, socket);
}

const socketType = ({ address }: Endpoint): 'udp4' | 'udp6' => (isIPv6(address) ? 'udp6' : 'udp4');

class UdpLink implements Link {
  readonly listening: Endpoint;
  readonly #options: LinkOptions;
  readonly #socket: Socket;
  /** By the client's address; a Map keeps the order, so the first is the one that has been silent the longest. */
  readonly #flows = new Map<string, Flow>();
  readonly #underWay = new Set<NodeJS.Timeout>();
  #flowsEver = 0;
  #bufferedBytes = 0;

  constructor(options: LinkOptions, socket: Socket) {
    this.#options = options;
    this.#socket = socket;
    this.listening = { address: options.plan.listen.address, port: socket.address().port };
    // Errors of sending are the network's, and a network does not report loss.
    socket.on('error', () => undefined);
    socket.on('message', (datagram, client) => {
      const { upstream, there } = this.#flowOf({ address: client.address, port: client.port });
      const { target } = this.#options.plan;
      this.#pass(datagram, there, () => {
        upstream.send(datagram, target.port, target.address, () => undefined);
      });
    });
  }

  async close(): Promise<void> {
    for (const timer of this.#underWay) clearTimeout(timer);
    for (const { upstream } of this.#flows.values()) upstream.close();
    this.#flows.clear();
    await new Promise<void>((resolve) => this.#socket.close(resolve));
  }

  #flowOf(client: Endpoint): Flow {
    const key = `${client.address} ${client.port}`;
    const flow = this.#flows.get(key) ?? this.#open(client);
    this.#flows.delete(key);
    this.#flows.set(key, flow);
    for (const [oldest, { upstream }] of this.#flows) {
      if (this.#flows.size <= this.#options.limits.flows) break;
      upstream.close();
      this.#flows.delete(oldest);
    }
    return flow;
  }

  #open(client: Endpoint): Flow {
    const { plan, impairment, seed } = this.#options;
    const number = this.#flowsEver++;
    const path = (direction: Direction): DatagramPath =>
      new DatagramPath(impairment, seededRandom(seed, ...labelsOf(plan, number, direction)));
    const back = path('back');
    const upstream = createSocket(socketType(plan.target));
    upstream.on('error', () => undefined);
    upstream.on('message', (datagram, { address, port }) => {
      if (port !== plan.target.port || address !== plan.target.address) return;
      this.#pass(datagram, back, () => {
        this.#socket.send(datagram, client.port, client.address, () => undefined);
      });
    });
    return { upstream, there: path('there') };
  }

  #pass(datagram: Buffer, path: DatagramPath, send: () => void): void {
    const { tally, limits } = this.#options;
    const { fate, reordered } = path.next(performance.now());
    if (fate.length === 0) tally.add('lost');
    if (fate.length === 2) tally.add('duplicated');
    if (reordered) tally.add('reordered');
    for (const delayMs of fate) {
      if (this.#bufferedBytes + datagram.length > limits.bufferedBytes) {
        tally.add('overflowed');
        continue;
      }
      if (delayMs > 0) tally.add('delayed');
      this.#after(delayMs, datagram.length, send);
    }
  }

  #after(delayMs: number, bytes: number, send: () => void): void {
    const arrive = (): void => {
      this.#options.tally.add('forwarded');
      try {
        send();
      } catch {
        // The flow was closed to make room while the datagram was under way.
      }
    };
    if (delayMs === 0) {
      arrive();
      return;
    }
    this.#bufferedBytes += bytes;
    const timer = setTimeout(() => {
      this.#underWay.delete(timer);
      this.#bufferedBytes -= bytes;
      arrive();
    }, delayMs);
    this.#underWay.add(timer);
  }
}
