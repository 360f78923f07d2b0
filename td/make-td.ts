/** Thing Descriptions from the Thing Models beside this file (TD 1.1 §9). */
import type { ExposedThingInit, ThingDescription } from 'wot-typescript-definitions';
import { resolveReference, type JsonObject } from './references.js';

export type ThingKind = 'meter' | 'gateway' | 'backend' | 'directory';

export interface ThingInstance {
  /** `urn:gridring:<role>:<id>` */
  readonly id: string;
  readonly title: string;
  /** Version of the software. */
  readonly version: string;
}

/** A Thing reached by plain routes, whose Thing Model carries the forms. */
export interface RoutedThing extends ThingInstance {
  /** Absolute URL that the forms are relative to; it ends with a slash. */
  readonly base: string;
  /** Of the tokens that it accepts: that of the certificates' keys. */
  readonly tokenAlgorithm: 'EdDSA' | 'ES256';
}

const affordances = new Set(['properties', 'actions', 'events']);

/** The Thing Model with every reference to a payload schema replaced by the schema. */
export const thingModel = (kind: ThingKind): JsonObject => resolveReference(`${kind}.tm.json`) as JsonObject;

/** What `WoT.produce` takes: everything but forms, which the bindings add. */
export function makeThing(kind: 'meter' | 'gateway', instance: ThingInstance): ExposedThingInit {
  return instantiate(thingModel(kind), instance);
}

/**
 * The complete Thing Description of a meter that nobody can call: it offers nothing, and its gateway is where to ask. The
 * gateway has the meter as a member: `collection` of RFC 6573, as TD 1.1 §5.3.4.1 lists it.
 */
export function makeUncallableTd(instance: ThingInstance, gatewayTd: string): ThingDescription {
  const model = Object.entries(thingModel('meter')).filter(([name]) => !affordances.has(name));
  return {
    ...instantiate(Object.fromEntries(model), instance),
    links: [{ rel: 'collection', href: gatewayTd, type: 'application/td+json' }],
  } as unknown as ThingDescription;
}

/** The complete Thing Description, forms included. */
export function makeTd(kind: 'backend' | 'directory', instance: RoutedThing): ThingDescription {
  const { base, tokenAlgorithm, ...named } = instance;
  const text = JSON.stringify(thingModel(kind)).replaceAll('{{TOKEN_ALGORITHM}}', tokenAlgorithm);
  return { ...instantiate(JSON.parse(text) as JsonObject, named), base } as ThingDescription;
}

function instantiate(model: JsonObject, { id, title, version }: ThingInstance): Record<string, unknown> {
  const types = [model['@type']].flat().filter((type) => type !== 'tm:ThingModel');
  const fields = Object.entries(model).filter(([name]) => name !== '@type' && name !== 'tm:optional');
  return {
    ...Object.fromEntries(fields),
    ...(types.length > 0 ? { '@type': types } : {}),
    id,
    title,
    version: { instance: version, ...(model['version'] as JsonObject) },
  };
}
