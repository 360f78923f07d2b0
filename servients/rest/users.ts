/** Accounts: who they are, what they may, their certificates, and the end of their sessions. Passwords are the issuer's matter. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { equalBytes, fromHex, toHex } from '../../crypto/bytes.js';
import type { AuditDetails } from '../../crypto/audit/entry.js';
import { ConflictError, MalformedError, NotFoundError } from '../../crypto/errors.js';
import type { Account } from '../../things/stores.js';
import { rightsDetails } from '../auth/account-audit.js';
import { embeddedIssuerName } from '../auth/access-token.js';
import { personUrn, sessionsEnd } from '../auth/sessions.js';
import { accountJson } from './account-json.js';
import { createdEvent, meterUrn, newPerson } from '../issuer/logins.js';
import type { Login } from '../../things/issuer-store.js';
import { doerOf, doneFacts } from './audit-trail.js';
import { assertIfMatch } from './conditional.js';
import type { RestContext } from './context.js';
import { creations } from './idempotency.js';
import { requireIssuer } from './login-links.js';
import { json, noContent, operation } from './operation.js';
import { payload, type PayloadName } from './payloads.js';
import { pageLimit } from './validation.js';

interface OfAccount {
  readonly Params: { readonly id: string };
}
interface NewAccount {
  readonly issuer?: string;
  readonly subject?: string;
  readonly name: string;
  readonly username?: string;
  readonly roles: readonly string[];
  readonly meters?: readonly string[];
}
type AccountChange = Partial<Pick<Account, 'name' | 'roles' | 'meters' | 'disabled'>>;

const accountId = { type: 'string', format: 'uuid' };
const certHashHex = { type: 'string', pattern: '^[0-9a-f]{64}$' };
const params = { id: accountId };
const body = (name: PayloadName): object => ({ content: { 'application/json': { schema: payload(name) } } });
const theAccount = json('account', 'The account as it is now');

export function userRoutes(scope: FastifyInstance, context: RestContext): void {
  readUsers(scope, context);
  manageUsers(scope, context);
}

function readUsers(scope: FastifyInstance, { access, accounts }: RestContext): void {
  const onRequest = access.needs('users:read');

  const ofAll = operation({
    id: 'listUsers',
    tag: 'Accounts',
    summary: 'The accounts, in the order of their ids',
    query: { after: accountId, limit: pageLimit(500, 100) },
    gives: { 200: json('account-page', 'One page of accounts') },
  });
  scope.get<{ Querystring: { readonly after?: string; readonly limit: number } }>(
    '/users',
    { onRequest, schema: ofAll },
    async ({ query: { after = '', limit } }) => {
      const page = await accounts.accounts(after, limit);
      const next = page.length === limit ? page.at(-1)?.id : undefined;
      return { accounts: page.map(accountJson), ...(next !== undefined && { next }) };
    },
  );

  const ofOne = operation({
    id: 'getUser',
    tag: 'Accounts',
    summary: 'One account',
    params,
    gives: { 200: theAccount },
  });
  scope.get<OfAccount>('/users/:id', { onRequest, schema: ofOne }, async (request, reply) => {
    const account = await accounts.account(request.params.id);
    if (!account) throw unknownAccount();
    return sendAccount(reply, account);
  });
}

function manageUsers(scope: FastifyInstance, context: RestContext): void {
  const { access, accounts, nowS } = context;
  const onRequest = access.needs('users:manage');

  const change = async (
    request: FastifyRequest<OfAccount>,
    action: string,
    changed: (account: Account) => Partial<Account>,
    details: AuditDetails = {},
    endsSessions = false,
  ): Promise<Account> => {
    const account = await accounts.account(request.params.id);
    if (!account) throw unknownAccount();
    assertIfMatch(request, etagOf(account), false);
    const next = { ...account, ...changed(account), revision: account.revision + 1, modifiedS: nowS() };
    const audit = [doneFacts(context, request, action, personUrn(account), details)];
    if (!(await accounts.replaceAccount(next, { endsSessions, audit }))) {
      throw new ConflictError('account-changed', 'the account was changed meanwhile: read it again');
    }
    return next;
  };
  /** Two people at least decide what anybody may. */
  const requireOther = (request: FastifyRequest<OfAccount>): void => {
    const caller = access.principalOf(request);
    if (caller.kind === 'person' && caller.account?.id === request.params.id) {
      throw new ConflictError('account-own', 'nobody changes the rights of its own account');
    }
  };

  const ofNew = operation({
    id: 'createUser',
    tag: 'Accounts',
    summary: 'Make an account',
    description: 'With a user name it is one that logs in here, once a link has set its password.',
    body: body('account-new'),
    gives: { 201: { ...json('account', 'The account'), headers: { location: { type: 'string' } } } },
    refuses: [409],
    creates: true,
  });
  const creation = creations(context);
  const create = { onRequest, ...creation.hooks, schema: ofNew };
  scope.post<{ Body: NewAccount }>('/users', create, async (request, reply) => {
    const account = newAccount(creation.newId(request), request.body, nowS());
    // There already where a process was killed before it could answer.
    if (!(await accounts.account(account.id))) {
      const audit = [context.audit.facts(createdEvent(account, doerOf(context, request)))];
      const login = newLogin(context, account, request.body.username);
      await accounts.createAccount(account, { audit, ...(login && { login }) });
    }
    reply.code(201).header('location', `/api/v1/users/${account.id}`);
    return sendAccount(reply, account);
  });

  const ofChange = operation({
    id: 'changeUser',
    tag: 'Accounts',
    summary: 'Change name, roles or meters of an account, disable it or enable it again',
    description: 'It holds from the next request on, and open event streams end. Who is disabled has no session left.',
    params,
    body: body('account-change'),
    gives: { 200: theAccount },
    refuses: [409, 412],
  });
  scope.patch<OfAccount & { Body: AccountChange }>(
    '/users/:id',
    { onRequest, schema: ofChange },
    async (request, reply) => {
      const { meters, ...rest } = request.body;
      if (Object.keys(request.body).some((field) => field !== 'name')) requireOther(request);
      const changes = { ...rest, ...(meters && { meters: meters.map(meterUrn) }) };
      const account = await change(
        request,
        'user.change',
        () => ({ ...changes, ...(rest.disabled === true && sessionsEnd(nowS())) }),
        rightsDetails(changes),
        rest.disabled === true,
      );
      return sendAccount(reply, account);
    },
  );

  const ofSessions = operation({
    id: 'endSessions',
    tag: 'Accounts',
    summary: 'End all sessions of an account: its tokens of until now are refused',
    params,
    gives: { 204: noContent('They have ended') },
    refuses: [409, 412],
  });
  scope.delete<OfAccount>('/users/:id/sessions', { onRequest, schema: ofSessions }, async (request, reply) => {
    await change(request, 'user.end-sessions', () => sessionsEnd(nowS()), {}, true);
    return reply.code(204).send();
  });

  const ofCertificate = operation({
    id: 'enrolCertificate',
    tag: 'Accounts',
    summary: 'Enrol a certificate whose key the person has',
    params,
    body: body('account-certificate'),
    gives: { 200: theAccount },
    refuses: [409, 412],
  });
  scope.post<OfAccount & { Body: { readonly certHash: string } }>(
    '/users/:id/certificates',
    { onRequest, schema: ofCertificate },
    async (request, reply) => {
      requireOther(request);
      const { certHash } = request.body;
      const others = ({ certHashes }: Account) => certHashes.filter((each) => toHex(each) !== certHash);
      const account = await change(
        request,
        'user.enrol-certificate',
        (before) => ({ certHashes: [...others(before), fromHex(certHash)] }),
        { certHash },
      );
      return sendAccount(reply, account);
    },
  );

  const ofRemoval = operation({
    id: 'removeCertificate',
    tag: 'Accounts',
    summary: 'Remove a certificate from an account',
    params: { ...params, certHash: certHashHex },
    gives: { 204: noContent('It is not enrolled any more') },
    refuses: [409, 412],
  });
  scope.delete<{ Params: OfAccount['Params'] & { readonly certHash: string } }>(
    '/users/:id/certificates/:certHash',
    { onRequest, schema: ofRemoval },
    async (request, reply) => {
      requireOther(request);
      const removed = fromHex(request.params.certHash);
      await change(
        request,
        'user.remove-certificate',
        ({ certHashes }) => ({ certHashes: certHashes.filter((each) => !equalBytes(each, removed)) }),
        { certHash: request.params.certHash },
      );
      return reply.code(204).send();
    },
  );
}

/** @throws MalformedError `input-invalid`; ConflictError `issuer-missing` */
function newLogin({ logins }: RestContext, { id, issuer }: Account, username: string | undefined): Login | undefined {
  if (username === undefined) return undefined;
  if (issuer === embeddedIssuerName) return requireIssuer(logins).newLogin(id, username);
  throw new MalformedError('input-invalid', 'body must have no username, for its issuer is another');
}

function newAccount(id: string, { issuer, subject, name, roles, meters = [] }: NewAccount, nowS: number): Account {
  if ((issuer === undefined) !== (subject === undefined)) {
    throw new MalformedError('input-invalid', 'body must have both issuer and subject, or neither');
  }
  const person = newPerson({ id, name, roles, meters: meters.map(meterUrn) }, nowS);
  return { ...person, ...(issuer !== undefined && subject !== undefined && { issuer, subject }) };
}

const etagOf = ({ revision }: Account): string => `"${revision}"`;

const sendAccount = (reply: FastifyReply, account: Account): FastifyReply =>
  reply.header('etag', etagOf(account)).send(accountJson(account));

const unknownAccount = (): NotFoundError => new NotFoundError('account-unknown', 'no account of that id');
