import { setTimeout as sleep } from 'node:timers/promises';
import { Content, Form, Servient } from '@node-wot/core';
import { defaultTiming, updateTiming } from 'coap';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConflictError, VerificationError } from '../../crypto/errors.js';
import { CoapClientFactory, coapClientDefaults } from '../../servients/bindings/coap-client.js';
import {
  bareMessage,
  blockOption,
  optionNumber,
  optionValue,
  type CoapMessage,
} from '../../servients/bindings/coap-message.js';
import { CoapTransport } from '../../servients/bindings/coap-transport.js';
import { PeerRefusal } from '../../servients/bindings/peer-refusal.js';
import { noRateLimit, RawPeer, rawRequest, runClient, runMeter } from './coap-things.js';

const { block1, block2, etag } = optionNumber;

describe('a client of a Thing', () => {
  it('reads, writes and invokes over IPv4 and IPv6', async () => {
    for (const address of ['127.0.0.1', '::1']) {
      const running = await runMeter({ address });
      const { servient, meter } = await runClient(running);
      expect(await (await meter.readProperty('identity')).value()).toBe('m-1');
      running.thing.setPropertyWriteHandler('setting', async (value) => {
        expect(await value.value()).toBe(5);
      });
      await meter.writeProperty('setting', 5);
      expect(await (await meter.invokeAction('add', { n: 1 }))?.value()).toEqual({ n: 2 });
      await servient.shutdown();
      await running.servient.shutdown();
    }
  });

  it('finds a host by name', async () => {
    const running = await runMeter({ host: 'localhost' });
    const { servient, meter } = await runClient({ origin: `coap://localhost:${running.port}` });
    expect(await (await meter.readProperty('identity')).value()).toBe('m-1');
    await servient.shutdown();
    await running.servient.shutdown();
  });

  it('throws refusals with the status and the code of the problem document', async () => {
    const running = await runMeter();
    const { servient, meter } = await runClient(running);
    running.echo = () => Promise.reject(new ConflictError('membership-unknown', 'send it'));
    const refused = meter.invokeAction('echo', { message: '' });
    await expect(refused).rejects.toBeInstanceOf(PeerRefusal);
    await expect(refused).rejects.toMatchObject({ code: 'membership-unknown', status: 409, message: 'send it' });
    running.echo = () => Promise.reject(new VerificationError('mac-invalid', 'secret'));
    await expect(meter.invokeAction('echo', { message: '' })).rejects.toMatchObject({ code: 'refused', status: 403 });
    await expect(meter.writeProperty('setting', 1)).rejects.toMatchObject({ code: 'internal', status: 500 });
    await servient.shutdown();
    await running.servient.shutdown();
  });

  it('says of a rate limit’s bare refusal what can be known', async () => {
    const running = await runMeter({ limits: { rate: { perSecond: 0, burst: 0, sources: 1 } } });
    await expect(runClient(running)).rejects.toMatchObject({ code: 'refused-429', status: 429 });
    await running.servient.shutdown();
  });

  it('cannot carry a media type that CoAP has no number for here', async () => {
    const client = new CoapClientFactory().getClient();
    const form = new Form('coap://127.0.0.1/x');
    const image = new Content('image/png', Readable.from([Buffer.alloc(1)]));
    await expect(client.invokeResource(form, image)).rejects.toMatchObject({ code: 'media-type-unsupported' });
    await expect(client.readResource(new Form('coap://x/%ZZ'))).rejects.toMatchObject({ code: 'url-malformed' });
    await expect(client.readResource(new Form('coap://nowhere.invalid/'))).rejects.toMatchObject({
      code: 'peer-unreachable',
    });
  });
});

describe('a peer that does not play along', () => {
  const url = (peer: RawPeer): string => `coap://127.0.0.1:${peer.port}/x`;
  let peer: RawPeer;
  let transport: CoapTransport;

  const ask = (payload?: Uint8Array) =>
    transport.request({ url: url(peer), method: payload ? 'POST' : 'GET', options: [], ...(payload && { payload }) });
  /** Answers a request with a piggybacked response. */
  const answer = (
    request: CoapMessage,
    code: number,
    options: readonly (readonly [number, Uint8Array | number])[],
    payload: Uint8Array = Buffer.alloc(0),
  ): void => {
    const response = rawRequest({ code, id: request.messageId, token: request.token, options, payload });
    response[0] = (response[0] ?? 0) | 0x20;
    peer.send(response, peer.senders.at(-1)?.port);
  };
  const content = 0x45;
  const goOn = 0x5f;

  beforeEach(async () => {
    peer = await RawPeer.open();
    transport = new CoapTransport({ ...coapClientDefaults, deadlineMs: 2_000, bodyBytes: 4_096 });
  });
  afterEach(() => {
    transport.close();
    peer.close();
    defaultTiming();
  });

  it('is silent: the request fails after its own deadline, and is not sent again', async () => {
    updateTiming({ ackTimeout: 0.01 });
    transport.close();
    transport = new CoapTransport({ ...coapClientDefaults, deadlineMs: 60 });
    await expect(ask()).rejects.toMatchObject({ name: 'UnavailableError', code: 'peer-timeout' });
    const { arrived } = peer;
    expect(arrived).toBeGreaterThan(1);
    await sleep(200);
    expect(peer.arrived).toBe(arrived);
  });

  it('acknowledges and is silent then: the request fails after its deadline too', async () => {
    transport.close();
    transport = new CoapTransport({ ...coapClientDefaults, deadlineMs: 60 });
    const asked = ask();
    const { messageId } = await peer.next();
    peer.send(bareMessage('ack', '0.00', messageId), peer.senders.at(-1)?.port);
    await expect(asked).rejects.toMatchObject({ code: 'peer-timeout' });
  });

  it('sends every block in time, but without end', async () => {
    transport.close();
    transport = new CoapTransport({ ...coapClientDefaults, transferDeadlineMs: 60 });
    const asked = ask();
    const failed = asked.catch((error: unknown) => error);
    for (let num = 0; num < 10; num++) {
      const request = await Promise.race([peer.next(), failed]);
      if (request instanceof Error) break;
      await sleep(20);
      answer(request as CoapMessage, content, [[block2, blockOption({ num, more: true, size: 16 })]], Buffer.alloc(16));
    }
    await expect(asked).rejects.toMatchObject({ code: 'peer-timeout' });
  });

  it('is stopped for: what is waiting fails at once, and what comes later too', async () => {
    const asked = ask();
    await peer.next();
    transport.close();
    await expect(asked).rejects.toMatchObject({ code: 'client-stopped' });
    await expect(ask()).rejects.toMatchObject({ code: 'client-stopped' });
  });

  it('answers with a Reset', async () => {
    const asked = ask();
    const { messageId } = await peer.next();
    peer.send(bareMessage('rst', '0.00', messageId), peer.senders.at(-1)?.port);
    await expect(asked).rejects.toMatchObject({ code: 'peer-reset' });
  });

  it('answers from another port: that is no answer', async () => {
    const stranger = await RawPeer.open();
    const asked = ask();
    const { messageId, token } = await peer.next();
    const forged = rawRequest({ code: content, id: messageId, token, payload: Buffer.from('forged') });
    forged[0] = (forged[0] ?? 0) | 0x20;
    stranger.send(forged, peer.senders.at(-1)?.port);
    await sleep(20);
    answer({ messageId, token } as CoapMessage, content, [], Buffer.from('true'));
    expect((await asked).payload.toString()).toBe('true');
    stranger.close();
  });

  it('uses, for a separate response, a message id that is one of ours', async () => {
    const [first, second] = [ask(), ask()];
    const [one, two] = [await peer.next(), await peer.next()];
    const { port } = peer.senders.at(-1) ?? {};
    peer.send(bareMessage('ack', '0.00', one.messageId), port);
    peer.send(rawRequest({ code: content, id: two.messageId, token: one.token, payload: Buffer.of(1) }), port);
    expect((await first).payload).toEqual(Buffer.of(1));
    expect(await peer.next()).toMatchObject({ type: 'ack', code: '0.00', messageId: two.messageId });
    answer(two, content, [], Buffer.of(2));
    expect((await second).payload).toEqual(Buffer.of(2));
  });

  it.each<[string, readonly (readonly [number, Uint8Array | number])[], Buffer, string]>([
    ['a block option that is too long', [[block2, Buffer.alloc(4, 1)]], Buffer.alloc(16), 'option-malformed'],
    ['a block of reserved size', [[block2, Buffer.of(0x0f)]], Buffer.alloc(16), 'option-malformed'],
    [
      'a block shorter than it says',
      [[block2, blockOption({ num: 0, more: true, size: 64 })]],
      Buffer.alloc(16),
      'block-malformed',
    ],
    [
      'a block from the middle',
      [[block2, blockOption({ num: 3, more: true, size: 16 })]],
      Buffer.alloc(16),
      'block-malformed',
    ],
    ['more than is wanted', [], Buffer.alloc(5_000), 'too-large'],
  ])('answers with %s', async (_what, options, payload, code) => {
    const asked = ask();
    answer(await peer.next(), content, options, payload);
    await expect(asked).rejects.toMatchObject({ code });
  });

  it('goes on with the wrong block, or with one of something else', async () => {
    for (const [num, tag, code] of [
      [2, 1, 'block-malformed'],
      [1, 2, 'peer-reply-changed'],
    ] as const) {
      // prettier-ignore
      const asked = ask();
      const first = [[etag, 1], [block2, blockOption({ num: 0, more: true, size: 16 })]] as const; // prettier-ignore
      answer(await peer.next(), content, first, Buffer.alloc(16));
      const second = [[etag, tag], [block2, blockOption({ num, more: false, size: 16 })]] as const; // prettier-ignore
      answer(await peer.next(), content, second, Buffer.alloc(16));
      await expect(asked).rejects.toMatchObject({ code });
    }
  });

  it('sends blocks beyond every limit', async () => {
    const asked = ask();
    const failed = asked.catch((error: unknown) => error);
    for (let num = 0; num < 10; num++) {
      const request = await Promise.race([peer.next(), failed]);
      if (request instanceof Error) break;
      answer(
        request as CoapMessage,
        content,
        [[block2, blockOption({ num, more: true, size: 1_024 })]],
        Buffer.alloc(1_024),
      );
    }
    await expect(asked).rejects.toMatchObject({ code: 'too-large' });
  });

  it('acknowledges blocks of an upload with wrong or malformed numbers, again and again', async () => {
    const asked = ask(Buffer.alloc(3_000));
    const first = await peer.next();
    answer(first, goOn, [[block1, blockOption({ num: 9, more: true, size: 1_024 })]]);
    const second = await peer.next();
    for (let i = 0; i < 10; i++) answer(first, goOn, [[block1, Buffer.alloc(0)]]);
    answer(second, goOn, [[block1, Buffer.alloc(4, 1)]]);
    await expect(asked).rejects.toMatchObject({ code: 'option-malformed' });
  });

  it('wants smaller blocks in the middle of an upload', async () => {
    const sent = Buffer.from(Array.from({ length: 2_100 }, (_, i) => i));
    const asked = ask(sent);
    const parts: Buffer[] = [];
    for (;;) {
      const request = await peer.next();
      parts.push(request.payload);
      const bits = optionValue(request.options, block1)?.at(-1) ?? 0;
      if ((bits & 8) === 0) {
        answer(request, 0x44, []);
        break;
      }
      answer(request, goOn, [[block1, blockOption({ num: 0, more: true, size: 512 })]]);
    }
    await asked;
    expect(parts.map(({ length }) => length)).toEqual([1_024, 512, 512, 52]);
    expect(Buffer.concat(parts)).toEqual(sent);
  });

  it('refuses in the middle of an upload: nothing more is sent', async () => {
    const asked = ask(Buffer.alloc(3_000));
    answer(await peer.next(), 0x8d, [[12, 50]], Buffer.from('{"code":"too-large","detail":"much"}'));
    await expect(asked).rejects.toMatchObject({ code: 'too-large', status: 413, message: 'much' });
    expect(peer.arrived).toBe(1);
  });

  it.each([
    ['no JSON', '{'],
    ['no object', '"x"'],
    ['a code that is no code', '{"code":"<script>","detail":7}'],
    ['a code without end', `{"code":"${'a'.repeat(900)}"}`],
  ])('refuses with a body that is %s', async (_what, body) => {
    const asked = ask();
    answer(await peer.next(), 0x83, [[12, 50]], Buffer.from(body));
    await expect(asked).rejects.toMatchObject({ code: 'refused-403', message: 'the peer gives no reason' });
  });
});

it('nothing of a client is left once its servient is shut down', async () => {
  const left = (): number =>
    process.getActiveResourcesInfo().filter((name) => name === 'UDPWRAP' || name === 'Timeout').length;
  const before = left();
  const running = await runMeter({ limits: { rate: noRateLimit } });
  const { servient, meter } = await runClient(running, { deadlineMs: 60_000 });
  await meter.subscribeEvent('reading', () => undefined);
  await meter.observeProperty('keyStatus', () => undefined);
  const silent = await RawPeer.open();
  const wot = await servient.start();
  const asked = wot.requestThingDescription(`coap://127.0.0.1:${silent.port}/x`);
  await silent.next();
  await servient.shutdown();
  await expect(asked).rejects.toMatchObject({ code: 'client-stopped' });
  await running.servient.shutdown();
  silent.close();
  // Timers of the test runner come and go; one of ours would stay for a minute.
  while (left() > before) await sleep(5);
});

it('an idle client does not keep the process alive', async () => {
  const running = await runMeter();
  const servient = new Servient();
  servient.addClientFactory(new CoapClientFactory());
  const wot = await servient.start();
  await wot.requestThingDescription(`${running.origin}/meter-m-1`);
  await running.servient.shutdown();
  await sleep(0);
  // What is unreferenced is not listed.
  expect(process.getActiveResourcesInfo()).not.toContain('UDPWRAP');
  await servient.shutdown();
});
