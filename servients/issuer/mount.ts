/** The embedded issuer in the backend's server, under /oidc; loaded when it is first used. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type Provider from 'oidc-provider';
import type { IssuerStore } from '../../things/issuer-store.js';
import { limitRate } from '../bindings/http-app.js';
import { publicKeys } from './keys.js';
import { loginRoutes } from './login-routes.js';
import type { Logins } from './logins.js';
import { pageHeaders } from './page-headers.js';

export const issuerPath = '/oidc';

/** Whoever begins a login leaves a row in the database for some minutes, and needs nothing to begin one. */
const requestsPerMinute = 600;

export interface MountedIssuer {
  readonly store: IssuerStore;
  readonly nowS: () => number;
  /** Of the issuer; known when the server listens. */
  readonly origin: () => string;
  readonly logins: Logins;
  readonly provider: () => Promise<Provider>;
}

export function issuerRoutes(app: FastifyInstance, issuer: MountedIssuer): void {
  void app.register(async (scope) => {
    // RFC 9728: how devices and the command line find the issuer.
    scope.get('/.well-known/oauth-protected-resource', async () => ({
      resource: `${issuer.origin()}/api/v1`,
      authorization_servers: [issuer.origin() + issuerPath],
      bearer_methods_supported: ['header'],
      dpop_bound_access_tokens_required: true,
    }));
  });
  void app.register(
    async (scope) => {
      scope.get('/jwks', async (_request, reply) =>
        reply.header('cache-control', 'public, max-age=60').send(await publicKeys(issuer.store, issuer.nowS())),
      );
      void scope.register(async (pages) => {
        loginRoutes(pages, issuer);
      });
      void scope.register(async (rest) => {
        // oidc-provider reads bodies itself, with a limit of its own.
        rest.removeAllContentTypeParsers();
        rest.addContentTypeParser('*', (_request, _payload, done) => {
          done(null);
        });
        rest.addHook('onRequest', limitRate(rest, requestsPerMinute));
        rest.all('/*', { config: { anyMethod: true } }, async (request, reply) => {
          const provider = await issuer.provider();
          passOn(provider, issuer.origin(), request, reply);
        });
      });
    },
    { prefix: issuerPath },
  );
}

/**
 * oidc-provider names its addresses after the request's Host, which is whatever the caller says: it is told the issuer's,
 * and nothing of what a proxy, or somebody who pretends to be one, has added.
 */
function passOn(provider: Provider, origin: string, request: FastifyRequest, reply: FastifyReply): void {
  asIfSentTo(origin, request);
  reply.hijack();
  for (const [name, value] of Object.entries({ ...reply.getHeaders(), ...pageHeaders })) {
    if (value !== undefined) reply.raw.setHeader(name, value);
  }
  void provider.callback()(request.raw, reply.raw);
}

function asIfSentTo(origin: string, { raw, id }: FastifyRequest): void {
  const { host, protocol } = new URL(origin);
  delete raw.headers['x-forwarded-for'];
  delete raw.headers['x-forwarded-host'];
  raw.headers['x-request-id'] = id;
  Object.assign(raw.headers, { host, 'x-forwarded-proto': protocol.slice(0, -1) });
  Object.assign(raw, { originalUrl: raw.url, url: raw.url?.slice(issuerPath.length) });
}
