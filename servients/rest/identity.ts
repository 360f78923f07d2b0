/** GET /api/v1/identity: who signs the receipts. Open to everybody, for certificates are public. */
import type { FastifyInstance } from 'fastify';
import { toBase64Url, toHex } from '../../crypto/bytes.js';
import { backendUrn, type RestContext } from './context.js';
import { noQuery } from './validation.js';

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
  scope.get('/identity', { schema: { querystring: noQuery } }, async () => answer);
}
