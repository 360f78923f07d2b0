/** The directory's Things API (WoT Discovery §7.3.2.1): reading is open, writing is for gateways. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { limits } from '../../crypto/limits.js';
import { TdInvalidError } from '../../things/directory.js';
import { jsonType } from '../bindings/media-types.js';
import { negotiate } from '../bindings/http-negotiate.js';
import { HttpRefusal } from '../bindings/http-problem.js';
import { open } from './access.js';
import { assertIfMatch, etagOf } from './conditional.js';
import { directoryUrn, type RestContext } from './context.js';
import { creations } from './idempotency.js';
import { parseJson } from './messages.js';
import { noContent, operation } from './operation.js';

const tdType = 'application/td+json';
const ldType = 'application/ld+json';
const tdSchema = { type: 'object', description: 'A Thing Description 1.1' };
const thing = {
  description: 'The Thing Description',
  content: { [tdType]: { schema: tdSchema }, [jsonType]: { schema: tdSchema } },
};
const tdList = { type: 'array', items: tdSchema };
const things = {
  description: 'A page, with a Link to the next one',
  content: { [ldType]: { schema: tdList }, [jsonType]: { schema: tdList } },
};
/** Whether it is a valid one is the directory's matter. */
const body = {
  content: Object.fromEntries(
    [tdType, ldType, jsonType].map((type) => [type, { schema: { description: 'A Thing Description 1.1' } }]),
  ),
};
/** More are given on the next page, whatever limit was asked for. */
const pageMaximum = 100;

interface PageQuery {
  readonly offset: number;
  readonly limit: number;
}

export function thingRoutes(scope: FastifyInstance, context: RestContext): void {
  const { directory, access } = context;
  parseTds(scope);
  nameInvalidFields(scope);
  const params = { id: { type: 'string', minLength: 1 } };
  const write = { onRequest: access.needs('things:write'), bodyLimit: limits.thingDescription };
  const ownerOf = (request: FastifyRequest): string => access.principalOf(request).subject;
  const sendTd = async (id: string, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const type = accepted(request, [tdType, jsonType]);
    return sendJson(reply, type, await directory.get(id));
  };

  const ofDirectory = operation({
    id: 'getDirectory',
    tag: 'Directory',
    summary: 'The Thing Description of the directory',
    gives: { 200: thing },
    refuses: [406],
  });
  // Only the gateway that registered a Thing changes it: nobody comes between.
  const assertAsRead = async (request: FastifyRequest<{ Params: { id: string } }>): Promise<void> => {
    if (request.headers['if-match'] === undefined) return;
    assertIfMatch(request, etagOf(JSON.stringify(await directory.get(request.params.id))), false);
  };

  scope.get('/.well-known/wot', { onRequest: open, schema: ofDirectory }, (request, reply) =>
    sendTd(directoryUrn(context), request, reply),
  );

  const page = {
    offset: { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER, default: 0 },
    limit: { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER, default: pageMaximum },
  };
  scope.get<{ Querystring: PageQuery }>(
    '/things',
    {
      onRequest: open,
      schema: operation({
        id: 'listThings',
        tag: 'Directory',
        summary: 'The Thing Descriptions, page by page',
        query: page,
        gives: { 200: things },
        refuses: [406],
      }),
    },
    async (request, reply) => {
      const type = accepted(request, [ldType, jsonType]);
      const { offset, limit } = request.query;
      const { tds, total } = await directory.list(offset, Math.min(limit, pageMaximum));
      const canonical = `</things>; rel="canonical"; etag="${await directory.revision()}"`;
      const nextOffset = offset + tds.length;
      const isLast = tds.length === 0 || nextOffset >= total;
      const next = `</things?offset=${nextOffset}&limit=${limit}>; rel="next"`;
      reply.header('link', isLast ? canonical : `${next}, ${canonical}`);
      return sendJson(reply, type, tds);
    },
  );

  const ofCreate = operation({
    id: 'createThing',
    tag: 'Directory',
    summary: 'Register a Thing Description without an id, as a gateway',
    body,
    creates: true,
    gives: { 201: { ...noContent('Registered'), headers: { location: { type: 'string' } } } },
  });
  const creation = creations(context);
  scope.post('/things', { ...write, ...creation.hooks, schema: ofCreate }, async (request, reply) => {
    const id = await directory.add(`urn:uuid:${creation.newId(request)}`, request.body, ownerOf(request));
    return reply
      .code(201)
      .header('location', `/things/${encodeURIComponent(id)}`)
      .send();
  });

  const ofThing = operation({
    id: 'getThing',
    tag: 'Directory',
    summary: 'One Thing Description',
    params,
    gives: { 200: thing },
    refuses: [406],
  });
  scope.get<{ Params: { id: string } }>('/things/:id', { onRequest: open, schema: ofThing }, (request, reply) =>
    sendTd(request.params.id, request, reply),
  );

  const ofPut = operation({
    id: 'putThing',
    tag: 'Directory',
    summary: 'Register or replace a Thing Description, as a gateway',
    params,
    body,
    gives: { 201: noContent('Registered'), 204: noContent('Replaced') },
    refuses: [412],
  });
  scope.put<{ Params: { id: string } }>('/things/:id', { ...write, schema: ofPut }, async (request, reply) => {
    await assertAsRead(request);
    const created = await directory.put(request.params.id, request.body, ownerOf(request));
    return reply.code(created ? 201 : 204).send();
  });

  const ofDelete = operation({
    id: 'deleteThing',
    tag: 'Directory',
    summary: 'Remove a Thing Description, as the gateway that registered it',
    params,
    gives: { 204: noContent('Removed') },
    refuses: [412],
  });
  scope.delete<{ Params: { id: string } }>('/things/:id', { ...write, schema: ofDelete }, async (request, reply) => {
    await assertAsRead(request);
    await directory.delete(request.params.id, ownerOf(request));
    return reply.code(204).send();
  });
}

/** A TD is JSON under any of its three names; validating it is the directory's matter. */
function parseTds(scope: FastifyInstance): void {
  scope.removeContentTypeParser('text/plain');
  scope.addContentTypeParser([jsonType, tdType, ldType], { parseAs: 'buffer' }, parseJson);
}

/** As bytes, for Fastify adds a charset to text, which no JSON type has (RFC 8259 §11). */
const sendJson = (reply: FastifyReply, type: string, value: unknown): FastifyReply =>
  reply.type(type).send(Buffer.from(JSON.stringify(value)));

/** WoT Discovery §7.3.2.1.6: the problem document says what is wrong with each field. */
function nameInvalidFields(scope: FastifyInstance): void {
  const invalid = new WeakMap<FastifyRequest, TdInvalidError>();
  scope.addHook('onError', async (request, _reply, error) => {
    if (error instanceof TdInvalidError) invalid.set(request, error);
  });
  scope.addHook('onSend', async (request, _reply, payload) => {
    const error = invalid.get(request);
    if (!error || typeof payload !== 'string') return payload;
    return JSON.stringify({ ...(JSON.parse(payload) as object), validationErrors: error.validationErrors });
  });
}

function accepted({ headers }: FastifyRequest, offered: readonly string[]): string {
  const type = negotiate(headers.accept, offered);
  if (type === undefined) throw new HttpRefusal(406, 'not-acceptable', `offered here: ${offered.join(', ')}`);
  return type;
}
