import { Servient } from '@node-wot/core';
import { expect, it } from 'vitest';
import { CoapServer } from '../../servients/bindings/coap-server.js';
import { HttpServer } from '../../servients/bindings/http-server.js';
import { exposeThing } from '../../servients/expose.js';
import { meterInit } from './http-things.js';

it('a Thing over CoAP and HTTP at once has forms of both, and HTTP’s say that they need a token', async () => {
  const servient = new Servient();
  const coap = new CoapServer({ port: 0, address: '127.0.0.1' });
  const authentication = { algorithm: 'EdDSA', authenticate: async () => undefined } as const;
  const http = new HttpServer({ port: 0, address: '127.0.0.1', authentication });
  servient.addServer(coap);
  servient.addServer(http);
  const thing = await exposeThing(servient, meterInit, {
    actions: { add: { kind: 'json', invoke: async (input) => input } },
    properties: { identity: async () => 'm-1' },
    attach: () => undefined,
  });

  const td = thing.getThingDescription();
  const origin = `http://127.0.0.1:${http.getPort()}`;
  expect(td.base).toBe(`coap://127.0.0.1:${coap.getPort()}/meter-m-1/`);
  expect(td.security).toBe('nosec_sc');
  expect(td.properties?.['identity']?.forms.map(({ href, security }) => ({ href, security }))).toEqual([
    { href: 'properties/identity', security: undefined },
    { href: `${origin}/meter-m-1/properties/identity`, security: ['bearer_sc'] },
  ]);

  const added = await fetch(`${origin}/meter-m-1/actions/add`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"n":1}',
  });
  expect(await added.json()).toEqual({ n: 1 });
  await servient.shutdown();
});
