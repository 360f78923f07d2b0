/** The directory's Things API (WoT Discovery §7.3.2.1): create, retrieve, update, delete, list. */
import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { limits } from '../../crypto/limits.js';
import { discoveryContext } from '../../crypto/registration.js';
import { unknownTd, type Change } from '../../things/directory.js';
import { jsonType } from '../bindings/media-types.js';
import type { DirectoryEntry } from '../../things/stores.js';
import { open } from './access.js';
import { assertIfMatch, etagOf as etagOfText, isUnchanged } from './conditional.js';
import { directoryUrn, type RestContext } from './context.js';
import { directoryReaders } from './directory-readers.js';
import { accepted, ldType, parseOnly, patchType, sendJson, tdType, tdTypes } from './directory-media.js';
import { creations } from './idempotency.js';
import { noContent, operation } from './operation.js';

const tdSchema = { type: 'object', description: 'A Thing Description' };
const etag = { etag: { type: 'string' } };
const thing = {
  description: 'The Thing Description, with its registration information',
  content: { [tdType]: { schema: tdSchema }, [jsonType]: { schema: tdSchema } },
  headers: etag,
};
const tdList = {
  oneOf: [
    { type: 'array', items: tdSchema },
    {
      type: 'object',
      description: 'A ThingCollection',
      required: ['total', 'members'],
      properties: { total: { type: 'integer' }, members: { type: 'array', items: tdSchema }, next: { type: 'string' } },
    },
  ],
};
const things = {
  description: 'All of them, or a page with a Link to the next one',
  content: { [ldType]: { schema: tdList }, [jsonType]: { schema: tdList } },
  headers: { link: { type: 'string' }, ...etag },
};
const bodyOf = (types: readonly string[], description: string): object => ({
  content: Object.fromEntries(types.map((type) => [type, { schema: { description } }])),
});
/** Whether it is a valid one is the directory's matter. */
const tdBody = bodyOf(tdTypes, 'A Thing Description 1.0 or 1.1');
const patchBody = bodyOf([patchType], 'A JSON merge patch (RFC 7396)');
const params = { id: { type: 'string', minLength: 1 } };

/** More are given on the next page, whatever limit was asked for. */
const pageMaximum = 1_000;
/** Read at once of a list that is asked for without a limit. */
const chunk = 200;

interface ListQuery {
  readonly offset: number;
  readonly limit?: number;
  readonly format: 'array' | 'collection';
}
interface OfThing {
  readonly Params: { readonly id: string };
}
interface OfList {
  readonly Querystring: ListQuery;
}

export function thingRoutes(scope: FastifyInstance, context: RestContext): void {
  readRoutes(scope, context);
  writeRoutes(scope, context);
}

/** Of an entry: another one whenever it is registered anew. */
const etagOf = ({ directory }: RestContext, { revision }: Pick<DirectoryEntry, 'revision'>): string =>
  `"${directory.life}-${revision}"`;

function readRoutes(scope: FastifyInstance, context: RestContext): void {
  const { directory } = context;
  const { onRequest, seenBy } = directoryReaders(context);
  const sendTd = async (id: string, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const type = accepted(request, [tdType, jsonType]);
    const entry = await directory.entry(id);
    return sendJson(reply.header('etag', etagOf(context, entry)), type, directory.retrieved(entry));
  };
  const ofDirectory = operation({
    id: 'getDirectory',
    tag: 'Directory',
    summary: 'The Thing Description of the directory',
    gives: { 200: thing },
    refuses: [406],
  });
  scope.get('/.well-known/wot', { onRequest: open, schema: ofDirectory }, (request, reply) =>
    sendTd(directoryUrn(context), request, reply),
  );

  const ofThing = operation({
    id: 'getThing',
    tag: 'Directory',
    summary: 'One Thing Description',
    params,
    gives: { 200: thing },
    refuses: [406],
  });
  scope.get<OfThing>('/things/:id', { onRequest, schema: ofThing }, async (request, reply) => {
    const { id } = request.params;
    if (seenBy(request)?.includes(id) === false) throw unknownTd(id);
    return sendTd(id, request, reply);
  });

  const ofList = operation({
    id: 'listThings',
    tag: 'Directory',
    summary: 'The Thing Descriptions, ascending by id: all, or page by page',
    query: {
      offset: { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER, default: 0 },
      limit: { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER },
      format: { type: 'string', enum: ['array', 'collection'], default: 'array' },
    },
    gives: { 200: things },
    refuses: [406],
  });
  scope.get<OfList>('/things', { onRequest, schema: ofList }, (request, reply) =>
    sendList(context, seenBy(request), request, reply),
  );
}

async function sendList(
  context: RestContext,
  seen: readonly string[] | undefined,
  request: FastifyRequest<OfList>,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { directory } = context;
  const type = accepted(request, [ldType, jsonType]);
  const { offset, limit, format } = request.query;
  await directory.purge();
  const state = await stateOf(context, seen);
  const canonical = `</things>; rel="canonical"; etag=${state}`;
  reply.header('etag', state);
  if (limit === undefined && format === 'array') {
    void reply.header('link', canonical).type(type);
    // What is given as a stream passes no hook that would compare tags.
    const isEmpty = request.method === 'HEAD' || isUnchanged(request, state);
    return reply.send(isEmpty ? Buffer.alloc(0) : Readable.from(jsonArray(context, offset, seen)));
  }
  const { entries, total } = await directory.list(offset, Math.min(limit ?? pageMaximum, pageMaximum), seen);
  const members = entries.map((entry) => directory.retrieved(entry));
  const addressOf = (start: number): string =>
    `/things?offset=${start}&limit=${limit ?? pageMaximum}${format === 'array' ? '' : '&format=collection'}`;
  const isLast = entries.length === 0 || offset + entries.length >= total;
  const next = addressOf(offset + entries.length);
  reply.header('link', isLast ? canonical : `<${next}>; rel="next", ${canonical}`);
  if (format === 'array') return sendJson(reply, type, members);
  return sendJson(reply, type, {
    '@context': discoveryContext,
    '@type': 'ThingCollection',
    '@id': addressOf(offset),
    total,
    members,
    ...(!isLast && { next }),
  });
}

/** The tag of the collection. That something else has changed is more than one may know who sees a part. */
async function stateOf(context: RestContext, seen: readonly string[] | undefined): Promise<string> {
  const { directory } = context;
  if (!seen) return etagOf(context, { revision: await directory.position() });
  const { entries } = await directory.list(0, seen.length, seen);
  return etagOfText(JSON.stringify(entries.map(({ id, revision }) => [id, revision])));
}

/** A list of any length is written as it is read: neither the database nor this process holds all of it. */
async function* jsonArray(
  { directory }: RestContext,
  start: number,
  seen: readonly string[] | undefined,
): AsyncGenerator<string> {
  let lead = '[';
  let { entries } = await directory.list(start, chunk, seen);
  for (;;) {
    for (const entry of entries) {
      yield lead + JSON.stringify(directory.retrieved(entry));
      lead = ',\n';
    }
    const last = entries.at(-1);
    if (!last || entries.length < chunk) break;
    entries = await directory.after(last.id, chunk, seen);
  }
  yield lead === '[' ? '[]' : ']';
}

function writeRoutes(scope: FastifyInstance, context: RestContext): void {
  const { directory, access } = context;
  const write = { onRequest: access.needs('things:write'), bodyLimit: limits.thingDescription };
  const changeBy = (request: FastifyRequest): Change => ({
    owner: access.principalOf(request).subject,
    admit: (known) => {
      assertIfMatch(request, known && etagOf(context, known), false);
    },
  });

  const ofCreate = operation({
    id: 'createThing',
    tag: 'Directory',
    summary: 'Register a Thing Description without an id',
    body: tdBody,
    creates: true,
    gives: { 201: { ...noContent('Registered'), headers: { location: { type: 'string' } } } },
  });
  const creation = creations(context);
  scope.post('/things', { ...write, ...creation.hooks, schema: ofCreate }, async (request, reply) => {
    const id = await directory.add(`urn:uuid:${creation.newId(request)}`, request.body, changeBy(request));
    return reply
      .code(201)
      .header('location', `/things/${encodeURIComponent(id)}`)
      .send();
  });

  const ofPut = operation({
    id: 'putThing',
    tag: 'Directory',
    summary: 'Register or replace a Thing Description',
    params,
    body: tdBody,
    gives: { 201: noContent('Registered'), 204: noContent('Replaced') },
    refuses: [412],
  });
  scope.put<OfThing>('/things/:id', { ...write, schema: ofPut }, async (request, reply) => {
    const created = await directory.put(request.params.id, request.body, changeBy(request));
    return reply.code(created ? 201 : 204).send();
  });

  const ofPatch = operation({
    id: 'patchThing',
    tag: 'Directory',
    summary: 'Change parts of a Thing Description, as who registered it; an empty patch renews a time to live',
    params,
    body: patchBody,
    gives: { 204: noContent('Changed') },
    refuses: [412],
  });
  // In a scope of its own: nothing else is a merge patch, and this takes nothing else (WoT Discovery §7.3.2.1.3).
  void scope.register(async (inner) => {
    parseOnly(inner, [patchType]);
    inner.patch<OfThing>('/things/:id', { ...write, schema: ofPatch }, async (request, reply) => {
      await directory.patch(request.params.id, request.body, changeBy(request));
      return reply.code(204).send();
    });
  });

  const ofDelete = operation({
    id: 'deleteThing',
    tag: 'Directory',
    summary: 'Remove a Thing Description, as who registered it',
    params,
    gives: { 204: noContent('Removed') },
    refuses: [412],
  });
  scope.delete<OfThing>('/things/:id', { ...write, schema: ofDelete }, async (request, reply) => {
    await directory.delete(request.params.id, changeBy(request));
    return reply.code(204).send();
  });
}
