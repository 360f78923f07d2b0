import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { setTimeout as sleep } from 'node:timers/promises';
import { defaultTiming, updateTiming } from 'coap';
import { afterEach, describe, expect, it } from 'vitest';
import { coapClientDefaults } from '../../servients/bindings/coap-client.js';
import { CoapTransport } from '../../servients/bindings/coap-transport.js';
import { noRateLimit, post, RawPeer, rawRequest, runMeter, type RunningMeter } from './coap-things.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const request = {
  id: 7,
  code: post,
  path: ['meter-m-1', 'actions', 'echo'],
  options: [[12, 18]],
  payload: Buffer.of(1),
} as const;

/** An action that answers when it is told to. */
function holdEcho(running: RunningMeter): () => void {
  let answer: (bytes: Uint8Array) => void = () => undefined;
  const answered = new Promise<Uint8Array>((resolve) => {
    answer = resolve;
  });
  running.echo = () => answered;
  return () => {
    answer(Uint8Array.of(9));
  };
}

describe('a request that comes again', () => {
  let running: RunningMeter;
  let peer: RawPeer;

  const start = async (): Promise<void> => {
    running = await runMeter({ limits: { rate: noRateLimit } });
    peer = await RawPeer.open(running.port);
  };
  afterEach(async () => {
    peer.close();
    await running.servient.shutdown();
    defaultTiming();
  });

  it('runs a quick action once and gets the same reply again', async () => {
    await start();
    const first = await peer.ask(request);
    const again = await peer.ask(request);
    expect(first).toMatchObject({ type: 'ack', code: '2.04' });
    expect(again).toEqual(first);
    expect(running.received).toHaveLength(1);
    expect(running.counters.drops).toEqual(['duplicate']);
  });

  it('runs a slow action once: retransmissions are acknowledged, and the response comes separately', async () => {
    await start();
    const answer = holdEcho(running);
    expect(await peer.ask(request)).toMatchObject({ type: 'ack', code: '0.00', messageId: 7 });
    expect(await peer.ask(request)).toMatchObject({ type: 'ack', code: '0.00', messageId: 7 });
    answer();
    const response = await peer.next();
    expect(response).toMatchObject({ type: 'con', code: '2.04', token: Buffer.of(1), payload: Buffer.of(9) });
    expect(await peer.ask(request)).toMatchObject({ type: 'ack', code: '0.00', messageId: 7 });
    expect(running.received).toHaveLength(1);
  });

  it('runs a non-confirmable request once', async () => {
    await start();
    await peer.ask({ ...request, type: 'non' });
    await peer.ask({ ...request, type: 'non' });
    expect(running.received).toHaveLength(1);
  });

  it('is another request when token, message id or sender differ', async () => {
    await start();
    const other = await RawPeer.open(running.port);
    await peer.ask(request);
    await peer.ask({ ...request, id: 8 });
    await peer.ask({ ...request, token: Buffer.of(2) });
    await other.ask(request);
    expect(running.received).toHaveLength(4);
    other.close();
  });

  it('is a new request after the exchange lifetime', async () => {
    await start();
    await running.servient.shutdown();
    running = await runMeter({ limits: { exchangeLifetimeMs: 20 } });
    peer.send(rawRequest(request), running.port);
    await peer.next();
    await sleep(40);
    peer.send(rawRequest(request), running.port);
    await peer.next();
    expect(running.received).toHaveLength(2);
  });

  it('survives a client that never acknowledges a separate response', async () => {
    updateTiming({ ackTimeout: 0.02, maxRetransmit: 2, maxLatency: 0.02 });
    await start();
    const answer = holdEcho(running);
    await peer.ask(request);
    answer();
    while (!running.counters.drops.includes('undelivered')) await sleep(5);
    expect(peer.arrived).toBe(4);
    running.echo = async (bytes) => bytes;
    peer.send(rawRequest({ ...request, id: 8 }));
    expect(await peer.next()).toMatchObject({ code: '2.04' });
  });

  it('may be under way when the server stops: the answer goes nowhere, and no timer is left', async () => {
    await start();
    const answer = holdEcho(running);
    peer.send(rawRequest(request));
    while (running.received.length === 0) await sleep(1);
    await running.server.stop();
    answer();
    await sleep(80);
    expect(peer.arrived).toBe(0);
    expect(running.counters.failures).toEqual([]);
    await running.servient.shutdown();
    await start();
  });
});

it('runs no more handlers at once than it is told to, and says that it is busy', async () => {
  const running = await runMeter({ limits: { running: 2 } });
  const peer = await RawPeer.open(running.port);
  const answer = holdEcho(running);
  for (const id of [1, 2, 3]) peer.send(rawRequest({ ...request, id }));
  expect(await peer.next()).toMatchObject({ messageId: 3, code: '5.03' });
  answer();
  peer.close();
  await running.servient.shutdown();
});

interface Used {
  readonly heap: number;
  readonly sockets: number;
  readonly timers: number;
}

function used(): Used {
  collectGarbage();
  const resources = process.getActiveResourcesInfo();
  const count = (wanted: string): number => resources.filter((name) => name === wanted).length;
  return { heap: process.memoryUsage().heapUsed, sockets: count('UDPWRAP'), timers: count('Timeout') };
}

/** 3,000 responses that the library kept for 202 seconds would be above 15 MB, and 3,000 timers. */
function expectNoGrowth(before: Used, after: Used): void {
  expect(after.sockets).toBe(before.sockets);
  expect(after.timers).toBeLessThan(before.timers + 20);
  expect(after.heap - before.heap).toBeLessThan(3_000_000);
}

it('the server keeps no memory, socket or timer for 3,000 requests', async () => {
  const running = await runMeter({ limits: { rate: noRateLimit, exchanges: 1_000 } });
  const peer = await RawPeer.open(running.port);
  const some = async (from: number, to: number): Promise<void> => {
    for (let id = from; id < to; id += 50) {
      for (let i = 0; i < 50; i++) peer.send(rawRequest({ id: id + i, path: ['meter-m-1', 'properties', 'identity'] }));
      for (let i = 0; i < 50; i++) await peer.nextBytes();
    }
    peer.senders.length = 0;
  };
  await some(0, 1_000);
  const before = used();
  await some(1_000, 4_000);
  expectNoGrowth(before, used());
  peer.close();
  await running.servient.shutdown();
}, 60_000);

it('the client keeps no memory, socket or timer for thousands of requests', async () => {
  const running = await runMeter({ limits: { rate: noRateLimit, exchanges: 100 } });
  const transport = new CoapTransport(coapClientDefaults);
  const url = `${running.origin}/meter-m-1/properties/identity`;
  const some = async (count: number): Promise<void> => {
    const one = async (): Promise<void> => {
      for (let i = 0; i < count / 20; i++) await transport.request({ url, method: 'GET', options: [] });
    };
    await Promise.all(Array.from({ length: 20 }, one));
  };
  await some(1_000);
  const before = used();
  await some(2_000);
  expectNoGrowth(before, used());
  transport.close();
  await running.servient.shutdown();
}, 60_000);
