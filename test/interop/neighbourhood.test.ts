/** Programs that are not ours, with a neighbourhood of real processes: Eclipse Thingweb's clients, and libcoap's. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ProtocolClientFactory, Servient } from '@node-wot/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromBase64Url, toBase64Url, toHex } from '../../crypto/bytes.js';
import { parseRecord } from '../../crypto/ring/record.js';
import { backendOf } from '../../servients/chain-client.js';
import { addThings } from '../../servients/cli/things.js';
import { parseScript, runScript } from '../../servients/interaction-script.js';
import { readReaderFile } from '../../servients/reader-file.js';
import { systemNowS } from '../../servients/runtime.js';
import { validateTd } from '../../td/validate-td.js';
import { meterOf, rekeyRequest } from '../e2e/messages.js';
import { firstMembership } from '../support/cast.js';
import { arrived, deploy, type TestDeployment } from '../support/deployment.js';
import { endAll, startCommand, type Running } from '../support/processes.js';
import { runVerb } from '../support/verbs.js';

let d: TestDeployment;
let gateway: Running;
/** Of the first epoch: every meter has answered it. */
let announcement: Uint8Array;

beforeAll(async () => {
  d = await deploy({ meters: 4 });
  await d.start('backend').event('backend-started');
  gateway = d.start('gateway');
  d.start('meter');
  await gateway.event('epoch');
  await arrived(d.reader(), { 'meter-01': 1 });
  announcement = await firstAnnouncement();
});
afterAll(async () => {
  await endAll();
  d.remove();
});

async function firstAnnouncement(): Promise<Uint8Array> {
  const backend = backendOf(readReaderFile(d.readers.utility), systemNowS);
  const record = await backend.get(`groups/${toHex(firstMembership(d).list.gid)}/epochs/1.1/record`);
  return parseRecord(fromBase64Url((record as { readonly message: string }).message))[0];
}

const scriptOf = (path: string) =>
  parseScript(JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as unknown);

/** As somebody else would write a program: the packages of Eclipse Thingweb as they are published. */
function upstreamWot(binding: 'http' | 'coap'): { readonly servient: Servient; readonly wot: Promise<typeof WoT> } {
  const require = createRequire(import.meta.url);
  // The CoAP binding brings an older core of its own.
  const core = binding === 'http' ? require : createRequire(require.resolve('@node-wot/binding-coap'));
  const { Servient: Upstream } = core('@node-wot/core') as { readonly Servient: new () => Servient };
  const factories = require(`@node-wot/binding-${binding}`) as Readonly<
    Record<string, new () => ProtocolClientFactory>
  >;
  const Factory = factories[binding === 'http' ? 'HttpClientFactory' : 'CoapClientFactory']!;
  const servient = new Upstream();
  servient.addClientFactory(new Factory());
  return { servient, wot: servient.start() };
}

describe('programs of upstream packages that know only the directory', () => {
  const http = upstreamWot('http');
  const coap = upstreamWot('coap');
  let tds: readonly WoT.ThingDescription[];

  /** Consumed by a client of one binding, as the directory describes it. */
  const consumedBy =
    ({ wot }: typeof http) =>
    async (id: string): Promise<WoT.ConsumedThing> => {
      const td = tds.find((each) => each.id === id);
      if (!td) throw new Error(`${id} is not in the directory`);
      return (await wot).consume(td);
    };

  beforeAll(async () => {
    const wot = await http.wot;
    tds = [await wot.requestThingDescription(`${d.backendUrl}/.well-known/wot`)];
    for await (const td of await wot.exploreDirectory(`${d.backendUrl}/.well-known/wot`)) tds = [...tds, td];
  });
  afterAll(async () => {
    await Promise.all([http.servient.shutdown(), coap.servient.shutdown()]);
  });

  it('find all Things', async () => {
    await runScript(scriptOf('./scripts/directory.json'), { thing: consumedBy(http) });
  });

  it('read, are refused, and observe on both bindings how the next epoch comes about', async () => {
    const valuesOf = (meter: string) => ({
      certHash: toHex(meterOf(d, meter).certHash),
      answered: toBase64Url(announcement),
      rekey: toBase64Url(rekeyRequest(d, meterOf(d, 'meter-02'))),
    });
    const overCoap = new Promise<void>((resolve, reject) => {
      const overHttp = () =>
        runScript(scriptOf('./scripts/meter-http.json'), { thing: consumedBy(http), values: valuesOf('meter-03') });
      let other: Promise<unknown> = Promise.resolve();
      runScript(scriptOf('./scripts/meter-coap.json'), {
        thing: consumedBy(coap),
        values: valuesOf('meter-01'),
        // The other one asks for the next epoch, which this one is to see come.
        onStep: ({ what }) => {
          if (what.startsWith('observe')) other = overHttp();
        },
      })
        .then(() => other)
        .then(() => {
          resolve();
        }, reject);
    });
    await overCoap;
    expect(await gateway.event('epoch', ({ epoch }) => epoch === 2)).toMatchObject({ members: 4, confirmed: 4 });
  });
});

describe('our own', () => {
  it('command line runs the script of the documentation, which shows it as it is', async () => {
    const text = readFileSync(new URL('../../docs/examples/meter.json', import.meta.url), 'utf8');
    expect(readFileSync(new URL('../../docs/interaction-tests.md', import.meta.url), 'utf8')).toContain(text);
    const file = fileURLToPath(new URL('../../docs/examples/meter.json', import.meta.url));
    const args = ['--set', 'meter=urn:gridring:meter:meter-01', '--directory', d.backendUrl];
    expect(await runVerb(addThings, 'things', 'test', file, ...args)).toMatch(/^ok 1 .*passed: /s);
  });

  it('library finds and reads all Things, in the program of the documentation', async () => {
    const program = fileURLToPath(new URL('../../docs/examples/discover.mjs', import.meta.url));
    const text = readFileSync(program, 'utf8');
    expect(readFileSync(new URL('../../docs/directory.md', import.meta.url), 'utf8')).toContain(text);
    const { out, errors, code } = await startCommand([process.execPath, program, d.backendUrl]).ended;
    expect([code, errors]).toEqual([0, '']);
    expect(out.match(/^urn:gridring:meter:meter-0\d: epoch 2, known for sure \d+ ms ago$/gm)).toHaveLength(4);
  });
});

const coapClient = ['coap-client-notls', 'coap-client', 'coap-client-gnutls', 'coap-client-openssl'].find(
  (name) => spawnSync(name, ['-h']).error === undefined,
);
if (coapClient === undefined) {
  const missing = 'coap-client is not installed: on Debian and Ubuntu, apt-get install libcoap3-bin';
  if (process.env['CI'] === 'true') throw new Error(missing);
  console.warn(missing);
}

describe.skipIf(coapClient === undefined)('libcoap’s coap-client', () => {
  const ask = async (path: string, ...args: readonly string[]): Promise<string> => {
    const url = `coap://127.0.0.1:${d.port + 10}/${path}`;
    const { out, errors } = await startCommand([coapClient ?? '', '-B', '10', ...args, url]).ended;
    return out + errors;
  };

  it('finds a meter and its description', async () => {
    expect(await ask('.well-known/core')).toContain('</meter-01>;rt="wot.thing";ct=432');
    const td: unknown = JSON.parse(await ask('meter-01', '-A', '432'));
    expect(validateTd(td)).toMatchObject({ valid: true });
    expect(td).toMatchObject({ id: 'urn:gridring:meter:meter-01' });
  });

  it('delivers a message of the protocol, and is told why it is not taken', async () => {
    const file = join(d.folder, 'announcement.cose');
    const post = (message: Uint8Array): Promise<string> => {
      writeFileSync(file, message);
      return ask('meter-01/actions/rekey', '-m', 'post', '-t', '18', '-f', file);
    };
    expect(await post(announcement)).toMatch(/^4\.09.*epoch-stale/s);
    expect(await post(announcement.subarray(1))).toMatch(/^4\.00.*cose-malformed/s);
  });
});
