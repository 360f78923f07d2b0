import { Servient } from '@node-wot/core';
import { expect, it } from 'vitest';
import { CoapServer } from '../../servients/bindings/coap-server.js';
import { urlName } from '../../servients/bindings/thing-base.js';
import { exposeThing } from '../../servients/expose.js';
import type { ThingBehaviour, ThingEmitter } from '../../things/behaviour.js';

const init = {
  id: 'urn:x',
  title: 'X',
  properties: { state: { type: 'integer', observable: true, readOnly: true } },
} as const;
const behaviour = (
  read: () => Promise<unknown>,
  attach: ThingBehaviour['attach'] = () => undefined,
): ThingBehaviour => ({
  actions: {},
  properties: { state: read },
  attach,
});

it('hears of a property that cannot be read when its change is announced', async () => {
  const servient = new Servient();
  servient.addServer(new CoapServer({ port: 0, address: '127.0.0.1' }));
  const failure = new Error('the store is gone');
  const heard = await new Promise((resolve) => {
    const announce = (emitter: ThingEmitter): void => {
      emitter.propertyChanged('state');
    };
    void exposeThing(
      servient,
      init,
      behaviour(() => Promise.reject(failure), announce),
      resolve,
    );
  });
  expect(heard).toBe(failure);
  await servient.shutdown();
});

it('refuses a behaviour that has more than its description', async () => {
  const undescribed = {
    ...behaviour(async () => 1),
    actions: { hidden: { kind: 'json', invoke: async () => 1 } },
  } as const;
  await expect(exposeThing(new Servient(), init, undescribed)).rejects.toThrow("has no Action 'hidden'");
});

it('names Things in URLs by their titles, each unlike the others', () => {
  const taken = new Set(['meter-1', 'meter-1-2']);
  expect(urlName('Meter 1', (name) => taken.has(name))).toBe('meter-1-3');
  expect(urlName('  Zähler/№ 7 ', () => false)).toBe('z-hler-7');
  expect(urlName('…', () => false)).toBe('thing');
});
