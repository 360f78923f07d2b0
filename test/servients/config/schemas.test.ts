import { readFileSync } from 'node:fs';
import { Ajv, type AnySchemaObject } from 'ajv';
import addFormats from 'ajv-formats';
import { describe, expect, test } from 'vitest';
import { describeErrors } from '../../../td/schema-errors.js';

const read = (role: string): AnySchemaObject =>
  JSON.parse(
    readFileSync(new URL(`../../../servients/config/${role}.schema.json`, import.meta.url), 'utf8'),
  ) as AnySchemaObject;

/** What is wrong with a configuration, or the configuration with its defaults. */
function judge(role: string, configuration: object): unknown {
  const ajv = new Ajv({ strict: true, allErrors: true, useDefaults: true });
  addFormats.default(ajv);
  const validate = ajv.compile(read(role));
  const filled = structuredClone(configuration);
  if (validate(filled)) return filled;
  return describeErrors(validate.errors ?? []).map(({ field, description }) => `${field}: ${description}`);
}

const own = { id: 'x1', dataDir: 'data', certificate: 'x1.pem', key: 'x1.key.pem' };
const root = 'root.pem';
const gateway = {
  ...own,
  root,
  membership: 'membership.cbor',
  backend: { url: 'http://127.0.0.1:8081/', audience: 'grid' },
};
const backend = { ...own, root, audience: 'grid' };
const meter = {
  root,
  gateway: { td: 'coap://[::1]:5683/gateway' },
  meters: [{ ...own, source: { kind: 'csv' } }],
};

describe('what a configuration leaves out has a default', () => {
  test('of a gateway', () => {
    expect(judge('gateway', gateway)).toEqual({
      ...gateway,
      suite: 'x25519',
      diskBytes: 268_435_456,
      summons: false,
      discovery: { mdns: false },
      listen: { address: '127.0.0.1', coapPort: 5683, httpPort: 8080, advertise: {} },
      group: { windowMs: 2000, roundDeadlineMs: 90_000, sleeperDeadlineMs: 120_000, maxAttempts: 5 },
    });
  });

  test('of a backend', () => {
    const listen = { address: '127.0.0.1', port: 8081, dangerouslyServePlainHttp: false };
    expect(judge('backend', backend)).toEqual({
      ...{ ...backend, suite: 'x25519', listen, retention: {} },
      issuer: { embedded: false },
      issuers: [],
      directory: {},
      cors: {},
      discovery: { mdns: false },
    });
  });

  test('of every meter of a process', () => {
    const listen = { scheme: 'coap', address: '127.0.0.1', port: 0, advertise: {} };
    const meters = [
      { ...meter.meters[0], diskBytes: 67_108_864, callable: true, wakeIntervalS: 60, clockErrorS: 0, listen },
    ];
    const home = { ...meter.gateway, others: [] };
    expect(judge('meter', meter)).toEqual({
      ...{ ...meter, gateway: home, suite: 'x25519', reportIntervalS: 0, meters },
      discovery: { mdns: false },
    });
  });
});

describe('what is wrong in a configuration is named', () => {
  test.each<[role: string, error: string, configuration: object]>([
    ['gateway', 'listen: has no field adress', { ...gateway, listen: { adress: '::1' } }],
    [
      'gateway',
      'listen.address: must match format "ipv4", or must match format "ipv6"',
      { ...gateway, listen: { address: 'localhost' } },
    ],
    ['gateway', 'listen.coapPort: must be <= 65535', { ...gateway, listen: { coapPort: 65_536 } }],
    ['gateway', 'group.maxAttempts: must be >= 1', { ...gateway, group: { maxAttempts: 0 } }],
    ['gateway', 'id: must match pattern "^[a-z0-9-]{1,64}$"', { ...gateway, id: 'Gateway_1' }],
    [
      'gateway',
      'backend.url: must match pattern "^https?://"',
      { ...gateway, backend: { url: 'file:///x', audience: 'a' } },
    ],
    ['backend', 'suite: must be one of x25519, p256', { ...backend, suite: 'rsa' }],
    ['backend', '(root): has no field groupKey', { ...backend, groupKey: '00' }],
    ['meter', 'meters: must NOT have fewer than 1 items', { ...meter, meters: [] }],
    ['meter', 'gateway.td: must match pattern "^(coap|http|https)://"', { ...meter, gateway: { td: 'ftp://x/' } }],
    [
      'meter',
      'meters.0.source.kind: must be one of csv, p1, module',
      { ...meter, meters: [{ ...own, source: { kind: 'mqtt' } }] },
    ],
    [
      'meter',
      'meters.0.source.speed: must be >= 1',
      { ...meter, meters: [{ ...own, source: { kind: 'csv', speed: 0.5 } }] },
    ],
  ])('a %s: %s', (role, error, configuration) => {
    expect(judge(role, configuration)).toEqual([error]);
  });

  test('everything that is missing is said at once', () => {
    expect(judge('backend', {})).toEqual([
      '(root): id is required; dataDir is required; root is required; certificate is required; key is required; audience is required',
    ]);
  });
});

test.each(['gateway', 'backend', 'meter'])('every field of the schema of a %s says what it is for', (role) => {
  const undescribed: string[] = [];
  const visit = (schema: AnySchemaObject, path: string): void => {
    if (typeof schema['description'] !== 'string') undescribed.push(path);
    const properties = (schema['properties'] ?? {}) as Record<string, AnySchemaObject>;
    if (schema['type'] === 'object') expect(schema['additionalProperties'], path).toBe(false);
    for (const [name, inner] of Object.entries(properties)) visit(inner, `${path}.${name}`);
    if (schema['items'] !== undefined) visit(schema['items'] as AnySchemaObject, `${path}[]`);
  };
  visit(read(role), role);
  expect(undescribed).toEqual([]);
});
