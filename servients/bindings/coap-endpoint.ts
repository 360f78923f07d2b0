/** A CoAP server (RFC 7252, 7641, 7959) of whatever resources it is given: requests, transfers in blocks, observers. */
import { isIPv6 } from 'node:net';
import { GridringError, MalformedError, SetupError, UnavailableError } from '../../crypto/errors.js';
import { limits as sizes } from '../../crypto/limits.js';
import { Downloads, Uploads, type BlockLimits } from './coap-blocks.js';
import { typeOf } from './coap-formats.js';
import { CoapGate, type CoapObserver, type Exchange, type GateLimits } from './coap-gate.js';
import { blockOption, optionNumber, type Reply } from './coap-message.js';
import { Observers, type Observed, type ObserverLimits } from './coap-observers.js';
import { CoapRefusal, refusalReply } from './coap-refusal.js';
import { readRequest, type CoapRequest } from './coap-request.js';

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
  observersOfSource: 512,
  backlog: 32,
};

export interface Resource {
  /** Unlike that of any other resource. */
  readonly id: string;
  readonly methods: readonly string[];
  /** Media types that are taken and given, the preferred one first. */
  readonly types: readonly string[];
  readonly observed?: Observed;
  /** `body` has the media type in which the answer is wanted. */
  handle(method: string, mediaType: string, body: Buffer): Promise<Reply>;
}

export interface CoapEndpointOptions {
  /** UDP port; 0 takes a free one. */
  readonly port: number;
  /** IPv4 or IPv6 address to bind to. */
  readonly address: string;
  readonly limits?: Partial<CoapLimits>;
  readonly observer?: CoapObserver;
}

const silent: CoapObserver = { refused: () => undefined, dropped: () => undefined, failed: () => undefined };

export class CoapEndpoint {
  readonly #options: Pick<CoapEndpointOptions, 'port' | 'address'>;
  readonly #find: (request: CoapRequest) => Resource;
  readonly #observer: CoapObserver;
  readonly #limits: CoapLimits;
  readonly #gate: CoapGate;
  readonly #uploads: Uploads;
  readonly #downloads: Downloads;
  readonly #observers: Observers;

  /** `find` gives the resource that a request is for, and throws NotFoundError where there is none. */
  constructor(options: CoapEndpointOptions, find: (request: CoapRequest) => Resource) {
    const { port, address, limits, observer = silent } = options;
    this.#options = { port, address };
    this.#find = find;
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

  /** The port once it listens; -1 before and after. */
  get port(): number {
    return this.#gate.port;
  }

  /** Sends observers of a resource its new state, or an event. */
  notify(resource: string, reply: Reply): void {
    this.#observers.notify(resource, reply);
  }

  /** Forgets everybody who observes the resource. */
  forgetObservers(resource: string): void {
    this.#observers.clear(resource);
  }

  /** The resources that somebody observes. */
  get observed(): readonly string[] {
    return this.#observers.observed;
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
    const resource = this.#find(request);
    if (!resource.methods.includes(request.method)) {
      throw new CoapRefusal('4.05', 'method-not-allowed', `allowed here: ${resource.methods.join(', ')}`);
    }
    const mediaType = negotiate(request, resource);
    const { block2 } = request;
    if (block2 !== undefined && block2.num > 0) return this.#laterBlock(request, resource, mediaType, block2);
    const observed = resource.observed !== undefined && request.method === 'GET' && request.observe !== undefined;
    if (observed) return this.#observe(exchange, request, { resource, mediaType, observed: resource.observed });
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
    asked: { readonly resource: Resource; readonly mediaType: string; readonly observed: Observed },
  ): Promise<Reply | undefined> {
    const { resource, mediaType, observed } = asked;
    const read = (): Promise<Reply> => resource.handle('GET', mediaType, Buffer.alloc(0));
    if (notifications === undefined) {
      this.#observers.remove(resource.id, request.observerKey);
      if (observed === 'events') return { code: '2.05' };
    }
    const confirmed = notifications && this.#observers.add(resource.id, observed, request, notifications);
    if (confirmed === undefined || notifications === undefined) {
      if (observed === 'events') throw new UnavailableError('observers-full', 'no room for another observer');
      return this.#downloads.begin(request.transferKey, await read(), request.block2);
    }
    if (observed === 'events') {
      // An event has no present state: the request is acknowledged, and its response is the first event.
      notifications.acknowledge();
    } else {
      try {
        notifications.confirm(this.#downloads.begin(request.transferKey, await read(), request.block2));
      } catch (error) {
        this.#observers.remove(resource.id, request.observerKey);
        throw error;
      }
    }
    confirmed();
    return undefined;
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
