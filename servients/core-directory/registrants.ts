/**
 * Asks endpoints that registered for what they only pointed at: their links, where the registration was a simple one
 * (RFC 9176 §5.1), and their Thing Descriptions. Nobody is asked but the address that the registration came from, seldom,
 * and for little: a forged one draws no more to its victim than it cost.
 */
import { MalformedError } from '../../crypto/errors.js';
import type { Endpoint } from '../../things/endpoint-store.js';
import { baseOf, tdUrlsOf, type Endpoints, type Registrant } from '../../things/endpoints.js';
import type { Log } from '../../things/parts.js';
import type { CoapResponse } from '../bindings/coap-agent.js';
import { formatOf, linkType, tdType, typeOf } from '../bindings/coap-formats.js';
import { optionNumber, uintOption, uintValue } from '../bindings/coap-message.js';
import { CoapTransport, type CoapClientLimits } from '../bindings/coap-transport.js';
import { jsonType } from '../bindings/media-types.js';
import { RateLimit, type RateLimits } from '../bindings/rate-limit.js';
import { parseStrictJson } from '../bindings/strict-json.js';
import { codeOf } from '../runtime.js';

export interface RegistrantLimits {
  /** How often one address is asked. */
  readonly asking: RateLimits;
  /** Endpoints that are asked at the same time, and those that wait for it. */
  readonly asked: number;
  readonly waiting: number;
  readonly client: CoapClientLimits;
}

type Job = () => Promise<void>;

export class Registrants {
  readonly #endpoints: Endpoints;
  readonly #limits: RegistrantLimits;
  readonly #log: Log;
  readonly #transport: CoapTransport;
  readonly #rate: RateLimit;
  readonly #jobs: Job[] = [];
  #running = 0;

  constructor(endpoints: Endpoints, limits: RegistrantLimits, log: Log) {
    this.#endpoints = endpoints;
    this.#limits = limits;
    this.#log = log;
    this.#transport = new CoapTransport(limits.client);
    this.#rate = new RateLimit(limits.asking);
  }

  /** Fetches, some time after this, what an endpoint says of itself as a Thing. */
  registered(endpoint: Endpoint): void {
    const urls = tdUrlsOf(endpoint);
    if (urls.length === 0 && endpoint.things === '[]') return;
    this.#add(endpoint.owner, async () => {
      const found: { readonly href: string; readonly td: unknown }[] = [];
      for (const href of urls) {
        const response = await this.#get(href, tdType);
        found.push({ href, td: parseStrictJson(contentOf(response, [tdType, jsonType])) });
      }
      const refused = await this.#endpoints.describe(endpoint.id, found);
      for (const error of refused) this.#failed(endpoint.owner, error);
    });
  }

  /** Fetches, some time after this, the links of an endpoint, and registers it with them. */
  simply(query: readonly string[], from: Registrant): void {
    this.#add(from.address, async () => {
      const response = await this.#get(`${baseOf(from)}/.well-known/core`, linkType);
      this.registered(await this.#endpoints.register(query, contentOf(response, [linkType]), from));
    });
  }

  close(): void {
    this.#jobs.length = 0;
    this.#transport.close();
  }

  #add(address: string, job: Job): void {
    if (this.#jobs.length >= this.#limits.waiting || !this.#rate.take(address, Date.now())) {
      this.#log.warn({ address }, 'an endpoint was not asked for more: it came too often, or too many wait');
      return;
    }
    this.#jobs.push(async () => {
      try {
        await job();
      } catch (error) {
        this.#failed(address, error);
      }
    });
    // The answer to the registration goes first (RFC 9176 §5.1).
    setImmediate(() => {
      this.#next();
    });
  }

  #next(): void {
    while (this.#running < this.#limits.asked) {
      const job = this.#jobs.shift();
      if (!job) return;
      this.#running += 1;
      void job().finally(() => {
        this.#running -= 1;
        this.#next();
      });
    }
  }

  #failed(address: string, error: unknown): void {
    this.#log.warn({ address, code: codeOf(error), err: error }, 'what an endpoint has could not be registered');
  }

  #get(url: string, type: string): Promise<CoapResponse> {
    return this.#transport.request({
      url,
      method: 'GET',
      options: [[optionNumber.accept, uintOption(formatOf(type))]],
    });
  }
}

/** @throws MalformedError `media-type-mismatch` */
function contentOf({ options, payload }: CoapResponse, types: readonly string[]): Uint8Array {
  const format = uintValue(options, optionNumber.contentFormat);
  const type = format === undefined ? types[0] : typeOf(format);
  if (type !== undefined && types.includes(type)) return payload;
  throw new MalformedError('media-type-mismatch', `the endpoint answered with something else than ${types.join(', ')}`);
}
