/** The resources of the exposed Things: their TDs, actions, properties and events, and where they are found. */
import { Readable } from 'node:stream';
import { Content, type ExposedThing } from '@node-wot/core';
import { NotFoundError } from '../../crypto/errors.js';
import type { Resource } from './coap-endpoint.js';
import { contentReply, tdType } from './coap-formats.js';
import type { AffordanceKind, FormIndex } from './coap-forms.js';
import { CoapRefusal } from './coap-refusal.js';
import { thingLink, wellKnownCore } from './coap-links.js';
import { carriesMessage } from './codec.js';
import { coseType, jsonType } from './media-types.js';

export interface ExposedEntry {
  readonly name: string;
  readonly thing: ExposedThing;
  readonly forms: FormIndex;
}

/** @throws NotFoundError `resource-unknown` */
export function findResource(
  entries: ReadonlyMap<string, ExposedEntry>,
  path: readonly string[],
  query: readonly string[],
): Resource {
  const [first = '', second, third, ...rest] = path;
  const entry = entries.get(first);
  const found =
    first === '.well-known' && third === undefined
      ? wellKnown(entries, second, query)
      : entry && rest.length === 0 && resourceOf(entry, second, third);
  if (!found) throw new NotFoundError('resource-unknown', 'there is no such resource');
  return found;
}

/** RFC 6690, and the introduction of WoT Discovery; the latter only where there is no doubt which Thing is meant. */
function wellKnown(
  entries: ReadonlyMap<string, ExposedEntry>,
  name: string | undefined,
  query: readonly string[],
): Resource | undefined {
  const [only, ...others] = entries.values();
  if (name === 'wot') return only && others.length === 0 ? descriptionOf(only) : undefined;
  if (name !== 'core') return undefined;
  return wellKnownCore(
    [...entries.keys()].map((thing) => thingLink(`/${thing}`)),
    query,
  );
}

function resourceOf(entry: ExposedEntry, kind: string | undefined, name: string | undefined): Resource | undefined {
  if (kind === undefined) return descriptionOf(entry);
  if (name === undefined) return undefined;
  const { thing } = entry;
  if (kind === 'actions' && Object.hasOwn(thing.actions, name)) return actionOf(entry, name);
  if (kind === 'properties' && Object.hasOwn(thing.properties, name)) return propertyOf(entry, name);
  if (kind === 'events' && Object.hasOwn(thing.events, name)) return eventOf(entry, name);
  return undefined;
}

const descriptionOf = ({ name, thing }: ExposedEntry): Resource => ({
  id: name,
  methods: ['GET'],
  types: [tdType, jsonType],
  handle: async (_method, mediaType) =>
    contentReply(mediaType, Buffer.from(JSON.stringify(thing.getThingDescription()))),
});

function actionOf({ name: thingName, thing, forms }: ExposedEntry, name: string): Resource {
  return {
    id: affordanceId(thingName, 'actions', name),
    methods: ['POST'],
    types: carriesMessage(thing.actions[name] ?? {}) ? [jsonType, coseType] : [jsonType],
    async handle(_method, mediaType, body) {
      const formIndex = forms.find('actions', name, 'invokeaction', mediaType) ?? 0;
      const output = await thing.handleInvokeAction(name, contentOf(mediaType, body), { formIndex });
      return output ? contentReply(mediaType, await output.toBuffer(), '2.04') : { code: '2.04' };
    },
  };
}

function propertyOf({ name: thingName, thing, forms }: ExposedEntry, name: string): Resource {
  const property = thing.properties[name];
  return {
    id: affordanceId(thingName, 'properties', name),
    methods: [...(property?.writeOnly === true ? [] : ['GET']), ...(property?.readOnly === true ? [] : ['PUT'])],
    types: [jsonType],
    ...(property?.observable === true && { observed: 'state' }),
    async handle(method, mediaType, body) {
      if (method === 'PUT') {
        const formIndex = forms.find('properties', name, 'writeproperty') ?? 0;
        await thing.handleWriteProperty(name, contentOf(mediaType, body), { formIndex });
        return { code: '2.04' };
      }
      const formIndex = forms.find('properties', name, 'readproperty') ?? 0;
      const content = await thing.handleReadProperty(name, { formIndex });
      return contentReply(mediaType, await content.toBuffer());
    },
  };
}

const eventOf = ({ name: thingName }: ExposedEntry, name: string): Resource => ({
  id: affordanceId(thingName, 'events', name),
  methods: ['GET'],
  types: [jsonType],
  observed: 'events',
  async handle() {
    throw new CoapRefusal('4.00', 'observe-missing', 'events are given to observers only');
  },
});

export const affordanceId = (thingName: string, kind: AffordanceKind, name: string): string =>
  `${thingName}/${kind}/${name}`;

const contentOf = (mediaType: string, body: Buffer): Content => new Content(mediaType, Readable.from([body]));
