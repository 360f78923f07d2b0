import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Ajv, type AnySchemaObject, type ValidateFunction } from 'ajv';
import addFormats from 'ajv-formats';
import { describe, expect, test } from 'vitest';
import { toSenmlJson } from '../../crypto/envelope/senml.js';
import { ConflictError, VerificationError } from '../../crypto/errors.js';
import { limits } from '../../crypto/limits.js';
import { reasons } from '../../crypto/ring/messages.js';
import { toPeerError } from '../../servients/bindings/status.js';
import { payloadNames } from '../../servients/rest/payloads.js';
import { thingModel, type ThingKind } from '../../td/make-td.js';
import { resolveReference, type JsonObject } from '../../td/references.js';

const kinds: readonly ThingKind[] = ['meter', 'gateway', 'backend', 'directory'];
const folder = new URL('../../td/', import.meta.url);
const schemaFiles = readdirSync(new URL('schemas/', folder));
const readJson = (path: string): JsonObject => JSON.parse(readFileSync(new URL(path, folder), 'utf8')) as JsonObject;

function strictAjv(): Ajv {
  const ajv = new Ajv({ strict: true });
  addFormats.default(ajv);
  return ajv;
}

/** Whether a value is what a payload schema allows. */
const fits = (reference: string, value: unknown): boolean =>
  strictAjv().compile(resolveReference(reference) as AnySchemaObject)(value) as boolean;

const followsTmSchema = w3cTmSchema();

function w3cTmSchema(): ValidateFunction {
  const ajv = new Ajv({ strict: false });
  addFormats.default(ajv);
  const require = createRequire(import.meta.url);
  return ajv.compile(require('wot-thing-model-types/schema/tm-json-schema-validation.json') as AnySchemaObject);
}

interface Affordance extends JsonObject {
  readonly title: string;
  readonly description: string;
}
const affordancesOf = (model: JsonObject, kind: string): readonly (readonly [string, Affordance])[] =>
  Object.entries((model[kind] ?? {}) as Record<string, Affordance>);

const affordanceOf = (kind: ThingKind, part: string, name: string): Affordance =>
  Object.fromEntries(affordancesOf(thingModel(kind), part))[name]!;

describe.each(kinds)('the Thing Model of a %s', (kind) => {
  const model = thingModel(kind);

  test('follows the JSON Schema that W3C publishes for Thing Models', () => {
    for (const value of [model, readJson(`${kind}.tm.json`)]) {
      followsTmSchema(value);
      expect(followsTmSchema.errors).toBeNull();
    }
  });

  test('has a version, and stands on its own: no reference is left', () => {
    expect(model['version']).toEqual({ model: expect.stringMatching(/^\d+\.\d+\.\d+$/) as string });
    expect(JSON.stringify(model)).not.toMatch(/\$ref|tm:ref|\$id|\$schema/);
  });

  test('says of every affordance what it is for', () => {
    const all = ['properties', 'actions', 'events'].flatMap((part) => affordancesOf(model, part));
    for (const [name, { title, description }] of all) {
      expect(title.length, name).toBeGreaterThan(0);
      expect(description, name).toMatch(/\.$/);
    }
  });

  test('describes what every action takes', () => {
    const actions = affordancesOf(model, 'actions');
    expect(actions.length).toBeGreaterThan(0);
    for (const [name, action] of actions) expect(action['input'] ?? action['uriVariables'], name).toBeTypeOf('object');
  });

  test('lets nobody write a property', () => {
    for (const [name, property] of affordancesOf(model, 'properties')) expect(property['readOnly'], name).toBe(true);
  });

  test('names only security that it defines, and none that it does not use', () => {
    const used = [...JSON.stringify(model).matchAll(/"security":\[?"(\w+)"/g)].map(([, name]) => name);
    expect(new Set(used)).toEqual(new Set(Object.keys(model['securityDefinitions'] as JsonObject)));
  });
});

describe('one text for every payload', () => {
  const inline = ['type', 'properties', 'items', 'required', 'enum', 'oneOf', 'pattern', 'maxLength'];

  test.each(['meter', 'gateway', 'backend'])('the Thing Model of a %s holds no schema of its own', (kind) => {
    const source = readJson(`${kind}.tm.json`);
    const payloads = [
      ...affordancesOf(source, 'properties').map(([, property]) => property),
      ...affordancesOf(source, 'actions').flatMap(([, { input, output }]) => [input, output]),
      ...affordancesOf(source, 'events').map(([, { data }]) => data),
    ].filter((payload) => payload !== undefined) as readonly JsonObject[];
    for (const payload of payloads) {
      expect(payload['tm:ref']).toMatch(/^schemas\/[a-z-]+\.schema\.json#/);
      expect(inline.filter((keyword) => keyword in payload)).toEqual([]);
    }
  });

  test('what a Thing Model says of a payload is what the schema file says', () => {
    const ofFile = resolveReference('schemas/key-status.schema.json') as JsonObject;
    const { title, description } = affordanceOf('meter', 'properties', 'keyStatus');
    expect(affordanceOf('meter', 'properties', 'keyStatus')).toMatchObject({ ...ofFile, title, description });
    const envelope = resolveReference('schemas/message.schema.json#/definitions/reading') as JsonObject;
    expect(affordanceOf('meter', 'events', 'reading')['data']).toEqual({ ...envelope, title: 'Envelope' });
  });

  test('every schema is used', () => {
    const sources = [...kinds.map((kind) => `${kind}.tm.json`), ...schemaFiles.map((file) => `schemas/${file}`)];
    const texts = sources.map((path) => readFileSync(new URL(path, folder), 'utf8')).join('');
    const ofRoutes = new Set(payloadNames.map((name) => `${name.split('.')[0] ?? ''}.schema.json`));
    const unused = schemaFiles.filter(
      (file) => !texts.includes(`"${file}#`) && !texts.includes(`schemas/${file}#`) && !ofRoutes.has(file),
    );
    // What a reader finds in an envelope is no payload of any affordance.
    expect(unused).toEqual(['senml.schema.json']);
  });
});

describe('schema files', () => {
  const ajv = strictAjv();
  for (const file of schemaFiles) ajv.addSchema(readJson(`schemas/${file}`));

  test.each(schemaFiles)('%s compiles in strict mode, under its own name, with and without its references', (file) => {
    const { $schema, $id, title, description } = readJson(`schemas/${file}`) as Record<string, string | undefined>;
    expect($schema).toBe('http://json-schema.org/draft-07/schema#');
    expect($id).toMatch(new RegExp(`/td/schemas/${file}$`));
    expect([title, description]).toEqual([expect.any(String), expect.any(String)]);
    expect(ajv.getSchema($id ?? '')).toBeTypeOf('function');
    expect(strictAjv().compile(resolveReference(`schemas/${file}`) as AnySchemaObject)).toBeTypeOf('function');
  });

  test('messages may be as long as crypto/limits.ts says, and no longer than a request body', () => {
    const inBody = limits.requestBody - JSON.stringify({ message: '' }).length;
    const base64UrlLength = (bytes: number): number => Math.min(Math.ceil((bytes * 4) / 3), inBody);
    const { definitions } = resolveReference('schemas/message.schema.json') as {
      definitions: Record<string, JsonObject>;
    };
    const longest = Object.entries(definitions).map(([name, { properties }]) => [
      name,
      (properties as { message: JsonObject }).message['maxLength'],
    ]);
    expect(Object.fromEntries(longest)).toEqual({
      short: base64UrlLength(limits.memberMessage),
      renewal: base64UrlLength(limits.renewal),
      bundle: base64UrlLength(limits.bundle),
      membership: base64UrlLength(limits.membership),
      endorsement: base64UrlLength(limits.endorsement),
      enrolment: base64UrlLength(limits.thingDescription + 4 * limits.certificate),
      reading: base64UrlLength(limits.envelope),
      readings: base64UrlLength(limits.readingsBatch),
      record: base64UrlLength(4 * limits.bundle),
      proof: Math.ceil((limits.proof * 4) / 3),
      verdict: base64UrlLength(limits.verdict),
      home: base64UrlLength(limits.home),
      command: base64UrlLength(limits.command),
      proposal: base64UrlLength(limits.proposal),
      commandReceipt: base64UrlLength(limits.commandReceipt),
      commandReceipts: base64UrlLength(2 + limits.ringMembersHard * (3 + limits.commandReceipt)),
    });
  });

  test('a recorded epoch has one of the reasons that announcements know', () => {
    const { properties } = resolveReference('schemas/epoch-recorded.schema.json') as { properties: JsonObject };
    expect((properties['reason'] as JsonObject)['enum']).toEqual(reasons);
  });
});

describe('what payload schemas allow', () => {
  const group = {
    gid: '0f'.repeat(16),
    epoch: 4,
    attempt: 1,
    state: 'active',
    members: 15,
    since: '2025-01-01T06:00:00Z',
  };

  test('a key status names the key by a hash', () => {
    expect(fits('schemas/key-status.schema.json', { groups: [{ ...group, keyName: '00ff'.repeat(4) }] })).toBe(true);
    expect(fits('schemas/key-status.schema.json', { groups: [] })).toBe(true);
  });

  test.each([
    ['carries a key', { ...group, key: '00'.repeat(32) }],
    ['carries a whole th2 as the key name', { ...group, keyName: '00'.repeat(32) }],
    ['is in no state', { ...group, state: 'leaked' }],
    ['has an epoch beyond 32 bits', { ...group, epoch: 2 ** 32 }],
  ])('a key status that %s is refused', (_, entry) => {
    expect(fits('schemas/key-status.schema.json', { groups: [entry] })).toBe(false);
  });

  test.each([
    ['padding', 'AAA='],
    ['the other base64 alphabet', '+/8'],
    ['a byte more than a short message may have', 'A'.repeat(296)],
  ])('a message with %s is refused', (_, message) => {
    expect(fits('schemas/message.schema.json#/definitions/short', { message: 'AAA_-' })).toBe(true);
    expect(fits('schemas/message.schema.json#/definitions/short', { message })).toBe(false);
  });

  test('every refusal of the servients is a problem document', () => {
    const errors = [new ConflictError('epoch-stale', 'old'), new VerificationError('tag', 'x'), new Error('disk')];
    for (const error of errors) expect(fits('schemas/problem.schema.json', toPeerError(error).problem)).toBe(true);
  });

  test('a refused Thing Description is a problem document with the fields that are wrong', () => {
    const problem = { type: 'about:blank', title: 'Bad Request', status: 400, code: 'td-invalid' };
    const validationErrors = [{ field: '(root)', description: 'security is required' }];
    expect(fits('schemas/problem.schema.json', { ...problem, validationErrors })).toBe(true);
    expect(fits('schemas/problem.schema.json', { ...problem, validationErrors: ['security'] })).toBe(false);
  });

  test('an opened reading is SenML, measured or missing', () => {
    const base = { intervalS: 60, energyTotalWh: 1.5, source: 'replay' } as const;
    const measured = {
      missing: false,
      powerW: 90,
      energyWh: 1.5,
      reactivePowerVar: 4,
      voltageV: 234.5,
      currentA: 0.4,
    } as const;
    const pack = toSenmlJson({
      meterId: 'm7',
      readings: [
        { ...base, ...measured, timeS: 1_700_000_040 },
        { ...base, missing: true, timeS: 1_700_000_100 },
      ],
    });
    expect(fits('schemas/senml.schema.json', pack)).toBe(true);
    expect(fits('schemas/senml.schema.json', [])).toBe(false);
    expect(fits('schemas/senml.schema.json', [{ n: 'urn:x', v: 1, vs: 'one' }])).toBe(false);
    expect(fits('schemas/senml.schema.json', [{ n: 'urn:x' }])).toBe(false);
  });
});
