/**
 * What an operator may have a meter do (protocol §8), each with the parameters that it takes. A further operation is one
 * more entry of `forms`, and of `Operation`; a meter that does not know it says so in its receipt.
 */
import { decodeStrict, encode, type CborItem } from '../cbor.js';
import { GridringError, MalformedError } from '../errors.js';
import { arrayOf, uintOf } from '../fields.js';
import { limits } from '../limits.js';

export type Operation =
  /** Answers, and does nothing else. */
  | { readonly name: 'ping' }
  /** How often readings are taken from now on. */
  | { readonly name: 'set-reading-interval'; readonly intervalS: number };

type OperationName = Operation['name'];

/** What no meter of this version does, or this one does not. */
export type Unsupported = 'operation-unknown' | 'operation-unsupported' | 'parameter-invalid';

/** One of `set-reading-interval`, in seconds. */
export const readingIntervalS = { min: 1, max: 86_400 } as const;

const what = 'operation';

const forms: { readonly [Name in OperationName]: (parameters: readonly CborItem[]) => Operation } = {
  ping: (parameters) => {
    arrayOf(parameters, what, 0);
    return { name: 'ping' };
  },
  'set-reading-interval': (parameters) => {
    const [intervalS] = arrayOf(parameters, what, 1);
    const { min, max } = readingIntervalS;
    return { name: 'set-reading-interval', intervalS: uintOf(intervalS, what, max, min) };
  },
};

const isKnown = (name: string): name is OperationName => Object.hasOwn(forms, name);
const nameForm = /^[a-z][a-z0-9-]{0,31}$/;

/** [name, [parameter …]]. */
export const encodeOperation = (operation: Operation): Uint8Array =>
  encode([operation.name, operation.name === 'ping' ? [] : [operation.intervalS]]);

/**
 * What is well formed and cannot be done comes back as a code: its sender is told so under a signature.
 * @throws MalformedError
 */
export function parseOperation(bytes: Uint8Array): Operation | Unsupported {
  const [name, items] = arrayOf(decodeStrict(bytes, limits.operation), what, 2);
  if (typeof name !== 'string' || !nameForm.test(name)) throw new MalformedError('message-malformed', 'no operation');
  const parameters = arrayOf(items, what);
  if (!isKnown(name)) return 'operation-unknown';
  try {
    return forms[name](parameters);
  } catch (error) {
    if (!(error instanceof GridringError)) throw error;
    return 'parameter-invalid';
  }
}
