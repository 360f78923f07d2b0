/** One interaction with a consumed Thing, by the names of its description, and what comes of it as plain values. */
import { toBase64Url } from '../crypto/bytes.js';
import { MalformedError, NotFoundError, UnavailableError } from '../crypto/errors.js';
import { refusalFrom } from './consume.js';

export const interactionKinds = ['read', 'write', 'invoke', 'observe', 'subscribe'] as const;
export type InteractionKind = (typeof interactionKinds)[number];

export interface Interaction {
  readonly kind: InteractionKind;
  /** Of the property, action or event. */
  readonly name: string;
  readonly input?: unknown;
}

const affordanceOf = {
  read: 'properties',
  write: 'properties',
  observe: 'properties',
  invoke: 'actions',
  subscribe: 'events',
} as const;

/**
 * Does it within the time, and gives what the Thing answers: JSON as its schema says, other content as base64url;
 * undefined where there is no answer.
 * @throws NotFoundError `affordance-missing`; PeerRefusal; UnavailableError `thing-silent`, `peer-unreachable`
 */
export async function interact(
  thing: WoT.ConsumedThing,
  { kind, name, input }: Interaction & { readonly kind: 'read' | 'write' | 'invoke' },
  timeoutMs: number,
): Promise<unknown> {
  assertAffordance(thing, kind, name);
  const value = input as WoT.InteractionInput;
  const asked = {
    read: () => thing.readProperty(name),
    write: () => thing.writeProperty(name, value).then(() => undefined),
    invoke: () => thing.invokeAction(name, value),
  }[kind]();
  try {
    return await within(timeoutMs, `${kind} ${name}`, asked.then(valueOf));
  } catch (error) {
    throw refusalFrom(error);
  }
}

/** Values as they come: what is not taken yet waits. */
export interface Watched {
  /** @throws UnavailableError `thing-silent` when none comes in time, or the error that ended the watch */
  next(timeoutMs: number): Promise<unknown>;
  stop(): Promise<void>;
}

/**
 * Observes a property, or subscribes to an event.
 * @throws NotFoundError `affordance-missing`; PeerRefusal; UnavailableError
 */
export async function watch(
  thing: WoT.ConsumedThing,
  { kind, name }: Interaction & { readonly kind: 'observe' | 'subscribe' },
  timeoutMs: number,
): Promise<Watched> {
  assertAffordance(thing, kind, name);
  const values: unknown[] = [];
  let failure: Error | undefined;
  let wake = (): void => undefined;
  const onError = (error: Error): void => {
    failure = error;
    wake();
  };
  const listener = (output: WoT.InteractionOutput): void => {
    valueOf(output).then((value) => {
      values.push(value);
      wake();
    }, onError);
  };
  const begun =
    kind === 'observe' ? thing.observeProperty(name, listener, onError) : thing.subscribeEvent(name, listener, onError);
  const subscription = await within(timeoutMs, `${kind} ${name}`, begun).catch((error: unknown) => {
    throw refusalFrom(error);
  });
  return {
    next: async (waitMs) => {
      if (values.length === 0 && !failure) {
        const told = new Promise<void>((resolve) => (wake = resolve));
        await within(waitMs, `${kind} ${name}`, told);
      }
      if (values.length === 0 && failure) throw refusalFrom(failure);
      return values.shift();
    },
    stop: () => subscription.stop(),
  };
}

function assertAffordance(thing: WoT.ConsumedThing, kind: InteractionKind, name: string): void {
  const what = affordanceOf[kind];
  const { id = 'the Thing', [what]: described } = thing.getThingDescription();
  if (Object.hasOwn(described ?? {}, name)) return;
  const names = Object.keys(described ?? {}).join(', ');
  throw new NotFoundError('affordance-missing', `${id} has no such ${what}: ${name}; it has ${names || 'none'}`);
}

async function valueOf(output: WoT.InteractionOutput | undefined): Promise<unknown> {
  if (!output) return undefined;
  const type = (output as { readonly form?: { readonly contentType?: string } }).form?.contentType;
  if (type !== undefined && !/json|^text\//.test(type)) return toBase64Url(new Uint8Array(await output.arrayBuffer()));
  if (output.schema === undefined) {
    const text = new TextDecoder().decode(await output.arrayBuffer());
    return text === '' ? undefined : jsonOf(text);
  }
  return output.value();
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

/** @throws MalformedError `input-malformed` */
export function parseInput(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new MalformedError('input-malformed', `the input is no JSON: ${text.slice(0, 80)}`, cause);
  }
}

async function within<T>(timeoutMs: number, what: string, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new UnavailableError('thing-silent', `${what}: nothing came within ${timeoutMs} ms`));
    }, timeoutMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
