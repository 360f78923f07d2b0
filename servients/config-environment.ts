/**
 * Every field of a configuration as an environment variable, by a rule and not by a table: `listen.port` is
 * GRIDRING_LISTEN_PORT, the first of `meters` has GRIDRING_METERS_0_…; and of each of them with _FILE at its end, the
 * value is what the file holds. A variable takes the place of the field; what the command line says, that of the variable.
 */
import { resolve } from 'node:path';
import { SetupError } from '../crypto/errors.js';
import { readText } from './identity-files.js';

interface Schema {
  readonly type?: string;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema | boolean>>;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
}

interface Variable {
  /** With `<n>` where an index stands. */
  readonly name: string;
  /** Field names; `<n>` for any index. */
  readonly path: readonly string[];
  readonly description: string;
}

const prefix = 'GRIDRING';
/** What the command line takes from the environment: see servients/cli/roles.ts. */
export const optionVariables = { config: 'GRIDRING_CONFIG', logLevel: 'GRIDRING_LOG_LEVEL' } as const;

const inCapitals = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();

/** Of every field that holds a value, and of every array as a whole, which is then JSON. */
export function variablesOf(schema: object, path: readonly string[] = []): readonly Variable[] {
  const { properties = {}, items, description = '' } = schema as Schema;
  const inner = Object.entries(properties).flatMap(([name, field]) =>
    name === '$schema' || typeof field === 'boolean' ? [] : variablesOf(field, [...path, name]),
  );
  if (inner.length > 0) return inner;
  const own = { name: [prefix, ...path.map(inCapitals)].join('_').replace('<N>', '<n>'), path, description };
  return [own, ...(items?.properties ? variablesOf(items, [...path, '<n>']) : [])];
}

/** The schema with the name of the variable beside every field. */
export function withEnvironment(schema: object, path: readonly string[] = []): object {
  const names = new Map(variablesOf(schema).map((variable) => [variable.path.join(), variable.name]));
  const visit = (node: Schema, at: readonly string[]): Schema => {
    const name = names.get(at.join());
    const properties =
      node.properties &&
      Object.fromEntries(
        Object.entries(node.properties).map(([key, field]) => [
          key,
          typeof field === 'boolean' ? field : visit(field, [...at, key]),
        ]),
      );
    return {
      ...node,
      ...(name !== undefined && at.length > 0 && { 'x-environment': name }),
      ...(properties && { properties }),
      ...(node.items && { items: visit(node.items, [...at, '<n>']) }),
    };
  };
  return visit(schema, path);
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * A configuration with what the environment says in its place. Paths are relative to the working directory.
 * @throws SetupError `environment-unknown` for a variable of ours that no role knows, `file-unreadable`
 */
export function applyEnvironment(
  config: unknown,
  {
    schema,
    others,
    environment,
    isPath,
  }: {
    readonly schema: object;
    /** Of the other roles: what they know may be there. */
    readonly others: readonly object[];
    readonly environment: Environment;
    /** Whether a field names a file or folder. */
    readonly isPath: (field: string) => boolean;
  },
): unknown {
  const variables = variablesOf(schema);
  const known = [...variables, ...others.flatMap((other) => variablesOf(other))];
  const wholes: Readonly<Record<string, Schema | undefined>> = fieldsByPath(schema);
  let result = config;
  // In order of their names: an array as a whole comes before what replaces a field of it.
  for (const name of Object.keys(environment).sort()) {
    const given = environment[name];
    if (given === undefined || given === '' || !name.startsWith(`${prefix}_`)) continue;
    if (Object.values<string>(optionVariables).includes(name)) continue;
    const found = matching(variables, name);
    if (!found) {
      if (!matching(known, name)) throw unknown(name, known);
      continue;
    }
    const text = found.isFile ? readText(given, name).replace(/\r?\n$/, '') : given;
    const value = parse(text, wholes[found.variable.path.join()]);
    const field = found.path.at(-1) ?? '';
    const isRelative = typeof value === 'string' && isPath(field) && !/^[a-z+]+:\/\//i.test(value);
    result = put(result, found.path, isRelative ? resolve(value) : value);
  }
  return result;
}

interface Match {
  readonly variable: Variable;
  readonly path: readonly string[];
  readonly isFile: boolean;
}

function matching(variables: readonly Variable[], name: string): Match | undefined {
  for (const [asked, isFile] of [
    [name, false],
    [name.replace(/_FILE$/, ''), true],
  ] as const) {
    if (isFile && asked === name) continue;
    for (const variable of variables) {
      const indices = new RegExp(`^${variable.name.replaceAll('<n>', '(\\d{1,4})')}$`).exec(asked);
      if (!indices) continue;
      const rest = indices.slice(1);
      return { variable, isFile, path: variable.path.map((part) => (part === '<n>' ? (rest.shift() ?? '0') : part)) };
    }
  }
  return undefined;
}

function fieldsByPath(schema: Schema, path: readonly string[] = []): Readonly<Record<string, Schema>> {
  const fields = Object.entries(schema.properties ?? {}).flatMap(([name, field]) =>
    typeof field === 'boolean' ? [] : Object.entries(fieldsByPath(field, [...path, name])),
  );
  const items = schema.items ? Object.entries(fieldsByPath(schema.items, [...path, '<n>'])) : [];
  return Object.fromEntries([[path.join(), schema], ...fields, ...items]);
}

/** A text that is none of its field's type is left as it is: the schema then says what is wrong. */
function parse(text: string, field: Schema | undefined): unknown {
  const isJson = field?.type !== 'string' && /^(?:-?\d+(?:\.\d+)?|true|false|[[{][^]*)$/.test(text);
  if (!isJson) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** A copy of a value with another one at a path. */
function put(value: unknown, [field, ...rest]: readonly string[], content: unknown): unknown {
  if (field === undefined) return content;
  if (/^\d+$/.test(field)) {
    const items = Array.isArray(value) ? [...(value as readonly unknown[])] : [];
    items[Number(field)] = put(items[Number(field)], rest, content);
    // Fields of an item that nobody has begun are missing from it, as the schema says.
    return Array.from(items, (item) => item ?? {});
  }
  const object = typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {};
  return { ...object, [field]: put((object as Readonly<Record<string, unknown>>)[field], rest, content) };
}

function unknown(name: string, known: readonly Variable[]): SetupError {
  const words = new Set(name.split('_'));
  const alike = known
    .map((variable) => ({ variable, shared: variable.name.split('_').filter((word) => words.has(word)).length }))
    .sort((a, b) => b.shared - a.shared)[0];
  const advice = alike && alike.shared > 1 ? `; did you mean ${alike.variable.name}?` : '';
  return new SetupError(
    'environment-unknown',
    `no configuration has a field for the environment variable ${name}${advice} --config-schema names all of them`,
  );
}
