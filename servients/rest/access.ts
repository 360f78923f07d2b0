/** Which routes let in whom: each names a scope, and the caller's token must have it. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { VerifiedCertificate } from '../../crypto/certificate.js';
import { VerificationError } from '../../crypto/errors.js';
import type { Backend } from '../../things/backend.js';
import { scopesOfDevice, type Principal, type Reach } from '../auth/principal.js';
import type { Scope } from '../auth/roles.js';
import { ScopeError } from '../auth/scope-error.js';
import { bearerToken, type Caller } from '../bindings/token.js';
import { assertShownCertificate } from './client-certificate.js';

type Hook = (request: FastifyRequest) => Promise<void>;

/** Whom a route lets in: callers with the scope, all whose token is good, or everybody. */
type Guard = Scope | 'known' | 'open';

const guards = new WeakMap<object, Guard>();

const guarded = (guard: Guard, hook: Hook): Hook => {
  guards.set(hook, guard);
  return hook;
};

/** Of a route, by its `onRequest`; undefined where none of our hooks is there. */
export const guardOf = (onRequest: unknown): Guard | undefined =>
  [onRequest]
    .flat()
    .map((hook) => guards.get(hook as object))
    .find((guard) => guard !== undefined);

/** For routes that are everybody's on purpose. */
export const open: Hook = guarded('open', async () => undefined);

/** A route that does not say whom it lets in keeps the server from starting. To be called before routes are added. */
export function requireGuards(scope: FastifyInstance): void {
  scope.addHook('onRoute', ({ method, url, onRequest }) => {
    if (guardOf(onRequest) === undefined) throw new Error(`${[method].join()} ${url} does not say whom it lets in`);
  });
}

export class Access {
  readonly #verify: (token: string, nowS: number) => Promise<Caller>;
  readonly #backend: Backend;
  readonly #nowS: () => number;
  readonly #callers = new WeakMap<FastifyRequest, Principal>();

  constructor(verify: (token: string, nowS: number) => Promise<Caller>, backend: Backend, nowS: () => number) {
    this.#verify = verify;
    this.#backend = backend;
    this.#nowS = nowS;
  }

  /** Lets in whoever has the scope, before the body is read. */
  needs(scope: Scope): Hook {
    return guarded(scope, async (request) => {
      const principal = await this.#authenticate(request);
      if (!principal.scopes.has(scope)) throw new ScopeError(scope, principal.subject);
    });
  }

  /** Lets in gateways that a current list names. */
  listedGateway(): Hook {
    const needsGateway = this.needs('gateway');
    return guarded('gateway', async (request) => {
      await needsGateway(request);
      this.#backend.requireRole(this.certificateOf(request), 'coordinator');
    });
  }

  /** Of a request that one of the hooks above has let in. */
  principalOf(request: FastifyRequest): Principal {
    const principal = this.#callers.get(request);
    if (!principal) throw new Error('a route that asks who calls has no hook that finds out');
    return principal;
  }

  /** Who calls, as the audit log names it; undefined where no hook above has found out. */
  actorOf(request: FastifyRequest): string | undefined {
    return this.#callers.get(request)?.subject;
  }

  /** How far a scope of the caller's reaches. @throws ScopeError where it has not the scope */
  reachOf(request: FastifyRequest, scope: Scope): Reach {
    const { scopes, subject } = this.principalOf(request);
    const reach = scopes.get(scope);
    if (reach === undefined) throw new ScopeError(scope, subject);
    return reach;
  }

  /** @throws VerificationError `not-a-device` where a person calls */
  certificateOf(request: FastifyRequest): VerifiedCertificate {
    const principal = this.principalOf(request);
    if (principal.kind === 'device') return principal.certificate;
    throw new VerificationError('not-a-device', `${principal.subject} shows no certificate`);
  }

  async #authenticate(request: FastifyRequest): Promise<Principal> {
    const { certificate, subject, expiresS } = await this.#verify(
      bearerToken(request.headers.authorization),
      this.#nowS(),
    );
    await this.#backend.refresh();
    assertShownCertificate(request, certificate);
    this.#backend.requireNotRemoved(certificate);
    const scopes = scopesOfDevice(certificate);
    const principal: Principal = { kind: 'device', subject, certificate, scopes, expiresS };
    this.#callers.set(request, principal);
    return principal;
  }
}
