import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { noImpairment, type Impairment } from '../../../servients/sim/impairment.js';
import type { LinkLimits } from '../../../servients/sim/link.js';
import { startSimulator, type Simulator } from '../../../servients/sim/simulator.js';

const address = '127.0.0.1';
const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function udpSocket(): Promise<Socket & { readonly port: number; readonly received: readonly string[] }> {
  const socket = createSocket('udp4');
  const received: string[] = [];
  socket.on('message', (datagram) => received.push(datagram.toString()));
  await once(socket.bind(0, address), 'listening');
  closing.push(
    () =>
      new Promise<void>((resolve) => {
        socket.once('close', resolve);
        try {
          socket.close();
        } catch {
          resolve();
        }
      }),
  );
  return Object.assign(socket, { port: socket.address().port, received });
}

async function simulate(
  protocol: 'udp' | 'tcp',
  targetPort: number,
  impairment: Partial<Impairment>,
  limits: Partial<LinkLimits> = {},
): Promise<Simulator & { readonly port: number }> {
  const link = { protocol, listen: { address, port: 0 }, target: { address, port: targetPort } } as const;
  const simulator = await startSimulator({
    links: [link],
    impairment: { ...noImpairment, ...impairment },
    seed: '7',
    limits,
  });
  closing.push(() => simulator.close());
  return Object.create(simulator, { port: { value: simulator.links[0]!.listen.port } }) as Simulator & {
    readonly port: number;
  };
}

const numbers = Array.from({ length: 60 }, (_, i) => `n${i}`);

describe('a UDP link', () => {
  /** Sends through a simulator of its own, one after the other, until all decisions are made. */
  async function sendAll(impairment: Partial<Impairment>): Promise<readonly string[]> {
    const [target, client] = [await udpSocket(), await udpSocket()];
    const simulator = await simulate('udp', target.port, impairment);
    for (const [i, number] of numbers.entries()) {
      client.send(number, simulator.port, address);
      await vi.waitFor(
        () => {
          const { forwarded, lost, duplicated } = simulator.counts;
          expect(forwarded + lost - duplicated).toBe(i + 1);
        },
        { interval: 1 },
      );
    }
    await vi.waitFor(() => {
      expect(target.received).toHaveLength(simulator.counts.forwarded);
    });
    return target.received;
  }

  it('passes everything on where nothing is asked of it', async () => {
    expect(await sendAll({})).toEqual(numbers);
  });

  it('loses and doubles the same datagrams again under the same seed', async () => {
    const first = await sendAll({ lossRate: 0.3, duplicateRate: 0.2 });
    expect(new Set(first).size).toBeLessThan(numbers.length);
    expect(first.length).toBeGreaterThan(new Set(first).size);
    expect(await sendAll({ lossRate: 0.3, duplicateRate: 0.2 })).toEqual(first);
  });

  it('gives each client its own answers', async () => {
    const target = await udpSocket();
    target.on('message', (datagram, { port }) => {
      target.send(`re ${datagram.toString()}`, port, address);
    });
    const clients = [await udpSocket(), await udpSocket(), await udpSocket()];
    const { port } = await simulate('udp', target.port, { delayMs: { min: 1, max: 20 } });
    for (const [i, client] of clients.entries()) client.send(`from ${i}`, port, address);
    await vi.waitFor(() => {
      expect(clients.map(({ received }) => received)).toEqual([['re from 0'], ['re from 1'], ['re from 2']]);
    });
  });

  it('forgets the client that has been silent longest rather than holding ever more', async () => {
    const target = await udpSocket();
    const from = new Set<number>();
    target.on('message', (_, { port }) => {
      from.add(port);
    });
    const clients = await Promise.all(Array.from({ length: 4 }, udpSocket));
    const simulator = await simulate('udp', target.port, {}, { flows: 3 });
    for (const client of [...clients, clients[3]!, clients[0]!]) {
      const before = simulator.counts.forwarded;
      client.send('x', simulator.port, address);
      await vi.waitFor(
        () => {
          expect(simulator.counts.forwarded).toBe(before + 1);
        },
        { interval: 1 },
      );
    }
    // The last client keeps its place; the first comes back as a new one.
    await vi.waitFor(() => {
      expect(from.size).toBe(5);
    });
  });

  it('drops what there is no room for, and says so', async () => {
    const [target, client] = [await udpSocket(), await udpSocket()];
    const simulator = await simulate('udp', target.port, { delayMs: { min: 50, max: 50 } }, { bufferedBytes: 1_000 });
    for (let i = 0; i < 30; i++) client.send(Buffer.alloc(100), simulator.port, address);
    await vi.waitFor(() => {
      expect(simulator.counts).toMatchObject({ forwarded: 10, overflowed: 20 });
    });
  });

  it('goes on where nobody listens behind it', async () => {
    const [gone, client] = [await udpSocket(), await udpSocket()];
    const simulator = await simulate('udp', gone.port, {});
    gone.close();
    for (const expected of [1, 2, 3]) {
      client.send('x', simulator.port, address);
      await vi.waitFor(
        () => {
          expect(simulator.counts.forwarded).toBe(expected);
        },
        { interval: 1 },
      );
    }
  });
});

describe('a TCP link', () => {
  async function echo(): Promise<Server & { readonly port: number }> {
    const server = createServer({ allowHalfOpen: true }, (socket) => socket.on('error', () => undefined).pipe(socket));
    await once(server.listen(0, address), 'listening');
    closing.push(() => server.close());
    return Object.assign(server, { port: (server.address() as AddressInfo).port });
  }
  const sent = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7 + (i >> 8)) % 251));

  it('carries every byte in its order both ways, however late, and ends when they end', async () => {
    const { port } = await simulate('tcp', (await echo()).port, { delayMs: { min: 0, max: 20 }, reorderRate: 0.5 });
    const client = connect({ port, host: address, allowHalfOpen: true });
    client.end(sent);
    expect((await buffer(client)).equals(sent)).toBe(true);
  });

  it('refuses connections beyond its room', async () => {
    const simulator = await simulate('tcp', (await echo()).port, {}, { flows: 2 });
    const clients = [1, 2, 3].map(() => connect(simulator.port, address).on('error', () => undefined));
    closing.push(() => {
      for (const client of clients) client.destroy();
    });
    await vi.waitFor(() => {
      expect(simulator.counts.overflowed).toBe(1);
    });
  });

  it('ends a connection whose target cannot be reached', async () => {
    const server = await echo();
    const simulator = await simulate('tcp', server.port, {});
    server.close();
    const client = connect(simulator.port, address).on('error', () => undefined);
    await once(client, 'close');
  });
});

it('a simulator of which one port is taken starts nothing', async () => {
  const taken = await udpSocket();
  const free = await udpSocket();
  free.close();
  const links = [free.port, taken.port].map(
    (port) => ({ protocol: 'udp', listen: { address, port }, target: { address, port: 9 } }) as const,
  );
  await expect(startSimulator({ links, impairment: noImpairment, seed: '' })).rejects.toMatchObject({
    code: 'port-unusable',
  });
  const again = createSocket('udp4');
  await once(again.bind(free.port, address), 'listening');
  again.close();
});
