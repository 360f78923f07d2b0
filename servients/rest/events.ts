/**
 * GET /api/v1/events and /api/v1/events/memberships: the epochs that are recorded and the lists that are published, as
 * server-sent events. They wake whoever listens; what they tell of is asked for.
 */
import type { FastifyInstance } from 'fastify';
import { negotiate } from '../bindings/http-negotiate.js';
import { HttpRefusal } from '../bindings/http-problem.js';
import type { RestContext } from './context.js';
import { operation, stream } from './operation.js';

const eventStreamType = 'text/event-stream';

export function eventRoutes(scope: FastifyInstance, context: RestContext): void {
  const { access, hub, nowS } = context;
  for (const { path, topic, needed, id, summary } of [
    {
      path: '/events',
      topic: context.epochRecorded,
      needed: 'epochs:read',
      id: 'followEpochs',
      summary: 'The epochs that are recorded, as they are',
    },
    {
      path: '/events/memberships',
      topic: context.membershipPublished,
      needed: 'membership:read',
      id: 'followMemberships',
      summary: 'The membership lists that are published, as they are',
    },
    {
      path: '/events/commands',
      topic: context.commandTaken,
      needed: 'gateway',
      id: 'followCommands',
      summary: 'The commands that are taken, as they are, for gateways to fetch',
    },
    {
      path: '/events/receipts',
      topic: context.commandReceipt,
      needed: 'command',
      id: 'followReceipts',
      summary: 'The receipts of commands, as they come',
    },
  ] as const) {
    const schema = operation({
      id,
      tag: 'Events',
      summary,
      description: 'Ends with the token; whoever comes back with Last-Event-ID misses nothing.',
      gives: { 200: stream(eventStreamType, 'Server-sent events') },
      refuses: [406],
    });
    scope.get(path, { onRequest: access.needs(needed), schema }, async (request, reply) => {
      if (negotiate(request.headers.accept, [eventStreamType]) === undefined) {
        throw new HttpRefusal(406, 'not-acceptable', `offered here: ${eventStreamType}`);
      }
      if (request.method === 'HEAD') return reply.type(eventStreamType).send();
      await hub.serve(topic, request, reply);
      // No longer than its token: whoever may go on listening comes back with a new one and misses nothing.
      const { expiresS } = access.principalOf(request);
      const end = setTimeout(() => reply.raw.end(), Math.max(0, expiresS - nowS()) * 1000).unref();
      reply.raw.once('close', () => {
        clearTimeout(end);
      });
      return reply;
    });
  }
}
