/** The unmodified client of @node-wot/binding-coap on the core that it brings, which knows a Thing only by its TD. */
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import type * as Core from '@node-wot/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { noRateLimit, runMeter, type RunningMeter } from './coap-things.js';

const require = createRequire(import.meta.url);
const { CoapClientFactory } = require('@node-wot/binding-coap') as {
  readonly CoapClientFactory: new () => Core.ProtocolClientFactory;
};
const ownCore = createRequire(require.resolve('@node-wot/binding-coap'));
const { Servient } = ownCore('@node-wot/core') as { readonly Servient: typeof Core.Servient };

describe('the unmodified node-wot CoAP client', () => {
  let running: RunningMeter;
  let client: Core.Servient;
  let meter: WoT.ConsumedThing;
  let values: unknown[];
  const listener: WoT.WotListener = (output) => {
    void output.value().then((value) => values.push(value));
  };

  beforeEach(async () => {
    values = [];
    running = await runMeter({ limits: { rate: noRateLimit } });
    client = new Servient();
    client.addClientFactory(new CoapClientFactory());
    const wot = await client.start();
    const td = await wot.requestThingDescription(`${running.origin}/meter-m-1`);
    meter = await wot.consume(td);
  });
  afterEach(async () => {
    await client.shutdown();
    await running.servient.shutdown();
  });

  it('fetches the TD block by block, reads, and invokes, messages of the protocol as JSON among it', async () => {
    expect(await (await meter.readProperty('identity')).value()).toBe('m-1');
    expect(await (await meter.invokeAction('add', { n: 1 }))?.value()).toEqual({ n: 2 });
    expect(await (await meter.invokeAction('echo', { message: 'AQI' }))?.value()).toEqual({ message: 'AQI' });
    expect(running.received).toEqual([Uint8Array.of(1, 2)]);
    await meter.invokeAction('forget');
  });

  it('observes a property', async () => {
    await meter.observeProperty('keyStatus', listener);
    while (values.length < 1) await sleep(5);
    running.status = { epoch: 2 };
    running.emitter.propertyChanged('keyStatus');
    while (values.length < 2) await sleep(5);
    expect(values).toEqual([{ epoch: 1 }, { epoch: 2 }]);
  });

  it('subscribes to an event: each is delivered, the first one too, and nothing before it', async () => {
    const subscribed = meter.subscribeEvent('reading', listener);
    await sleep(50);
    for (const n of [1, 2, 3]) {
      running.emitter.event('reading', { n });
      while (values.length < n) await sleep(5);
    }
    await subscribed;
    expect(values).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }]);
  });

  it('survives refusals, and so does the server', async () => {
    running.echo = () => Promise.reject(new Error('broken'));
    // It takes every answer for success; what it makes of the problem document is not a message.
    const output = await meter.invokeAction('echo', { message: 'AQI' });
    expect(await output?.value()).toMatchObject({ code: 'internal' });
    expect(await (await meter.readProperty('identity')).value()).toBe('m-1');
  });
});
