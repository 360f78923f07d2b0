/**
 * The hardened Fastify instance behind every HTTP door of ours, the Things' and the REST API's: limits before parsing,
 * a problem document (RFC 9457) for every refusal, and no request that ends the process.
 */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { TlsOptions } from 'node:tls';
import rateLimit from '@fastify/rate-limit';
import Fastify, {
  LogController,
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyRequest,
  type onRequestAsyncHookHandler,
  type FastifyServerOptions,
} from 'fastify';
import { LimitError } from '../../crypto/errors.js';
import { limits as sizes } from '../../crypto/limits.js';
import { allowOrigins } from './cors.js';
import { answerOnSocket, HttpRefusal, refuseExpectation, sendProblem, traceIdOf } from './http-problem.js';

interface HttpLimits {
  readonly bodyBytes: number;
  readonly headerBytes: number;
  readonly connections: number;
  /** From the connection, or the previous response, to the end of the headers. */
  readonly headersTimeoutMs: number;
  /** The same to the end of the body. */
  readonly requestTimeoutMs: number;
  readonly keepAliveMs: number;
  /** A connection on which nothing moves. */
  readonly silenceMs: number;
  /** Per client address; for IPv6 per /64. */
  readonly requestsPerMinute: number;
  /** What requests under way are given when the server stops. */
  readonly drainMs: number;
}

const defaults: HttpLimits = {
  bodyBytes: sizes.requestBody,
  headerBytes: 16_384,
  connections: 1_024,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 30_000,
  keepAliveMs: 10_000,
  silenceMs: 60_000,
  requestsPerMinute: 3_000,
  drainMs: 500,
};

export interface HttpObserver {
  /** `route` is the pattern, never the target that was sent. */
  request(method: string, route: string, status: number, durationMs: number): void;
  /** `code` as in the local log, more exact than what the peer learns. */
  refused(code: string): void;
}

export interface HttpAppOptions {
  readonly limits?: Partial<HttpLimits>;
  readonly log?: FastifyBaseLogger;
  readonly observer?: HttpObserver;
  /** A problem's `type`, by its code. Default: `about:blank`. */
  readonly problemType?: (code: string) => string;
  /** HTTPS in place of HTTP. */
  readonly tls?: ServerTls;
  /** Whose pages may use it from a browser. Default: those of its own origin alone. */
  readonly origins?: readonly string[];
}

interface ServerTls {
  /** The chain, leaf first, PEM. */
  readonly certificate: string;
  /** PKCS #8, PEM. */
  readonly key: string;
  /** Roots of the certificates that callers may show, PEM; whether one must is decided by route. */
  readonly clientRoots: readonly string[];
}

/**
 * Routes belong into plugins (`app.register`): these are loaded after the rate limit, and so covered by it.
 * `app.close()` lets requests under way end, for at most `drainMs`.
 */
export function makeHttpApp(options: HttpAppOptions = {}): FastifyInstance {
  const limits = { ...defaults, ...options.limits };
  const { observer } = options;
  const newest = new WeakMap<Socket, ServerResponse>();
  const server = {
    maxHeaderSize: limits.headerBytes,
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    connectionsCheckingInterval: Math.ceil(limits.headersTimeoutMs / 4),
    // Checked below instead, for an answer that is a problem document.
    requireHostHeader: false,
  };
  const settings: FastifyServerOptions = {
    ...(options.log === undefined ? { logger: false } : { loggerInstance: options.log }),
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: limits.bodyBytes,
    connectionTimeout: limits.silenceMs,
    keepAliveTimeout: limits.keepAliveMs,
    requestTimeout: limits.requestTimeoutMs,
    return503OnClosing: false,
    genReqId: requestId,
    childLoggerFactory: (logger, bindings, loggerOptions, request) =>
      logger.child({ ...bindings, ...traceIdOf(request) }, loggerOptions),
    routerOptions: { maxParamLength: 128 },
    frameworkErrors: (error, request, reply) => {
      sendProblem(error, request, reply, options);
    },
    clientErrorHandler: (error, socket) => {
      observer?.refused('request-malformed');
      const response = newest.get(socket);
      answerOnSocket(error.code, socket, response?.headersSent === true && !response.writableFinished);
    },
  };
  const tls = options.tls && { ...tlsOptions(options.tls), handshakeTimeout: limits.headersTimeoutMs };
  // The types tell an HTTPS server from others in what nobody here uses.
  const app = Fastify({
    ...settings,
    ...(tls ? { https: { ...server, ...tls } } : { http: server }),
  } as typeof settings);
  app.server.maxConnections = limits.connections;
  app.server.on('checkExpectation', refuseExpectation);
  closeInTime(app, limits.drainMs);

  void app.register(rateLimit, { global: false });
  app.addHook('onRequest', async (request, reply) => {
    newest.set(request.raw.socket, reply.raw);
    reply.headers({ 'x-request-id': request.id, 'x-content-type-options': 'nosniff' });
    assertHost(request.raw);
  });
  app.addHook('onResponse', async (request, reply) => {
    observer?.request(request.method, request.routeOptions.url ?? '', reply.statusCode, reply.elapsedTime);
  });
  app.setErrorHandler((error, request, reply) => {
    sendProblem(error, request, reply, options);
  });
  const allowedMethods = collectMethods(app);
  app.after(() => {
    // First, so that a page may read every refusal.
    if (options.origins) allowOrigins(app, options.origins, (request) => allowedMethods(pathOf(request)));
    // For every route and before any other check of the request: those cost more.
    app.addHook('onRequest', limitRate(app, limits.requestsPerMinute));
    app.setNotFoundHandler((request, reply) => {
      sendProblem(noRoute(request.method, allowedMethods(pathOf(request))), request, reply, options);
    });
  });
  return app;
}

/**
 * Says in every answer what is left (draft-ietf-httpapi-ratelimit-headers), and refuses what is above it. A hook for one
 * route or all; each has a count of its own for every address. To be made once the plugin has been loaded.
 */
export function limitRate(app: FastifyInstance, perMinute: number): onRequestAsyncHookHandler {
  const count = app.createRateLimit({ max: perMinute, timeWindow: 60_000 });
  return async (request, reply) => {
    const counted = await count(request);
    if (counted.isAllowed) return;
    reply.header('ratelimit-policy', `"requests";q=${perMinute};w=60`);
    reply.header('ratelimit', `"requests";r=${counted.remaining};t=${counted.ttlInSeconds}`);
    if (!counted.isExceeded) return;
    reply.header('retry-after', counted.ttlInSeconds);
    throw new LimitError('too-many-requests', `at most ${perMinute} of these requests a minute; see Retry-After`);
  };
}

/** A caller that shows a certificate is verified where it says who it is: the library knows neither roles nor lists. */
const tlsOptions = ({ certificate, key, clientRoots }: ServerTls): TlsOptions => ({
  cert: certificate,
  key,
  ca: [...clientRoots],
  requestCert: true,
  rejectUnauthorized: false,
  minVersion: 'TLSv1.3',
});

/** A caller's own id where it is harmless in a log. */
function requestId(request: IncomingMessage): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && /^[\w.:-]{1,64}$/.test(given) ? given : randomUUID();
}

/** RFC 9112 §3.2: exactly one Host in HTTP/1.1, and a valid one. */
function assertHost({ headers, rawHeaders, httpVersionMinor }: IncomingMessage): void {
  const { host } = headers;
  if (host === undefined && httpVersionMinor === 0) return;
  const count = rawHeaders.filter((name, i) => i % 2 === 0 && name.toLowerCase() === 'host').length;
  if (count !== 1 || host === undefined || !/^(?:\[[\da-f:.]+\]|[\w.~-]+)(?::\d{1,5})?$/i.test(host)) {
    throw new HttpRefusal(400, 'host-malformed', 'one valid Host header is required');
  }
}

/** A route may find that there is nothing under its path. */
function noRoute(method: string, allowed: readonly string[]): HttpRefusal {
  if (allowed.length === 0 || allowed.includes(method))
    return new HttpRefusal(404, 'no-such-resource', 'there is nothing under this path');
  return HttpRefusal.methodNotAllowed(allowed);
}

/** As the router takes it: what an absolute target (RFC 9112 §3.2.2) names as host is only what the caller says. */
export const pathOf = (request: Pick<FastifyRequest, 'url'>): string =>
  request.url.replace(/^https?:\/\/[^/]*/i, '').replace(/[?#].*$/, '');

/** Which methods the routes have for a path. Routes with `config.anyMethod` judge the method themselves. */
function collectMethods(app: FastifyInstance): (path: string) => readonly string[] {
  const routes: { readonly pattern: RegExp; readonly methods: readonly string[] }[] = [];
  app.addHook('onRoute', ({ url, method, config }) => {
    if ((config as { anyMethod?: boolean } | undefined)?.anyMethod === true) return;
    const segments = url.split('/').map((part) => {
      if (part.startsWith(':')) return '[^/]+';
      return part === '*' ? '.*' : part.replace(/[^\w-]/g, '\\$&');
    });
    routes.push({ pattern: new RegExp(`^${segments.join('/')}$`), methods: [method].flat() });
  });
  return (path) => [...new Set(routes.filter(({ pattern }) => pattern.test(path)).flatMap(({ methods }) => methods))];
}

/** Idle connections go at once; those with a request under way after the drain time at the latest. */
function closeInTime(app: FastifyInstance, drainMs: number): void {
  let timer: NodeJS.Timeout | undefined;
  let closing = false;
  // Fastify says so only in answers to requests that began after the end did.
  app.addHook('onSend', async (_request, reply) => {
    if (closing) reply.header('connection', 'close');
  });
  app.addHook('preClose', async () => {
    closing = true;
    timer = setTimeout(() => {
      app.server.closeAllConnections();
    }, drainMs);
  });
  app.addHook('onClose', async () => {
    clearTimeout(timer);
  });
}
