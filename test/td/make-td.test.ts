import { Servient } from '@node-wot/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { belongsTo, makeTd, makeThing, makeUncallableTd, thingModel, type ThingKind } from '../../td/make-td.js';
import { validateTd } from '../../td/validate-td.js';
import { withForms } from './with-forms.js';

const instanceOf = (kind: ThingKind) => ({ id: `urn:gridring:${kind}:x1`, title: `The ${kind}`, version: '0.1.0' });
const places = { base: 'https://grid.example:8443/', tokenAlgorithm: 'EdDSA' } as const;
const routed = (kind: 'backend' | 'directory', tokenAlgorithm: 'EdDSA' | 'ES256' = 'EdDSA') =>
  makeTd(kind, { ...instanceOf(kind), ...places, tokenAlgorithm });

async function exposedTd(wot: typeof WoT, kind: 'meter' | 'gateway'): Promise<WoT.ThingDescription> {
  const thing = await wot.produce(makeThing(kind, instanceOf(kind)));
  return withForms(thing.getThingDescription(), `coap://[2001:db8:1234:5678:9abc:def0:1234:5678]:5683/${kind}-x1/`);
}

let servient: Servient;
let wot: typeof WoT;

beforeAll(async () => {
  servient = new Servient();
  wot = await servient.start();
});
afterAll(() => servient.shutdown());

describe('a Thing for a binding to expose', () => {
  test.each(['meter', 'gateway'] as const)('a %s is produced, and valid once it has forms', async (kind) => {
    const td = await exposedTd(wot, kind);
    expect(validateTd(td)).toMatchObject({ valid: true });
    expect(td).toMatchObject({ ...instanceOf(kind), version: { instance: '0.1.0', model: '1.0.0' } });
    expect(td.securityDefinitions['nosec_sc']).toMatchObject({ scheme: 'nosec' });
  });

  test("a meter's Thing Description stays below 13 kB", async () => {
    const { length } = Buffer.from(JSON.stringify(await exposedTd(await new Servient().start(), 'meter')));
    expect(length).toBeLessThan(13_312);
  });

  test('without forms it is not yet a Thing Description', () => {
    expect(validateTd(makeThing('meter', instanceOf('meter'))).valid).toBe(false);
  });

  test('a change in one Thing reaches no other', () => {
    const first = makeThing('meter', instanceOf('meter'));
    Object.assign(first.actions?.['rekey'] ?? {}, { description: 'changed' });
    expect(makeThing('meter', instanceOf('meter')).actions?.['rekey']?.description).not.toBe('changed');
  });
});

describe('a meter that nobody can call', () => {
  const gatewayTd = 'coap://192.0.2.1/.well-known/wot';
  const td = makeUncallableTd({ ...instanceOf('meter'), links: [belongsTo(gatewayTd)] });

  test('has a valid Thing Description, which offers nothing and leads to its gateway', async () => {
    expect(validateTd(td)).toEqual({ valid: true, td });
    expect([td.properties, td.actions, td.events]).toEqual([undefined, undefined, undefined]);
    expect(td).toMatchObject({ ...instanceOf('meter'), version: { instance: '0.1.0', model: '1.0.0' } });
    expect(td.links).toMatchObject([{ rel: 'collection', href: gatewayTd }]);
    expect(await wot.consume(td)).toBeDefined();
  });
});

describe('a Thing behind plain routes', () => {
  test.each(['backend', 'directory'] as const)(
    'a %s has a complete Thing Description, which can be produced too',
    async (kind) => {
      const td = routed(kind);
      expect(validateTd(td)).toEqual({ valid: true, td });
      expect(await wot.produce(td)).toMatchObject({ title: td.title });
    },
  );

  test.each(['backend', 'directory'] as const)('nothing of the Thing Model is left in that of a %s', (kind) => {
    expect(JSON.stringify(routed(kind))).not.toMatch(/tm:|\{\{/);
    expect(JSON.stringify(thingModel(kind))).toMatch(/tm:ThingModel.*\{\{TOKEN_ALGORITHM\}\}/);
  });

  test('the algorithm of tokens is that of the suite', () => {
    expect(routed('backend', 'ES256').securityDefinitions['bearer_sc']).toMatchObject({
      scheme: 'bearer',
      alg: 'ES256',
    });
    expect(routed('backend', 'EdDSA').securityDefinitions['bearer_sc']).toMatchObject({
      scheme: 'bearer',
      alg: 'EdDSA',
    });
  });

  test('says where its tokens come from, where it has an issuer of its own', () => {
    const issuer = 'https://grid.example:8443/oidc';
    const { security, securityDefinitions } = makeTd('backend', { ...instanceOf('backend'), ...places, issuer });
    expect(security).toBe('bearer_sc');
    expect(securityDefinitions).toMatchObject({
      bearer_sc: { scheme: 'bearer', authorization: issuer },
      oauth2_sc: { scheme: 'oauth2', flow: 'code', authorization: `${issuer}/auth`, token: `${issuer}/token` },
    });
    expect(routed('backend').securityDefinitions).not.toHaveProperty('oauth2_sc');
  });

  test('leads from one to the other, and to what the REST API says of itself', () => {
    const { links, base } = routed('backend');
    expect(links?.map(({ rel, href }) => [rel, new URL(href, base).pathname])).toEqual([
      ['service-desc', '/api/v1/openapi.json'],
      ['service-doc', '/api/v1/docs'],
      ['item', '/.well-known/wot'],
    ]);
    const ofDirectory = makeTd('directory', {
      ...instanceOf('directory'),
      ...places,
      links: [belongsTo('things/x')],
    }).links;
    expect(ofDirectory).toEqual([{ rel: 'collection', href: 'things/x', type: 'application/td+json' }]);
  });

  test('gives events again from the last one that was received, and says by which header', () => {
    for (const kind of ['backend', 'directory'] as const) {
      const forms = Object.values(routed(kind).events ?? {}).flatMap((event) => event.forms);
      expect(forms.length).toBeGreaterThan(2);
      for (const form of forms) {
        expect(form.subprotocol).toBe('sse');
        expect(form['htv:headers']).toMatchObject([{ 'htv:fieldName': 'Last-Event-ID' }]);
      }
    }
  });

  test("the backend's forms lead to the routes of the REST API", () => {
    const { properties, actions, events, base } = routed('backend');
    const urls = Object.values({ ...properties, ...actions, ...events }).flatMap(({ forms }) =>
      forms.map(
        (form) => `${(form['htv:methodName'] as string | undefined) ?? 'SSE'} ${new URL(form.href, base).pathname}`,
      ),
    );
    expect(new Set(urls)).toEqual(
      new Set([
        'GET /api/v1/groups',
        'GET /api/v1/policies',
        'GET /health',
        'POST /api/v1/commands',
        'POST /api/v1/epochs',
        'POST /api/v1/readings',
        'POST /api/v1/memberships',
        'SSE /api/v1/events',
        'SSE /api/v1/events/memberships',
        'SSE /api/v1/events/receipts',
      ]),
    );
  });

  test('open to everybody is health, what the authority signed, and what the directory lists, finds and tells', () => {
    const open = (['backend', 'directory'] as const).flatMap((kind) => {
      const { security, properties, actions, events } = routed(kind);
      expect(security).toBe('bearer_sc');
      const affordances = Object.entries({ ...properties, ...actions, ...events });
      return affordances.filter(([, { forms }]) => forms.some((form) => form.security?.includes('nosec_sc')));
    });
    expect(open.map(([name]) => name)).toEqual([
      'health',
      'publishMembership',
      'things',
      'retrieveThing',
      'searchJSONPath',
      'searchXPath',
      'searchSPARQL',
      'thingCreated',
      'thingUpdated',
      'thingDeleted',
    ]);
  });

  test('the directory is marked as one, as WoT Discovery wants it', () => {
    expect(routed('directory')).toMatchObject({
      '@context': expect.arrayContaining(['https://www.w3.org/2022/wot/discovery']) as unknown,
      '@type': ['ThingDirectory'],
    });
  });
});
