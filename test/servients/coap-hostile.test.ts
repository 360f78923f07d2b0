import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseMessage, uintOption } from '../../servients/bindings/coap-message.js';
import { RateLimit } from '../../servients/bindings/rate-limit.js';
import {
  get,
  noRateLimit,
  post,
  RawPeer,
  rawRequest,
  runMeter,
  type RawRequest,
  type RunningMeter,
} from './coap-things.js';

describe('whatever a peer sends, the server goes on serving', () => {
  let running: RunningMeter;
  let peer: RawPeer;

  beforeEach(async () => {
    running = await runMeter({ limits: { rate: noRateLimit } });
    peer = await RawPeer.open(running.port);
  });
  afterEach(async () => {
    peer.close();
    await running.servient.shutdown();
  });

  /** Datagrams may be lost on the way to a busy socket, so a question is asked until it is answered. */
  async function expectServing(): Promise<void> {
    const witness = await RawPeer.open(running.port);
    const question = rawRequest({ path: ['meter-m-1', 'properties', 'identity'] });
    while (witness.arrived === 0) {
      witness.send(question);
      await sleep(20);
    }
    expect(await witness.next()).toMatchObject({ code: '2.05', payload: Buffer.from('"m-1"') });
    expect(running.counters.failures).toEqual([]);
    witness.close();
  }

  async function sendAll(datagrams: Iterable<Uint8Array>): Promise<void> {
    let sent = 0;
    for (const datagram of datagrams) {
      peer.send(datagram);
      if (++sent % 100 === 0) await sleep(1);
    }
  }

  it.each<[string, Uint8Array]>([
    ['an empty datagram', Buffer.alloc(0)],
    ['half a header', Buffer.of(0x40, 1)],
    ['another version', Buffer.of(0x80, 1, 0, 1)],
    ['a token longer than 8 bytes', Buffer.concat([Buffer.of(0x49, 1, 0, 1), Buffer.alloc(9)])],
    ['the extended token length 13', Buffer.concat([Buffer.of(0x4d, 1, 0, 1, 200), Buffer.alloc(213)])],
    ['the reserved token length 15', Buffer.of(0x4f, 1, 0, 1, 1)],
    ['a token that is cut off', Buffer.of(0x48, 1, 0, 1, 1)],
    ['an empty message with a token', Buffer.of(0x41, 0, 0, 1, 1)],
    ['an option of reserved delta', Buffer.of(0x40, 1, 0, 1, 0xf0)],
    ['an option of reserved length', Buffer.of(0x40, 1, 0, 1, 0x0f)],
    ['an option that is cut off', Buffer.of(0x40, 1, 0, 1, 0xb5, 0x61)],
    ['an option whose length is cut off', Buffer.of(0x40, 1, 0, 1, 0xbe, 1)],
    ['a payload marker without payload', Buffer.of(0x40, 1, 0, 1, 0xff)],
  ])('%s is dropped', async (_what, datagram) => {
    peer.send(datagram);
    await expectServing();
    expect(running.counters.drops.filter((reason) => reason !== 'duplicate')).toEqual(['malformed']);
    expect(peer.arrived).toBe(0);
  });

  it.each<[string, RawRequest]>([
    ['Uri-Path %ZZ', { path: ['%ZZ'] }],
    ['Uri-Path that is not UTF-8', { options: [[11, Buffer.of(0xff, 0xfe)]] }],
    ['Uri-Query %ZZ', { path: ['meter-m-1'], options: [[15, Buffer.from('%ZZ')]] }],
    ['GET with Observe on a property', { path: ['meter-m-1', 'properties', 'keyStatus'], options: [[6, 0]] }],
    [
      'GET with Observe on what cannot be observed',
      { path: ['meter-m-1', 'properties', 'identity'], options: [[6, 0]] },
    ],
    ['GET with Observe on nothing', { path: ['nothing'], options: [[6, 0]] }],
    ['POST with Observe', { code: post, path: ['meter-m-1', 'actions', 'forget'], options: [[6, 0]] }],
    ['FETCH with Observe', { code: 5, path: ['meter-m-1', 'properties', 'keyStatus'], options: [[6, 0]] }],
    ['an unknown critical option', { path: ['meter-m-1'], options: [[65_001, 1]] }],
    ['a hundred Uri-Path options', { path: Array.from({ length: 100 }, () => 'x') }],
    ['a request without token', { token: Buffer.alloc(0), path: ['meter-m-1', 'properties', 'identity'] }],
  ])('%s is answered', async (_what, request) => {
    expect((await peer.ask(request)).code).toMatch(/^[245]\./);
    await expectServing();
  });

  it('a reply over 1,152 bytes, as it is and to an observer', async () => {
    running.status = { text: 'x'.repeat(5_000) };
    const path = ['meter-m-1', 'properties', 'keyStatus'];
    expect((await peer.ask({ path })).payload).toHaveLength(1_024);
    const observed = await peer.ask({ id: 2, path, options: [[6, 0]] });
    expect(observed.payload).toHaveLength(1_024);
    running.emitter.propertyChanged('keyStatus');
    expect(await peer.next()).toMatchObject({ type: 'con', code: '2.05' });
    await expectServing();
  });

  it('responses, acknowledgements and Resets that belong to nothing', async () => {
    const strays = [0x60, 0x70, 0x40, 0x50].flatMap((type) => [
      Buffer.of(type, 0, 0, 9),
      Buffer.of(type | 1, 0x45, 0, 9, 1, 0xff, 1),
    ]);
    await sendAll(strays);
    await expectServing();
  });

  it('thousands of random datagrams', async () => {
    await sendAll(Array.from({ length: 3_000 }, (_, i) => randomBytes(i % 120)));
    await expectServing();
  });

  it('thousands of requests with random options, blocks and payloads', async () => {
    const numbers = [1, 3, 4, 6, 7, 11, 12, 14, 15, 17, 23, 27, 28, 35, 60, 258, 292, 2049];
    const anyOption = fc.tuple(fc.constantFrom(...numbers), fc.uint8Array({ maxLength: 5 }));
    const paths = [['actions', 'echo'], ['actions', 'add'], ['properties', 'keyStatus'], ['events', 'reading'], []];
    const requests = fc.record({
      type: fc.constantFrom('con' as const, 'non' as const),
      code: fc.constantFrom(get, post, 3, 4, 5, 6, 7, 30),
      id: fc.nat(0xffff),
      token: fc.uint8Array({ maxLength: 8 }),
      path: fc.constantFrom(...paths).map((rest) => ['meter-m-1', ...rest]),
      options: fc.array(anyOption, { maxLength: 4 }),
      payload: fc.uint8Array({ maxLength: 40 }),
    });
    await sendAll(fc.sample(requests, { numRuns: 3_000, seed: 1 }).map((request) => rawRequest(request)));
    await expectServing();
    expect(process.getActiveResourcesInfo().filter((name) => name === 'UDPWRAP').length).toBeLessThan(5);
  });

  it('a flood of observers: who finds no room is answered without being registered', async () => {
    await running.servient.shutdown();
    running = await runMeter({ limits: { observers: 2, rate: noRateLimit } });
    const path = ['meter-m-1', 'properties', 'keyStatus'];
    const replies = [];
    for (const id of [1, 2, 3]) {
      peer.send(rawRequest({ id, token: Buffer.of(id), path, options: [[6, 0]] }), running.port);
      replies.push(await peer.next());
    }
    expect(replies.map(({ code, options }) => [code, options.some(([number]) => number === 6)])).toEqual([
      ['2.05', true],
      ['2.05', true],
      ['2.05', false],
    ]);
    peer.send(rawRequest({ id: 4, path: ['meter-m-1', 'events', 'reading'], options: [[6, 0]] }), running.port);
    expect(await peer.next()).toMatchObject({ code: '5.03' });
  });
});

describe('a flood from one address', () => {
  const rate = { perSecond: 1, burst: 5, sources: 16 };

  it('is answered 4.29 without payload beyond its tokens, and costs no handler', async () => {
    const running = await runMeter({ limits: { rate } });
    const peer = await RawPeer.open(running.port);
    const codes: string[] = [];
    for (let id = 0; id < 8; id++)
      codes.push((await peer.ask({ id, code: post, path: ['meter-m-1', 'actions', 'forget'] })).code);
    expect(codes).toEqual([...Array<string>(5).fill('2.04'), ...Array<string>(3).fill('4.29')]);
    const refused = await peer.ask({ id: 9, token: Buffer.of(7, 7) });
    expect(refused).toEqual({
      type: 'ack',
      code: '4.29',
      messageId: 9,
      token: Buffer.of(7, 7),
      options: [],
      payload: Buffer.alloc(0),
    });
    expect(running.counters.drops).toEqual(Array<string>(4).fill('rate'));
    peer.close();
    await running.servient.shutdown();
  });

  it('is told so only now and then', async () => {
    const slowDowns = { perSecond: 0, burst: 2, sources: 16 };
    const running = await runMeter({ limits: { rate: { ...rate, burst: 0 }, slowDowns } });
    const peer = await RawPeer.open(running.port);
    for (let id = 0; id < 6; id++) peer.send(rawRequest({ id }));
    while (running.counters.drops.length < 6) await sleep(1);
    await sleep(20);
    expect(peer.arrived).toBe(2);
    peer.close();
    await running.servient.shutdown();
  });

  it('gets no answer at all to non-confirmable, malformed and empty messages', async () => {
    const running = await runMeter({ limits: { rate: { ...rate, burst: 0 } } });
    const peer = await RawPeer.open(running.port);
    for (const datagram of [
      rawRequest({ type: 'non' }),
      Buffer.of(0x49, 1, 0, 1),
      Buffer.of(0x40, 0, 0, 1),
      Buffer.of(0x40),
    ]) {
      peer.send(datagram);
    }
    while (running.counters.drops.length < 4) await sleep(1);
    await sleep(20);
    expect(peer.arrived).toBe(0);
    peer.close();
    await running.servient.shutdown();
  });
});

describe('the rate limit', () => {
  it('refills with time, up to the burst', () => {
    const limit = new RateLimit({ perSecond: 10, burst: 2, sources: 4 });
    const take = (nowMs: number) => limit.take('192.0.2.1', nowMs);
    expect([take(0), take(0), take(0), take(100), take(100)]).toEqual([true, true, false, true, false]);
    expect([take(60_000), take(60_000), take(60_000)]).toEqual([true, true, false]);
  });

  it('counts an IPv6 /64 as one source, and an IPv4 address alike in both notations', () => {
    const limit = new RateLimit({ perSecond: 0, burst: 1, sources: 16 });
    const taken = [
      '2001:db8::1',
      '2001:db8::2:3',
      '2001:db8:0:0:9:9:9:9',
      '2001:db8:1::1',
      '192.0.2.1',
      '::ffff:192.0.2.1',
      '::1',
      '::2',
    ];
    expect(taken.map((address) => limit.take(address, 0))).toEqual([
      true,
      false,
      false,
      true,
      true,
      false,
      true,
      false,
    ]);
  });

  it('remembers a bounded number of sources, those heard of last', () => {
    const limit = new RateLimit({ perSecond: 0, burst: 1, sources: 10 });
    for (let i = 0; i < 1_000; i++) limit.take(`192.0.2.${i}`, 0);
    expect(limit.size).toBe(10);
    expect(limit.take('192.0.2.999', 0)).toBe(false);
  });
});

describe('the parser', () => {
  const option = fc.tuple(fc.nat(70_000), fc.uint8Array({ maxLength: 300 }));

  it('reads back every message that can be written', () => {
    fc.assert(
      fc.property(
        fc.record({
          code: fc.integer({ min: 1, max: 255 }),
          id: fc.nat(0xffff),
          token: fc.uint8Array({ maxLength: 8 }),
          options: fc.array(option, { maxLength: 6 }),
          payload: fc.uint8Array({ minLength: 1, maxLength: 50 }),
        }),
        (request) => {
          const parsed = parseMessage(rawRequest({ ...request, options: withinReach(request.options) }));
          expect(parsed).toMatchObject({ type: 'con', messageId: request.id, payload: Buffer.from(request.payload) });
          expect(parsed?.options.map(([number, value]) => [number, [...value]])).toEqual(
            withinReach(request.options)
              .toSorted(([a], [b]) => a - b)
              .map(([number, value]) => [number, [...value]]),
          );
        },
      ),
    );
  });

  it('never throws and never reads beyond the datagram', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        const datagram = Buffer.from(bytes);
        const parsed = parseMessage(datagram);
        const read = parsed?.options.reduce((sum, [, value]) => sum + value.length, parsed.payload.length) ?? 0;
        expect(read).toBeLessThanOrEqual(datagram.length);
      }),
      { numRuns: 2_000 },
    );
  });

  it('writes integers without leading zeros', () => {
    expect([0, 1, 255, 256, 65_536].map((value) => uintOption(value).toString('hex'))).toEqual(['', '01', 'ff', '0100', '010000']); // prettier-ignore
  });
});

/** Option deltas have two bytes at most. */
const withinReach = (options: readonly (readonly [number, Uint8Array])[]) =>
  options.filter(([number]) => number < 65_000);
