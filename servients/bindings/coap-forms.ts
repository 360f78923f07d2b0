/** The forms of a Thing over CoAP, one for each media type and kind of operation, and where each stands in the TD. */
import type { ExposedThing } from '@node-wot/core';
import { carriesMessage } from './codec.js';
import { coseType, jsonType } from './media-types.js';

export type AffordanceKind = 'properties' | 'actions' | 'events';

interface Affordance {
  forms?: WoT.Form[];
}

/** By kind, name, media type and operation: the index of the form, which core asks for. */
export class FormIndex {
  readonly #indices = new Map<string, number>();

  add(
    kind: AffordanceKind,
    name: string,
    affordance: Affordance,
    form: WoT.Form & { readonly op: string | readonly string[] },
  ): void {
    const forms = (affordance.forms ??= []);
    for (const op of [form.op].flat())
      this.#indices.set(`${kind} ${name} ${form.contentType ?? ''} ${op}`, forms.length);
    forms.push(form);
  }

  find(kind: AffordanceKind, name: string, op: string, mediaType: string = jsonType): number | undefined {
    return this.#indices.get(`${kind} ${name} ${mediaType} ${op}`);
  }
}

/**
 * Adds the forms to the Thing. The terms are those of the W3C's CoAP binding: `cov:method` (formerly `cov:methodName`),
 * and the subprotocol `cov:observe`.
 */
export function addForms(thing: ExposedThing, hrefOf: (path: string) => string): FormIndex {
  const index = new FormIndex();
  const form = (path: string, method: string, op: string | string[], contentType: string = jsonType) => ({
    href: hrefOf(path),
    contentType,
    op,
    'cov:method': method,
  });
  for (const [name, property] of Object.entries(thing.properties)) {
    const path = `properties/${encodeURIComponent(name)}`;
    const add = (entry: ReturnType<typeof form> & { subprotocol?: string }): void => {
      index.add('properties', name, property, entry);
    };
    if (property.writeOnly !== true) add(form(path, 'GET', 'readproperty'));
    if (property.readOnly !== true) add(form(path, 'PUT', 'writeproperty'));
    if (property.observable === true) {
      add({ ...form(path, 'GET', ['observeproperty', 'unobserveproperty']), subprotocol: 'cov:observe' });
    }
  }
  for (const [name, action] of Object.entries(thing.actions)) {
    for (const mediaType of carriesMessage(action) ? [jsonType, coseType] : [jsonType]) {
      index.add(
        'actions',
        name,
        action,
        form(`actions/${encodeURIComponent(name)}`, 'POST', 'invokeaction', mediaType),
      );
    }
  }
  for (const [name, event] of Object.entries(thing.events)) {
    const entry = form(`events/${encodeURIComponent(name)}`, 'GET', ['subscribeevent', 'unsubscribeevent']);
    index.add('events', name, event, { ...entry, subprotocol: 'cov:observe' });
  }
  return index;
}
