/**
 * Which routes let in whom: each names a scope, and the caller's token must have it. Tokens are those that devices sign
 * themselves (bindings/token.ts) and those of issuers (auth/access-token.ts).
 */
import type { ServerResponse } from 'node:http';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { decodeProtectedHeader } from 'jose';
import type { AuditFacts } from '../../crypto/audit/entry.js';
import type { VerifiedCertificate } from '../../crypto/certificate.js';
import { VerificationError } from '../../crypto/errors.js';
import { limits } from '../../crypto/limits.js';
import type { Backend } from '../../things/backend.js';
import type { AccountsStore } from '../../things/stores.js';
import { makeAccessTokenVerifier, type TrustedIssuer } from '../auth/access-token.js';
import { LiveStreams } from '../auth/live-streams.js';
import { addressOf, makeProofVerifier } from '../auth/possession.js';
import type { Principal, Reach } from '../auth/principal.js';
import type { Scope } from '../auth/roles.js';
import { ScopeError } from '../auth/scope-error.js';
import { Sessions, type Credential } from '../auth/sessions.js';
import { pathOf } from '../bindings/http-app.js';
import { HttpRefusal } from '../bindings/http-problem.js';
import { makeTokenVerifier, parseAuthorization, type Authorization, type TokenVerifier } from '../bindings/token.js';
import { assertShownCertificate } from './client-certificate.js';

type Hook = (request: FastifyRequest) => Promise<void>;

/** Whom a route lets in: callers with the scope, all whose token is good, or everybody. */
type Guard = Scope | 'known' | 'open';

export interface GuardedRoute {
  readonly method: string;
  /** Its pattern. */
  readonly url: string;
  readonly guard: Guard;
}

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
export function requireGuards(scope: FastifyInstance, onGuarded: (route: GuardedRoute) => void): void {
  scope.addHook('onRoute', ({ method, url, onRequest }) => {
    const guard = guardOf(onRequest);
    if (guard === undefined) throw new Error(`${[method].join()} ${url} does not say whom it lets in`);
    for (const each of [method].flat()) onGuarded({ method: each, url, guard });
  });
}

export interface AccessParts extends TokenVerifier {
  readonly backend: Backend;
  readonly accounts: AccountsStore;
  readonly issuers: readonly TrustedIssuer[];
  readonly unbound: UnboundTokens;
  /** Whether there is an issuer that gives gateways their tokens; those that they sign themselves count for nothing then. */
  readonly gatewaysHaveIssuer: boolean;
  /** How callers name this server, which proofs are made for: without a slash at the end. */
  readonly origins: () => readonly string[];
  readonly nowS: () => number;
}

/** Whose tokens count without a proof of possession: whoever reads one on its way can use it. */
interface UnboundTokens {
  readonly ofCertificates: boolean;
  readonly ofIssuers: boolean;
}

interface Known {
  readonly credential: Credential;
  readonly principal: Principal;
}

export class Access {
  readonly #parts: AccessParts;
  readonly #sessions: Sessions;
  readonly #streams: LiveStreams;
  readonly #verifyOwn: ReturnType<typeof makeTokenVerifier>;
  readonly #verifyIssued: ReturnType<typeof makeAccessTokenVerifier>;
  readonly #verifyProof = makeProofVerifier();
  readonly #callers = new WeakMap<FastifyRequest, Known>();

  constructor(parts: AccessParts) {
    this.#parts = parts;
    this.#sessions = new Sessions(parts.backend, parts.accounts);
    this.#streams = new LiveStreams(this.#sessions, parts.nowS);
    this.#verifyOwn = makeTokenVerifier(parts);
    this.#verifyIssued = makeAccessTokenVerifier(parts);
  }

  /** Lets in whoever has the scope, before the body is read. */
  needs(scope: Scope): Hook {
    return guarded(scope, async (request) => {
      const principal = await this.#authenticate(request);
      if (!principal.scopes.has(scope)) throw new ScopeError(scope, principal.subject);
    });
  }

  /** Where the resource is open, lets in everybody; but who shows a token shows one that counts and has the scope. */
  needsUnlessOpen(scope: Scope, isOpen: boolean): Hook {
    const needs = this.needs(scope);
    return guarded(isOpen ? 'open' : scope, async (request) => {
      if (!isOpen || request.headers.authorization !== undefined) await needs(request);
    });
  }

  /** Lets in whoever shows a token that counts, whatever it may do. */
  known(): Hook {
    return guarded('known', async (request) => {
      await this.#authenticate(request);
    });
  }

  /** Lets in gateways that a current list names. */
  listedGateway(): Hook {
    const needsGateway = this.needs('gateway');
    return guarded('gateway', async (request) => {
      await needsGateway(request);
      this.#parts.backend.requireRole(this.certificateOf(request), 'coordinator');
    });
  }

  /** Of a request that one of the hooks above has let in. */
  principalOf(request: FastifyRequest): Principal {
    return this.#knownOf(request).principal;
  }

  /** The same of a route that is open to those without a token. */
  callerOf(request: FastifyRequest): Principal | undefined {
    return this.#callers.get(request)?.principal;
  }

  /** Who calls, as the audit log names it; undefined where no hook above has found out. */
  actorOf(request: FastifyRequest): string | undefined {
    return this.callerOf(request)?.subject;
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

  /** Ends a stream with the caller's token, and when the caller loses rights. */
  holdStream(request: FastifyRequest, response: ServerResponse): void {
    this.#streams.hold(response, this.#knownOf(request));
  }

  /** The token that the request shows counts no more; entries of the audit log go with that. */
  async revokeToken(request: FastifyRequest, audit: readonly AuditFacts[]): Promise<void> {
    const { credential } = this.#knownOf(request);
    const { issuer, tokenId, expiresS } =
      credential.kind === 'issued' ? credential.token : { issuer: credential.caller.subject, ...credential.caller };
    await this.#parts.accounts.revokeToken(issuer, tokenId, expiresS + limits.clockSkewS, audit);
  }

  /** To be called whenever accounts, tokens or lists may have changed. @throws UnavailableError of the database */
  recheckStreams(): Promise<void> {
    return this.#streams.recheck();
  }

  #knownOf(request: FastifyRequest): Known {
    const known = this.#callers.get(request);
    if (!known) throw new Error('a route that asks who calls has no hook that finds out');
    return known;
  }

  async #authenticate(request: FastifyRequest): Promise<Principal> {
    const authorization = authorizationOf(request);
    const credential = await this.#verify(authorization);
    this.#requireForm(credential);
    const principal = await this.#sessions.principal(credential);
    assertShownCertificate(
      request,
      principal,
      credential.kind === 'issued' ? credential.token.tlsThumbprint : undefined,
    );
    await this.#requirePossession(request, authorization, boundTo(credential));
    this.#callers.set(request, { credential, principal });
    return principal;
  }

  async #verify({ token }: Authorization): Promise<Credential> {
    const nowS = this.#parts.nowS();
    return isAccessToken(token)
      ? { kind: 'issued', token: await this.#verifyIssued(token, nowS) }
      : { kind: 'certificate', caller: await this.#verifyOwn(token, nowS) };
  }

  #requireForm(credential: Credential): void {
    const { unbound, gatewaysHaveIssuer } = this.#parts;
    const isOwn = credential.kind === 'certificate';
    if (isOwn && gatewaysHaveIssuer && credential.caller.certificate.role === 'gateway') {
      throw new VerificationError('token-self-signed', 'a gateway’s own token, where there is an issuer');
    }
    if (boundTo(credential) !== undefined || (isOwn ? unbound.ofCertificates : unbound.ofIssuers)) return;
    throw new VerificationError('token-unbound', 'a token that is bound to no key');
  }

  /** RFC 9449 §7: a bound token counts with a proof alone, and each proof once. */
  async #requirePossession(
    request: FastifyRequest,
    { scheme, token }: Authorization,
    keyThumbprint: string | undefined,
  ): Promise<void> {
    if ((scheme === 'dpop') !== (keyThumbprint !== undefined)) {
      throw wrongScheme(keyThumbprint === undefined ? 'the token is bound to no key' : 'a bound token without a proof');
    }
    if (keyThumbprint === undefined) return;
    const { origins, accounts, nowS } = this.#parts;
    const { method, headers } = request;
    const addresses = origins().map((origin) => addressOf(origin + pathOf(request)));
    const given = headers['dpop'];
    const proof = typeof given === 'string' ? given : undefined;
    const { name, expiresS } = await this.#verifyProof(proof, { method, addresses, token, keyThumbprint }, nowS());
    if (!(await accounts.takeProof(name, expiresS))) {
      throw new VerificationError('proof-replayed', 'the proof of possession was shown before');
    }
  }
}

/** The thumbprint of the key that the token is bound to. */
const boundTo = (credential: Credential): string | undefined =>
  (credential.kind === 'issued' ? credential.token : credential.caller).keyThumbprint;

const wrongScheme = (reason: string): VerificationError => new VerificationError('token-scheme', reason);

const challenge = 'Bearer realm="gridring", DPoP realm="gridring", algs="ES256 EdDSA"';

function authorizationOf({ headers }: FastifyRequest): Authorization {
  if (headers.authorization === undefined) {
    throw new HttpRefusal(401, 'token-missing', 'a token is required', { 'www-authenticate': challenge });
  }
  return parseAuthorization(headers.authorization);
}

/** By the type that RFC 9068 §2.1 asks for. What is no JWT is refused where certificates' tokens are. */
function isAccessToken(token: string): boolean {
  try {
    return /^(?:application\/)?at\+jwt$/i.test(decodeProtectedHeader(token).typ ?? '');
  } catch {
    return false;
  }
}
