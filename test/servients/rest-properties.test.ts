/**
 * Every operation of the OpenAPI description, with inputs that the description allows and with some that it does not: the
 * answer is one that is described, and what is refused changes nothing.
 */
import { Ajv, type ValidateFunction } from 'ajv';
import addFormats from 'ajv-formats';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { makeNeighbourhood } from '../support/neighbourhood.js';
import { agree } from '../support/ring.js';
import { TestMeter, uploadOf } from './rest-meters.js';
import { startBackend, tokenFor, type TestBackend } from './rest-server.js';

interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly pattern?: string;
  readonly format?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
}
interface Parameter {
  readonly in: 'path' | 'query' | 'header';
  readonly name: string;
  readonly required?: boolean;
  readonly schema: Schema;
}
interface Answer {
  readonly $ref?: string;
  readonly content?: Readonly<Record<string, { readonly schema: Schema }>>;
}
interface Operation {
  readonly operationId: string;
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Schema }>> };
  readonly responses: Readonly<Record<string, Answer>>;
}
interface Description {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, Schema>>;
    readonly responses: Readonly<Record<string, Answer>>;
  };
}
interface Sent {
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

const n = makeNeighbourhood(suiteX25519, 2);

/** Strings that have broken servers. */
const hostile = fc.constantFrom(
  ...[
    "' OR 1=1 --",
    '../../etc/passwd',
    '..%2f..%2f',
    '%00',
    '\r\nSet-Cookie: a=b',
    '\u001b[2J',
    '__proto__',
    '{}',
    '-1',
  ],
  ...['9'.repeat(40), 'é'.repeat(20), '${7*7}', '<script>', 'null', 'NaN', '1e309', ''],
);

describe('every described operation', () => {
  let backend: TestBackend;
  let description: Description;
  let named: Readonly<Record<string, readonly string[]>>;
  const ajv = new Ajv({ strict: false });
  addFormats.default(ajv);
  const validators = new Map<string, ValidateFunction>();

  beforeAll(async () => {
    backend = await startBackend(n, { http: { limits: { requestsPerMinute: 1_000_000 } } });
    description = (await backend.call('GET', '/api/v1/openapi.json')).body as Description;
    for (const [name, schema] of Object.entries(description.components.schemas)) {
      ajv.addSchema(schema, `#/components/schemas/${name}`);
    }
    const { players, published } = agree(n);
    await backend.call('POST', '/api/v1/memberships', { body: n.bundle(n.list()) });
    await backend.call('POST', '/api/v1/epochs', { as: n.gateway, body: published.record });
    const meter = new TestMeter(n, players[0]!);
    await backend.call('POST', '/api/v1/readings', { as: n.gateway, body: uploadOf(meter.measure(3)) });
    named = { gid: [toHex(n.list().gid)], key: ['1.1', '2.1'], id: [meter.id, 'urn:gridring:backend:backend-1'] };
  });
  afterAll(() => backend.remove());

  const operations = (): readonly { readonly method: string; readonly path: string; readonly operation: Operation }[] =>
    Object.entries(description.paths)
      .flatMap(([path, methods]) =>
        Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
      )
      // Streams have no end to wait for.
      .filter(({ operation }) => !JSON.stringify(operation.responses).includes('"text/event-stream"'));

  const resolved = (schema: Schema): Schema =>
    schema.$ref === undefined ? schema : description.components.schemas[schema.$ref.split('/').at(-1) ?? '']!;

  /** Values that a schema allows; it is simple enough that these few keywords are all there are. */
  function valid(given: Schema): fc.Arbitrary<unknown> {
    const { type, enum: values, pattern, format, properties, required = [], items, ...bounds } = resolved(given);
    if (values !== undefined) return fc.constantFrom(...values);
    switch (type) {
      case 'integer':
        return fc.integer({ min: bounds.minimum ?? 0, max: Math.min(bounds.maximum ?? 1_000, 2 ** 31 - 1) });
      case 'boolean':
        return fc.boolean();
      case 'array':
        return fc.array(items ? valid(items) : fc.string(), { maxLength: 3 });
      case 'object':
        return fc.record(
          Object.fromEntries(Object.entries(properties ?? {}).map(([name, schema]) => [name, valid(schema)])),
          { requiredKeys: [...required] },
        );
      case 'string':
        if (format === 'date-time') return fc.date({ noInvalidDate: true }).map((date) => date.toISOString());
        if (pattern !== undefined) {
          return fc.stringMatching(new RegExp(pattern)).filter(({ length }) => length <= (bounds.maxLength ?? 128));
        }
        return fc.string({ minLength: bounds.minLength ?? 0, maxLength: Math.min(bounds.maxLength ?? 100, 100) });
      default:
        return fc.anything();
    }
  }

  const mostly = <T>(usual: fc.Arbitrary<T>, rarely: fc.Arbitrary<T>): fc.Arbitrary<T> =>
    fc.oneof({ weight: 3, arbitrary: usual }, { weight: 1, arbitrary: rarely });

  function requestOf(path: string, { parameters = [], requestBody }: Operation): fc.Arbitrary<Sent> {
    const text = (parameter: Parameter): fc.Arbitrary<string> => {
      const known = named[parameter.name];
      const usual = valid(parameter.schema).map(String);
      return mostly(known && parameter.in === 'path' ? fc.oneof(fc.constantFrom(...known), usual) : usual, hostile);
    };
    const place = (where: Parameter['in']) =>
      fc.record(
        Object.fromEntries(parameters.filter((each) => each.in === where).map((each) => [each.name, text(each)])),
        where === 'path' ? {} : { requiredKeys: [] },
      );
    const types = Object.entries(requestBody?.content ?? {});
    const body = fc.oneof(
      ...types.map(([type, { schema }]) =>
        mostly(
          valid(schema).map((value) => JSON.stringify(value ?? null)),
          fc.oneof(
            hostile,
            fc.constant('{"message":"AA","message":"AA"}'),
            fc.constant('['.repeat(9_000)),
            fc.string(),
          ),
        ).map((sent) => ({ type, sent })),
      ),
      ...(types.length > 0 ? [fc.constant({ type: 'text/html', sent: '<p>' })] : [fc.constant(undefined)]),
    );
    const extra = mostly(fc.constant({}), fc.constant({ unknown: '1' }));
    return fc
      .record({ inPath: place('path'), query: place('query'), headers: place('header'), extra, body })
      .map(({ inPath, query, headers, extra, body }) => {
        const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(inPath[name] ?? ''));
        const search = new URLSearchParams({ ...query, ...extra }).toString();
        const plain = Object.entries(headers).filter(([, value]) => /^[\x21-\x7e]+$/.test(value ?? ''));
        return {
          target: search === '' ? filled : `${filled}?${search}`,
          headers: { ...Object.fromEntries(plain), ...(body && { 'content-type': body.type }) },
          ...(body && { body: body.sent }),
        };
      });
  }

  /** The schema of an answer, by status and media type; undefined where the description has no such answer. */
  function validatorOf(
    { operationId, responses }: Operation,
    status: number,
    type: string,
  ): ValidateFunction | undefined {
    const key = `${operationId} ${status} ${type}`;
    const found = responses[status];
    const answer =
      found?.$ref === undefined ? found : description.components.responses[found.$ref.split('/').at(-1) ?? ''];
    const schema = answer?.content?.[type]?.schema;
    if (schema === undefined) return undefined;
    const known = validators.get(key) ?? ajv.compile(schema);
    validators.set(key, known);
    return known;
  }

  async function assertDescribed(method: string, operation: Operation, sent: Sent, token: string | undefined) {
    const response = await backend.request(method, sent.target, {
      headers: sent.headers,
      ...(token !== undefined && { token }),
      ...(sent.body !== undefined && { body: sent.body }),
    });
    const { status } = response;
    const bytes = new Uint8Array(await response.arrayBuffer());
    const where = [operation.operationId, status];
    // An empty path parameter leads to another resource, or to none.
    if (status === 404 && /\/(?:\/|\?|$)/.test(sent.target)) return;
    // A search has a time to itself, which a busy machine may not give it.
    if (status === 503 && sent.target.startsWith('/search/')) return;
    expect(status, where.join(' ')).toBeLessThan(500);
    expect([...where, Object.keys(operation.responses).includes(String(status))]).toEqual([...where, true]);
    if (bytes.length === 0) return;
    const type = (response.headers.get('content-type') ?? '').split(';')[0] ?? '';
    const validate = validatorOf(operation, status, type);
    expect([...where, type, validate !== undefined]).toEqual([...where, type, true]);
    if (!validate || !/[/+]json$/.test(type)) return;
    const fits = validate(JSON.parse(new TextDecoder().decode(bytes)));
    expect([...where, fits, validate.errors]).toEqual([...where, true, null]);
  }

  const state = async (): Promise<readonly unknown[]> => {
    const gid = toHex(n.list().gid);
    const paths = [
      '/things',
      '/api/v1/groups',
      `/api/v1/groups/${gid}/lists`,
      `/api/v1/groups/${gid}/epochs`,
      '/api/v1/meters',
    ];
    return Promise.all(paths.map(async (path) => (await backend.call('GET', path, { as: n.gateway })).body));
  };

  it('gives answers that are described, whatever it is sent, and keeps its state', async () => {
    const before = await state();
    const all = operations();
    expect(all.length).toBeGreaterThan(20);
    for (const { method, path, operation } of all) {
      // Some operation ends sessions: each has tokens of its own.
      const held = await Promise.all([n.gateway, n.authority, n.utility].map((who) => tokenFor(n, who)));
      await fc.assert(
        fc.asyncProperty(requestOf(path, operation), fc.constantFrom(undefined, ...held), (sent, token) =>
          assertDescribed(method, operation, sent, token),
        ),
        { numRuns: 6, seed: 7 },
      );
    }
    expect(await state()).toEqual(before);
  }, 60_000);
});
