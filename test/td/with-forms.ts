import type { ExposedThingInit } from 'wot-typescript-definitions';

const json = 'application/json';

/** Forms as a binding gives them: below one base, actions in two media types. */
export function withForms<Description extends ExposedThingInit>(td: Description, base: string): Description {
  return {
    ...td,
    base,
    properties: formsOf('properties', td.properties, [
      { op: ['readproperty', 'observeproperty', 'unobserveproperty'], contentType: json },
    ]),
    actions: formsOf('actions', td.actions, [
      { op: 'invokeaction', contentType: json },
      { op: 'invokeaction', contentType: 'application/cose' },
    ]),
    events: formsOf('events', td.events, [{ op: ['subscribeevent', 'unsubscribeevent'], contentType: json }]),
  };
}

const formsOf = (folder: string, affordances: object | undefined, forms: readonly object[]): object =>
  Object.fromEntries(
    Object.entries(affordances ?? {}).map(([name, affordance]: [string, object]) => [
      name,
      { ...affordance, forms: forms.map((form) => ({ ...form, href: `${folder}/${name}` })) },
    ]),
  );
