'use strict';
/*
 * A WoT program as somebody else would write it: it uses the packages of Eclipse Thingweb as they are published, and
 * knows nothing but the address of a directory. Run with that address, and a message that a meter has answered before.
 * Prints one JSON object a line.
 */
const { createRequire } = require('node:module');
const { HttpClientFactory } = require('@node-wot/binding-http');
const httpCore = require('@node-wot/core');
const { CoapClientFactory } = require('@node-wot/binding-coap');
// The CoAP binding brings an older core of its own.
const coapCore = createRequire(require.resolve('@node-wot/binding-coap'))('@node-wot/core');

const [directory, answered] = process.argv.slice(2);
const print = (what) => console.log(JSON.stringify(what));
const valueOf = async (output) => (output === undefined ? undefined : output.value());

const makeWot = async (core, factory) => {
  const servient = new core.Servient();
  servient.addClientFactory(factory);
  return servient.start();
};

async function tryAction(thing, action, input) {
  let output;
  try {
    output = await thing.invokeAction(action, input);
  } catch (error) {
    return { refused: error.message };
  }
  try {
    return { resolved: await valueOf(output) };
  } catch (error) {
    return { refused: error.message };
  }
}

const scheme = (td) => new URL(td.base ?? td.properties.identity.forms[0].href).protocol;

async function use(binding, wot, td) {
  const thing = await wot.consume(td);
  const identity = await valueOf(await thing.readProperty('identity'));
  const keyStatus = await valueOf(await thing.readProperty('keyStatus'));
  print({ event: 'read', binding, id: td.id, identity, keyStatus });
  for (const [name, action, input] of [
    ['answered before', 'rekey', { message: answered }],
    ['no message of the protocol', 'rekey', { message: 'AAAA' }],
    ['not what the description asks for', 'rekey', { massage: 'AAAA' }],
    ['without an answer', 'activate', { message: 'AAAA' }],
  ]) {
    print({ event: 'invoked', binding, name, ...(await tryAction(thing, action, input)) });
  }
  await thing.observeProperty('keyStatus', async (output) => {
    const { groups } = await output.value();
    print({ event: 'observed', binding, epoch: groups[0].epoch, state: groups[0].state });
  });
  print({ event: 'observing', binding });
}

async function main() {
  const http = await makeWot(httpCore, new HttpClientFactory());
  const coap = await makeWot(coapCore, new CoapClientFactory());
  const registry = await http.consume(await http.requestThingDescription(`${directory}/.well-known/wot`));
  const tds = await valueOf(await registry.readProperty('things'));
  print({ event: 'discovered', ids: tds.map(({ id }) => id) });
  const meters = tds.filter(({ id }) => id.startsWith('urn:gridring:meter:'));
  await use(
    'coap',
    coap,
    meters.find((td) => scheme(td) === 'coap:'),
  );
  await use(
    'http',
    http,
    meters.find((td) => scheme(td) === 'http:'),
  );
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
