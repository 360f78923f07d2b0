/** The directory's search (WoT Discovery §7.3.2.3): JSONPath, XPath and SPARQL. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { MalformedError } from '../../crypto/errors.js';
import { jsonType } from '../bindings/media-types.js';
import { sourceOf } from '../bindings/rate-limit.js';
import { searchMaxima, type Language } from '../search/messages.js';
import type { RestContext } from './context.js';
import { directoryReaders } from './directory-readers.js';
import { accepted, ldType } from './directory-media.js';
import { operation } from './operation.js';

const sparqlQueryType = 'application/sparql-query';
const sparqlResultsType = 'application/sparql-results+json';
const formType = 'application/x-www-form-urlencoded';
const anything = { schema: { description: 'What the query asks for' } };
const query = { type: 'string', minLength: 1, maxLength: searchMaxima.query };

interface Asked {
  readonly Querystring: { readonly query?: string };
}

export function searchRoutes(scope: FastifyInstance, context: RestContext): void {
  const { search } = context;
  const { onRequest, seenBy } = directoryReaders(context);
  const answer = async (
    language: Language,
    text: string | undefined,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<FastifyReply> => {
    if (text === undefined) throw new MalformedError('query-malformed', 'the parameter query is missing');
    const caller = context.access.actorOf(request) ?? sourceOf(request.ip);
    const { body, graph } = await search.search({ language, query: text, ids: seenBy(request), caller });
    const values = language === 'sparql' ? [jsonType, sparqlResultsType] : [jsonType];
    const type = accepted(request, graph ? [ldType, jsonType] : values);
    return reply.type(type).send(Buffer.from(body));
  };

  for (const [language, id, summary] of [
    ['jsonpath', 'searchJsonPath', 'Search the Thing Descriptions, as one array, by JSONPath (RFC 9535)'],
    ['xpath', 'searchXPath', 'Search the Thing Descriptions, as one array of maps, by XPath 3.1'],
    ['sparql', 'searchSparql', 'Search the Thing Descriptions, as RDF, by SPARQL 1.1'],
  ] as const) {
    const types = language === 'sparql' ? [jsonType, sparqlResultsType, ldType] : [jsonType];
    const content = Object.fromEntries(types.map((type) => [type, anything]));
    const schema = operation({
      id,
      tag: 'Directory',
      summary,
      query: { query },
      gives: { 200: { description: 'What was found', content } },
      refuses: [406],
    });
    scope.get<Asked>(`/search/${language}`, { onRequest, schema }, (request, reply) =>
      answer(language, request.query.query, request, reply),
    );
  }

  // In a scope of its own: nothing else takes such bodies.
  void scope.register(async (inner) => {
    inner.removeAllContentTypeParsers();
    inner.addContentTypeParser(
      [sparqlQueryType, formType],
      { parseAs: 'string' },
      async (request: FastifyRequest, body: string) =>
        request.headers['content-type']?.startsWith(formType) === true ? new URLSearchParams(body).get('query') : body,
    );
    const schema = operation({
      id: 'postSparql',
      tag: 'Directory',
      summary: 'The same, for long queries',
      body: {
        content: { [sparqlQueryType]: { schema: { type: 'string' } }, [formType]: { schema: { type: 'string' } } },
      },
      gives: { 200: { description: 'What was found', content: { [jsonType]: anything, [ldType]: anything } } },
      refuses: [406],
    });
    const options = { onRequest, schema, bodyLimit: 4 * searchMaxima.query };
    inner.post<{ Body: string | null }>('/search/sparql', options, (request, reply) =>
      answer('sparql', request.body ?? undefined, request, reply),
    );
  });
}
