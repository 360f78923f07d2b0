/** GET /api/v1/events: the epochs that are recorded, as server-sent events. For every certified caller. */
import type { FastifyInstance } from 'fastify';
import { negotiate } from '../bindings/http-negotiate.js';
import { HttpRefusal } from '../bindings/http-problem.js';
import type { RestContext } from './context.js';
import { noQuery } from './validation.js';

const eventStreamType = 'text/event-stream';

export function eventRoutes(scope: FastifyInstance, { access, hub, epochRecorded, nowS }: RestContext): void {
  const options = { onRequest: access.certified(), schema: { querystring: noQuery } };
  scope.get('/events', options, async (request, reply) => {
    if (negotiate(request.headers.accept, [eventStreamType]) === undefined) {
      throw new HttpRefusal(406, 'not-acceptable', `offered here: ${eventStreamType}`);
    }
    if (request.method === 'HEAD') return reply.type(eventStreamType).send();
    await hub.serve(epochRecorded, request, reply);
    // No longer than its token: whoever may go on listening comes back with a new one and misses nothing.
    const { expiresS } = access.callerOf(request);
    const end = setTimeout(() => reply.raw.end(), Math.max(0, expiresS - nowS()) * 1000).unref();
    reply.raw.once('close', () => {
      clearTimeout(end);
    });
    return reply;
  });
}
