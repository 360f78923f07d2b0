import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { invokeMessage } from '../../servients/consume.js';
import { Downloads, Uploads } from '../../servients/bindings/coap-blocks.js';
import {
  blockOption,
  blockValue,
  optionNumber,
  optionValue,
  type CoapMessage,
} from '../../servients/bindings/coap-message.js';
import {
  noRateLimit,
  post,
  problemOf,
  RawPeer,
  runClient,
  runMeter,
  type RawRequest,
  type RunningMeter,
} from './coap-things.js';

const { block1, block2, size1, requestTag } = optionNumber;
const path = ['meter-m-1', 'actions', 'echo'];
const cose = [12, 18] as const;
const at1 = (num: number, more: boolean, size = 1_024) => [block1, blockOption({ num, more, size })] as const;
const at2 = (num: number, size = 1_024) => [block2, blockOption({ num, more: false, size })] as const;

describe('block-wise transfer with our own client', () => {
  it.each([0, 1, 1_023, 1_024, 1_025, 2_048, 100_000])('carries %i bytes there and back', async (length) => {
    const running = await runMeter({ limits: { rate: noRateLimit } });
    const { servient, meter } = await runClient(running);
    const bytes = randomBytes(length);
    expect(Buffer.from(await invokeMessage(meter, 'echo', bytes)).equals(bytes)).toBe(true);
    expect(running.received).toHaveLength(1);
    await servient.shutdown();
    await running.servient.shutdown();
  });

  it('keeps transfers apart that one client runs at the same time', async () => {
    const running = await runMeter({ limits: { rate: noRateLimit } });
    const { servient, meter } = await runClient(running);
    const sent = Array.from({ length: 5 }, () => randomBytes(5_000));
    const back = await Promise.all(sent.map((bytes) => invokeMessage(meter, 'echo', bytes)));
    expect(back.map((bytes) => Buffer.from(bytes))).toEqual(sent);
    await servient.shutdown();
    await running.servient.shutdown();
  });
});

describe('block-wise transfer, seen from the wire', () => {
  let running: RunningMeter;
  let peer: RawPeer;
  let id = 0;
  const ask = (request: RawRequest): Promise<CoapMessage> => {
    id++;
    return peer.ask({ id, token: Buffer.of(id >> 8, id & 255), code: post, path, ...request });
  };
  const upload = (num: number, more: boolean, size: number, payload: Uint8Array, extra: RawRequest['options'] = []) =>
    ask({ options: [cose, at1(num, more, size), ...extra], payload });

  beforeEach(async () => {
    running = await runMeter({ limits: { bodyBytes: 4_096, transfers: 3, idleMs: 60_000, rate: noRateLimit } });
    peer = await RawPeer.open(running.port);
  });
  afterEach(async () => {
    peer.close();
    await running.servient.shutdown();
  });

  it('takes a block that comes again under another message id, but not another one in its place', async () => {
    const block = Buffer.alloc(16, 1);
    for (const code of ['2.31', '2.31']) expect((await upload(0, true, 16, block)).code).toBe(code);
    expect((await upload(1, true, 16, Buffer.alloc(16, 2))).code).toBe('2.31');
    expect((await upload(1, true, 16, Buffer.alloc(16, 2))).code).toBe('2.31');
    expect((await upload(1, true, 16, Buffer.alloc(16, 3))).code).toBe('4.08');
    expect((await upload(2, false, 16, Buffer.alloc(3, 3))).code).toBe('2.04');
    expect(running.received).toEqual([new Uint8Array([...block, ...Buffer.alloc(16, 2), 3, 3, 3])]);
  });

  it('assembles blocks although each comes under a token of its own, and tells of each that it is there', async () => {
    const first = await upload(0, true, 16, Buffer.alloc(16, 1));
    expect(first.code).toBe('2.31');
    expect(blockValue(first.options, block1)).toEqual({ num: 0, more: true, size: 16 });
    const last = await upload(1, false, 16, Buffer.alloc(3, 2));
    expect(last.code).toBe('2.04');
    expect(blockValue(last.options, block1)).toEqual({ num: 1, more: false, size: 16 });
    expect(running.received).toEqual([new Uint8Array([...Buffer.alloc(16, 1), 2, 2, 2])]);
  });

  it('lets the sender go on in smaller blocks', async () => {
    await upload(0, true, 64, Buffer.alloc(64, 1));
    await upload(4, true, 16, Buffer.alloc(16, 2));
    expect(await upload(5, false, 16, Buffer.alloc(1, 3))).toMatchObject({ code: '2.04' });
    expect(running.received[0]).toHaveLength(81);
  });

  it('tells transfers of one endpoint apart by Request-Tag', async () => {
    const tag = (value: number) => [[requestTag, Buffer.of(value)]] as const;
    await upload(0, true, 16, Buffer.alloc(16, 1), tag(1));
    await upload(0, true, 16, Buffer.alloc(16, 2), tag(2));
    await upload(1, false, 16, Buffer.of(1), tag(1));
    await upload(1, false, 16, Buffer.of(2), tag(2));
    expect(running.received.map((bytes) => [bytes[0], bytes.at(-1)])).toEqual([[1, 1], [2, 2]]); // prettier-ignore
  });

  it('begins anew with block 0', async () => {
    await upload(0, true, 16, Buffer.alloc(16, 1));
    await upload(0, true, 16, Buffer.alloc(16, 2));
    await upload(1, false, 16, Buffer.of(9));
    expect(running.received.map((bytes) => bytes[0])).toEqual([2]);
  });

  it.each<[string, () => Promise<CoapMessage>, string, string]>([
    ['a block without a start', () => upload(1, false, 16, Buffer.of(1)), '4.08', 'blocks-missing'],
    [
      'the highest number that an option can hold',
      () => upload(0xf_ff_ff, true, 16, Buffer.alloc(16)),
      '4.13',
      'too-large',
    ],
    ['the highest number as the last block', () => upload(0xf_ff_ff, false, 1_024, Buffer.of(1)), '4.13', 'too-large'],
    ['a block shorter than it says', () => upload(0, true, 64, Buffer.alloc(63)), '4.00', 'block-malformed'],
    ['a last block longer than it says', () => upload(0, false, 16, Buffer.alloc(17)), '4.00', 'block-malformed'],
    ['the reserved block size', () => ask({ options: [cose, [block1, Buffer.of(0x0f)]] }), '4.00', 'option-malformed'],
    [
      'a block option of four bytes',
      () => ask({ options: [cose, [block1, Buffer.alloc(4, 1)]] }),
      '4.00',
      'option-malformed',
    ],
    ['two block options', () => ask({ options: [cose, at1(0, true), at1(1, true)] }), '4.02', 'option-unknown'],
    [
      'an announced size above the limit',
      () => upload(0, true, 16, Buffer.alloc(16), [[size1, 4_097]]),
      '4.13',
      'too-large',
    ],
    ['a later block of a reply that is not kept', () => ask({ options: [cose, at2(1)] }), '4.08', 'blocks-missing'],
    [
      'a later block of what is small',
      () => ask({ code: 1, path: ['meter-m-1', 'properties', 'identity'], options: [at2(7)] }),
      '4.00',
      'block-out-of-range',
    ],
    [
      'the reserved size of a wanted block',
      () => ask({ options: [cose, [block2, Buffer.of(7)]] }),
      '4.00',
      'option-malformed',
    ],
  ])('refuses %s', async (_what, send, code, problemCode) => {
    const refused = await send();
    expect(refused.code).toBe(code);
    expect(problemOf(refused)).toMatchObject({ code: problemCode });
    expect(running.received).toEqual([]);
    expect(running.counters.failures).toEqual([]);
  });

  it('refuses mixed block sizes that leave a hole', async () => {
    await upload(0, true, 64, Buffer.alloc(64));
    expect(await upload(1, true, 16, Buffer.alloc(16))).toMatchObject({ code: '4.08' });
    expect(await upload(2, true, 64, Buffer.alloc(64))).toMatchObject({ code: '4.08' });
  });

  it('refuses what is too large before parsing it: in one message, and as soon as blocks exceed the limit', async () => {
    expect(await ask({ options: [cose], payload: Buffer.alloc(4_097) })).toMatchObject({ code: '4.13' });
    for (let num = 0; num < 4; num++) await upload(num, true, 1_024, Buffer.alloc(1_024));
    const refused = await upload(4, true, 1_024, Buffer.alloc(1_024));
    expect(refused.code).toBe('4.13');
    expect(problemOf(refused)).toMatchObject({ status: 413, code: 'too-large' });
    expect(running.received).toEqual([]);
  });

  it('gives a large reply in the block size that is asked for, without running the action again', async () => {
    const bytes = randomBytes(100);
    const first = await ask({ options: [cose, at2(0, 64)], payload: bytes });
    expect(blockValue(first.options, block2)).toEqual({ num: 0, more: true, size: 64 });
    const second = await ask({ options: [cose, at2(1, 64)] });
    expect(blockValue(second.options, block2)).toEqual({ num: 1, more: false, size: 64 });
    expect(optionValue(second.options, optionNumber.etag)).toEqual(optionValue(first.options, optionNumber.etag));
    expect(Buffer.concat([first.payload, second.payload])).toEqual(bytes);
    expect(running.received).toHaveLength(1);
  });

  it('keeps a bounded number of transfers: whoever opens most loses the one that waits longest', async () => {
    const tag = (value: number) => [[requestTag, Buffer.of(value)]] as const;
    for (let value = 0; value < 4; value++) await upload(0, true, 16, Buffer.alloc(16), tag(value));
    expect(await upload(1, false, 16, Buffer.of(1), tag(0))).toMatchObject({ code: '4.08' });
    expect(await upload(1, false, 16, Buffer.of(1), tag(1))).toMatchObject({ code: '2.04' });
  });
});

describe('the memory of transfers', () => {
  const limits = { bodyBytes: 1_000_000, transfers: 4, replyBytes: 10_000, idleMs: 20 };
  const block = (num: number) => ({ num, more: true, size: 16 });

  it('lets a flood of uploads from one source evict its own, not those of others', () => {
    const uploads = new Uploads({ ...limits, idleMs: 60_000 });
    uploads.add('quiet', 'a', block(0), Buffer.alloc(16));
    for (let i = 0; i < 100; i++) uploads.add(`loud ${i}`, 'b', block(0), Buffer.alloc(16));
    expect(uploads.size).toBe(4);
    expect(uploads.add('quiet', 'a', { num: 1, more: false, size: 16 }, Buffer.of(1))).toHaveLength(17);
  });

  it('forgets an upload whose next block does not come', async () => {
    const uploads = new Uploads(limits);
    uploads.add('slow', 'a', block(0), Buffer.alloc(16));
    await new Promise((resolve) => setTimeout(resolve, 40));
    expect(() => uploads.add('slow', 'a', block(1), Buffer.alloc(16))).toThrow('not here');
  });

  it('keeps large replies within a sum of bytes, the last used ones', () => {
    const downloads = new Downloads({ ...limits, idleMs: 60_000 });
    const reply = { code: '2.05', payload: Buffer.alloc(4_000) };
    for (const key of ['a', 'b']) downloads.begin(key, reply, undefined);
    downloads.next('a', { num: 1, more: false, size: 1_024 });
    downloads.begin('c', reply, undefined);
    const kept = ['a', 'b', 'c'].map((key) => downloads.next(key, { num: 1, more: false, size: 1_024 }) !== undefined);
    expect(kept).toEqual([true, false, true]);
  });

  it('keeps nothing of a reply that fits one message', () => {
    const downloads = new Downloads(limits);
    expect(downloads.begin('a', { code: '2.05', payload: Buffer.alloc(1_024) }, undefined).options).toBeUndefined();
    expect(downloads.size).toBe(0);
  });
});
