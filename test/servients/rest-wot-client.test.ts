/** node-wot's own client, unmodified, which knows the backend's well-known address and nothing else. */
import { HttpClientFactory } from '@node-wot/binding-http';
import { Servient } from '@node-wot/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromBase64Url } from '../../crypto/bytes.js';
import { verifyEndorsement } from '../../crypto/ring/endorsement.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { makeThing } from '../../td/make-td.js';
import { makeNeighbourhood, nowS } from '../support/neighbourhood.js';
import { agree } from '../support/ring.js';
import { TestMeter, uploadOf } from './rest-meters.js';
import { asJson, expectFits, startBackend, tokenFor, type TestBackend } from './rest-server.js';

const n = makeNeighbourhood(suiteX25519, 2);

type Paths = Readonly<Record<string, Readonly<Record<string, { readonly operationId?: string }>>>>;
type Td = Readonly<Record<string, unknown>>;

const anonymous: Td = {
  '@context': 'https://www.w3.org/2022/wot/td/v1.1',
  title: 'Lamp',
  securityDefinitions: { nosec_sc: { scheme: 'nosec' } },
  security: 'nosec_sc',
};

describe('an unmodified WoT client that knows only the well-known address', () => {
  let servient: Servient;
  let backend: TestBackend;
  beforeAll(async () => {
    backend = await startBackend(n);
    servient = new Servient();
    servient.addClientFactory(new HttpClientFactory());
  });
  afterAll(async () => {
    await servient.shutdown();
    await backend.remove();
  });

  it('finds the backend in the directory, registers, publishes a list, records an epoch and uploads readings', async () => {
    const wot = await servient.start();
    const backendId = 'urn:gridring:backend:backend-1';
    const token = await tokenFor(n, n.gateway);
    servient.addCredentials({ [backendId]: { token }, [`${backendId}:directory`]: { token } });
    const directory = await wot.consume(await wot.requestThingDescription(`${backend.url}/.well-known/wot`));
    const registered = makeThing('meter', { id: 'urn:example:meter-01', title: 'Meter 1', version: '1' });
    const td = { ...registered, base: 'http://127.0.0.1:1/', properties: {}, actions: {}, events: {} };
    await directory.invokeAction('createThing', td, { uriVariables: { id: td.id! } });
    await directory.invokeAction('updateThing', { ...td, title: 'Meter one' }, { uriVariables: { id: td.id! } });
    await directory.invokeAction('createAnonymousThing', anonymous);
    const retrieved = await directory.invokeAction('retrieveThing', undefined, { uriVariables: { id: td.id! } });
    expect(await retrieved?.value()).toMatchObject({ title: 'Meter one' });
    await directory.invokeAction('deleteThing', undefined, { uriVariables: { id: td.id! } });
    const found = (await (await directory.readProperty('things')).value()) as readonly Td[];
    const nameless = expect.stringMatching(/^urn:uuid:/) as string;
    expect(found.map(({ id }) => id)).toEqual([backendId, `${backendId}:directory`, nameless]);
    const [backendTd] = found;
    const thing = await wot.consume(backendTd as unknown as WoT.ThingDescription);

    const { players, published } = agree(n);
    const listed = await thing.invokeAction('publishMembership', asJson(n.bundle(n.list())));
    expectFits('membership-published', await listed?.value());
    const recorded = await (await thing.invokeAction('recordEpoch', asJson(published.record)))?.value();
    const { message: endorsement } = recorded as { readonly message: string };
    const check = { suite: n.suite, trustedRoots: [n.root], nowS };
    expect(verifyEndorsement(check, fromBase64Url(endorsement))).toMatchObject({ epoch: 1, attempt: 1 });
    const upload = uploadOf(new TestMeter(n, players[0]!).measure(2));
    const receipt = await (await thing.invokeAction('uploadReadings', asJson(upload)))?.value();
    expect(receipt).toEqual({ message: expect.any(String) as string });
    expect(await (await thing.readProperty('groups')).value()).toMatchObject({ groups: [{ epoch: 1, members: 2 }] });
    expectFits('policies', await (await thing.readProperty('policies')).value());
    expectFits('health', await (await thing.readProperty('health')).value());

    // The same operations, by one who knows the OpenAPI description and nothing else.
    const { paths } = (await backend.call('GET', '/api/v1/openapi.json')).body as { readonly paths: Paths };
    const call = async (operationId: string, body?: object): Promise<unknown> => {
      const [path = '', methods = {}] =
        Object.entries(paths).find(([, of]) => Object.values(of).some((each) => each.operationId === operationId)) ??
        [];
      const [method = ''] = Object.entries(methods).find(([, each]) => each.operationId === operationId) ?? [];
      return (await backend.call(method.toUpperCase(), path, { token, ...(body && { body }) })).body;
    };
    for (const [property, operationId] of [
      ['groups', 'listGroups'],
      ['policies', 'listPolicies'],
    ] as const) {
      expect(await call(operationId)).toEqual(await (await thing.readProperty(property)).value());
    }
    expect(await call('recordEpoch', asJson(published.record))).toEqual(recorded);
    expect(await call('publishMembership', asJson(n.bundle(n.list())))).toEqual(
      await (await thing.invokeAction('publishMembership', asJson(n.bundle(n.list()))))?.value(),
    );
    expect(await call('uploadReadings', asJson(upload))).toEqual(
      await (await thing.invokeAction('uploadReadings', asJson(upload)))?.value(),
    );
  });
});
