/**
 * GET /api/v1/events and /api/v1/events/memberships: the epochs that are recorded and the lists that are published, as
 * server-sent events. They wake whoever listens; what they tell of is asked for. For every certified caller.
 */
import type { FastifyInstance } from 'fastify';
import { negotiate } from '../bindings/http-negotiate.js';
import { HttpRefusal } from '../bindings/http-problem.js';
import type { RestContext } from './context.js';
import { noQuery } from './validation.js';

const eventStreamType = 'text/event-stream';

export function eventRoutes(scope: FastifyInstance, context: RestContext): void {
  const { access, hub, nowS } = context;
  const options = { onRequest: access.certified(), schema: { querystring: noQuery } };
  for (const [path, topic] of [
    ['/events', context.epochRecorded],
    ['/events/memberships', context.membershipPublished],
  ] as const) {
    scope.get(path, options, async (request, reply) => {
      if (negotiate(request.headers.accept, [eventStreamType]) === undefined) {
        throw new HttpRefusal(406, 'not-acceptable', `offered here: ${eventStreamType}`);
      }
      if (request.method === 'HEAD') return reply.type(eventStreamType).send();
      await hub.serve(topic, request, reply);
      // No longer than its token: whoever may go on listening comes back with a new one and misses nothing.
      const { expiresS } = access.callerOf(request);
      const end = setTimeout(() => reply.raw.end(), Math.max(0, expiresS - nowS()) * 1000).unref();
      reply.raw.once('close', () => {
        clearTimeout(end);
      });
      return reply;
    });
  }
}
