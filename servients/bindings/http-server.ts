/** The HTTP binding for node-wot: Things by their forms, and server-sent events, on a hardened Fastify. */
import type { ExposedThing, ProtocolServer, Servient } from '@node-wot/core';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { SetupError } from '../../crypto/errors.js';
import { makeHttpApp, type HttpAppOptions } from './http-app.js';
import { hostOf } from './host.js';
import { thingLink } from './coap-links.js';
import { sendLinks } from './http-links.js';
import { resourceOperation, tdOperation, type Operation } from './http-operation.js';
import { addForms, follow, type HttpThing } from './http-thing.js';
import { SseHub, sseDefaults, type SseLimits } from './sse.js';
import { hrefsBelow, urlName } from './thing-base.js';

interface HttpAuthentication {
  /** Of the tokens, as the TD says it. */
  readonly algorithm: 'EdDSA' | 'ES256';
  /** Throws to refuse; called before anything else of the request is looked at. */
  authenticate(request: FastifyRequest): Promise<void>;
}

export interface HttpServerOptions extends HttpAppOptions {
  /** 0: any that is free. */
  readonly port: number;
  /** IP address to listen on. */
  readonly address: string;
  /** How TDs name this server where that is not its address and port, e.g. `https://gateway.example`. */
  readonly publicOrigin?: string;
  /** Host and port in that place, where the rest stays. */
  readonly host?: string;
  readonly advertisedPort?: number;
  readonly authentication?: HttpAuthentication;
  readonly streams?: Partial<SseLimits>;
}

const anyMethod = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

/** Before `start`, further routes may be added to `app`, as plugins. */
export class HttpServer implements ProtocolServer {
  readonly scheme = 'http';
  readonly app: FastifyInstance;
  readonly #options: HttpServerOptions;
  readonly #hub: SseHub;
  readonly #things = new Map<string, HttpThing>();
  readonly #operations = new WeakMap<FastifyRequest, Operation>();
  #servient: Servient | undefined;

  constructor(options: HttpServerOptions) {
    this.#options = options;
    this.app = makeHttpApp(options);
    this.#hub = new SseHub({ ...sseDefaults, ...options.streams }, () => {
      options.observer?.refused('slow-reader');
      this.app.log.warn('a reader of events did not read and was cut off');
    });
    void this.app.register(async (scope) => {
      this.#addRoutes(scope);
    });
    this.app.addHook('preClose', async () => {
      this.#hub.close();
    });
  }

  get openStreams(): number {
    return this.#hub.openStreams;
  }

  /** @throws SetupError `port-unusable` */
  async start(servient: Servient): Promise<void> {
    this.#servient = servient;
    const { address, port } = this.#options;
    try {
      await this.app.listen({ host: address, port });
    } catch (cause) {
      throw new SetupError('port-unusable', `cannot listen on ${address} port ${port}: choose another`, cause);
    }
  }

  async stop(): Promise<void> {
    await this.app.close();
  }

  getPort(): number {
    const bound = this.app.server.address();
    return bound === null || typeof bound === 'string' ? -1 : bound.port;
  }

  /** @throws SetupError `not-listening` */
  async expose(thing: ExposedThing): Promise<void> {
    if (this.getPort() === -1) throw new SetupError('not-listening', 'start the servient before exposing a Thing');
    const name = urlName(thing.title, (taken) => this.#things.has(taken));
    const href = hrefsBelow(thing, `${this.#origin()}/${name}/`);
    const exposed = addForms(thing, { hub: this.#hub, href, security: this.#declareSecurity(thing) });
    this.#things.set(name, exposed);
    await follow(exposed, (error) => {
      this.app.log.error({ err: error, thing: thing.id }, 'an event could not be published');
    });
  }

  async destroy(thingId: string): Promise<boolean> {
    const entry = [...this.#things].find(([, { thing }]) => thing.id === thingId);
    if (entry === undefined) return false;
    const [name, { resources }] = entry;
    this.#things.delete(name);
    for (const resource of resources.values()) if (resource.kind !== 'action') resource.stream?.topic.end();
    return true;
  }

  #addRoutes(scope: FastifyInstance): void {
    // Core's codecs take the bytes; whether their type is one that the form takes has been decided by then.
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => {
      done(null, body);
    });
    const { authentication } = this.#options;
    if (authentication) scope.addHook('onRequest', (request) => authentication.authenticate(request));
    scope.get('/.well-known/core', (request, reply) =>
      sendLinks(
        request,
        reply,
        [...this.#things.keys()].map((name) => thingLink(`/${name}`)),
      ),
    );
    for (const url of ['/.well-known/wot', '/:thing', '/:thing/:kind/:name']) {
      scope.route({
        method: anyMethod,
        url,
        config: { anyMethod: true },
        onRequest: async (request, reply) => {
          const operation = this.#operationFor(request);
          if (operation !== undefined) {
            this.#operations.set(request, operation);
            return undefined;
          }
          reply.callNotFound();
          return reply;
        },
        handler: (request, reply) => this.#operations.get(request)?.(request, reply),
      });
    }
  }

  #operationFor(request: FastifyRequest): Operation | undefined {
    const { thing: thingName, kind, name } = request.params as Readonly<Partial<Record<string, string>>>;
    const exposed = thingName === undefined ? this.#onlyThing() : this.#things.get(thingName);
    if (exposed === undefined) return undefined;
    if (kind === undefined || name === undefined) return tdOperation(exposed, request);
    const resource = exposed.resources.get(`${kind}/${name}`);
    return resource && resourceOperation(exposed, resource, request, this.#hub);
  }

  #onlyThing(): HttpThing | undefined {
    const [first, ...others] = this.#things.values();
    return others.length === 0 ? first : undefined;
  }

  #origin(): string {
    const { publicOrigin, address, host = hostOf(address), advertisedPort = this.getPort() } = this.#options;
    return publicOrigin ?? `http://${host}:${advertisedPort}`;
  }

  /** A Thing that HTTP alone serves says it once; one with other bindings says it in every form of this one. */
  #declareSecurity(thing: ExposedThing): readonly string[] | undefined {
    const { authentication } = this.#options;
    if (authentication === undefined) return undefined;
    thing.securityDefinitions = {
      ...thing.securityDefinitions,
      bearer_sc: { scheme: 'bearer', format: 'jwt', alg: authentication.algorithm, in: 'header' },
    };
    const alone = this.#servient?.getServers().length === 1;
    if (alone) thing.security = ['bearer_sc'];
    return alone ? undefined : ['bearer_sc'];
  }
}
