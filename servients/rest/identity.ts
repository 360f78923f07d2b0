/** GET /api/v1/identity: who signs the receipts. Open to everybody, for certificates are public. */
import type { FastifyInstance } from 'fastify';
import { toBase64Url, toHex } from '../../crypto/bytes.js';
import { auditDone } from './audit-trail.js';
import { bytesOf } from './enrolments.js';
import { open } from './access.js';
import { backendUrn, type RestContext } from './context.js';
import { json, noContent, operation } from './operation.js';
import { payload } from './payloads.js';

export function identityRoutes(scope: FastifyInstance, context: RestContext): void {
  const { identity, suite, version, access, enrolments, onCertificate } = context;
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

  scope.put<{ Body: { certificates: readonly string[] } }>(
    '/identity/certificates',
    {
      onRequest: access.needs('enrolment:manage'),
      schema: operation({
        id: 'renewIdentity',
        tag: 'Service',
        summary: 'Give the backend another certificate for the key that it has',
        description: 'It must be for its name and key, and verify up to a trusted root. It is used within moments.',
        body: { content: { 'application/json': { schema: payload('enrolment.certificates') } } },
        gives: { 204: noContent('It is taken') },
      }),
    },
    async (request, reply) => {
      const chain = request.body.certificates.map(bytesOf);
      const { publicKey } = identity.signer;
      enrolments.assertIsFor({ role: 'backend', id: identity.id, publicKey }, chain);
      // To take it starts the backend anew: not for the one that it has.
      if (chain.map(toBase64Url).join() !== answer.certificates.join()) {
        await auditDone(context, request, 'backend.certificate', backendUrn(context), {});
        onCertificate?.(chain);
      }
      return reply.code(204).send();
    },
  );
}
