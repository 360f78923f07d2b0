/**
 * What a Thing does, without how it is reached: `servients/expose.ts` puts a behaviour behind a node-wot ExposedThing
 * and its bindings, and a test calls it directly.
 */
export interface ThingBehaviour {
  readonly actions: Readonly<Record<string, ActionHandler>>;
  readonly properties: Readonly<Record<string, PropertyReader>>;
  /** Called once by whoever exposes the Thing; the behaviour announces changes and events through it. */
  attach(emitter: ThingEmitter): void;
}

/**
 * `message`: COSE bytes in, COSE bytes out, offered as application/json `{"message": base64url}` and application/cose.
 * `json`: a value that has passed the affordance's schema.
 * A handler answers after its commit, and refuses by throwing a GridringError.
 */
export type ActionHandler =
  | { readonly kind: 'message'; invoke(message: Uint8Array): Promise<Uint8Array> }
  | { readonly kind: 'json'; invoke(input: unknown): Promise<unknown> };

export type PropertyReader = () => Promise<unknown>;

export interface ThingEmitter {
  propertyChanged(name: string): void;
  event(name: string, data: unknown): void;
}
