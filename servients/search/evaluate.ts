/** Evaluation of a query, per language; each loads its library and nothing else. Runs in a thread that may be ended. */
import { createRequire } from 'node:module';
import type { Language, SearchedThing } from './messages.js';
import { loadContext } from './contexts.js';

/** What is used of libraries whose own types do not go with those of this project. */
interface FontoXPath {
  evaluateXPathToArray(query: string, item: unknown, facade: null, variables: object, options: object): unknown;
  readonly Language: { readonly XPATH_3_1_LANGUAGE: string };
}
interface JsonLd {
  toRDF(document: object, options: object): Promise<unknown>;
}
interface Oxigraph {
  readonly Store: new () => Store;
  namedNode(iri: string): object;
}
interface Store {
  load(text: string, options: object): void;
  match(subject: null, predicate: null, object: null, graph: object): readonly object[];
  delete(quad: object): void;
  query(query: string, options: object): unknown;
}
const require = createRequire(import.meta.url);

interface Found {
  readonly body: string;
  readonly graph: boolean;
}

/** A query that cannot be answered, told apart from one that is wrong. */
export class UnsupportedQuery extends Error {}

export interface Evaluator {
  /** @returns the quads of SPARQL */
  readonly put: (thing: SearchedThing) => Promise<string | undefined>;
  readonly drop: (id: string) => void;
  readonly evaluate: (query: string, ids: readonly string[] | undefined) => Promise<Found>;
}

export async function makeEvaluator(language: Language): Promise<Evaluator> {
  if (language === 'sparql') return makeSparql();
  return makeSyntactic(language === 'jsonpath' ? await jsonPath() : xPath());
}

/** JSONPath and XPath see one array of TDs, ascending by id. */
function makeSyntactic(evaluate: (query: string, tds: readonly unknown[]) => unknown): Evaluator {
  const things = new Map<string, unknown>();
  let sorted: readonly string[] | undefined;
  return {
    put: async ({ id, td }) => {
      things.set(id, JSON.parse(td));
      sorted = undefined;
      return undefined;
    },
    drop: (id) => {
      things.delete(id);
      sorted = undefined;
    },
    evaluate: async (query, ids) => {
      sorted ??= [...things.keys()].sort(byCodePoint);
      const seen = ids && new Set(ids);
      const tds = (seen ? sorted.filter((id) => seen.has(id)) : sorted).map((id) => things.get(id));
      return { body: JSON.stringify(evaluate(query, tds)), graph: false };
    },
  };
}

const byCodePoint = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

/** RFC 9535. */
async function jsonPath(): Promise<(query: string, tds: readonly unknown[]) => unknown> {
  const { jsonpath } = await import('json-p3');
  return (query, tds) => jsonpath.query(query, tds as Parameters<typeof jsonpath.query>[1]).values();
}

/** XPath 3.1 over maps and arrays: the context item is the array. The answer is the sequence of items, as an array. */
function xPath(): (query: string, tds: readonly unknown[]) => unknown {
  const fontoxpath = require('fontoxpath') as FontoXPath;
  return (query, tds) =>
    fontoxpath.evaluateXPathToArray(
      `array { ${query}\n}`,
      tds,
      null,
      {},
      {
        language: fontoxpath.Language.XPATH_3_1_LANGUAGE,
        // What strangers trace would stand among our own log lines, as they like it.
        logger: { trace: () => undefined },
        // Else every query is kept.
        disableCache: true,
      },
    );
}

const form = /^(?:\s|#[^\n]*\n|BASE\s*<[^>]*>|PREFIX\s+[^:\s]*:\s*<[^>]*>)*(SELECT|ASK|CONSTRUCT|DESCRIBE)\b/i;

/** Each TD is a graph of its own, and the default graph is all of those that are searched. */
function makeSparql(): Evaluator {
  const jsonld = require('jsonld') as JsonLd;
  const oxigraph = require('oxigraph') as Oxigraph;
  const store = new oxigraph.Store();
  const graphOf = (id: string): object =>
    oxigraph.namedNode(/^[a-z][a-z\d+.-]*:[^\s<>"{}|\\^`]*$/i.test(id) ? id : `urn:thing:${encodeURIComponent(id)}`);
  const drop = (id: string): void => {
    for (const quad of store.match(null, null, null, graphOf(id))) store.delete(quad);
  };
  return {
    put: async ({ id, td, quads }) => {
      const rdf =
        quads ??
        (await jsonld.toRDF(JSON.parse(td) as object, { format: 'application/n-quads', documentLoader: loadContext }));
      drop(id);
      store.load(String(rdf), { format: 'application/n-triples', to_graph_name: graphOf(id) });
      return String(rdf);
    },
    drop,
    evaluate: async (query, ids) => {
      const kind = form.exec(query)?.[1]?.toUpperCase();
      if (kind === undefined) throw new Error('the query is none of SELECT, ASK, CONSTRUCT and DESCRIBE');
      if (/\bSERVICE\b/i.test(query.replace(/<[^>]*>|"[^"]*"|'[^']*'|#[^\n]*/g, ''))) {
        throw new UnsupportedQuery('other directories are not asked: SERVICE is not supported');
      }
      const graphs = ids?.map(graphOf);
      const graph = kind === 'CONSTRUCT' || kind === 'DESCRIBE';
      const body = store.query(query, {
        results_format: graph ? 'application/ld+json' : 'application/sparql-results+json',
        ...(graphs ? { default_graph: graphs, named_graphs: graphs } : { use_default_graph_as_union: true }),
      });
      return { body: String(body), graph };
    },
  };
}
