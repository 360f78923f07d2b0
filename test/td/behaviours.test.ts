/** What the Things answer and show, from enrolment to the first reading, is what their Thing Models say. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Ajv, type AnySchemaObject } from 'ajv';
import addFormats from 'ajv-formats';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { toBase64Url, toHex } from '../../crypto/bytes.js';
import { makeRequest } from '../../crypto/certificate/request.js';
import { signHome } from '../../crypto/home.js';
import { makeCommand, nextSequence } from '../../crypto/envelope/command.js';
import { encodeEndorsementBundle, signEndorsement } from '../../crypto/ring/endorsement.js';
import { signRenewal } from '../../crypto/renewal.js';
import { verifyRecord } from '../../crypto/ring/record.js';
import { encodeLeaveRequest, encodeRevokeRequest } from '../../crypto/ring/requests.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { openGatewayStore } from '../../servients/stores/sqlite/gateway-store.js';
import { openMeterStore } from '../../servients/stores/sqlite/meter-store.js';
import { makeThing, thingModel } from '../../td/make-td.js';
import { validateTd } from '../../td/validate-td.js';
import type { ThingBehaviour } from '../../things/behaviour.js';
import { Gateway } from '../../things/gateway.js';
import { Meter } from '../../things/meter.js';
import { signAs } from '../support/forge.js';
import { makeNeighbourhood, nowS, seededRandom, type Principal } from '../support/neighbourhood.js';
import { withForms } from './with-forms.js';

interface Model {
  readonly properties: Record<string, AnySchemaObject>;
  readonly actions: Record<string, { readonly input: AnySchemaObject; readonly output?: AnySchemaObject }>;
  readonly events: Record<string, { readonly data: AnySchemaObject }>;
}
type Local = 'meter' | 'gateway';
const models = { meter: thingModel('meter') as unknown as Model, gateway: thingModel('gateway') as unknown as Model };

const ajv = new Ajv({ strict: false });
addFormats.default(ajv);
const seen = new Set<string>();
const faults: string[] = [];

function check(what: string, schema: AnySchemaObject | undefined, value: unknown): void {
  seen.add(what);
  if (schema === undefined || !ajv.validate(schema, value)) faults.push(`${what}: ${ajv.errorsText()}`);
}

async function checkProperties(kind: Local, thing: ThingBehaviour): Promise<void> {
  for (const [name, read] of Object.entries(thing.properties)) {
    const value: unknown = JSON.parse(JSON.stringify(await read()));
    check(`${kind}.${name}`, models[kind].properties[name], value);
  }
}

/** Invokes a message action as a JSON client sees it. */
async function invoke(kind: Local, thing: ThingBehaviour, name: string, message: Uint8Array): Promise<Uint8Array> {
  const { input, output } = models[kind].actions[name]!;
  const action = thing.actions[name];
  if (action?.kind !== 'message') throw new Error(`${name} is no message action`);
  check(`${kind}.${name} input`, input, { message: toBase64Url(message) });
  const answer = await action.invoke(message);
  if (output !== undefined) check(`${kind}.${name} output`, output, { message: toBase64Url(answer) });
  else if (answer.length > 0) faults.push(`${kind}.${name}: an answer that no output describes`);
  return answer;
}

/** Checks every event, and all properties whenever one of them is said to have changed. */
function watch(kind: Local, thing: ThingBehaviour): void {
  thing.attach({
    propertyChanged: () => void checkProperties(kind, thing),
    event: (name, data) => {
      check(`${kind}.${name} event`, models[kind].events[name]?.data, data);
    },
  });
}

const folder = mkdtempSync(join(tmpdir(), 'gridring-td-'));
const town = makeNeighbourhood(suiteX25519, 3);
const stores = {
  gateway: openGatewayStore(join(folder, 'gateway.sqlite')),
  meters: town.meters.map((_, i) => openMeterStore(join(folder, `meter-${i}.sqlite`))),
};
const silent = { info: () => undefined, warn: () => undefined };
const issuing = town.certificates[0]!;

const partsOf = ({ certificate, certHash, kid, signer }: Principal) => ({
  suite: suiteX25519,
  identity: { id: certificate.id, certHash, kid, signer, certificates: [certificate.der, issuing] },
  trustedRoots: [town.root],
  nowS: () => nowS,
  random: seededRandom(certificate.id),
  log: silent,
  version: '0.1.0',
});

let gateway: Gateway;
let meters: readonly Meter[];

beforeAll(async () => {
  meters = await Promise.all(
    town.meters.map((meter, i) =>
      Meter.load({ ...partsOf(meter), store: stores.meters[i]!, readingIntervalS: 60, sourceName: 'replay' }),
    ),
  );
  const byHash = new Map(town.meters.map(({ certHash }, i) => [toHex(certHash), meters[i]!]));
  gateway = await Gateway.load(
    {
      ...partsOf(town.gateway),
      store: stores.gateway,
      members: { invoke: (member, action, message) => invoke('meter', byHash.get(toHex(member))!, action, message) },
      tdFault: (td) => (validateTd(td).valid ? undefined : 'not a TD'),
      onEnrolled: () => undefined,
      onAgreement: () => undefined,
      onEpoch: () => undefined,
      onFailed: () => undefined,
      onMembership: () => undefined,
      sleeperDeadlineMs: 1_000,
      nowMs: () => 0,
      settled: () => true,
      windowMs: 0,
      sleep: (_ms, signal) => once(signal, 'abort').then(() => undefined),
      roundDeadlineMs: 1_000,
      maxAttempts: 1,
    },
    [town.bundle(town.list())],
  );
  watch('gateway', gateway);
  for (const meter of meters) watch('meter', meter);
});

afterAll(() => {
  for (const store of [stores.gateway, ...stores.meters]) store.close();
  rmSync(folder, { recursive: true });
});

test('from enrolment to the first reading, every answer, property and event fits its schema', async () => {
  await checkProperties('gateway', gateway);
  for (const [i, meter] of meters.entries()) {
    await checkProperties('meter', meter);
    const id = town.meters[i]!.certificate.id;
    const init = makeThing('meter', { id: `urn:gridring:meter:${id}`, title: id, version: '0.1.0' });
    const td = withForms(init, `coap://127.0.0.1/${id}/`);
    await invoke('gateway', gateway, 'enrol', meter.enrolment(JSON.stringify(td)));
  }
  await gateway.group(town.gid).rekey('founding');
  const { record } = (await stores.gateway.latestRecord(town.gid))!;
  const { name, groupPublicKey } = verifyRecord(suiteX25519, town.membership(), record, nowS);
  const endorsement = encodeEndorsementBundle(signEndorsement(suiteX25519, town.backend, name, record), [
    town.backend.certificate.der,
    issuing,
  ]);
  for (const meter of meters) {
    await invoke('meter', meter, 'endorse', endorsement);
    const home = { gid: town.gid, tdUrls: ['coap://192.0.2.7/.well-known/wot'], timeS: nowS };
    await invoke('meter', meter, 'rehome', signHome(suiteX25519, town.gateway, home));
    await meter.report({ timeS: nowS, intervalS: 60, energyTotalWh: 0, source: 'replay', missing: true });
    await checkProperties('meter', meter);
    const upload = (await meter.nextUpload())!;
    await meter.acknowledge(upload, await invoke('gateway', gateway, 'submitReadings', upload.message));
  }
  await invoke('gateway', gateway, 'updateMembership', town.bundle(town.list()));
  const command = makeCommand(
    suiteX25519,
    {
      ...{ name, groupPublicKey, operator: town.operator, sequence: nextSequence(0, nowS), expiresS: nowS + 60 },
      targets: town.meters.map(({ certHash }) => certHash),
      operation: { name: 'ping' },
    },
    seededRandom('command'),
  );
  await invoke('gateway', gateway, 'command', command);
  for (const meter of meters) {
    await invoke('gateway', gateway, 'submitReceipt', await invoke('meter', meter, 'control', command));
  }
  await invoke('gateway', gateway, 'command', command);
  const [holder] = town.meters;
  const request = makeRequest(suiteX25519, holder!.signer, { role: 'meter', id: holder!.certificate.id });
  const certificates = [holder!.certificate.der, issuing];
  await invoke('gateway', gateway, 'renew', signRenewal(suiteX25519, holder!, { certificates, request, timeS: nowS }));
  const leave = encodeLeaveRequest({ gid: town.gid, currentEpoch: 1, timeS: nowS });
  await invoke('gateway', gateway, 'leave', signAs(suiteX25519, town.meters[0]!, 'leave', town.gid, leave));
  const { certHash } = town.meters[1]!;
  const revoke = encodeRevokeRequest({ gid: town.gid, certHash, timeS: nowS });
  await invoke('gateway', gateway, 'revoke', signAs(suiteX25519, town.operator, 'revoke', town.gid, revoke));
  await checkProperties('gateway', gateway);
  expect(faults).toEqual([]);
});

test('nothing that a Thing Model of meter or gateway lists was left out, but what only sleepers and operators call, and what names liars', () => {
  const uncalled = ['submitPublicKey', 'submitToken', 'submitConfirmation', 'gateway.rekey', 'gateway.verdict event'];
  const listed = (['meter', 'gateway'] as const).flatMap((kind) => [
    ...Object.keys(models[kind].properties).map((name) => `${kind}.${name}`),
    ...Object.keys(models[kind].events).map((name) => `${kind}.${name} event`),
    ...Object.keys(models[kind].actions).map((name) => `${kind}.${name} input`),
  ]);
  expect(listed.filter((name) => !seen.has(name) && !uncalled.some((end) => name.includes(end)))).toEqual([]);
});

test('every action and property of a behaviour is in its Thing Model, and the other way round', () => {
  for (const [kind, thing] of [
    ['meter', meters[0]!],
    ['gateway', gateway],
  ] as const) {
    // prettier-ignore
    expect(Object.keys(thing.actions).sort()).toEqual(Object.keys(models[kind].actions).sort());
    expect(Object.keys(thing.properties).sort()).toEqual(Object.keys(models[kind].properties).sort());
  }
});
