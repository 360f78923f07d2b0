/** Invokes actions that carry protocol messages, on any binding. */
import { STATUS_CODES } from 'node:http';
import { GridringError, NotFoundError, UnavailableError } from '../crypto/errors.js';
import './bindings/codec.js';
import { coseType } from './bindings/media-types.js';
import { PeerRefusal } from './bindings/peer-refusal.js';

/** The cose forms of each action of a consumed Thing; its description is a deep copy at every call. */
const coseForms = new WeakMap<WoT.ConsumedThing, Map<string, readonly number[]>>();

/**
 * Sends a COSE message to an action and returns the bytes of its answer, none where the action has no output.
 * @throws PeerRefusal with the `code` and `status` of the peer's problem document; UnavailableError when the peer cannot
 *   be reached; NotFoundError `form-missing` when the action takes no COSE on a binding that the servient has
 */
export async function invokeMessage(
  thing: WoT.ConsumedThing,
  action: string,
  message: Uint8Array,
): Promise<Uint8Array> {
  for (const formIndex of formsOf(thing, action)) {
    try {
      const output = await thing.invokeAction(action, message, { formIndex });
      return output === undefined ? new Uint8Array(0) : new Uint8Array(await output.arrayBuffer());
    } catch (error) {
      if (!isMissingClient(error)) throw refusalFrom(error);
    }
  }
  throw new NotFoundError('form-missing', `no form of ${action} takes ${coseType} on a binding that is here`);
}

function formsOf(thing: WoT.ConsumedThing, action: string): readonly number[] {
  const known = coseForms.get(thing) ?? new Map<string, readonly number[]>();
  coseForms.set(thing, known);
  const found = known.get(action) ?? findForms(thing, action);
  known.set(action, found);
  return found;
}

function findForms(thing: WoT.ConsumedThing, action: string): readonly number[] {
  const forms = thing.getThingDescription().actions?.[action]?.forms ?? [];
  return forms.flatMap(({ contentType }, index) => (contentType === coseType ? [index] : []));
}

/** Core's only way to say that it has no binding for a form. */
const isMissingClient = (error: unknown): boolean =>
  error instanceof Error && error.message.includes('missing ClientFactory');

/**
 * The HTTP client of node-wot gives the reason phrase of a refusal and nothing else: the status can be known from it,
 * the problem's code cannot. `bindings/http-client.ts` keeps both.
 */
function refusalFrom(error: unknown): unknown {
  if (error instanceof GridringError || !(error instanceof Error)) return error;
  if (error.name === 'FetchError' || error.name === 'AbortError') {
    return new UnavailableError('peer-unreachable', 'the peer cannot be reached', error);
  }
  const reason = /^(?:Client|Server) error: (.*)$/.exec(error.message)?.[1];
  const status = Object.keys(STATUS_CODES).find((code) => STATUS_CODES[code] === reason);
  return status === undefined ? error : new PeerRefusal(Number(status), `refused-${status}`, error.message);
}
