/** Conditional requests (RFC 9110 §13): every read has an ETag, by which it is not sent again and a change finds its match. */
import { hash } from 'node:crypto';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { addVary } from '../bindings/cors.js';
import { HttpRefusal } from '../bindings/http-problem.js';

/** Strong: of these very bytes. */
export const etagOf = (body: string | Uint8Array): string => `"${hash('sha256', body, 'base64url').slice(0, 22)}"`;

/** Gives an ETag to what has none, and answers 304 where If-None-Match names it. */
export function addEtags(scope: FastifyInstance): void {
  scope.addHook('onSend', async (request, reply, payload) => {
    if (reply.statusCode !== 200 || (request.method !== 'GET' && request.method !== 'HEAD')) return payload;
    if (typeof payload !== 'string' && !(payload instanceof Uint8Array)) return payload;
    if (!reply.hasHeader('etag')) reply.header('etag', etagOf(payload));
    if (!reply.hasHeader('cache-control')) reply.header('cache-control', 'private, no-cache');
    addVary(reply, 'accept, authorization');
    if (!isUnchanged(request, String(reply.getHeader('etag')))) return payload;
    reply.code(304).removeHeader('content-type').removeHeader('content-length');
    return null;
  });
}

/** Whether who asks has it already, with this tag; by weak comparison (RFC 9110 §8.8.3.2). */
export const isUnchanged = ({ headers }: FastifyRequest, etag: string): boolean =>
  tagsOf(headers['if-none-match']).some((tag) => tag === '*' || strong(tag) === strong(etag));

/**
 * That a change is made to what the caller has seen; without an ETag, there is nothing yet. Where `If-Match` must be there, the store has to compare as well: two
 * processes may ask this at once.
 * @throws HttpRefusal 412 `precondition-failed`, 428 `precondition-required`
 */
export function assertIfMatch({ headers }: FastifyRequest, etag: string | undefined, isRequired: boolean): void {
  const tags = tagsOf(headers['if-match']);
  if (tags.length === 0) {
    if (!isRequired) return;
    throw new HttpRefusal(428, 'precondition-required', 'send If-Match with the ETag of what is to be changed');
  }
  if (etag !== undefined && tags.some((tag) => tag === '*' || tag === etag)) return;
  throw new HttpRefusal(412, 'precondition-failed', 'it was changed meanwhile, or is gone: read it again');
}

const tagsOf = (header: string | undefined): readonly string[] =>
  (header ?? '')
    .split(',')
    .map((tag) => tag.trim())
    .filter((tag) => tag !== '');

const strong = (etag: string): string => etag.replace(/^W\//, '');
