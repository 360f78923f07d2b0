/** Thing Descriptions from the Thing Models beside this file (TD 1.1 §9). */
import type { ExposedThingInit, ThingDescription } from 'wot-typescript-definitions';
import { resolveReference, type Json, type JsonObject } from './references.js';

export type ThingKind = 'meter' | 'gateway' | 'backend' | 'directory';

export interface ThingInstance {
  /** `urn:gridring:<role>:<id>` */
  readonly id: string;
  readonly title: string;
  /** Version of the software. */
  readonly version: string;
  readonly links?: readonly Link[];
}

/** TD 1.1 §5.3.4.1. */
interface Link {
  readonly rel: string;
  readonly href: string;
  readonly type: string;
}

/** To the Thing that this one belongs to: `collection` of RFC 6573, as TD 1.1 §5.3.4.1 lists it. */
export const belongsTo = (td: string): Link => ({ rel: 'collection', href: td, type: 'application/td+json' });

/** A Thing reached by plain routes, whose Thing Model carries the forms. */
export interface RoutedThing extends ThingInstance {
  /** Absolute URL that the forms are relative to; it ends with a slash. */
  readonly base: string;
  /** Of the tokens that it accepts: that of the certificates' keys. */
  readonly tokenAlgorithm: 'EdDSA' | 'ES256';
  /** URL of the issuer that the server has itself, without a slash at the end. */
  readonly issuer?: string;
}

const affordances = new Set(['properties', 'actions', 'events']);

/** The Thing Model with every reference to a payload schema replaced by the schema. */
export const thingModel = (kind: ThingKind): JsonObject => resolveReference(`${kind}.tm.json`) as JsonObject;

/** What `WoT.produce` takes: everything but forms, which the bindings add. */
export function makeThing(kind: 'meter' | 'gateway', instance: ThingInstance): ExposedThingInit {
  return instantiate(thingModel(kind), instance);
}

/** The complete Thing Description of a meter that nobody can call: it offers nothing, and its links lead on. */
export function makeUncallableTd(instance: ThingInstance): ThingDescription {
  const model = Object.entries(thingModel('meter')).filter(([name]) => !affordances.has(name));
  return instantiate(Object.fromEntries(model), instance) as unknown as ThingDescription;
}

/** The complete Thing Description, forms included. */
export function makeTd(kind: 'backend' | 'directory', instance: RoutedThing): ThingDescription {
  const { base, tokenAlgorithm, issuer, ...named } = instance;
  const text = JSON.stringify(thingModel(kind)).replaceAll('{{TOKEN_ALGORITHM}}', tokenAlgorithm);
  const td = { ...instantiate(JSON.parse(text) as JsonObject, named), base } as ThingDescription;
  return issuer === undefined ? td : withIssuer(td, issuer);
}

/** Where its tokens come from. They are shown as bearer tokens, so the Thing's security stays that. */
function withIssuer(td: ThingDescription, issuer: string): ThingDescription {
  const { bearer_sc, ...others } = td.securityDefinitions;
  const oauth2 = { scheme: 'oauth2', flow: 'code', authorization: `${issuer}/auth`, token: `${issuer}/token` };
  const definitions = { bearer_sc: { ...bearer_sc, authorization: issuer }, oauth2_sc: oauth2, ...others };
  return { ...td, securityDefinitions: definitions as ThingDescription['securityDefinitions'] };
}

function instantiate(model: JsonObject, { id, title, version, links = [] }: ThingInstance): Record<string, unknown> {
  const types = [model['@type']].flat().filter((type) => type !== 'tm:ThingModel');
  const fields = Object.entries(model).filter(([name]) => name !== '@type' && name !== 'tm:optional');
  return {
    ...Object.fromEntries(fields),
    ...(types.length > 0 ? { '@type': types } : {}),
    id,
    title,
    version: { instance: version, ...(model['version'] as JsonObject) },
    ...((links.length > 0 || model['links']) && { links: [...((model['links'] ?? []) as readonly Json[]), ...links] }),
  };
}
