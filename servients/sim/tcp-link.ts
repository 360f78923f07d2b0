/** A TCP port behind which a bad network lies: every connection is made again towards the target, and what it carries is late. */
import { once } from 'node:events';
import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net';
import { SetupError } from '../../crypto/errors.js';
import { StreamPath } from './impairment.js';
import { labelsOf, type Direction, type Endpoint, type Link, type LinkOptions } from './link.js';
import { seededRandom } from './random.js';

/** Bytes of one direction of a connection. */
const mostUnderWay = 65_536;

interface Queue {
  readonly path: StreamPath;
  readonly waiting: (() => void)[];
}

/** @throws SetupError `port-unusable` */
export async function openTcpLink(options: LinkOptions): Promise<Link> {
  const { listen } = options.plan;
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  try {
    await once(server.listen(listen.port, listen.address), 'listening');
  } catch (cause) {
    throw new SetupError(
      'port-unusable',
      `cannot listen on TCP ${listen.address} port ${listen.port}: choose another`,
      cause,
    );
  }
  return new TcpLink(options, server);
}

class TcpLink implements Link {
  readonly listening: Endpoint;
  readonly #options: LinkOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #underWay = new Set<NodeJS.Timeout>();
  #connectionsEver = 0;

  constructor(options: LinkOptions, server: Server) {
    this.#options = options;
    this.#server = server;
    this.listening = { address: options.plan.listen.address, port: (server.address() as AddressInfo).port };
    server.maxConnections = options.limits.flows;
    server.on('drop', () => {
      options.tally.add('overflowed');
    });
    server.on('error', () => undefined);
    server.on('connection', (client) => {
      this.#connected(client);
    });
  }

  async close(): Promise<void> {
    for (const timer of this.#underWay) clearTimeout(timer);
    const closed = once(this.#server.close(), 'close');
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #connected(client: Socket): void {
    const { plan, impairment, seed } = this.#options;
    const connection = this.#connectionsEver++;
    const queue = (direction: Direction): Queue => ({
      path: new StreamPath(impairment, seededRandom(seed, ...labelsOf(plan, connection, direction))),
      waiting: [],
    });
    const [there, back] = [queue('there'), queue('back')];
    this.#watch(client);
    // The segment that opens a connection is late or lost like any other.
    this.#later(there, () => {
      if (client.destroyed) return;
      const upstream = connect({ host: plan.target.address, port: plan.target.port, allowHalfOpen: true });
      this.#watch(upstream);
      for (const [one, other] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        one.once('close', (broken) => {
          if (broken) other.destroy();
        });
      }
      this.#carry(client, upstream, there);
      this.#carry(upstream, client, back);
    });
  }

  #watch(socket: Socket): void {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    // What broke is told by its closing; the other side is closed for it.
    socket.on('error', () => undefined);
    socket.once('close', () => this.#sockets.delete(socket));
  }

  /** Reads no more while too much is under way: TCP's own flow control then slows the sender down. */
  #carry(from: Socket, to: Socket, queue: Queue): void {
    let underWay = 0;
    from.on('data', (chunk) => {
      underWay += chunk.length;
      if (underWay >= mostUnderWay) from.pause();
      this.#later(queue, () => {
        to.write(chunk, () => {
          underWay -= chunk.length;
          if (underWay < mostUnderWay) from.resume();
        });
      });
    });
    from.once('end', () => {
      this.#later(queue, () => to.end());
    });
    from.resume();
  }

  /** Every timer lets the oldest arrive, whichever it is: timers of equal times promise no order, and TCP does. */
  #later({ path, waiting }: Queue, arrive: () => void): void {
    const { tally } = this.#options;
    const { delayMs, losses } = path.next(performance.now());
    if (losses > 0) tally.add('lost', losses);
    if (delayMs > 0) tally.add('delayed');
    waiting.push(arrive);
    const timer = setTimeout(() => {
      this.#underWay.delete(timer);
      tally.add('forwarded');
      waiting.shift()?.();
    }, delayMs);
    this.#underWay.add(timer);
  }
}
