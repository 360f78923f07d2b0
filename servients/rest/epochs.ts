/** POST /api/v1/epochs: the record of an epoch, from a gateway. */
import type { FastifyInstance } from 'fastify';
import type { RestContext } from './context.js';
import { epochJson } from './epoch-json.js';
import { messageBody, messageOf } from './messages.js';
import { noQuery } from './validation.js';

export function epochRoutes(scope: FastifyInstance, { backend, access }: RestContext): void {
  scope.post(
    '/epochs',
    { onRequest: access.certified('gateway'), schema: { querystring: noQuery, body: messageBody('record') } },
    async (request) => epochJson(await backend.recordEpoch(access.certificateOf(request), messageOf(request))),
  );
}
