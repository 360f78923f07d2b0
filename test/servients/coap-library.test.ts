/**
 * What the binding takes from the private side of `coap`. Each of these must be looked at again when the library's
 * version changes, which is why package.json names it exactly.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  Agent,
  defaultTiming,
  ObserveWriteStream,
  OutgoingMessage,
  Server,
  updateTiming,
  type IncomingMessage,
} from 'coap';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CoapAgent, type CoapCall } from '../../servients/bindings/coap-agent.js';
import { CoapGate, type Exchange } from '../../servients/bindings/coap-gate.js';
import { bareMessage, optionNumber, uintOption, type CoapMessage } from '../../servients/bindings/coap-message.js';
import { coapDefaults } from '../../servients/bindings/coap-endpoint.js';
import { Counters, noRateLimit, RawPeer, rawRequest, type RawRequest } from './coap-things.js';

it('the version of the library is the one that the overrides were written for', async () => {
  const manifest = JSON.parse(await readFile('package.json', 'utf8')) as {
    readonly dependencies: { readonly coap: string };
  };
  expect(manifest.dependencies.coap).toBe('1.5.0');
});

it('the members that are overridden and called are there', () => {
  const members = new Map<object, readonly string[]>([
    [Server.prototype, ['handleRequest', '_handle', '_toKey', 'close', 'listen']],
    [Agent.prototype, ['_handle', '_cleanUp', 'abort', 'request']],
    [OutgoingMessage.prototype, ['end']],
    [ObserveWriteStream.prototype, ['_doSend']],
  ]);
  for (const [prototype, names] of members) {
    for (const name of names) expect(typeof Reflect.get(prototype, name), name).toBe('function');
  }
});

describe('the server’s side', () => {
  let gate: CoapGate;
  let peer: RawPeer;
  let exchanges: Exchange[];
  let answer: (exchange: Exchange) => void;

  beforeEach(async () => {
    exchanges = [];
    answer = (exchange) => {
      exchange.reply({ code: '2.05', payload: Buffer.alloc(1_024, 1) });
    };
    gate = new CoapGate('udp4', { ...coapDefaults, rate: noRateLimit }, new Counters(), (exchange) => {
      exchanges.push(exchange);
      answer(exchange);
    });
    await new Promise<void>((resolve) => {
      gate.listen(0, '127.0.0.1', () => {
        resolve();
      });
    });
    peer = await RawPeer.open(gate.port);
  });
  afterEach(() => {
    peer.close();
    gate.close();
  });

  it('every datagram goes through the gate’s own listener', () => {
    expect(gate._sock?.listenerCount('message')).toBe(1);
    expect(Object.hasOwn(CoapGate.prototype, 'handleRequest')).toBe(true);
  });

  it('the library sees no option of a request but Observe, and no code but GET', async () => {
    const seen: IncomingMessage[] = [];
    gate.on('request', (request: IncomingMessage) => seen.push(request));
    const options = [[optionNumber.block1, 0x0e], [optionNumber.block2, 0x06], [optionNumber.observe, 0]] as const; // prettier-ignore
    await peer.ask({ code: 5, path: ['x'], options });
    expect(seen[0]?._packet).toMatchObject({ code: '0.01', options: [] });
    await peer.ask({ id: 2, path: ['x'], options });
    expect(seen[1]?._packet.options).toHaveLength(1);
    expect(exchanges[0]?.message).toMatchObject({ code: '0.05' });
    expect(exchanges.map(({ notifications }) => notifications !== undefined)).toEqual([false, true]);
  });

  it('the library does not cut a payload of one block, and keeps nothing of a piggybacked response', async () => {
    const response = await peer.ask({ path: ['x'] });
    expect(response).toMatchObject({ code: '2.05', options: [], payload: Buffer.alloc(1_024, 1) });
    expect(gate._lru.size).toBe(0);
    expect(gate._block1Cache._cache.size + gate._block2Cache._cache.size).toBe(0);
  });

  it('the library keeps a separate response until it is acknowledged, and only that long', async () => {
    answer = () => undefined;
    await peer.ask({ path: ['x'] });
    exchanges[0]?.reply({ code: '2.05' });
    const { type, messageId } = await peer.next();
    expect(type).toBe('con');
    expect(gate._lru.size).toBe(1);
    peer.send(bareMessage('ack', '0.00', messageId));
    while (gate._lru.size > 0) await sleep(1);
  });

  it('the library tells which notification an acknowledgement is for', async () => {
    let acknowledged = 0;
    let ended = 0;
    answer = ({ notifications }) => {
      notifications?.listen(
        () => acknowledged++,
        () => ended++,
      );
      notifications?.confirm({ code: '2.05', payload: Buffer.of(1) });
      notifications?.notify({ code: '2.05', options: [[optionNumber.etag, Buffer.of(1)]], payload: Buffer.of(2) });
    };
    peer.send(rawRequest({ path: ['x'], options: [[optionNumber.observe, 0]] }));
    const [confirmation, first] = [await peer.next(), await peer.next()];
    expect(confirmation).toMatchObject({ type: 'ack', payload: Buffer.of(1) });
    expect(first).toMatchObject({ type: 'con', payload: Buffer.of(2) });
    peer.send(bareMessage('ack', '0.00', first.messageId));
    while (acknowledged === 0) await sleep(1);
    exchanges[0]?.notifications?.notify({ code: '2.05', payload: Buffer.of(3) });
    const second = await peer.next();
    expect(second.options.map(([number]) => number)).toEqual([optionNumber.observe]);
    peer.send(bareMessage('rst', '0.00', second.messageId));
    while (ended === 0) await sleep(1);
    expect(acknowledged).toBe(1);
    expect(gate._lru.size).toBe(0);
  });
});

describe('the client’s side', () => {
  let peer: RawPeer;
  let agent: CoapAgent;
  let port: number;

  beforeEach(async () => {
    peer = await RawPeer.open();
    const socket = createSocket('udp4');
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    port = socket.address().port;
    agent = new CoapAgent(socket);
  });
  afterEach(() => {
    agent.shutDown();
    peer.close();
    defaultTiming();
  });

  const call = (options: CoapCall['options']): CoapCall & { readonly token: Buffer } => ({
    remote: { address: '127.0.0.1', port: peer.port },
    method: 'GET',
    options,
    token: Buffer.of(7, options.length),
  });
  const answer = ({ messageId, token }: CoapMessage, options: RawRequest['options'], payload: Uint8Array): void => {
    const response = rawRequest({ code: 0x45, id: messageId, token, payload, ...(options && { options }) });
    response[0] = (response[0] ?? 0) | 0x20;
    peer.send(response, port);
  };

  it('block options of a response do not reach the library, and nothing is left in its tables', async () => {
    const asked = agent.exchange(call([[optionNumber.block2, uintOption(6)]]), 2_000);
    const request = await peer.next();
    expect(request.options).toEqual([[optionNumber.block2, Buffer.of(6)]]);
    answer(request, [[optionNumber.block2, 0x0e]], Buffer.alloc(1_024));
    expect((await asked).options).toEqual([[optionNumber.block2, Buffer.of(0x0e)]]);
    await sleep(20);
    expect(peer.arrived).toBe(1);
    expect([agent._msgIdToReq.size, agent._tkToReq.size, agent.waiting]).toEqual([0, 0, 0]);
  });

  it('a request is sent again until it is answered, although the library counts no request any more', async () => {
    updateTiming({ ackTimeout: 0.05 });
    const observation = call([[optionNumber.observe, uintOption(0)]]);
    const observed = agent.observe(observation, 2_000, () => undefined);
    answer(await peer.next(), [[optionNumber.observe, 1]], Buffer.of(1));
    await observed;
    const asked = agent.exchange(call([]), 2_000);
    await peer.next();
    agent.forget(observation.token);
    answer(await peer.next(), [], Buffer.of(2));
    expect((await asked).payload).toEqual(Buffer.of(2));
  });
});
