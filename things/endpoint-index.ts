/** All endpoints that lookups see: those that registered themselves, and Things of the directory with forms of CoAP. */
import type { Directory } from './directory.js';
import { DirectoryFollower } from './directory-follower.js';
import type { LookupEndpoint } from './endpoint-lookup.js';
import { isOfEndpoint } from './endpoint-owner.js';
import { lookupOf, type Endpoints } from './endpoints.js';
import { endpointOfThing, type ThingEndpointParts } from './thing-endpoint.js';

interface Kept {
  readonly revision: number;
  readonly endpoint: LookupEndpoint;
}

const putsAtOnce = 20;

export class EndpointIndex {
  readonly #endpoints: Endpoints;
  readonly #follower: DirectoryFollower;
  readonly #things = new Map<string, LookupEndpoint>();
  #registered: ReadonlyMap<string, Kept> = new Map();
  #position: number | undefined;
  /** Undefined where something has changed since it was made. */
  #all: readonly LookupEndpoint[] | undefined;
  #updating = Promise.resolve();
  #put = 0;

  constructor(
    endpoints: Endpoints,
    directory: Directory,
    parts: ThingEndpointParts & { readonly pause: () => Promise<void> },
  ) {
    this.#endpoints = endpoints;
    this.#follower = new DirectoryFollower(directory, {
      put: async (entry) => {
        // Each takes a part of a millisecond, and others wait for none of them.
        if (++this.#put % putsAtOnce === 0) await parts.pause();
        const endpoint = isOfEndpoint(entry) ? undefined : endpointOfThing(entry, parts);
        if (endpoint) this.#things.set(entry.id, endpoint);
        else this.#things.delete(entry.id);
        this.#all = undefined;
      },
      drop: async (id) => {
        this.#things.delete(id);
        this.#all = undefined;
      },
    });
  }

  /** As they are now: by name, registered ones first. @throws UnavailableError of the database */
  async current(): Promise<readonly LookupEndpoint[]> {
    // One update after the other; a failed one concerns whoever asked for it alone.
    const update = this.#updating.then(() => this.#update());
    this.#updating = update.catch(() => undefined);
    await update;
    this.#all ??= this.#listed();
    return this.#all;
  }

  async #update(): Promise<void> {
    await this.#endpoints.purge();
    const newest = await this.#endpoints.position();
    if (newest !== this.#position) await this.#read();
    this.#position = newest;
    await this.#follower.update();
  }

  async #read(): Promise<void> {
    const known = this.#registered;
    this.#registered = new Map(
      (await this.#endpoints.all()).map((row): [string, Kept] => {
        const kept = known.get(row.id);
        const same = kept?.revision === row.revision ? kept : undefined;
        return [row.id, same ?? { revision: row.revision, endpoint: lookupOf(row) }];
      }),
    );
    this.#all = undefined;
  }

  /** The name of a Thing is nobody else's, whoever came first. */
  #listed(): readonly LookupEndpoint[] {
    const things = [...this.#things].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, endpoint]) => endpoint);
    const names = new Set(things.map(({ name }) => name));
    const registered = [...this.#registered.values()].map(({ endpoint }) => endpoint);
    return [...registered.filter(({ name }) => !names.has(name)), ...things];
  }
}
