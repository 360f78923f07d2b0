/** CoAP (RFC 7252, 7641, 7959) as a server of node-wot. */
import { isIPv6 } from 'node:net';
import type { Content, ExposedThing, ProtocolServer } from '@node-wot/core';
import { GridringError, MalformedError, SetupError, UnavailableError } from '../../crypto/errors.js';
import { limits as sizes } from '../../crypto/limits.js';
import { Downloads, Uploads, type BlockLimits } from './coap-blocks.js';
import { addForms } from './coap-forms.js';
import { typeOf } from './coap-formats.js';
import { CoapGate, type CoapObserver, type Exchange, type GateLimits } from './coap-gate.js';
import { blockOption, optionNumber, type Reply } from './coap-message.js';
import { Observers, type ObserverLimits } from './coap-observers.js';
import { CoapRefusal, refusalReply } from './coap-refusal.js';
import { hostOf } from './host.js';
import { readRequest, type CoapRequest } from './coap-request.js';
import { affordanceId, contentReply, findResource, type ExposedEntry, type Resource } from './coap-resources.js';
import { jsonType } from './media-types.js';
import { hrefsBelow, urlName } from './thing-base.js';

export interface CoapLimits extends GateLimits, BlockLimits, ObserverLimits {}

export const coapDefaults: CoapLimits = {
  rate: { perSecond: 1_000, burst: 2_000, sources: 4_096 },
  slowDowns: { perSecond: 20, burst: 50, sources: 4_096 },
  running: 512,
  exchanges: 8_192,
  exchangeLifetimeMs: 247_000,
  bodyBytes: sizes.requestBody,
  transfers: 64,
  replyBytes: 8_000_000,
  idleMs: 60_000,
  observers: 512,
  backlog: 32,
};

const silent: CoapObserver = { refused: () => undefined, dropped: () => undefined, failed: () => undefined };

export interface CoapServerOptions {
  /** UDP port; 0 takes a free one. */
  readonly port: number;
  /** IPv4 or IPv6 address to bind to. Default: every IPv4 address. */
  readonly address?: string;
  /** Host that TDs name. Default: the address, or the first of this machine where it binds to all. */
  readonly host?: string;
  /** Port that TDs name, where something stands between. Default: the one that it listens on. */
  readonly advertisedPort?: number;
  readonly limits?: Partial<CoapLimits>;
  readonly observer?: CoapObserver;
}

export class CoapServer implements ProtocolServer {
  readonly scheme = 'coap';
  readonly #options: Required<Pick<CoapServerOptions, 'port' | 'address' | 'host'>> &
    Pick<CoapServerOptions, 'advertisedPort'>;
  readonly #observer: CoapObserver;
  readonly #limits: CoapLimits;
  readonly #gate: CoapGate;
  readonly #uploads: Uploads;
  readonly #downloads: Downloads;
  readonly #observers: Observers;
  readonly #entries = new Map<string, ExposedEntry>();

  constructor(options: CoapServerOptions) {
    const { port, address = '0.0.0.0', host = hostOf(address), advertisedPort, limits, observer = silent } = options;
    this.#options = { port, address, host, advertisedPort };
    this.#observer = observer;
    this.#limits = { ...coapDefaults, ...limits };
    this.#gate = new CoapGate(isIPv6(address) ? 'udp6' : 'udp4', this.#limits, observer, (exchange) => {
      void this.#answer(exchange);
    });
    this.#uploads = new Uploads(this.#limits);
    this.#downloads = new Downloads(this.#limits);
    this.#observers = new Observers(this.#limits, this.#downloads, observer);
  }

  /** @throws SetupError `port-unusable` */
  async start(): Promise<void> {
    const { port, address } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#gate.once('error', (cause) => {
        this.#gate.close();
        reject(new SetupError('port-unusable', `cannot listen on UDP ${address} port ${port}: choose another`, cause));
      });
      this.#gate.listen(port, address, () => {
        resolve();
      });
    });
    this.#gate.removeAllListeners('error').on('error', (error: unknown) => {
      this.#observer.failed(error);
    });
  }

  async stop(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#gate.close(() => {
        resolve();
      });
    });
  }

  getPort(): number {
    return this.#gate.port;
  }

  /** Adds the forms and serves the Thing. @throws SetupError `not-listening` before `start` */
  async expose(thing: ExposedThing): Promise<void> {
    if (this.getPort() === -1) throw new SetupError('not-listening', 'start the servient before exposing Things');
    const known = this.#find(thing.id);
    const name = known?.name ?? urlName(thing.title, (taken) => taken === '.well-known' || this.#entries.has(taken));
    const { host, advertisedPort = this.getPort() } = this.#options;
    const base = `coap://${host}:${advertisedPort}/${name}/`;
    const entry = { name, thing, forms: addForms(thing, hrefsBelow(thing, base)) };
    this.#entries.set(name, entry);
    if (known === undefined) await this.#listen(entry);
  }

  async destroy(thingId: string): Promise<boolean> {
    const entry = this.#find(thingId);
    if (entry === undefined) return false;
    this.#entries.delete(entry.name);
    for (const name of Object.keys(entry.thing.properties)) {
      this.#observers.clear(affordanceId(entry.name, 'properties', name));
    }
    for (const name of Object.keys(entry.thing.events)) {
      this.#observers.clear(affordanceId(entry.name, 'events', name));
    }
    return true;
  }

  #find(thingId: string): ExposedEntry | undefined {
    return [...this.#entries.values()].find(({ thing }) => thing.id === thingId);
  }

  /** One listener for each resource: core gives all listeners of a form the same stream, and only one can read it. */
  async #listen({ name: thingName, thing, forms }: ExposedEntry): Promise<void> {
    for (const [name, { observable }] of Object.entries(thing.properties)) {
      const formIndex = forms.find('properties', name, 'observeproperty');
      if (observable !== true || formIndex === undefined) continue;
      const listener = this.#announcing(affordanceId(thingName, 'properties', name));
      await thing.handleObserveProperty(name, listener, { formIndex });
    }
    for (const name of Object.keys(thing.events)) {
      const formIndex = forms.find('events', name, 'subscribeevent') ?? 0;
      await thing.handleSubscribeEvent(name, this.#announcing(affordanceId(thingName, 'events', name)), { formIndex });
    }
  }

  #announcing(resource: string): (content: Content) => void {
    return (content) => {
      content.toBuffer().then(
        (payload) => {
          this.#observers.notify(resource, contentReply(jsonType, payload));
        },
        (error: unknown) => {
          this.#observer.failed(error);
        },
      );
    };
  }

  async #answer(exchange: Exchange): Promise<void> {
    try {
      const reply = await this.#replyTo(exchange);
      if (reply !== undefined) exchange.reply(reply);
    } catch (error) {
      if (error instanceof GridringError) this.#observer.refused(error.code);
      else this.#observer.failed(error);
      exchange.reply(refusalReply(error));
    }
  }

  /** The reply; undefined when the exchange went on as an observation. */
  async #replyTo(exchange: Exchange): Promise<Reply | undefined> {
    const request = readRequest(exchange.message, exchange.remote);
    const resource = findResource(this.#entries, request.path);
    if (!resource.methods.includes(request.method)) {
      throw new CoapRefusal('4.05', 'method-not-allowed', `allowed here: ${resource.methods.join(', ')}`);
    }
    const mediaType = negotiate(request, resource);
    const { block2 } = request;
    if (block2 !== undefined && block2.num > 0) return this.#laterBlock(request, resource, mediaType, block2);
    const observed = resource.observed !== undefined && request.method === 'GET' && request.observe !== undefined;
    if (observed) return this.#observe(exchange, request, resource, resource.observed);
    const body = this.#body(request);
    const block1 = request.block1 && ([optionNumber.block1, blockOption(request.block1)] as const);
    if (body === undefined) return { code: '2.31', options: block1 ? [block1] : [] };
    const reply = await resource.handle(request.method, mediaType, body);
    const sent = this.#downloads.begin(request.transferKey, reply, block2);
    return block1 ? { ...sent, options: [...(sent.options ?? []), block1] } : sent;
  }

  /** A GET may be read anew when its reply is no longer kept; a POST must not run again. */
  async #laterBlock(
    request: CoapRequest,
    resource: Resource,
    mediaType: string,
    block2: NonNullable<CoapRequest['block2']>,
  ): Promise<Reply> {
    const kept = this.#downloads.next(request.transferKey, block2);
    if (kept !== undefined) return kept;
    if (request.method !== 'GET') {
      throw new CoapRefusal('4.08', 'blocks-missing', 'the reply is no longer kept; ask again from the start');
    }
    return this.#downloads.begin(request.transferKey, await resource.handle('GET', mediaType, request.payload), block2);
  }

  /** The whole body, or undefined while blocks are missing. @throws MalformedError `too-large` */
  #body({ block1, payload, size1, source, transferKey }: CoapRequest): Buffer | undefined {
    if (Math.max(size1 ?? 0, payload.length) > this.#limits.bodyBytes) {
      throw new MalformedError('too-large', `more than ${this.#limits.bodyBytes} bytes`);
    }
    return block1 === undefined ? payload : this.#uploads.add(transferKey, source, block1, payload);
  }

  async #observe(
    { notifications }: Exchange,
    request: CoapRequest,
    resource: Resource,
    observed: NonNullable<Resource['observed']>,
  ): Promise<Reply | undefined> {
    if (notifications === undefined) {
      this.#observers.remove(resource.id, request.observerKey);
      if (observed === 'events') return { code: '2.05' };
    }
    const confirmed = notifications && this.#observers.add(resource.id, observed, request, notifications);
    if (confirmed === undefined || notifications === undefined) {
      if (observed === 'events') throw new UnavailableError('observers-full', 'no room for another observer');
      return this.#downloads.begin(request.transferKey, await this.#read(resource), request.block2);
    }
    if (observed === 'events') {
      // An event has no present state: the request is acknowledged, and its response is the first event.
      notifications.acknowledge();
    } else {
      try {
        notifications.confirm(this.#downloads.begin(request.transferKey, await this.#read(resource), request.block2));
      } catch (error) {
        this.#observers.remove(resource.id, request.observerKey);
        throw error;
      }
    }
    confirmed();
    return undefined;
  }

  #read(resource: Resource): Promise<Reply> {
    return resource.handle('GET', jsonType, Buffer.alloc(0));
  }
}

/** The one media type of request and response. @throws CoapRefusal 4.15 and 4.06 */
function negotiate({ method, contentFormat, accept }: CoapRequest, { types }: Resource): string {
  const bodyType = method === 'GET' || contentFormat === undefined ? types[0] : typeOf(contentFormat);
  if (bodyType === undefined || !types.includes(bodyType)) {
    throw new CoapRefusal('4.15', 'media-type-unsupported', `taken here: ${types.join(', ')}`);
  }
  if (accept === undefined) return bodyType;
  const wanted = typeOf(accept);
  if (wanted === undefined || (method === 'GET' ? !types.includes(wanted) : wanted !== bodyType)) {
    throw new CoapRefusal(
      '4.06',
      'not-acceptable',
      `given here: ${(method === 'GET' ? types : [bodyType]).join(', ')}`,
    );
  }
  return wanted;
}
