/** The unmodified client of @node-wot/binding-http, which knows a Thing only by its TD. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Servient } from '@node-wot/core';
import { HttpClientFactory } from '@node-wot/binding-http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { toBase64Url } from '../../crypto/bytes.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { makeTokenSource, parseAuthorization, verifyToken } from '../../servients/bindings/token.js';
import { makePki } from './http-pki.js';
import { runThing, type RunningThing } from './http-things.js';

const into =
  (values: unknown[]): WoT.WotListener =>
  (output) => {
    void output.value().then((value) => values.push(value));
  };

describe('the unmodified node-wot HTTP client', () => {
  let running: RunningThing;
  let client: Servient;
  let meter: WoT.ConsumedThing;

  beforeEach(async () => {
    running = await runThing();
    client = new Servient();
    client.addClientFactory(new HttpClientFactory(null));
    const wot = await client.start();
    meter = await wot.consume(await wot.requestThingDescription(`${running.origin}/meter-m-1`));
  });
  afterEach(async () => {
    await client.shutdown();
    await running.servient.shutdown();
  });

  it('reads properties', async () => {
    expect(await (await meter.readProperty('identity')).value()).toBe('m-1');
  });

  it('invokes actions, messages of the protocol as JSON among them', async () => {
    const output = await meter.invokeAction('rekey', { message: toBase64Url(Uint8Array.of(2, 3)) });
    expect(await output?.value()).toEqual({ message: toBase64Url(Uint8Array.of(3, 2)) });
    expect(running.received).toEqual([Uint8Array.of(2, 3)]);
    await meter.invokeAction('forget');
  });

  it('gets a refusal as an error that says of which kind it is', async () => {
    const send = (first: number) => meter.invokeAction('rekey', { message: toBase64Url(Uint8Array.of(first)) });
    await expect(send(0)).rejects.toThrow('Conflict');
    await expect(send(1)).rejects.toThrow('Forbidden');
    await expect(meter.invokeAction('add', { n: 'x' })).rejects.toThrow('Bad Request');
  });

  it('observes a property: its value first, then its changes', async () => {
    const values: unknown[] = [];
    const subscription = await meter.observeProperty('keyStatus', into(values));
    while (values.length < 1) await sleep(1);
    running.status = 2;
    running.emitter.propertyChanged('keyStatus');
    while (values.length < 2) await sleep(1);
    expect(values).toEqual([{ n: 1 }, { n: 2 }]);
    await subscription.stop();
  });

  it('subscribes to an event and stops', async () => {
    const values: unknown[] = [];
    const subscription = await meter.subscribeEvent('reading', into(values));
    running.emitter.event('reading', { n: 1 });
    running.emitter.event('reading', { n: 2 });
    while (values.length < 2) await sleep(1);
    expect(values).toEqual([{ n: 1 }, { n: 2 }]);
    await subscription.stop();
    while (running.server.openStreams > 0) await sleep(1);
  });
});

it('uses a Thing that asks for a bearer token, with the token as its credential', async () => {
  const nowS = Math.floor(Date.now() / 1000);
  const audience = 'http://gateway.example';
  const pki = makePki(suiteX25519, nowS);
  const token = await makeTokenSource(pki.holder('operator', 'op-1'), audience, () => nowS)();
  const running = await runThing({
    authentication: {
      algorithm: 'EdDSA',
      authenticate: async ({ headers }) => {
        const verifier = { suite: suiteX25519, trustedRoots: [pki.root], audience };
        await verifyToken(verifier, parseAuthorization(headers.authorization).token, nowS);
      },
    },
  });
  const client = new Servient();
  client.addClientFactory(new HttpClientFactory(null));
  const wot = await client.start();
  const td = running.thing.getThingDescription();
  const withoutToken = await wot.consume(td);
  await expect(withoutToken.readProperty('identity')).rejects.toThrow();
  client.addCredentials({ 'urn:gridring:meter:m-1': { token } });
  const withToken = await wot.consume(td);
  expect(await (await withToken.readProperty('identity')).value()).toBe('m-1');
  await client.shutdown();
  await running.servient.shutdown();
});
