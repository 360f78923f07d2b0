/** GET /api/v1/identity: who signs the receipts. Open to everybody, for certificates are public. */
import type { FastifyInstance } from 'fastify';
import { toBase64Url, toHex } from '../../crypto/bytes.js';
import { open } from './access.js';
import { backendUrn, type RestContext } from './context.js';
import { json, operation } from './operation.js';

export function identityRoutes(scope: FastifyInstance, context: RestContext): void {
  const { identity, suite, version } = context;
  const answer = {
    id: backendUrn(context),
    role: 'backend',
    certHash: toHex(identity.certHash),
    suite: suite.id,
    version,
    certificates: identity.certificates.map(toBase64Url),
  };
  const schema = operation({
    id: 'getIdentity',
    tag: 'Service',
    summary: 'Who signs receipts and endorsements',
    gives: { 200: json('backend-identity', 'The identity, with its certificates') },
  });
  scope.get('/identity', { onRequest: open, schema }, async () => answer);
}
