/** What a backend remembers of requests that carry an Idempotency-Key, so that a repeat is answered and not done again. */

/** As it was given to who sent the request first. */
export interface KeptAnswer {
  readonly status: number;
  readonly contentType: string | null;
  readonly location: string | null;
  readonly body: Uint8Array;
}

export type Claim =
  /** It is the caller's to do, and then to `keepAnswer` or `release`. */
  | { readonly kind: 'claimed' }
  /** It is being done. */
  | { readonly kind: 'under-way' }
  /** The key was used for another request. */
  | { readonly kind: 'other' }
  | { readonly kind: 'done'; readonly answer: KeptAnswer };

export interface IdempotencyStore {
  /**
   * Of any number at a time one claims a key. A claim from before `staleBeforeS` is taken over: whoever had it is gone.
   * `idHash`: 32 bytes, of caller and key; `requestHash`: 32 bytes, of what is asked for.
   */
  claim(idHash: Uint8Array, requestHash: Uint8Array, nowS: number, staleBeforeS: number): Promise<Claim>;
  keepAnswer(idHash: Uint8Array, answer: KeptAnswer): Promise<void>;
  /** The request was refused: it may be sent again under its key. */
  release(idHash: Uint8Array): Promise<void>;
  /** Forgets keys that were claimed before. */
  purgeIdempotency(beforeS: number): Promise<void>;
}
