/**
 * Cross-origin requests of browsers (Fetch Standard, CORS protocol): pages of exactly these origins may read what they ask for
 * and be granted with a token. Credentials of the browser, cookies and client certificates, are never part of that.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';

/** What a page may send beyond what it always may. */
const sent = [
  ...['accept', 'authorization', 'content-type', 'dpop', 'idempotency-key', 'if-match', 'if-none-match'],
  ...['last-event-id', 'traceparent', 'x-request-id'],
].join(', ');

/** What it may see beyond that. */
const shown = [
  ...['deprecation', 'etag', 'link', 'location', 'ratelimit', 'ratelimit-policy', 'retry-after', 'sunset'],
  ...['www-authenticate', 'x-request-id'],
].join(', ');

/** Seconds for which a browser need not ask again. */
const preflightS = 600;

/** To be called before routes are added. `allowed`: the methods of a path. */
export function allowOrigins(
  app: FastifyInstance,
  origins: readonly string[],
  allowed: (request: FastifyRequest) => readonly string[],
): void {
  const known: ReadonlySet<string> = new Set(origins);
  app.addHook('onRequest', async (request, reply) => {
    const { origin } = request.headers;
    addVary(reply, 'origin');
    if (origin === undefined || !known.has(origin)) return undefined;
    reply.headers({ 'access-control-allow-origin': origin, 'access-control-expose-headers': shown });
    const methods = allowed(request);
    if (!isPreflight(request) || methods.length === 0) return undefined;
    reply.headers({
      'access-control-allow-methods': methods.join(', '),
      'access-control-allow-headers': sent,
      'access-control-max-age': String(preflightS),
    });
    return reply.code(204).send();
  });
}

const isPreflight = ({ method, headers }: FastifyRequest): boolean =>
  method === 'OPTIONS' && headers['access-control-request-method'] !== undefined;

/** Names request headers that the answer depends on, beside those that are named already (RFC 9110 §12.5.5). */
export function addVary(reply: FastifyReply, names: string): void {
  const before = reply.getHeader('vary');
  reply.header('vary', before === undefined ? names : `${String(before)}, ${names}`);
}
