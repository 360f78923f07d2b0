import { createSocket } from 'node:dgram';
import { setTimeout as sleep } from 'node:timers/promises';
import { defaultTiming, updateTiming } from 'coap';
import { Servient } from '@node-wot/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CoapClientFactory } from '../../servients/bindings/coap-client.js';
import { bareMessage, optionNumber, uintValue, type CoapMessage } from '../../servients/bindings/coap-message.js';
import {
  noRateLimit,
  RawPeer,
  rawRequest,
  runClient,
  runMeter,
  type RunningClient,
  type RunningMeter,
} from './coap-things.js';

const keyStatus = ['meter-m-1', 'properties', 'keyStatus'];
const reading = ['meter-m-1', 'events', 'reading'];
const register = [[6, Buffer.alloc(0)]] as const;
const leave = [[6, 1]] as const;
const numberOf = ({ options }: CoapMessage): number => uintValue(options, optionNumber.observe) ?? -1;
const textOf = ({ payload }: CoapMessage): string => payload.toString();

describe('observing, seen from the wire', () => {
  let running: RunningMeter;
  let peer: RawPeer;
  const change = (status: unknown): void => {
    running.status = status;
    running.emitter.propertyChanged('keyStatus');
  };
  const acknowledge = ({ messageId }: CoapMessage): void => {
    peer.send(bareMessage('ack', '0.00', messageId));
  };

  beforeEach(async () => {
    running = await runMeter({ limits: { rate: noRateLimit, backlog: 2 } });
    peer = await RawPeer.open(running.port);
  });
  afterEach(async () => {
    peer.close();
    await running.servient.shutdown();
    defaultTiming();
  });

  it('a property is told at once, then at every change, in rising numbers', async () => {
    const first = await peer.ask({ path: keyStatus, options: register });
    expect(first).toMatchObject({ type: 'ack', code: '2.05', payload: Buffer.from('{"epoch":1}') });
    change({ epoch: 2 });
    const second = await peer.next();
    expect(second).toMatchObject({ type: 'con', token: Buffer.of(1), payload: Buffer.from('{"epoch":2}') });
    expect(numberOf(second)).toBeGreaterThan(numberOf(first));
  });

  it('an event is acknowledged, and its first occurrence is the response', async () => {
    expect(await peer.ask({ path: reading, options: register })).toMatchObject({ type: 'ack', code: '0.00' });
    expect(await peer.ask({ path: reading, options: register })).toMatchObject({ type: 'ack', code: '0.00' });
    running.emitter.event('reading', { n: 1 });
    const first = await peer.next();
    expect(first).toMatchObject({ type: 'con', code: '2.05', token: Buffer.of(1), payload: Buffer.from('{"n":1}') });
    expect(numberOf(first)).toBeGreaterThan(0);
  });

  it('a non-confirmable registration gets confirmable notifications', async () => {
    expect(await peer.ask({ type: 'non', path: keyStatus, options: register })).toMatchObject({ type: 'non' });
    change(2);
    expect(await peer.next()).toMatchObject({ type: 'con', code: '2.05' });
  });

  it('one notification at a time: meanwhile a state keeps its newest value', async () => {
    await peer.ask({ path: keyStatus, options: register });
    for (const status of [2, 3, 4, 5]) {
      change(status);
      await sleep(2);
    }
    const first = await peer.next();
    expect(textOf(first)).toBe('2');
    acknowledge(first);
    const second = await peer.next();
    expect(textOf(second)).toBe('5');
    acknowledge(second);
    await sleep(20);
    expect(peer.arrived).toBe(3);
  });

  it('one notification at a time: events wait in a bounded line, and the oldest is dropped', async () => {
    await peer.ask({ path: reading, options: register });
    for (const n of [1, 2, 3, 4]) running.emitter.event('reading', { n });
    const seen: string[] = [];
    for (let i = 0; i < 3; i++) {
      const notification = await peer.next();
      seen.push(textOf(notification));
      acknowledge(notification);
    }
    expect(seen).toEqual(['{"n":1}', '{"n":3}', '{"n":4}']);
    expect(running.counters.drops).toEqual(['observer-backlog']);
  });

  it('a notification is sent again until it is acknowledged', async () => {
    updateTiming({ ackTimeout: 0.02, maxRetransmit: 4, maxLatency: 1 });
    await peer.ask({ path: reading, options: register });
    running.emitter.event('reading', { n: 1 });
    const first = await peer.next();
    expect(await peer.next()).toEqual(first);
    acknowledge(first);
    await sleep(100);
    const arrived = peer.arrived;
    await sleep(400);
    expect(peer.arrived).toBe(arrived);
  });

  it('whoever answers with a Reset is no observer any more', async () => {
    await peer.ask({ path: keyStatus, options: register });
    change(2);
    const { messageId } = await peer.next();
    peer.send(bareMessage('rst', '0.00', messageId));
    await sleep(20);
    change(3);
    await sleep(20);
    expect(peer.arrived).toBe(2);
  });

  it('whoever stays silent is no observer any more', async () => {
    updateTiming({ ackTimeout: 0.01, maxRetransmit: 1, maxLatency: 0.01 });
    await peer.ask({ path: keyStatus, options: register });
    change(2);
    await sleep(100);
    const arrived = peer.arrived;
    change(3);
    await sleep(30);
    expect(peer.arrived).toBe(arrived);
  });

  it('whoever leaves is told the state once more, and nothing after', async () => {
    await peer.ask({ path: keyStatus, options: register });
    expect(await peer.ask({ id: 2, path: keyStatus, options: leave })).toMatchObject({ type: 'ack', code: '2.05' });
    await peer.ask({ id: 3, token: Buffer.of(3), path: reading, options: register });
    expect(await peer.ask({ id: 4, token: Buffer.of(3), path: reading, options: leave })).toMatchObject({
      code: '2.05',
    });
    change(2);
    running.emitter.event('reading', { n: 1 });
    await sleep(20);
    expect(peer.arrived).toBe(4);
  });

  it('whoever registers again under the same token is one observer', async () => {
    const first = await peer.ask({ id: 1, path: keyStatus, options: register });
    await sleep(10);
    const second = await peer.ask({ id: 2, path: keyStatus, options: register });
    expect(numberOf(second)).toBeGreaterThan(numberOf(first));
    change(2);
    await peer.next();
    await sleep(20);
    expect(peer.arrived).toBe(3);
  });

  it('a change during the registration is told after it', async () => {
    let release: (value: unknown) => void = () => undefined;
    running.status = new Promise((resolve) => (release = resolve));
    peer.send(rawRequest({ path: keyStatus, options: register }));
    await sleep(20);
    change(2);
    await sleep(20);
    release(1);
    expect([textOf(await peer.next()), textOf(await peer.next())]).toEqual(['1', '2']);
  });

  it('a property that cannot be read is refused, and its observer forgotten', async () => {
    const failure = Promise.reject(new Error('no store'));
    failure.catch(() => undefined);
    running.status = failure;
    expect(await peer.ask({ path: keyStatus, options: register })).toMatchObject({ code: '5.00' });
    change(2);
    await sleep(20);
    expect(peer.arrived).toBe(1);
  });

  it('observers of a Thing that is no longer exposed hear nothing more', async () => {
    await peer.ask({ path: keyStatus, options: register });
    await running.thing.destroy();
    running.status = 2;
    expect(await peer.ask({ id: 2, path: keyStatus })).toMatchObject({ code: '4.04' });
  });
});

describe('observing with our own client', () => {
  let running: RunningMeter;
  let client: RunningClient;
  let values: unknown[];
  let errors: Error[];

  const listener: WoT.WotListener = (output) => {
    void output.value().then((value) => values.push(value));
  };
  const onError = (error: Error): void => {
    errors.push(error);
  };
  const until = async (count: number): Promise<void> => {
    while (values.length < count) await sleep(2);
  };

  beforeEach(async () => {
    running = await runMeter({ limits: { rate: noRateLimit } });
    client = await runClient(running, { observeRefreshMs: 60, deadlineMs: 1_000 });
    values = [];
    errors = [];
  });
  afterEach(async () => {
    await client.servient.shutdown();
    await running.servient.shutdown();
  });

  it('gets the state and its changes, and the same state only once however often it registers again', async () => {
    await client.meter.observeProperty('keyStatus', listener, onError);
    await until(1);
    running.status = { epoch: 2 };
    running.emitter.propertyChanged('keyStatus');
    await until(2);
    await sleep(150);
    expect(values).toEqual([{ epoch: 1 }, { epoch: 2 }]);
  });

  it('gets every event, the first one too, large ones and small ones in order', async () => {
    await client.meter.subscribeEvent('reading', listener, onError);
    const sent = Array.from({ length: 6 }, (_, n) => ({ n, text: 'x'.repeat((n % 3) * 2_000) }));
    for (const event of sent) {
      running.emitter.event('reading', event);
      await until(event.n + 1);
    }
    expect(values).toEqual(sent);
    expect(errors).toEqual([]);
  });

  it('stops when it is told to, and the server forgets it', async () => {
    const subscription = await client.meter.observeProperty('keyStatus', listener, onError);
    await until(1);
    await subscription.stop();
    await sleep(20);
    const { length } = running.counters.drops;
    running.emitter.propertyChanged('keyStatus');
    await sleep(20);
    expect(values).toHaveLength(1);
    expect(running.counters.drops).toHaveLength(length);
  });

  it('goes on when the server has restarted and forgotten everybody', async () => {
    await client.meter.subscribeEvent('reading', listener, onError);
    const { port } = running;
    await running.servient.shutdown();
    running = await runMeter({ port, limits: { rate: noRateLimit } });
    while (values.length === 0) {
      running.emitter.event('reading', { n: 7 });
      await sleep(20);
    }
    expect(values[0]).toEqual({ n: 7 });
  });

  it('tells of a server that does not come back', async () => {
    await client.servient.shutdown();
    client = await runClient(running, { observeRefreshMs: 30, deadlineMs: 300 });
    await client.meter.observeProperty('keyStatus', listener, onError);
    await running.servient.shutdown();
    while (errors.length === 0) await sleep(5);
    expect(errors[0]).toMatchObject({ code: 'peer-timeout' });
    running = await runMeter();
  });

  it('is refused at once what is not there, and what cannot be observed', async () => {
    const wot = await client.servient.start();
    const td = running.thing.getThingDescription();
    for (const property of Object.values(td.properties ?? {})) {
      for (const form of property.forms) form.href = form.href.replace('keyStatus', 'identity');
    }
    const astray = await wot.consume(td);
    await expect(astray.observeProperty('keyStatus', listener)).rejects.toMatchObject({ code: 'observe-refused' });
    for (const event of Object.values(td.events ?? {})) for (const form of event.forms) form.href += 's';
    await expect((await wot.consume(td)).subscribeEvent('reading', listener)).rejects.toMatchObject({
      code: 'resource-unknown',
      status: 404,
    });
  });

  it('ignores notifications that are malformed, arrive late or come from somewhere else', async () => {
    await client.servient.shutdown();
    const server = await RawPeer.open();
    client = await consumeAt(server, running.thing.getThingDescription());
    const observed = client.meter.observeProperty('keyStatus', listener, onError);
    const { messageId, token } = await server.next();
    const { port = 0 } = server.senders.at(-1) ?? {};
    const notify = (type: number, id: number, observe: number, value: string): Buffer =>
      Buffer.concat([
        Buffer.of(type | token.length, 0x45, id >> 8, id & 255),
        token,
        Buffer.of(0x61, observe, 0x61, 50, 0xff),
        Buffer.from(value),
      ]);
    server.send(notify(0x60, messageId, 10, '10'), port);
    await observed;
    server.send(notify(0x50, 1, 12, '12'), port);
    server.send(notify(0x50, 2, 11, '11'), port);
    server.send(
      Buffer.concat([Buffer.of(0x50 | token.length, 0x45, 0, 9), token, Buffer.of(0x65, 1, 1, 1, 1, 1)]),
      port,
    );
    const stranger = createSocket('udp4');
    stranger.send(notify(0x50, 3, 13, '13'), port, '127.0.0.1');
    await sleep(20);
    server.send(notify(0x40, 4, 14, '14'), port);
    expect(await server.next()).toMatchObject({ type: 'ack', code: '0.00', messageId: 4 });
    await until(3);
    expect(values).toEqual([10, 12, 14]);
    stranger.close();
    server.close();
  });
});

/** Our client with a TD that leads to a peer that the test plays. */
async function consumeAt(server: RawPeer, td: WoT.ThingDescription): Promise<RunningClient> {
  const servient = new Servient();
  servient.addClientFactory(new CoapClientFactory({ deadlineMs: 1_000 }));
  const wot = await servient.start();
  const keyStatus = { ...td.properties?.['keyStatus'], type: 'integer' };
  const base = `coap://127.0.0.1:${server.port}/meter-m-1/`;
  return { servient, meter: await wot.consume({ ...td, base, properties: { keyStatus } } as WoT.ThingDescription) };
}
