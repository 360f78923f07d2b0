/**
 * SenML packs (RFC 8428 §4) in CBOR (§6): from records with base fields to resolved records, and labels for the way
 * back. Version 10 without further features (RFC 9100): primary units only. Not supported: decimal fractions (tag 4),
 * which the CBOR gate refuses, and streams (SensML).
 */
import type { CborItem, CborMap } from '../cbor.js';
import { MalformedError } from '../errors.js';

/** The integer labels of CBOR (RFC 8428 §6, table 4) by their JSON names. */
export const labels = {
  bver: -1,
  bn: -2,
  bt: -3,
  bu: -4,
  bv: -5,
  bs: -6,
  n: 0,
  u: 1,
  v: 2,
  vs: 3,
  vb: 4,
  s: 5,
  t: 6,
  ut: 7,
  vd: 8,
} as const;

export type Label = keyof typeof labels;

/** A record with all base fields applied (RFC 8428 §4.6); a time below 2^28 is still relative to now. */
export interface ResolvedRecord {
  readonly name: string;
  readonly unit: string | undefined;
  readonly timeS: number;
  readonly value: number | string | boolean | Uint8Array | undefined;
  /** In the unit multiplied by seconds. */
  readonly sum: number | undefined;
  readonly updateTimeS: number | undefined;
}

/** What the records so far leave behind for the next one. */
interface Base {
  readonly version: number;
  readonly name: string;
  readonly timeS: number;
  readonly unit: string | undefined;
  readonly value: number | undefined;
  readonly sum: number | undefined;
}

const understoodVersion = 10;

/**
 * The resolved records of a decoded pack, in its order.
 * @throws MalformedError `senml-malformed`, `senml-version`, `senml-must-understand`
 */
export function resolvePack(pack: CborItem): readonly ResolvedRecord[] {
  if (!Array.isArray(pack) || pack.length === 0) throw malformed('a pack is an array of at least one record');
  const records: ResolvedRecord[] = [];
  let base: Base | undefined;
  for (const item of pack as readonly CborItem[]) {
    const fields = asFields(item);
    base = nextBase(base, fields);
    records.push(resolve(base, fields));
  }
  return records;
}

function asFields(item: CborItem): CborMap {
  if (!(item instanceof Map)) throw malformed('a record is a map');
  const fields = item as CborMap;
  for (const label of fields.keys()) assertLabel(label);
  return fields;
}

const knownNumbers = new Set<number | string>(Object.values(labels));

/** RFC 8428 §4.4: what is not understood is ignored, unless its name ends with "_". */
function assertLabel(label: number | string): void {
  if (typeof label === 'number') {
    // The table of integer labels is conclusive (§6): no extension will ever add one.
    if (!knownNumbers.has(label)) throw malformed(`no field has the label ${label}`);
  } else if (Object.hasOwn(labels, label)) {
    // Two readers must not see two values, one by the number and one by the name.
    throw malformed(`the field ${label} is not labelled by its number`);
  } else if (label.endsWith('_')) {
    throw new MalformedError('senml-must-understand', `the field ${label} must be understood, and is not`);
  }
}

function nextBase(previous: Base | undefined, fields: CborMap): Base {
  const version = number(fields, 'bver') ?? previous?.version ?? understoodVersion;
  if (!Number.isInteger(version) || version < 1 || version > understoodVersion) {
    throw new MalformedError('senml-version', `SenML version ${version} is not understood`);
  }
  if (previous !== undefined && version !== previous.version) throw malformed('records of different versions');
  return {
    version,
    name: text(fields, 'bn') ?? previous?.name ?? '',
    timeS: number(fields, 'bt') ?? previous?.timeS ?? 0,
    unit: text(fields, 'bu') ?? previous?.unit,
    value: number(fields, 'bv') ?? previous?.value,
    sum: number(fields, 'bs') ?? previous?.sum,
  };
}

function resolve(base: Base, fields: CborMap): ResolvedRecord {
  const name = base.name + (text(fields, 'n') ?? '');
  if (!/^[A-Za-z0-9][\w\-:./]*$/.test(name)) throw malformed('a name outside the characters of RFC 8428 §4.5.1');
  const sum = number(fields, 's');
  const record = {
    name,
    unit: text(fields, 'u') ?? base.unit,
    timeS: base.timeS + (number(fields, 't') ?? 0),
    value: resolveValue(base.value, fields),
    sum: sum === undefined && base.sum === undefined ? undefined : (base.sum ?? 0) + (sum ?? 0),
    updateTimeS: number(fields, 'ut'),
  };
  if (record.value === undefined && record.sum === undefined) throw malformed(`${name} has neither value nor sum`);
  return record;
}

function resolveValue(baseValue: number | undefined, fields: CborMap): ResolvedRecord['value'] {
  const value = number(fields, 'v');
  const given = [value, text(fields, 'vs'), boolean(fields, 'vb'), bytes(fields, 'vd')].filter((v) => v !== undefined);
  if (given.length > 1) throw malformed('a record of more than one value');
  if (typeof given[0] !== 'number' && given[0] !== undefined) return given[0];
  return value === undefined && baseValue === undefined ? undefined : (baseValue ?? 0) + (value ?? 0);
}

function number(fields: CborMap, label: Label): number | undefined {
  const value = fields.get(labels[label]);
  if (value !== undefined && typeof value !== 'number') throw wrongType(label);
  return value;
}

function text(fields: CborMap, label: Label): string | undefined {
  const value = fields.get(labels[label]);
  if (value !== undefined && typeof value !== 'string') throw wrongType(label);
  return value;
}

function boolean(fields: CborMap, label: Label): boolean | undefined {
  const value = fields.get(labels[label]);
  if (value !== undefined && typeof value !== 'boolean') throw wrongType(label);
  return value;
}

function bytes(fields: CborMap, label: Label): Uint8Array | undefined {
  const value = fields.get(labels[label]);
  if (value !== undefined && !(value instanceof Uint8Array)) throw wrongType(label);
  return value;
}

const wrongType = (label: Label): MalformedError => malformed(`the field ${label} is of another type`);
const malformed = (message: string): MalformedError => new MalformedError('senml-malformed', message);
