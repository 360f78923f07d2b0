/** GET /api/v1/roles: who may do what. GET /api/v1/me: who calls, and what it may; DELETE /api/v1/me/session ends its token. */
import type { FastifyInstance } from 'fastify';
import { toHex } from '../../crypto/bytes.js';
import type { Principal } from '../auth/principal.js';
import { certificateRoles, personRoles, scopes, type Scope } from '../auth/roles.js';
import { accountJson } from './account-json.js';
import { doneFacts } from './audit-trail.js';
import type { RestContext } from './context.js';
import { isoTime } from './epoch-json.js';
import { json, noContent, operation } from './operation.js';

const table = (roles: Readonly<Record<string, readonly Scope[]>>): readonly object[] =>
  Object.entries(roles).map(([role, has]) => ({ role, scopes: has }));

const allRoles = {
  scopes: Object.entries(scopes).map(([scope, text]) => ({ scope, for: text })),
  people: table(personRoles),
  certificates: table(certificateRoles),
};

export function roleRoutes(scope: FastifyInstance, context: RestContext): void {
  const { access } = context;
  const onRequest = access.known();

  const ofRoles = operation({
    id: 'listRoles',
    tag: 'Accounts',
    summary: 'Who may do what',
    gives: { 200: json('roles', 'The scopes, and those of each role') },
  });
  scope.get('/roles', { onRequest, schema: ofRoles }, async () => allRoles);

  const ofMe = operation({
    id: 'getMe',
    tag: 'Accounts',
    summary: 'Who calls, and what it may',
    gives: { 200: json('me', 'The caller') },
  });
  scope.get('/me', { onRequest, schema: ofMe }, async (request) => meJson(access.principalOf(request)));

  const ofSession = operation({
    id: 'endSession',
    tag: 'Accounts',
    summary: 'End the token that the request shows',
    description: 'It is refused from then on by all backends on the database, and its event streams end.',
    gives: { 204: noContent('It has ended') },
  });
  scope.delete('/me/session', { onRequest, schema: ofSession }, async (request, reply) => {
    await access.revokeToken(request, [
      doneFacts(context, request, 'session.end', access.principalOf(request).subject),
    ]);
    return reply.code(204).send();
  });
}

const meJson = (caller: Principal): object => ({
  subject: caller.subject,
  kind: caller.kind,
  scopes: [...caller.scopes].map(([scope, reach]) => ({ scope, reach })),
  expiresAt: isoTime(caller.expiresS),
  ...(caller.kind === 'device' && { certHash: toHex(caller.certificate.certHash) }),
  ...(caller.kind === 'person' && {
    roles: caller.roles,
    ...(caller.account && { account: accountJson(caller.account) }),
  }),
});
