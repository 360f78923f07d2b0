/** From a request's line and headers to what it asks of a Thing, settled before its body is read. */
import { Readable } from 'node:stream';
import { Content, ContentSerdes } from '@node-wot/core';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { jsonType } from './media-types.js';
import { mediaTypeOf, negotiate } from './http-negotiate.js';
import { HttpRefusal } from './http-problem.js';
import type { HttpForm, HttpResource, HttpStream, HttpThing } from './http-thing.js';
import type { SseHub } from './sse.js';

export type Operation = (request: FastifyRequest, reply: FastifyReply) => Promise<unknown>;

const eventStreamType = 'text/event-stream';

/** @throws HttpRefusal 405, 406 */
export function tdOperation({ thing }: HttpThing, request: FastifyRequest): Operation {
  assertMethod(request, ['GET', 'HEAD']);
  const type = accepted(request, [ContentSerdes.TD, jsonType]);
  return async (_request, reply) => reply.type(type).send(JSON.stringify(thing.getThingDescription()));
}

/** @throws HttpRefusal 405, 406, 415 */
export function resourceOperation(
  exposed: HttpThing,
  resource: HttpResource,
  request: FastifyRequest,
  hub: SseHub,
): Operation {
  switch (resource.kind) {
    case 'property':
      return propertyOperation(exposed, resource, request, hub);
    case 'action':
      return actionOperation(exposed, resource, request);
    case 'event':
      assertMethod(request, ['GET', 'HEAD']);
      accepted(request, [eventStreamType]);
      return streamOperation(resource.stream, hub);
  }
}

function propertyOperation(
  { thing }: HttpThing,
  { name, read, write, stream }: Extract<HttpResource, { kind: 'property' }>,
  request: FastifyRequest,
  hub: SseHub,
): Operation {
  const readable = read !== undefined || stream !== undefined;
  assertMethod(request, [...(readable ? ['GET', 'HEAD'] : []), ...(write ? ['PUT'] : [])]);
  if (request.method === 'PUT' && write) {
    const form = sentForm(request, [write]);
    return async ({ body }, reply) => {
      await thing.handleWriteProperty(name, inputContent(form, body), { formIndex: form.index() });
      return reply.code(204).send();
    };
  }
  const type = accepted(request, [...(read ? [read.contentType] : []), ...(stream ? [eventStreamType] : [])]);
  const readNow = async (form: HttpForm): Promise<Buffer> =>
    (await thing.handleReadProperty(name, { formIndex: form.index() })).toBuffer();
  if (stream && type === eventStreamType) {
    return streamOperation(stream, hub, read && (async () => (await readNow(stream.form)).toString()));
  }
  return async (_request, reply) => reply.type(type).send(read && (await readNow(read)));
}

function actionOperation(
  { thing }: HttpThing,
  { name, forms }: Extract<HttpResource, { kind: 'action' }>,
  request: FastifyRequest,
): Operation {
  assertMethod(request, ['POST']);
  const form = sentForm(request, forms);
  accepted(request, [form.contentType]);
  return async ({ body }, reply) => {
    const output = await thing.handleInvokeAction(name, inputContent(form, body), { formIndex: form.index() });
    if (output === undefined) return reply.code(204).send();
    return reply.type(output.type).send(await output.toBuffer());
  };
}

function streamOperation({ topic }: HttpStream, hub: SseHub, currentState?: () => Promise<string>): Operation {
  return async (request, reply) => {
    if (request.method === 'HEAD') return reply.type(eventStreamType).send();
    await hub.serve(topic, request, reply, { ...(currentState && { currentState }) });
    return reply;
  };
}

const inputContent = ({ contentType }: HttpForm, body: unknown): Content =>
  new Content(contentType, Readable.from([body instanceof Uint8Array ? body : new Uint8Array(0)]));

function assertMethod({ method }: FastifyRequest, allowed: readonly string[]): void {
  if (!allowed.includes(method)) throw HttpRefusal.methodNotAllowed(allowed);
}

function accepted({ headers }: FastifyRequest, offered: readonly string[]): string {
  const type = negotiate(headers.accept, offered);
  if (type === undefined) throw new HttpRefusal(406, 'not-acceptable', `offered here: ${offered.join(', ')}`);
  return type;
}

/** The form whose media type the body has; the first one where there is no body. */
function sentForm({ headers }: FastifyRequest, forms: readonly HttpForm[]): HttpForm {
  const hasBody = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
  const type = headers['content-type'];
  const form =
    type === undefined && !hasBody
      ? forms[0]
      : forms.find(({ contentType }) => contentType === mediaTypeOf(type ?? ''));
  if (form === undefined) {
    const types = forms.map(({ contentType }) => contentType).join(', ');
    throw new HttpRefusal(415, 'media-type-unsupported', `taken here: ${types}`, { accept: types });
  }
  return form;
}
