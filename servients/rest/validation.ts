/** Validation of what a request carries: addresses are text and are coerced, bodies are taken as they are. */
import { Ajv, type ValidateFunction } from 'ajv';
import addFormats from 'ajv-formats';
import type { FastifyInstance } from 'fastify';
import { payloadNames, payloadSchema } from './payloads.js';

// Without `strictNumbers`, for with it what is coerced to infinity passes every maximum.
const ofAddress = new Ajv({ coerceTypes: true, useDefaults: true, strictNumbers: false });
const ofBody = new Ajv();
for (const ajv of [ofAddress, ofBody]) addFormats.default(ajv);
for (const name of payloadNames) ofBody.addSchema(payloadSchema(name));

const compiled = new Map<string, ValidateFunction>();

/** Many routes have the same schemas, and compiling them is most of what a start costs. */
function compileOnce(ajv: Ajv, schema: object): ValidateFunction {
  const key = `${ajv === ofBody ? 'body' : 'address'} ${JSON.stringify(schema)}`;
  const known = compiled.get(key);
  if (known) return known;
  const validate = ajv.compile(schema);
  compiled.set(key, validate);
  return validate;
}

/** Unlike Fastify's own validator, this one refuses what a schema does not name, and removes nothing. */
export function validateStrictly(scope: FastifyInstance): void {
  scope.setValidatorCompiler<object>(({ schema, httpPart }) =>
    compileOnce(httpPart === 'body' ? ofBody : ofAddress, schema),
  );
  // What an answer's schema says is held against answers by tests; nothing is dropped from one because of it.
  scope.setSerializerCompiler(() => JSON.stringify);
}

const closedObject = (properties: Readonly<Record<string, object>>, required: readonly string[]): object => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
});

/** All of them are part of the path. */
export const pathParams = (properties: Readonly<Record<string, object>>): object =>
  closedObject(properties, Object.keys(properties));

/** A field that is not named here is refused. */
export const queryFields = (properties: Readonly<Record<string, object>>): object => closedObject(properties, []);

export const gidParam = { type: 'string', pattern: '^[0-9a-f]{32}$' };

export const pageLimit = (maximum: number, byDefault: number): object => ({
  type: 'integer',
  minimum: 1,
  maximum,
  default: byDefault,
});
