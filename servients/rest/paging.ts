/** Collections come in pages in one manner: `after` and `limit`, and `next` in the body where there is more. */
import type { FastifyInstance } from 'fastify';

/** Says where the next page is in a Link too (RFC 8288), for clients that follow these. */
export function addLinks(scope: FastifyInstance): void {
  scope.addHook('preSerialization', async (request, reply, payload) => {
    const { next } = (payload ?? {}) as { readonly next?: unknown };
    if (request.method !== 'GET' || (typeof next !== 'string' && typeof next !== 'number')) return payload;
    const url = new URL(request.url, 'http://localhost');
    url.searchParams.set('after', String(next));
    reply.header('link', `<${url.pathname}${url.search}>; rel="next"`);
    return payload;
  });
}
