/** Invokes actions that carry protocol messages, and reads properties, on any binding. */
import { STATUS_CODES } from 'node:http';
import { fromBase64Url, toBase64Url } from '../crypto/bytes.js';
import { GridringError, NotFoundError, UnavailableError } from '../crypto/errors.js';
import { carriesMessage } from './bindings/codec.js';
import { coseType, jsonType } from './bindings/media-types.js';
import { PeerRefusal } from './bindings/peer-refusal.js';

interface MessageForm {
  readonly formIndex: number;
  readonly json: boolean;
}

/** The forms of each action of a consumed Thing that are used; its description is a deep copy at every call. */
const messageForms = new WeakMap<WoT.ConsumedThing, Map<string, readonly MessageForm[]>>();

/**
 * Sends a COSE message to an action and returns the bytes of its answer, none where the action has no output. Over CoAP
 * the bytes travel as they are; over HTTP, where readable bodies are worth more than small ones, in JSON.
 * @throws PeerRefusal with the `code` and `status` of the peer's problem document; UnavailableError when the peer cannot
 *   be reached; NotFoundError `form-missing` when the action takes no messages on a binding that the servient has
 */
export async function invokeMessage(
  thing: WoT.ConsumedThing,
  action: string,
  message: Uint8Array,
): Promise<Uint8Array> {
  for (const { formIndex, json } of formsOf(thing, action)) {
    try {
      const input = json ? { message: toBase64Url(message) } : message;
      return await bytesOf(await thing.invokeAction(action, input, { formIndex }), json);
    } catch (error) {
      if (!isMissingClient(error)) throw refusalFrom(error);
    }
  }
  throw new NotFoundError('form-missing', `no form of ${action} takes messages on a binding that is here`);
}

/**
 * Reads a property, as the schema of the Thing's description has it: the peer's own, so it proves nothing.
 * @throws as `invokeMessage`
 */
export async function readValue(thing: WoT.ConsumedThing, property: string): Promise<unknown> {
  try {
    return await (await thing.readProperty(property)).value();
  } catch (error) {
    throw refusalFrom(error);
  }
}

async function bytesOf(output: WoT.ActionInteractionOutput | undefined, json: boolean): Promise<Uint8Array> {
  if (output === undefined) return new Uint8Array(0);
  if (!json) return new Uint8Array(await output.arrayBuffer());
  if (output.schema === undefined) return new Uint8Array(0);
  const { message } = (await output.value()) as { readonly message: string };
  return fromBase64Url(message);
}

function formsOf(thing: WoT.ConsumedThing, action: string): readonly MessageForm[] {
  const known = messageForms.get(thing) ?? new Map<string, readonly MessageForm[]>();
  messageForms.set(thing, known);
  const found = known.get(action) ?? findForms(thing, action);
  known.set(action, found);
  return found;
}

function findForms(thing: WoT.ConsumedThing, action: string): readonly MessageForm[] {
  const { base, actions } = thing.getThingDescription();
  const described = actions?.[action];
  if (!described || !carriesMessage(described)) return [];
  return described.forms.flatMap(({ contentType, href }, formIndex) => {
    const json = new URL(href, base).protocol !== 'coap:';
    return contentType === (json ? jsonType : coseType) ? [{ formIndex, json }] : [];
  });
}

/** Core's only way to say that it has no binding for a form. */
const isMissingClient = (error: unknown): boolean =>
  error instanceof Error && error.message.includes('missing ClientFactory');

/**
 * The HTTP client of node-wot gives the reason phrase of a refusal and nothing else: the status can be known from it,
 * the problem's code cannot. `bindings/http-client.ts` keeps both.
 */
export function refusalFrom(error: unknown): unknown {
  if (error instanceof GridringError || !(error instanceof Error)) return error;
  if (error.name === 'FetchError' || error.name === 'AbortError') {
    return new UnavailableError('peer-unreachable', 'the peer cannot be reached', error);
  }
  const reason = /^(?:Client|Server) error: (.*)$/.exec(error.message)?.[1];
  const status = Object.keys(STATUS_CODES).find((code) => STATUS_CODES[code] === reason);
  return status === undefined ? error : new PeerRefusal(Number(status), `refused-${status}`, error.message);
}
