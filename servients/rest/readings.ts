/** POST /api/v1/readings: an upload of grants and sealed readings, from a gateway; answered with the signed receipt. */
import type { FastifyInstance } from 'fastify';
import type { RestContext } from './context.js';
import { answerMessage, messageOf } from './messages.js';
import { messageAnswer, messageBody, operation } from './operation.js';

export function readingRoutes(scope: FastifyInstance, { backend, access }: RestContext): void {
  scope.post(
    '/readings',
    {
      onRequest: access.listedGateway(),
      schema: operation({
        id: 'uploadReadings',
        tag: 'Meters',
        summary: 'Upload grants and sealed readings, as a gateway',
        description: 'The same upload again is receipted again, and nothing is doubled.',
        body: messageBody('message.readings'),
        gives: { 200: messageAnswer('message.short', 'The signed receipt: everything is stored') },
        refuses: [409],
      }),
    },
    async (request, reply) => {
      const receipt = await backend.uploadReadings(access.certificateOf(request), messageOf(request));
      return answerMessage(request, reply, receipt);
    },
  );
}
