/** How people come to passwords at the embedded issuer: one-time links, made by who manages accounts and shown once. */
import type { FastifyInstance } from 'fastify';
import { ConflictError, NotFoundError } from '../../crypto/errors.js';
import { linkPath, type Logins } from '../issuer/logins.js';
import { doerOf } from './audit-trail.js';
import type { RestContext } from './context.js';
import { isoTime } from './epoch-json.js';
import { json, operation } from './operation.js';
import { payload } from './payloads.js';

interface OfAccount {
  readonly Params: { readonly id: string };
}
interface NewLink {
  readonly Body: { readonly username?: string; readonly reset?: boolean };
}

const params = { id: { type: 'string', format: 'uuid' } };

export function loginLinkRoutes(scope: FastifyInstance, context: RestContext): void {
  const { access, logins, issuerOrigin } = context;

  const ofLogin = operation({
    id: 'getLogin',
    tag: 'Accounts',
    summary: 'How an account logs in at the embedded issuer',
    params,
    gives: { 200: json('login.login', 'The user name, and whether there is a password') },
  });
  scope.get<OfAccount>(
    '/users/:id/login',
    { onRequest: access.needs('users:read'), schema: ofLogin },
    async ({ params: { id } }) => {
      const login = await logins?.loginOf(id);
      if (!login) throw new NotFoundError('login-unknown', 'no account of that id logs in here');
      return { username: login.username, passwordSet: login.password !== null };
    },
  );

  // Not under an Idempotency-Key: that would keep the link. Who repeats it gets another one, and the one before ends.
  const ofLink = operation({
    id: 'createLoginLink',
    tag: 'Accounts',
    summary: 'Make a link by which a person chooses a password once, within a day',
    description:
      'The links of before end. The account is given the user name where it has none yet; by default its own name.',
    params,
    body: { content: { 'application/json': { schema: payload('login.newLink') } } },
    gives: { 201: json('login.link', 'The link, which is shown this once') },
    refuses: [409],
  });
  scope.post<OfAccount & NewLink>(
    '/users/:id/login-links',
    { onRequest: access.needs('users:manage'), schema: ofLink },
    async (request, reply) => {
      const { username, reset = false } = request.body;
      const options = { endsPassword: reset, ...(username !== undefined && { username }) };
      const made = await requireIssuer(logins).addLink(request.params.id, doerOf(context, request), options);
      reply.code(201).header('cache-control', 'no-store');
      return {
        link: issuerOrigin() + linkPath(made.code),
        username: made.username,
        expiresAt: isoTime(made.expiresS),
      };
    },
  );
}

/** @throws ConflictError `issuer-missing` */
export function requireIssuer(logins: Logins | undefined): Logins {
  if (logins) return logins;
  throw new ConflictError('issuer-missing', 'this backend is no issuer: people log in elsewhere');
}
