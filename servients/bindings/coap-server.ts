/** CoAP (RFC 7252, 7641, 7959) as a server of node-wot. */
import type { Content, ExposedThing, ProtocolServer } from '@node-wot/core';
import { SetupError } from '../../crypto/errors.js';
import { CoapEndpoint, type CoapLimits } from './coap-endpoint.js';
import { addForms } from './coap-forms.js';
import { contentReply } from './coap-formats.js';
import type { CoapObserver } from './coap-gate.js';
import { hostOf } from './host.js';
import { affordanceId, findResource, type ExposedEntry } from './coap-resources.js';
import { jsonType } from './media-types.js';
import { hrefsBelow, urlName } from './thing-base.js';

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
  readonly #host: string;
  readonly #advertisedPort: number | undefined;
  readonly #observer: CoapObserver | undefined;
  readonly #endpoint: CoapEndpoint;
  readonly #entries = new Map<string, ExposedEntry>();

  constructor(options: CoapServerOptions) {
    const { address = '0.0.0.0', host = hostOf(address), advertisedPort, observer } = options;
    this.#host = host;
    this.#advertisedPort = advertisedPort;
    this.#observer = observer;
    this.#endpoint = new CoapEndpoint({ ...options, address }, ({ path, query }) =>
      findResource(this.#entries, path, query),
    );
  }

  /** @throws SetupError `port-unusable` */
  async start(): Promise<void> {
    await this.#endpoint.start();
  }

  async stop(): Promise<void> {
    await this.#endpoint.stop();
  }

  getPort(): number {
    return this.#endpoint.port;
  }

  /** Adds the forms and serves the Thing. @throws SetupError `not-listening` before `start` */
  async expose(thing: ExposedThing): Promise<void> {
    if (this.getPort() === -1) throw new SetupError('not-listening', 'start the servient before exposing Things');
    const known = this.#find(thing.id);
    const name = known?.name ?? urlName(thing.title, (taken) => taken === '.well-known' || this.#entries.has(taken));
    const base = `coap://${this.#host}:${this.#advertisedPort ?? this.getPort()}/${name}/`;
    const entry = { name, thing, forms: addForms(thing, hrefsBelow(thing, base)) };
    this.#entries.set(name, entry);
    if (known === undefined) await this.#listen(entry);
  }

  async destroy(thingId: string): Promise<boolean> {
    const entry = this.#find(thingId);
    if (entry === undefined) return false;
    this.#entries.delete(entry.name);
    for (const name of Object.keys(entry.thing.properties)) {
      this.#endpoint.forgetObservers(affordanceId(entry.name, 'properties', name));
    }
    for (const name of Object.keys(entry.thing.events)) {
      this.#endpoint.forgetObservers(affordanceId(entry.name, 'events', name));
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
          this.#endpoint.notify(resource, contentReply(jsonType, payload));
        },
        (error: unknown) => {
          this.#observer?.failed(error);
        },
      );
    };
  }
}
