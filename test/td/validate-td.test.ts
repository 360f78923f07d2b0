import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Ajv, type AnySchemaObject } from 'ajv';
import addFormats from 'ajv-formats';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { validateTd } from '../../td/validate-td.js';

const vectors = JSON.parse(readFileSync(new URL('../vectors/td/accepted.json', import.meta.url), 'utf8')) as {
  readonly cases: readonly { readonly after: string; readonly td: object }[];
};

const tdSchema = 'wot-thing-description-types/schema/td-json-schema-validation.json';
const lamp = {
  '@context': 'https://www.w3.org/2022/wot/td/v1.1',
  title: 'Lamp',
  base: 'coap://192.0.2.1/lamp/',
  securityDefinitions: { nosec_sc: { scheme: 'nosec' } },
  security: 'nosec_sc',
  properties: { on: { type: 'boolean', forms: [{ href: 'on' }] } },
  actions: { toggle: { forms: [{ href: 'toggle' }] } },
};

/** The errors as `field: description`. */
function errorsOf(value: unknown): readonly string[] {
  const verdict = validateTd(value);
  return verdict.valid ? [] : verdict.errors.map(({ field, description }) => `${field}: ${description}`);
}

const without = (name: keyof typeof lamp): object => ({ ...lamp, [name]: undefined });
const withForm = (form: object): object => ({ ...lamp, properties: { on: { type: 'boolean', forms: [form] } } });
const withSecurity = (definition: object): object => ({ ...lamp, securityDefinitions: { nosec_sc: definition } });

describe('Thing Descriptions that follow the Recommendation are accepted', () => {
  test.each(vectors.cases)('$after', ({ td }) => {
    expect(errorsOf(td)).toEqual([]);
    expect(validateTd(td)).toEqual({ valid: true, td });
  });
});

describe('what is broken is refused, and the field is named', () => {
  test.each<[string, unknown, string | RegExp]>([
    ['an empty object', {}, '(root): title is required'],
    ['null', null, '(root): must be object'],
    ['an array of Thing Descriptions', [lamp], '(root): must be object'],
    ['no security', JSON.parse(JSON.stringify(without('security'))), '(root): security is required'],
    ['another context', { ...lamp, '@context': 'https://schema.org/' }, /^@context: must be .*v1\.1/],
    ['a context of numbers', { ...lamp, '@context': [lamp['@context'], 7] }, /^@context: must be /],
    ['an affordance without forms', { ...lamp, actions: { toggle: {} } }, 'actions.toggle: forms is required'],
    [
      'no form in forms',
      { ...lamp, actions: { toggle: { forms: [] } } },
      /^actions\.toggle\.forms: must NOT have fewer/,
    ],
    ['a numeric href', withForm({ href: 7 }), 'properties.on.forms.0.href: must be string'],
    [
      'an action operation on a property',
      withForm({ href: 'on', op: 'invokeaction' }),
      'properties.on.forms.0.op: must be one of readproperty, writeproperty, observeproperty, unobserveproperty, or must be array',
    ],
    [
      'a data type that JSON has not',
      { ...lamp, properties: { on: { type: 'object', properties: { a: { type: 'date' } }, forms: [{ href: 'on' }] } } },
      /^properties\.on\.properties\.a\.type: must be one of boolean, /,
    ],
    [
      'an unknown security scheme',
      withSecurity({ scheme: 'magic' }),
      /^securityDefinitions\.nosec_sc\.scheme: must be one/,
    ],
    ['a security definition without scheme', withSecurity({}), 'securityDefinitions.nosec_sc: scheme is required'],
    [
      'a basic scheme in a place where none is',
      withSecurity({ scheme: 'basic', in: 'envelope' }),
      /^securityDefinitions\.nosec_sc\.in: must be one of header, /,
    ],
    [
      'a combination of nothing',
      withSecurity({ scheme: 'combo' }),
      'securityDefinitions.nosec_sc: oneOf is required, or allOf is required',
    ],
    ['an id that is no URI', { ...lamp, id: 'lamp 7' }, 'id: must match format "uri"'],
    ['an instance without version', { ...lamp, version: { model: '1' } }, 'version: instance is required'],
    [
      'a language that is none',
      { ...lamp, links: [{ href: 'x:y', hreflang: '!' }] },
      /^links\.0\.hreflang: must match/,
    ],
  ])('%s', (_, value, error) => {
    expect(errorsOf(value)).toEqual([typeof error === 'string' ? error : expect.stringMatching(error)]);
  });
});

describe('what no schema can say is checked too', () => {
  test.each<[string, unknown, string]>([
    [
      'a security name that is not defined',
      { ...lamp, security: ['oauth_sc'] },
      'security: oauth_sc is not in securityDefinitions',
    ],
    [
      'one inherited from Object',
      { ...lamp, security: 'constructor' },
      'security: constructor is not in securityDefinitions',
    ],
    [
      'one of a form',
      withForm({ href: 'on', security: 'psk_sc' }),
      'properties.on.forms.0.security: psk_sc is not in securityDefinitions',
    ],
    [
      'a combination of what is not defined',
      withSecurity({ scheme: 'combo', allOf: ['a_sc', 'b_sc'] }),
      'securityDefinitions.nosec_sc: a_sc is not in securityDefinitions',
    ],
    [
      'a combination of itself',
      withSecurity({ scheme: 'combo', oneOf: ['nosec_sc', 'nosec_sc'] }),
      'securityDefinitions.nosec_sc: combines itself',
    ],
    [
      'combinations of one another',
      {
        ...lamp,
        securityDefinitions: {
          nosec_sc: { scheme: 'combo', allOf: ['a_sc', 'key_sc'] },
          a_sc: { scheme: 'combo', oneOf: ['key_sc', 'nosec_sc'] },
          key_sc: { scheme: 'apikey' },
        },
      },
      'securityDefinitions.a_sc: combines itself',
    ],
    [
      'a combination of an object that has no text',
      withSecurity({ scheme: 'combo', oneOf: ['nosec2_sc', 'nosec3_sc'], allOf: [{ toString: 1, valueOf: 1 }] }),
      'securityDefinitions.nosec_sc: {"toString":1,"valueOf":1} is not in securityDefinitions',
    ],
    [
      'a relative address without base',
      { ...lamp, base: undefined, properties: {} },
      'actions.toggle.forms.0.href: is no absolute address, and there is no base that makes it one',
    ],
    [
      'a base that carries no path',
      { ...lamp, base: 'urn:example:lamp', properties: {} },
      'actions.toggle.forms.0.href: is no absolute address, and there is no base that makes it one',
    ],
    [
      'an answer of an undefined schema',
      withForm({ href: 'on', additionalResponses: [{ schema: 'problem' }] }),
      'properties.on.forms.0.additionalResponses: problem is not in schemaDefinitions',
    ],
  ])('%s', (_, value, error) => {
    expect(errorsOf(value)).toContain(error);
  });

  test.each<[string, object, string]>([
    ['its type', { ...lamp, '@type': ['Lamp', 'tm:ThingModel'] }, '@type'],
    ['optional affordances', { ...lamp, 'tm:optional': ['/actions/toggle'] }, 'tm:optional'],
    [
      'a reference',
      { ...lamp, actions: { toggle: { ...lamp.actions.toggle, input: { 'tm:ref': 'a#/b' } } } },
      'actions.toggle.input.tm:ref',
    ],
    ['a model that it extends', { ...lamp, links: [{ href: 'x:y', rel: 'tm:extends' }] }, 'links.0.rel'],
    ['a placeholder', { ...lamp, base: 'http://{{HOST}}/' }, 'base'],
  ])('a Thing Model is no Thing Description: known by %s', (_, value, field) => {
    expect(errorsOf(value)).toEqual([`${field}: belongs to a Thing Model`]);
  });
});

describe('a hostile Thing Description costs little', () => {
  const padded = (filler: object): object => ({ ...lamp, ...filler });
  const many = (count: number): readonly object[] => Array.from({ length: count }, () => ({}));
  const nested = (levels: number): object => (levels === 0 ? {} : { items: nested(levels - 1) });
  const keys = Object.fromEntries(many(17).map((definition, i) => [`sc${i}`, definition]));

  test.each<[string, object, RegExp]>([
    ['thousands of links', padded({ links: many(10_000) }), /^\(root\): has more than 256 items/],
    [
      'a property nested thousands deep',
      padded({ properties: { p: nested(3_000) } }),
      /^\(root\): has more than 32 levels/,
    ],
    ['one long string', padded({ description: '1'.repeat(30_000) }), /^\(root\): has a string of more than 2048/],
    ['many security schemes', padded({ securityDefinitions: keys }), /^securityDefinitions: has more than 16/],
  ])('%s', (_, value, error) => {
    expect(errorsOf(value)).toEqual([expect.stringMatching(error)]);
  });

  test('no JSON whatever makes the validator throw, and random JSON is no Thing Description', () => {
    fc.assert(fc.property(fc.jsonValue({ maxDepth: 6 }), (value) => !validateTd(value).valid));
  });

  test('whatever stands in a field, nothing is accepted that the schema of W3C refuses', () => {
    const ajv = new Ajv({ strict: false });
    addFormats.default(ajv);
    const accepts = ajv.compile(createRequire(import.meta.url)(tdSchema) as AnySchemaObject);
    const names = fc.constantFrom(...Object.keys(lamp), 'links', 'forms', 'events', 'version', 'schemaDefinitions');
    const schemes = fc.oneof(fc.constantFrom('combo', 'basic', ':', 'a:', 'nosec'), fc.string());
    const definition = fc.record({ scheme: schemes, in: fc.string(), oneOf: fc.jsonValue() }, { requiredKeys: [] });
    const values = fc.oneof(fc.jsonValue({ maxDepth: 4 }), fc.dictionary(fc.constant('nosec_sc'), definition));
    fc.assert(
      fc.property(names, values, (name, value) => {
        const td = { ...lamp, [name]: value };
        const verdict = validateTd(td);
        return verdict.valid ? accepts(td) === true : verdict.errors.length > 0;
      }),
      { numRuns: 500 },
    );
  });
});
