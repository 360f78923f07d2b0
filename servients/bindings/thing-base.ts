/** What the bindings of one servient must agree on: a Thing's name in URLs, and whose address is its `base`. */
import type { ExposedThing } from '@node-wot/core';

/** The title in lower case, with everything but letters and digits as single hyphens; unlike those in `taken`. */
export function urlName(title: string, taken: (name: string) => boolean): string {
  const name = title.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-').replaceAll(/^-|-$/g, '') || 'thing'; // prettier-ignore
  let unique = name;
  for (let suffix = 2; taken(unique); suffix++) unique = `${name}-${suffix}`;
  return unique;
}

/**
 * Who exposes a Thing first owns its `base` and writes relative hrefs; every later binding writes absolute ones. The
 * servient asks its servers in the order in which they were added, so they must call this before they await anything.
 * `own` is the binding's address of the Thing and ends in a slash.
 */
export function hrefsBelow(thing: ExposedThing, own: string): (path: string) => string {
  thing.base ??= own;
  return thing.base === own ? (path) => path : (path) => own + path;
}
