/**
 * Validates Thing Descriptions: the JSON Schema that W3C publishes with TD 1.1, that of WoT Discovery for registration
 * information, and what no schema can say (TD 1.1 §5.3, §6.3): names that must be defined, addresses that must resolve, and no Thing Model in a Thing Description's place.
 */
import { createRequire } from 'node:module';
import { Ajv, type AnySchemaObject, type ErrorObject, type ValidateFunction } from 'ajv';
import addFormats from 'ajv-formats';
import type { ThingDescription } from 'wot-typescript-definitions';
import { resolveReference } from './references.js';
import { describeErrors, maxErrors, type FieldError } from './schema-errors.js';

export type TdVerdict =
  | { readonly valid: true; readonly td: ThingDescription }
  | { readonly valid: false; readonly errors: readonly FieldError[] };

type Members = Readonly<Record<string, unknown>>;

/** The schema's patterns and its `uniqueItems` take time in the square of these: 32 kB could cost seconds. */
const maxima = { depth: 32, items: 256, characters: 2_048, securityDefinitions: 16 } as const;
/** TD 1.1 §5.3.3. */
const schemes = ['nosec', 'auto', 'combo', 'basic', 'digest', 'apikey', 'bearer', 'psk', 'oauth2'];

/** Takes parsed JSON, whose size the caller has capped; never throws. */
export function validateTd(value: unknown): TdVerdict {
  const errors = unfitToValidate(value) ?? schemaErrors(value) ?? meaningErrors(value as Members);
  return errors.length > 0 ? { valid: false, errors } : { valid: true, td: value as ThingDescription };
}

/** What would be expensive or misleading to hold against the schema. */
function unfitToValidate(value: unknown): readonly FieldError[] | undefined {
  const excess = excessOf(value, maxima.depth);
  if (excess !== undefined) return [{ field: '(root)', description: `has ${excess}` }];
  if (Object.keys(membersOf(membersOf(value)['securityDefinitions'])).length > maxima.securityDefinitions) {
    return [{ field: 'securityDefinitions', description: `has more than ${maxima.securityDefinitions} entries` }];
  }
  const sign = signOfThingModel(value, '');
  return sign === undefined ? undefined : [{ field: sign, description: 'belongs to a Thing Model' }];
}

function excessOf(value: unknown, levelsLeft: number): string | undefined {
  if (typeof value === 'string' && value.length > maxima.characters) {
    return `a string of more than ${maxima.characters} characters`;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  if (levelsLeft === 0) return `more than ${maxima.depth} levels`;
  const inner = Object.values(value);
  if (inner.length > maxima.items) return `more than ${maxima.items} items in one place`;
  for (const item of inner) {
    const excess = excessOf(item, levelsLeft - 1);
    if (excess !== undefined) return excess;
  }
  return undefined;
}

/** The field that makes this a Thing Model (TD 1.1 §9), if any. */
function signOfThingModel(value: unknown, path: string): string | undefined {
  for (const [name, inner] of Object.entries(membersOf(value))) {
    const field = path + name;
    if (name === '@type' && path === '' && listOf(inner).includes('tm:ThingModel')) return field;
    if (name === 'tm:optional' && path === '') return field;
    if (name === 'tm:ref' && typeof inner === 'string') return field;
    if (name === 'rel' && (inner === 'tm:extends' || inner === 'tm:submodel')) return field;
    if ((name === 'href' || name === 'base') && typeof inner === 'string' && inner.includes('{{')) return field;
    const below = signOfThingModel(inner, `${field}.`);
    if (below !== undefined) return below;
  }
  return undefined;
}

let compiled: readonly ValidateFunction[] | undefined;

/** The schema of a TD, and that of the registration information that a directory adds (WoT Discovery, appendix A). */
function compile(): readonly ValidateFunction[] {
  const require = createRequire(import.meta.url);
  // The schema of W3C is not written for ajv's strict mode. Not `allErrors`: 31 kB of empty links took 7 s with it.
  // Optimizing the code would cost every process more than it gains over the few Things that a process ever sees.
  const ajv = new Ajv({ strict: false, code: { optimize: false } });
  addFormats.default(ajv);
  const ofTd: unknown = require('wot-thing-description-types/schema/td-json-schema-validation.json');
  return [ofTd, resolveReference('schemas/thing.schema.json')].map((schema) => ajv.compile(schema as AnySchemaObject));
}

function schemaErrors(value: unknown): readonly FieldError[] | undefined {
  compiled ??= compile();
  const errors = compiled.find((accepts) => !accepts(value))?.errors;
  if (!errors) return undefined;
  const td = membersOf(value);
  const ofInterest = errors.flatMap((error) => helpful(error, td));
  return describeErrors(ofInterest.length > 0 ? ofInterest : errors);
}

/** The schema tries every context and every security scheme in turn: only what concerns the one that is meant helps. */
function helpful(error: ErrorObject, td: Members): readonly ErrorObject[] {
  const [top, name = '', inner] = error.instancePath.split('/').slice(1);
  if (top === '@context') {
    const message = 'must be https://www.w3.org/2022/wot/td/v1.1, or begin with it, before other URIs and prefixes';
    return [{ ...error, instancePath: '/@context', keyword: 'context', message }];
  }
  if (top !== 'securityDefinitions' || name === '') return [error];
  const scheme = membersOf(membersOf(td[top])[name])['scheme'];
  if (scheme !== undefined && !isScheme(scheme)) {
    const message = `must be one of ${schemes.join(', ')}, or a scheme with a prefix`;
    return [{ ...error, instancePath: `/${top}/${name}/scheme`, keyword: 'scheme', message }];
  }
  const missing: unknown = error.keyword === 'required' ? error.params['missingProperty'] : undefined;
  const concernsOther = inner === 'scheme' || (missing !== undefined && missing !== 'scheme' && scheme !== 'combo');
  return concernsOther ? [] : [error];
}

/** A scheme of TD 1.1, or one of an extension, with its prefix. */
const isScheme = (scheme: unknown): boolean =>
  typeof scheme === 'string' && (schemes.includes(scheme) || /.:/.test(scheme));

function meaningErrors(td: Members): readonly FieldError[] {
  return [
    ...undefinedSecurity(td, 'security', td['security']),
    ...Object.keys(membersOf(td['securityDefinitions'])).flatMap((name) => comboErrors(td, name)),
    ...formsOf(td).flatMap(([path, form]) => formErrors(td, path, form)),
  ].slice(0, maxErrors);
}

const undefinedSecurity = (td: Members, field: string, names: unknown): readonly FieldError[] =>
  listOf(names)
    .filter((name) => !isNameIn(td['securityDefinitions'], name))
    .map((name) => ({ field, description: `${nameOf(name)} is not in securityDefinitions` }));

function comboErrors(td: Members, name: string): readonly FieldError[] {
  const field = `securityDefinitions.${name}`;
  if (reaches(td, name, name, new Set())) return [{ field, description: 'combines itself' }];
  return undefinedSecurity(td, field, partsOf(td, name));
}

/** What a combination combines; nothing for any other scheme. */
function partsOf(td: Members, name: string): readonly unknown[] {
  const { scheme, oneOf, allOf } = membersOf(membersOf(td['securityDefinitions'])[name]);
  return scheme === 'combo' ? [...listOf(oneOf), ...listOf(allOf)] : [];
}

const reaches = (td: Members, from: string, to: string, seen: Set<string>): boolean =>
  partsOf(td, from).some((part) => {
    if (part === to) return true;
    if (typeof part !== 'string' || seen.has(part)) return false;
    return reaches(td, part, to, seen.add(part));
  });

/** Every form with its path. */
function formsOf(td: Members): readonly (readonly [string, Members])[] {
  const affordances = ['properties', 'actions', 'events'].flatMap((kind) =>
    Object.entries(membersOf(td[kind])).map(([name, affordance]) => [`${kind}.${name}.`, affordance] as const),
  );
  return [['', td] as const, ...affordances].flatMap(([path, holder]) =>
    listOf(membersOf(holder)['forms']).map((form, i) => [`${path}forms.${i}`, membersOf(form)] as const),
  );
}

function formErrors(td: Members, path: string, form: Members): readonly FieldError[] {
  const { href, security, additionalResponses } = form;
  const base = typeof td['base'] === 'string' ? td['base'] : undefined;
  const unresolved =
    typeof href === 'string' && URL.canParse(href, base)
      ? []
      : [{ field: `${path}.href`, description: 'is no absolute address, and there is no base that makes it one' }];
  const unknownSchemas = listOf(additionalResponses)
    .map((response) => membersOf(response)['schema'])
    .filter((name) => name !== undefined && !isNameIn(td['schemaDefinitions'], name))
    .map((name) => ({
      field: `${path}.additionalResponses`,
      description: `${nameOf(name)} is not in schemaDefinitions`,
    }));
  return [...unresolved, ...undefinedSecurity(td, `${path}.security`, security), ...unknownSchemas];
}

const isNameIn = (definitions: unknown, name: unknown): boolean =>
  typeof name === 'string' && Object.hasOwn(membersOf(definitions), name);

/** Not `String`, which throws for an object whose toString is no function. */
const nameOf = (name: unknown): string => (typeof name === 'string' ? name : JSON.stringify(name));

const membersOf = (value: unknown): Members => (typeof value === 'object' && value !== null ? (value as Members) : {});

function listOf(value: unknown): readonly unknown[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? value : [value];
}
