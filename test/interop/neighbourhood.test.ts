/** Programs that are not ours, with a neighbourhood of real processes: Eclipse Thingweb's clients, and libcoap's. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromBase64Url, toBase64Url, toHex } from '../../crypto/bytes.js';
import { parseRecord } from '../../crypto/ring/record.js';
import { backendOf } from '../../servients/chain-client.js';
import { readReaderFile } from '../../servients/reader-file.js';
import { systemNowS } from '../../servients/runtime.js';
import { validateTd } from '../../td/validate-td.js';
import { meterOf, rekeyRequest } from '../e2e/messages.js';
import { firstMembership } from '../support/cast.js';
import { arrived, deploy, type TestDeployment } from '../support/deployment.js';
import { endAll, startCommand, type Running } from '../support/processes.js';

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

async function askForNextEpoch(): Promise<void> {
  const body = JSON.stringify({ message: toBase64Url(rekeyRequest(d, meterOf(d, 'meter-02'))) });
  const headers = { 'content-type': 'application/json' };
  const url = `http://127.0.0.1:${d.port + 1}/gateway/actions/rekey`;
  expect((await fetch(url, { method: 'POST', headers, body })).status).toBe(204);
}

describe('a program of upstream packages that knows only the directory', () => {
  let consumer: Running;
  const told = (event: string, binding: string): readonly object[] =>
    consumer.events.filter((each) => each.event === event && each['binding'] === binding);

  beforeAll(async () => {
    const program = fileURLToPath(new URL('./consumer/consumer.cjs', import.meta.url));
    consumer = startCommand([process.execPath, program, d.backendUrl, toBase64Url(announcement)]);
    await consumer.event('observing', ({ binding }) => binding === 'http');
  });

  it('finds all Things', async () => {
    const { ids } = await consumer.event('discovered');
    expect(ids).toEqual([
      'urn:gridring:backend:backend',
      'urn:gridring:backend:backend:directory',
      'urn:gridring:gateway:gateway',
      ...d.meterIds.map((id) => `urn:gridring:meter:${id}`),
    ]);
  });

  it.each([
    ['coap', 'meter-01'],
    ['http', 'meter-03'],
  ])('reads who a meter is, and how it stands with its key, over %s', (binding, meter) => {
    const identity = { id: `urn:gridring:meter:${meter}`, role: 'meter', certHash: toHex(meterOf(d, meter).certHash) };
    const keyStatus = { groups: [{ epoch: 1, attempt: 1, state: 'active', members: 4 }] };
    expect(told('read', binding)).toMatchObject([{ identity, keyStatus }]);
  });

  it('gets the refusal of an action as an error over HTTP', () => {
    expect(told('invoked', 'http')).toMatchObject([
      { name: 'answered before', refused: 'Client error: Conflict' },
      { name: 'no message of the protocol', refused: 'Client error: Bad Request' },
      { name: 'not what the description asks for', refused: 'Client error: Bad Request' },
      { name: 'without an answer', refused: 'Client error: Bad Request' },
    ]);
  });

  it('gets it as a problem document over CoAP, where the upstream client takes every code for success', () => {
    expect(told('invoked', 'coap')).toMatchObject([
      { name: 'answered before', resolved: { status: 409, code: 'epoch-stale' } },
      { name: 'no message of the protocol', resolved: { status: 400, code: 'cose-malformed' } },
      { name: 'not what the description asks for', resolved: { status: 400, code: 'schema-mismatch' } },
      // Of an action without output it gives the program nothing to look at.
      { name: 'without an answer' },
    ]);
  });

  it('observes on both bindings how the next epoch comes about', async () => {
    await askForNextEpoch();
    for (const binding of ['coap', 'http']) {
      await consumer.event(
        'observed',
        (each) => each['binding'] === binding && each['epoch'] === 2 && each['state'] === 'active',
      );
      expect(told('observed', binding).at(0)).toMatchObject({ epoch: 1, state: 'active' });
    }
    expect(await gateway.event('epoch', ({ epoch }) => epoch === 2)).toMatchObject({ members: 4, confirmed: 4 });
    expect(consumer.log()).toBe('');
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
