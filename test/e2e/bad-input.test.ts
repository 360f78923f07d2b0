/** Messages that running meters and gateways must not take: each is refused by name, and changes nothing. */
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Servient } from '@node-wot/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { concatBytes, fromBase64Url, toHex, utf8 } from '../../crypto/bytes.js';
import { decodeStrict } from '../../crypto/cbor.js';
import { parseSign1 } from '../../crypto/cose.js';
import { encodeUpload, parseReading, sealReading } from '../../crypto/envelope/reading.js';
import { limits } from '../../crypto/limits.js';
import { parseRecord } from '../../crypto/ring/record.js';
import type { BackendClient } from '../../servients/backend-client.js';
import { backendOf } from '../../servients/chain-client.js';
import { CoapClientFactory } from '../../servients/bindings/coap-client.js';
import { RefusingHttpClientFactory } from '../../servients/bindings/http-client.js';
import { invokeMessage } from '../../servients/consume.js';
import { DirectoryClient } from '../../servients/directory-client.js';
import { writeIdentity } from '../../servients/identity-files.js';
import { readReaderFile } from '../../servients/reader-file.js';
import { systemNowS } from '../../servients/runtime.js';
import type { Identity } from '../../things/parts.js';
import { caOf, certify, firstMembership, identityIn, suiteOf } from '../support/cast.js';
import { arrived, deploy, eventually, expectAllAccountedFor, type TestDeployment } from '../support/deployment.js';
import { endAll, start, type Running } from '../support/processes.js';
import {
  announce,
  announcement,
  coordinatorOf,
  enrolment,
  flipLast,
  foreignCa,
  longForm,
  meterOf,
  rekeyRequest,
} from './messages.js';

const [coapMeter, httpMeter] = ['meter-01', 'meter-04'];

let d: TestDeployment;
let gateway: Running;
let meters: Running;
let servient: Servient;
let things: Readonly<Record<string, WoT.ConsumedThing>>;
let backend: BackendClient;

beforeAll(async () => {
  d = await deploy({ meters: 4 });
  await d.start('backend').event('backend-started');
  [gateway, meters] = [d.start('gateway'), d.start('meter')];
  await gateway.event('epoch');
  await arrived(d.reader(), Object.fromEntries(d.meterIds.map((id) => [id, 3])));
  servient = new Servient();
  servient.addClientFactory(new CoapClientFactory());
  servient.addClientFactory(new RefusingHttpClientFactory());
  const wot = await servient.start();
  const tds = await new DirectoryClient({ url: d.backendUrl }).things();
  things = Object.fromEntries(await Promise.all(tds.map(async (td) => [td.title, await wot.consume(td)] as const)));
  backend = backendOf(readReaderFile(d.readers.utility), systemNowS);
});
afterAll(async () => {
  await servient.shutdown();
  await endAll();
  d.remove();
});

const invoke = (thing: string, action: string, message: Uint8Array): Promise<Uint8Array> =>
  invokeMessage(things[thing]!, action, message);

async function currentAnnouncement(): Promise<Uint8Array> {
  const gid = toHex(firstMembership(d).list.gid);
  const { message } = (await backend.get(`groups/${gid}/epochs/1.1/record`)) as { readonly message: string };
  return parseRecord(fromBase64Url(message))[0];
}

interface Refusal {
  readonly make: () => Uint8Array | Promise<Uint8Array>;
  readonly told: readonly [status: number, code: string];
  /** What stands in the log, where the peer is told less. */
  readonly logged?: string;
}

async function expectRefused(
  { thing, action }: { readonly thing: string; readonly action: string },
  { make, told: [status, code], logged = code }: Refusal,
): Promise<void> {
  const process = thing === 'gateway' ? gateway : meters;
  const logBefore = process.log().length;
  await expect(invoke(thing, action, await make())).rejects.toMatchObject({ status, code });
  await eventually(() => {
    expect(process.log().slice(logBefore)).toContain(`"code":"${logged}"`);
  });
}

const refused = [403, 'refused'] as const;
const lie = (change: Parameters<typeof announce>[1], by?: Identity) => announce(d, change, by && { by });

const badAnnouncements: Readonly<Record<string, Refusal>> = {
  'the announcement that it has answered': { make: currentAnnouncement, told: [409, 'epoch-stale'] },
  'an epoch that is over': { make: () => lie({ epoch: 1 }), told: [409, 'epoch-stale'] },
  'an epoch far ahead': { make: () => lie({ epoch: 5_000 }), told: [409, 'epoch-ahead'] },
  'an announcement of another group': { make: () => lie({ gid: randomBytes(16) }), told: [409, 'membership-unknown'] },
  'one under an unknown list': { make: () => lie({ listHash: randomBytes(32) }), told: [409, 'membership-unknown'] },
  'one whose time is over': {
    make: () => lie({ expiryS: systemNowS() - 1_000 }),
    told: [409, 'announcement-expired'],
  },
  'one of another suite': { make: () => lie({ suite: 2 }), told: refused, logged: 'suite-mismatch' },
  'one that was altered': { make: () => flipLast(lie({})), told: refused, logged: 'signature-invalid' },
  'one that a meter signed': { make: () => lie({}, meterOf(d, 'meter-02')), told: refused, logged: 'wrong-signer' },
  'one of a meter that calls itself coordinator': {
    make: () => lie({ coordinator: meterOf(d, 'meter-02').certHash }, meterOf(d, 'meter-02')),
    told: refused,
    logged: 'not-listed',
  },
  'one of a gateway that is not in the list': {
    make: () => {
      const stranger = certify(caOf(d), 'gateway', 'stranger');
      return lie({ coordinator: stranger.certHash }, stranger);
    },
    told: refused,
    logged: 'not-listed',
  },
  'an envelope that is not deterministic CBOR': { make: () => longForm(lie({}), 1), told: [400, 'cbor-malformed'] },
  'a payload that is not deterministic CBOR': {
    make: () => announce(d, {}, { payload: longForm(announcement(d)) }),
    told: [400, 'cbor-malformed'],
  },
  'JSON in the place of COSE': { make: () => utf8('{"message":"AAAA"}'), told: [400, 'cose-malformed'] },
  nothing: { make: () => new Uint8Array(0), told: [400, 'cose-malformed'] },
};

describe.each([
  ['CoAP', coapMeter],
  ['HTTP', httpMeter],
])('a meter over %s refuses', (_binding, thing) => {
  it.each(Object.entries(badAnnouncements))('%s', (_what, refusal) =>
    expectRefused({ thing, action: 'rekey' }, refusal),
  );
});

const device = (id: string, days = 1, nowS = systemNowS()): Identity => certify(caOf(d), 'meter', id, { days, nowS });

const badEnrolments: Readonly<Record<string, Refusal>> = {
  'a device of another CA': {
    make: () => enrolment(d, certify(foreignCa(d), 'meter', 'meter-01')),
    told: refused,
    logged: 'certificate-untrusted',
  },
  'a certificate that has expired': {
    make: () => enrolment(d, device('meter-01', 1, systemNowS() - 3 * 86_400)),
    told: refused,
    logged: 'certificate-expired',
  },
  'a certificate that is no meter’s': {
    make: () => enrolment(d, coordinatorOf(d)),
    told: refused,
    logged: 'certificate-role',
  },
  'a device that is not in the list': {
    make: () => enrolment(d, device('meter-99')),
    told: refused,
    logged: 'not-listed',
  },
  'a second certificate of a name that is in the list': {
    make: () => enrolment(d, device('meter-01')),
    told: refused,
    logged: 'not-listed',
  },
  'an enrolment that was altered': {
    make: () => flipLast(enrolment(d, meterOf(d, 'meter-01'))),
    told: refused,
    logged: 'signature-invalid',
  },
  'an enrolment of yesterday': {
    make: () => enrolment(d, meterOf(d, 'meter-01'), { timeS: systemNowS() - 86_400 }),
    told: [409, 'enrolment-stale'],
  },
  'the description of another meter': {
    make: () => enrolment(d, meterOf(d, 'meter-01'), { td: { id: 'urn:gridring:meter:meter-02' } }),
    told: refused,
    logged: 'td-of-another',
  },
  'what is no description': {
    make: () => enrolment(d, meterOf(d, 'meter-01'), { td: { security: 7 } }),
    told: [400, 'td-invalid'],
  },
};

const badRequests: Readonly<Record<string, Refusal>> = {
  'of a reader': { make: () => rekeyRequest(d, identityIn(d, 'backend')), told: refused, logged: 'not-listed' },
  'of an epoch that is over': {
    make: () => rekeyRequest(d, meterOf(d, 'meter-01'), { currentEpoch: 7 }),
    told: [409, 'epoch-stale'],
  },
  'of yesterday': {
    make: () => rekeyRequest(d, meterOf(d, 'meter-01'), { timeS: systemNowS() - 86_400 }),
    told: [409, 'request-stale'],
  },
  'for another group': {
    make: () => rekeyRequest(d, meterOf(d, 'meter-01'), { gid: randomBytes(16) }),
    told: [409, 'wrong-group'],
  },
};

async function storedReading(meter: string): Promise<Uint8Array> {
  const { readings } = (await backend.get(`meters/${meter}/readings?last=1`)) as { readings: { message: string }[] };
  return fromBase64Url(readings[0]!.message);
}

const upload = (...readings: readonly Uint8Array[]): Uint8Array => encodeUpload({ grants: [], readings });

/** Sealed and signed by the meter itself, in the place of one that was delivered. */
async function otherReading(): Promise<Uint8Array> {
  const header = parseReading(suiteOf(d), await storedReading('meter-01'));
  const name = { ...header, th2: concatBytes(header.keyRef, new Uint8Array(24)) };
  const key = { name, readingKey: randomBytes(32) };
  return sealReading(suiteOf(d), meterOf(d, 'meter-01'), key, header, utf8('something else')).envelope;
}

const badUploads: Readonly<Record<string, Refusal>> = {
  'a reading that was altered': {
    make: async () => upload(flipLast(await storedReading('meter-01'))),
    told: refused,
    logged: 'signature-invalid',
  },
  'a second reading under one sequence': {
    make: async () => upload(await otherReading()),
    told: [409, 'sequence-conflict'],
  },
  'readings of two meters at once': {
    make: async () => upload(await storedReading('meter-01'), await storedReading('meter-02')),
    told: [400, 'upload-mixed'],
  },
  'an upload that is not deterministic CBOR': {
    make: async () => longForm(upload(await storedReading('meter-01'))),
    told: [400, 'cbor-malformed'],
  },
};

describe('a gateway refuses', () => {
  it.each(Object.entries(badEnrolments))('%s', (_what, refusal) =>
    expectRefused({ thing: 'gateway', action: 'enrol' }, refusal),
  );
  it.each(Object.entries(badRequests))('a request for a new epoch %s', (_what, refusal) =>
    expectRefused({ thing: 'gateway', action: 'rekey' }, refusal),
  );
  it.each(Object.entries(badUploads))('%s', (_what, refusal) =>
    expectRefused({ thing: 'gateway', action: 'submitReadings' }, refusal),
  );
  it('a share when no round is open', () =>
    expectRefused(
      { thing: 'gateway', action: 'submitPublicKey' },
      { make: () => lie({}), told: [409, 'wrong-round'] },
    ));
});

describe('what is not even a message', () => {
  it('is refused where it is larger than one, or than anything', async () => {
    const [message, anything] = [concatBytes(lie({}), new Uint8Array(200)), new Uint8Array(limits.requestBody + 1)];
    await expect(invoke(coapMeter, 'rekey', message)).rejects.toMatchObject({ status: 413, code: 'too-large' });
    await expect(invoke(httpMeter, 'rekey', message)).rejects.toMatchObject({ status: 400, code: 'schema-mismatch' });
    for (const [thing, action] of [
      [coapMeter, 'rekey'],
      [httpMeter, 'rekey'],
      ['gateway', 'enrol'],
    ] as const) {
      await expect(invoke(thing, action, anything)).rejects.toMatchObject({ status: 413 });
    }
  });

  it.each([
    ['application/json', '{"massage":"AAAA"}', 400, 'schema-mismatch'],
    ['application/json', '{"message":"not base64url"}', 400, 'schema-mismatch'],
    ['application/json', '{"message":', 400, 'schema-mismatch'],
    ['text/plain', 'AAAA', 415, 'media-type-unsupported'],
  ])('is refused as %s: %s', async (type, body, status, code) => {
    const url = `http://127.0.0.1:${d.port + 1}/gateway/actions/enrol`;
    const answer = await fetch(url, { method: 'POST', headers: { 'content-type': type }, body });
    expect([answer.status, await answer.json()]).toMatchObject([status, { code }]);
  });
});

it('an upload that is repeated is acknowledged again, and nothing is doubled', async () => {
  const message = upload(await storedReading('meter-01'));
  const receipt = async (): Promise<readonly unknown[]> => {
    const { payload } = parseSign1(await invoke('gateway', 'submitReadings', message), limits.memberMessage);
    return decodeStrict(payload, limits.memberMessage) as readonly unknown[];
  };
  const [uploadHash, custodian, storedThrough] = await receipt();
  const again = await receipt();
  expect(again.slice(0, 2)).toEqual([uploadHash, custodian]);
  // Meanwhile the backend may have taken more.
  expect(again[2]).toBeGreaterThanOrEqual(Number(storedThrough));
});

it('meters that may not take part go on asking, and say that they are refused', async () => {
  const strangers = [certify(foreignCa(d), 'meter', 'foreign'), certify(caOf(d), 'meter', 'unlisted')];
  const config = JSON.parse(readFileSync(d.configs.meter, 'utf8')) as object;
  const places = strangers.map(({ id, certificates, secret }) => {
    const folder = join(d.folder, id);
    const files = { certificate: join(folder, 'certificate.pem'), key: join(folder, 'key.pem') };
    writeIdentity(suiteOf(d), files, { chain: certificates, secret });
    return { id, dataDir: join(folder, 'data'), ...files, listen: { scheme: 'http' }, source: { kind: 'csv' } };
  });
  const file = join(d.folder, 'meters/strangers.json');
  const td = `http://127.0.0.1:${d.port + 1}/.well-known/wot`;
  writeFileSync(file, JSON.stringify({ ...config, gateway: { td }, meters: places }));
  const running = start('meter', '--config', file, '--json');
  await eventually(() => {
    for (const { id } of strangers) expect(running.log()).toMatch(new RegExp(`"meter":"${id}","code":"refused"`));
  });
  const { code } = await running.end();
  expect([code, running.events.at(-1)]).toMatchObject([0, { meters: [{ keyed: false }, { keyed: false }] }]);
});

it('after all of that every key and every reading is what it was', async () => {
  for (const thing of ['gateway', coapMeter, httpMeter]) {
    const { groups } = (await (await things[thing]!.readProperty('keyStatus')).value()) as { groups: object[] };
    expect(groups).toMatchObject([{ epoch: 1, attempt: 1, state: 'active', members: 4 }]);
  }
  await expectAllAccountedFor(d, meters);
});
