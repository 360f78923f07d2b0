import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import bindingHttp from '@node-wot/binding-http';
import { Servient, type ProtocolClientFactory } from '@node-wot/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConflictError, NotFoundError } from '../../crypto/errors.js';
import { CoapClientFactory } from '../../servients/bindings/coap-client.js';
import { RefusingHttpClientFactory } from '../../servients/bindings/http-client.js';
import { HttpServer } from '../../servients/bindings/http-server.js';
import { invokeMessage } from '../../servients/consume.js';
import { meterInit, runMeter, type RunningMeter } from './coap-things.js';

const factories: readonly [string, () => ProtocolClientFactory, RegExp, string][] = [
  ['our CoAP client', () => new CoapClientFactory(), /^coap:/, 'membership-unknown'],
  ['our HTTP client', () => new RefusingHttpClientFactory(), /^http:/, 'membership-unknown'],
  // Its errors carry the reason phrase alone.
  ['the unmodified HTTP client', () => new bindingHttp.HttpClientFactory(), /^http:/, 'refused-409'],
];

describe.each(factories)('a message over %s', (_name, makeFactory, scheme, code) => {
  let running: RunningMeter;
  let client: Servient;
  let meter: WoT.ConsumedThing;

  beforeEach(async () => {
    running = await runMeter();
    const http = new HttpServer({ port: 0, address: '127.0.0.1' });
    await http.start(running.servient);
    running.servient.addServer(http);
    await running.thing.expose();
    client = new Servient();
    client.addClientFactory(makeFactory());
    const wot = await client.start();
    meter = await wot.consume(running.thing.getThingDescription());
  });
  afterEach(async () => {
    await client.shutdown();
    await running.servient.shutdown();
  });

  it('goes to a form of the one binding that the client has: COSE over CoAP, JSON over HTTP', async () => {
    expect(await invokeMessage(meter, 'echo', Uint8Array.of(1, 2))).toEqual(Uint8Array.of(1, 2));
    expect(await invokeMessage(meter, 'activate', Uint8Array.of(3))).toEqual(new Uint8Array(0));
    expect(running.received).toEqual([Uint8Array.of(1, 2), Uint8Array.of(3)]);
    const forms = meter.getThingDescription().actions?.['echo']?.forms.map(({ href }) => href) ?? [];
    expect(forms.filter((href) => scheme.test(href))).toHaveLength(2);
  });

  it('is refused with the status, and with the code where the client keeps it', async () => {
    running.echo = () => Promise.reject(new ConflictError('membership-unknown', 'send it'));
    await expect(invokeMessage(meter, 'echo', Uint8Array.of(1))).rejects.toMatchObject({
      name: 'PeerRefusal',
      status: 409,
      code,
    });
  });

  it('needs an action that takes messages', async () => {
    await expect(invokeMessage(meter, 'add', Uint8Array.of(1))).rejects.toBeInstanceOf(NotFoundError);
    await expect(invokeMessage(meter, 'nothing', Uint8Array.of(1))).rejects.toMatchObject({ code: 'form-missing' });
  });
});

describe('our HTTP client', () => {
  let server: Server;
  let client: Servient;
  let meter: WoT.ConsumedThing;

  beforeEach(async () => {
    server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    client = new Servient();
    client.addClientFactory(new RefusingHttpClientFactory(100));
    const wot = await client.start();
    const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const forms = [{ href: 'echo', contentType: 'application/json' }];
    const echo = { ...meterInit.actions?.['echo'], forms };
    meter = await wot.consume({
      ...meterInit,
      properties: {},
      events: {},
      base,
      actions: { echo },
    } as unknown as WoT.ThingDescription);
  });
  afterEach(async () => {
    await client.shutdown();
    server.closeAllConnections();
    server.close();
  });

  it('gives up on a server that does not answer, within its deadline', async () => {
    await expect(invokeMessage(meter, 'echo', Uint8Array.of(1))).rejects.toMatchObject({ code: 'peer-unreachable' });
  });

  it('gives up on a server that is gone', async () => {
    server.close();
    await expect(invokeMessage(meter, 'echo', Uint8Array.of(1))).rejects.toMatchObject({ code: 'peer-unreachable' });
  });

  it('reads no more of a refusal than a problem document needs', async () => {
    server.on('request', (_request, response) => {
      response.writeHead(409).write('x'.repeat(100_000));
    });
    await expect(invokeMessage(meter, 'echo', Uint8Array.of(1))).rejects.toMatchObject({ code: 'refused-409' });
  });
});
