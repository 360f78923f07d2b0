/** Who calls: a verified token's certificate, and what a current membership list lets it do. */
import type { FastifyRequest } from 'fastify';
import type { Role, VerifiedCertificate } from '../../crypto/certificate.js';
import type { Backend } from '../../things/backend.js';
import { assertRole, bearerToken, type Caller } from '../bindings/token.js';

type Hook = (request: FastifyRequest) => Promise<void>;

export class Access {
  readonly #verify: (token: string, nowS: number) => Promise<Caller>;
  readonly #backend: Backend;
  readonly #nowS: () => number;
  readonly #callers = new WeakMap<FastifyRequest, Caller>();

  constructor(verify: (token: string, nowS: number) => Promise<Caller>, backend: Backend, nowS: () => number) {
    this.#verify = verify;
    this.#backend = backend;
    this.#nowS = nowS;
  }

  /** Lets in whoever has a certificate of the deployment, of the roles where any are given. */
  certified(...roles: readonly Role[]): Hook {
    return async (request) => {
      const caller = await this.#verify(bearerToken(request.headers.authorization), this.#nowS());
      if (roles.length > 0) assertRole(caller, ...roles);
      await this.#backend.refresh();
      this.#callers.set(request, caller);
    };
  }

  /** Lets in gateways that a current list names, before the body is read. */
  listedGateway(): Hook {
    const certifiedGateway = this.certified('gateway');
    return async (request) => {
      await certifiedGateway(request);
      this.#backend.requireRole(this.certificateOf(request), 'coordinator');
    };
  }

  /** Lets in gateways except one that was revoked: they register Things before the backend has seen any list. */
  gatewayNotRemoved(): Hook {
    const certifiedGateway = this.certified('gateway');
    return async (request) => {
      await certifiedGateway(request);
      this.#backend.requireNotRemoved(this.certificateOf(request), 'coordinator');
    };
  }

  /** Of a request that one of the hooks above has let in. */
  callerOf(request: FastifyRequest): Caller {
    const caller = this.#callers.get(request);
    if (!caller) throw new Error('a route that asks who calls has no hook that finds out');
    return caller;
  }

  /** Who calls, as the audit log names it; undefined where no hook above has found out. */
  actorOf(request: FastifyRequest): string | undefined {
    const certificate = this.#callers.get(request)?.certificate;
    return certificate && `urn:gridring:${certificate.role}:${certificate.id}`;
  }

  certificateOf(request: FastifyRequest): VerifiedCertificate {
    return this.callerOf(request).certificate;
  }
}
