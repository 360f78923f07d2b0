/** A Thing as HTTP sees it: the resources behind its affordances, and their forms in the Thing Description. */
import type { Content, ExposedThing } from '@node-wot/core';
import { carriesMessage } from './codec.js';
import { coseType, jsonType } from './media-types.js';
import type { MemoryTopic, SseHub } from './sse.js';

/** A form that this binding put into the Thing. */
export interface HttpForm {
  readonly contentType: string;
  /** Its place among the forms of the affordance, which core asks for; read late, for other bindings add theirs. */
  index(): number;
}

export interface HttpStream {
  readonly form: HttpForm;
  readonly topic: MemoryTopic;
}

export type HttpResource =
  | {
      readonly kind: 'property';
      readonly name: string;
      readonly read: HttpForm | undefined;
      readonly write: HttpForm | undefined;
      readonly stream: HttpStream | undefined;
    }
  | { readonly kind: 'action'; readonly name: string; readonly forms: readonly HttpForm[] }
  | { readonly kind: 'event'; readonly name: string; readonly stream: HttpStream };

export interface HttpThing {
  readonly thing: ExposedThing;
  /** By path below the Thing: `properties/<name>`, `actions/<name>`, `events/<name>`. */
  readonly resources: ReadonlyMap<string, HttpResource>;
}

export interface FormContext {
  readonly hub: SseHub;
  /** A path below the Thing, as the TD shall name it. */
  readonly href: (path: string) => string;
  /** Of every form, where it is not that of the Thing. */
  readonly security: readonly string[] | undefined;
}

/** Adds the forms of this binding to the Thing; synchronous, so that bindings agree on its `base`. */
export function addForms(thing: ExposedThing, context: FormContext): HttpThing {
  const resources = [
    ...Object.entries(thing.properties).map(([name, property]) => addProperty(name, property, context)),
    ...Object.entries(thing.actions).map(([name, action]) => addAction(name, action, context)),
    ...Object.entries(thing.events).map(([name, event]) => addEvent(name, event, context)),
  ];
  const folder = { property: 'properties', action: 'actions', event: 'events' };
  return { thing, resources: new Map(resources.map((found) => [`${folder[found.kind]}/${found.name}`, found])) };
}

/** Publishes the Thing's events and changes from now on, whether or not anybody reads them yet. */
export async function follow({ thing, resources }: HttpThing, onError: (error: unknown) => void): Promise<void> {
  for (const resource of resources.values()) {
    if (resource.kind === 'action' || resource.stream === undefined) continue;
    const { form, topic } = resource.stream;
    const listener = publishInto(topic, onError);
    const options = { formIndex: form.index() };
    if (resource.kind === 'property') await thing.handleObserveProperty(resource.name, listener, options);
    else await thing.handleSubscribeEvent(resource.name, listener, options);
  }
}

type Affordance<Kind extends 'properties' | 'actions' | 'events'> = ExposedThing[Kind][string];

function addProperty(name: string, property: Affordance<'properties'>, context: FormContext): HttpResource {
  const add = formAdder(property, context, `properties/${encodeURIComponent(name)}`);
  return {
    kind: 'property',
    name,
    read: property.writeOnly === true ? undefined : add({ op: 'readproperty', ...json('GET') }),
    write: property.readOnly === true ? undefined : add({ op: 'writeproperty', ...json('PUT') }),
    stream:
      property.observable === true
        ? { form: add({ op: ['observeproperty', 'unobserveproperty'], ...stream }), topic: context.hub.topic() }
        : undefined,
  };
}

function addAction(name: string, action: Affordance<'actions'>, context: FormContext): HttpResource {
  const add = formAdder(action, context, `actions/${encodeURIComponent(name)}`);
  const forms = [add({ op: 'invokeaction', ...json('POST') })];
  if (carriesMessage(action)) forms.push(add({ op: 'invokeaction', ...json('POST'), contentType: coseType }));
  return { kind: 'action', name, forms };
}

function addEvent(name: string, event: Affordance<'events'>, context: FormContext): HttpResource {
  const add = formAdder(event, context, `events/${encodeURIComponent(name)}`);
  const form = add({ op: ['subscribeevent', 'unsubscribeevent'], ...stream });
  return { kind: 'event', name, stream: { form, topic: context.hub.topic() } };
}

interface FormFields {
  readonly op: string | readonly string[];
  readonly 'htv:methodName': string;
  readonly contentType?: string;
  readonly subprotocol?: 'sse';
  readonly 'htv:headers'?: readonly object[];
}

const json = (method: string) => ({ 'htv:methodName': method, contentType: jsonType });
/** No content type: that of an event's data is the default, JSON. */
const stream = {
  'htv:methodName': 'GET',
  subprotocol: 'sse',
  'htv:headers': [{ 'htv:fieldName': 'Last-Event-ID' }],
} as const;

function formAdder({ forms }: { readonly forms: unknown[] }, { href, security }: FormContext, path: string) {
  return (fields: FormFields): HttpForm => {
    const form = { href: href(path), ...fields, ...(security && { security }) };
    forms.push(form);
    return { contentType: fields.contentType ?? jsonType, index: () => forms.indexOf(form) };
  };
}

/** In order, though reading a content is asynchronous. */
function publishInto(topic: MemoryTopic, onError: (error: unknown) => void): (content: Content) => void {
  let previous = Promise.resolve();
  return (content) => {
    previous = previous
      .then(async () => {
        topic.publish((await content.toBuffer()).toString());
      })
      .catch(onError);
  };
}
