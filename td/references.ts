/**
 * Thing Models refer to payload schemas with `tm:ref` (TD 1.1 §9.3.2, which knows only references to other Thing
 * Models), schemas to one another with `$ref`: one text for each payload. What leaves this folder has every reference
 * replaced by what it points at, because a data schema of a Thing Description cannot refer to another.
 */
import { readFileSync } from 'node:fs';

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [name: string]: Json;
}

const notCarried = new Set(['tm:ref', '$ref', '$schema', '$id']);
const documents = new Map<string, Json>();

/**
 * The value at a reference such as `schemas/message.schema.json#/definitions/ring`, relative to this folder, with all
 * references inside it replaced; `$schema` and `$id` are left out.
 * @throws Error when a file of this folder lacks what is referred to (a bug of ours)
 */
export const resolveReference = (reference: string): Json => valueAt(new URL(reference, import.meta.url));

function valueAt(location: URL): Json {
  const file = new URL(location);
  file.hash = '';
  const value = pointedAt(readDocument(file), decodeURIComponent(location.hash.slice(1)));
  if (value === undefined) throw new Error(`nothing at ${location.href}`);
  return withoutReferences(value, file);
}

function readDocument(file: URL): Json {
  const document = documents.get(file.href) ?? (JSON.parse(readFileSync(file, 'utf8')) as Json);
  documents.set(file.href, document);
  return document;
}

/** RFC 6901, without its escapes: no name here has `/` or `~`. */
function pointedAt(document: Json, pointer: string): Json | undefined {
  const names = pointer.split('/').slice(1);
  return names.reduce<Json | undefined>((value, name) => (isObject(value) ? value[name] : undefined), document);
}

function withoutReferences(value: Json, file: URL): Json {
  if (Array.isArray(value)) return (value as readonly Json[]).map((item) => withoutReferences(item, file));
  if (!isObject(value)) return value;
  const reference = value['tm:ref'] ?? value['$ref'];
  const referred = typeof reference === 'string' ? valueAt(new URL(reference, file)) : {};
  const own = Object.entries(value)
    .filter(([name]) => !notCarried.has(name))
    .map(([name, item]) => [name, withoutReferences(item, file)] as const);
  return { ...(isObject(referred) ? referred : {}), ...Object.fromEntries(own) };
}

const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
