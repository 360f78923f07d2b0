/**
 * GET /api/v1/events and /api/v1/events/memberships: the epochs that are recorded and the lists that are published, as
 * server-sent events. They wake whoever listens; what they tell of is asked for.
 */
import type { FastifyInstance } from 'fastify';
import { fromHex } from '../../crypto/bytes.js';
import type { Principal } from '../auth/principal.js';
import type { Scope } from '../auth/roles.js';
import { negotiate } from '../bindings/http-negotiate.js';
import { HttpRefusal } from '../bindings/http-problem.js';
import type { RestContext } from './context.js';
import { operation, stream } from './operation.js';
import { ownMeters, seesEpoch } from './visible-meters.js';

const eventStreamType = 'text/event-stream';

export function eventRoutes(scope: FastifyInstance, context: RestContext): void {
  const { access, hub } = context;
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
      await hub.serve(topic, request, reply, { sees: sightOf(context, access.principalOf(request), needed) });
      access.holdStream(request, reply.raw);
      return reply;
    });
  }
}

/** What is confined to the account's own meters is told of the epochs of their groups alone. */
function sightOf({ backend }: RestContext, caller: Principal, scope: Scope): (data: string) => boolean {
  if (ownMeters(caller, scope) === undefined) return () => true;
  return (data) => {
    const { gid, listHash } = JSON.parse(data) as { readonly gid: string; readonly listHash: string };
    return seesEpoch(backend, caller, scope, { gid: fromHex(gid), listHash: fromHex(listHash) });
  };
}
