/** Puts a behaviour behind a node-wot ExposedThing: bytes and values in, bytes and values out, errors untouched. */
import type { ExposedThing, Servient } from '@node-wot/core';
import { fromBase64Url, toBase64Url } from '../crypto/bytes.js';
import { MalformedError } from '../crypto/errors.js';
import type { ActionHandler, ThingBehaviour } from '../things/behaviour.js';
import './bindings/codec.js';
import { coseType } from './bindings/media-types.js';

/**
 * Produces the Thing that `init` describes, connects every action and property of the behaviour, and exposes it on
 * the servient's bindings. Core passes on what a handler throws, so a binding sees the behaviour's own error.
 * `onError` hears of a property that could not be read when its change was announced.
 * @throws Error of node-wot when `init` is no valid TD or lacks an affordance that the behaviour has
 */
export async function exposeThing(
  servient: Servient,
  init: WoT.ExposedThingInit,
  behaviour: ThingBehaviour,
  onError: (error: unknown) => void = () => undefined,
): Promise<ExposedThing> {
  const wot = await servient.start();
  // The Scripting API's type hides that announcing a change can fail; core's own does not.
  const thing = (await wot.produce(init)) as unknown as ExposedThing;
  for (const [name, action] of Object.entries(behaviour.actions)) {
    const answers = thing.actions[name]?.output !== undefined;
    thing.setActionHandler(name, async (input) => {
      const output = await invoke(action, input);
      return answers ? output : undefined;
    });
  }
  for (const [name, read] of Object.entries(behaviour.properties)) {
    thing.setPropertyReadHandler(name, async () => (await read()) as WoT.InteractionInput);
  }
  await thing.expose();
  behaviour.attach({
    propertyChanged: (name) => void thing.emitPropertyChange(name).catch(onError),
    event: (name, data) => {
      thing.emitEvent(name, data as WoT.InteractionInput);
    },
  });
  return thing;
}

async function invoke(action: ActionHandler, input: WoT.InteractionOutput): Promise<WoT.InteractionInput> {
  if (action.kind === 'json') return (await action.invoke(await valueOf(input))) as WoT.InteractionInput;
  if (input.form?.contentType === coseType) {
    return action.invoke(new Uint8Array(await input.arrayBuffer()));
  }
  const { message } = (await valueOf(input)) as { readonly message: string };
  return { message: toBase64Url(await action.invoke(messageBytes(message))) };
}

/** The input after the affordance's schema. @throws MalformedError `schema-mismatch` */
async function valueOf(input: WoT.InteractionOutput): Promise<unknown> {
  if (input.schema === undefined) return undefined;
  try {
    return await input.value();
  } catch (cause) {
    throw new MalformedError('schema-mismatch', "the input does not match the affordance's schema", cause);
  }
}

function messageBytes(text: string): Uint8Array {
  try {
    return fromBase64Url(text);
  } catch (cause) {
    throw new MalformedError('base64url-malformed', 'the message is not canonical base64url', cause);
  }
}
