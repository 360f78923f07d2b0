/** What a directory and the thread that searches it tell each other. */
export type Language = 'jsonpath' | 'xpath' | 'sparql';

export interface SearchedThing {
  readonly id: string;
  /** The enriched TD, as JSON text. */
  readonly td: string;
  /** What SPARQL searches, where it is known from before. */
  readonly quads: string | undefined;
}

export type ToWorker =
  /** Answered when the libraries are loaded. */
  | { readonly kind: 'start' }
  | { readonly kind: 'put'; readonly thing: SearchedThing }
  | { readonly kind: 'drop'; readonly id: string }
  | {
      readonly kind: 'query';
      readonly query: string;
      /** Of the Things that are searched; all where there are none given. */
      readonly ids: readonly string[] | undefined;
    };

export type FromWorker =
  | { readonly kind: 'done'; readonly quads?: string }
  /** JSON text. `graph`: RDF as JSON-LD, and not the values of variables. */
  | { readonly kind: 'found'; readonly body: string; readonly graph: boolean }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string };

/** Characters. */
export const searchMaxima = { query: 8_000, result: 8_000_000 } as const;
