/** POST /api/v1/readings: an upload of grants and sealed readings, from a gateway; answered with the signed receipt. */
import type { FastifyInstance } from 'fastify';
import type { RestContext } from './context.js';
import { answerMessage, messageBody, messageOf } from './messages.js';
import { noQuery } from './validation.js';

export function readingRoutes(scope: FastifyInstance, { backend, access }: RestContext): void {
  scope.post(
    '/readings',
    { onRequest: access.listedGateway(), schema: { querystring: noQuery, body: messageBody('readings') } },
    async (request, reply) => {
      const receipt = await backend.uploadReadings(access.certificateOf(request), messageOf(request));
      return answerMessage(request, reply, receipt);
    },
  );
}
