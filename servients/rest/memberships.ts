/**
 * POST /api/v1/memberships: a list that the authority signed. Nobody needs a token for it, whoever brings it; but the
 * certificates in it cost processor time before its signature can be checked, so each address may bring only a few.
 */
import type { FastifyInstance } from 'fastify';
import { toHex } from '../../crypto/bytes.js';
import type { PublishedList } from '../../things/stores.js';
import { publishFacts } from './audit-trail.js';
import { open } from './access.js';
import { limitRate } from '../bindings/http-app.js';
import type { RestContext } from './context.js';
import { messageOf } from './messages.js';
import { json, messageBody, operation } from './operation.js';

const perMinute = 30;

export function membershipRoutes(scope: FastifyInstance, context: RestContext): void {
  const { backend } = context;
  scope.post(
    '/memberships',
    {
      schema: operation({
        id: 'publishMembership',
        tag: 'Groups',
        summary: 'Bring a membership list that the authority signed',
        description:
          'Needs no token, whoever brings it. A revocation is such a list. The same list again changes nothing.',
        body: messageBody('message.membership'),
        gives: { 200: json('membership-published', 'Which list is stored') },
        refuses: [403, 409],
      }),
      onRequest: [open, limitRate(scope, perMinute)],
    },
    async (request) => {
      const { list, listHash } = await backend.publishMembership(messageOf(request), publishFacts(context, request));
      return publishedJson({ ...list, listHash });
    },
  );
}

/** As td/schemas/membership-published.schema.json describes it. */
export const publishedJson = ({
  gid,
  version,
  revision,
  listHash,
}: Omit<PublishedList, 'position' | 'publishedS'>): object => ({
  gid: toHex(gid),
  listVersion: version,
  listRevision: revision,
  listHash: toHex(listHash),
});
