/**
 * The CoRE Resource Directory (RFC 9176) beside the directory of Things: endpoints register themselves, and what they
 * describe as Things becomes entries of the directory, which last as long as the registration.
 */
import { toBase64Url, utf8 } from '../crypto/bytes.js';
import { LimitError, MalformedError, NotFoundError, VerificationError } from '../crypto/errors.js';
import { limits } from '../crypto/limits.js';
import { isReservedId } from '../crypto/registration.js';
import type { Suite } from '../crypto/suite.js';
import type { Directory } from './directory.js';
import { lookupEndpoint, type LookupEndpoint } from './endpoint-lookup.js';
import { ownerOfThings } from './endpoint-owner.js';
import { readEndpointQuery, type EndpointQuery } from './endpoint-query.js';
import type { Endpoint, EndpointStore } from './endpoint-store.js';
import { attributeOf, parseLinks, type Link, type LinkAttribute } from './link-format.js';
import { uuidOf } from './uuid.js';

export interface EndpointsParts {
  readonly store: EndpointStore;
  readonly directory: Directory;
  readonly suite: Pick<Suite, 'publicSha256'>;
  readonly nowS: () => number;
  readonly random: (length: number) => Uint8Array;
}

/** Where a request came from, as the socket reports it. */
export interface Registrant {
  readonly address: string;
  readonly port: number;
}

/** Seconds, where an endpoint asks for none (RFC 9176 §5). */
const defaultLifetimeS = 90_000;
export class Endpoints {
  readonly #parts: EndpointsParts;

  constructor(parts: EndpointsParts) {
    this.#parts = parts;
  }

  /**
   * Registers an endpoint with its links, in the place of what was registered under its name from the same address.
   * @throws MalformedError `query-malformed`, `links-malformed`, `too-large`; VerificationError `endpoint-of-another`,
   *   `name-reserved`; LimitError `endpoints-full`
   */
  async register(query: readonly string[], payload: Uint8Array, from: Registrant): Promise<Endpoint> {
    const { store, random, nowS } = this.#parts;
    const asked = readEndpointQuery(query);
    const { name, sector } = await this.#admitted(asked, from);
    const sourceBase = baseOf(from);
    assertResolvable(parseLinks(payload), asked.base ?? sourceBase);
    const owner = ownerOf(from);
    await this.purge();
    return store.putEndpoint({ name, sector, owner, newId: toBase64Url(random(9)) }, (known, counts) => {
      if (known) assertOwner(known, from);
      else if (counts.all >= limits.endpoints || counts.ofOwner >= limits.endpointsOfAddress) {
        throw new LimitError('endpoints-full', 'there is no room for another endpoint');
      }
      return {
        givenBase: asked.base ?? null,
        sourceBase,
        lifetimeS: asked.lifetimeS ?? defaultLifetimeS,
        updatedS: nowS(),
        attributes: JSON.stringify(asked.attributes),
        links: new TextDecoder().decode(payload),
        owner,
        things: known?.things ?? '[]',
      };
    });
  }

  /**
   * Refuses what a simple registration (RFC 9176 §5.1) will never do, before anything is fetched for it.
   * @throws as `register`, but for links
   */
  async assertSimple(query: readonly string[], from: Registrant): Promise<void> {
    const asked = readEndpointQuery(query);
    if (asked.base !== undefined) throw malformed('a simple registration has no base: it is where it comes from');
    const { name, sector } = await this.#admitted(asked, from);
    const known = await this.#parts.store.endpointNamed(name, sector);
    if (known) assertOwner(known, from);
  }

  /**
   * Renews a registration; what is given takes the place of what was.
   * @throws MalformedError `query-malformed`, `links-malformed`; NotFoundError `endpoint-unknown`; VerificationError
   *   `endpoint-of-another`
   */
  async update(id: string, query: readonly string[], from: Registrant): Promise<Endpoint> {
    const asked = readEndpointQuery(query);
    if (asked.name !== undefined || asked.sector !== '') throw malformed('ep and d are for good');
    await this.purge();
    const updated = await this.#parts.store.updateEndpoint(id, (known) => {
      assertOwner(known, from);
      const sourceBase = baseOf(from);
      const givenBase = asked.base ?? known.givenBase;
      assertResolvable(linksOf(known), givenBase ?? sourceBase);
      const kept = attributesOf(known).filter(([name]) => !asked.attributes.some(([given]) => given === name));
      const attributes = [...kept, ...asked.attributes];
      if (attributes.length > limits.linkAttributes) throw malformed('too many attributes of one endpoint');
      return {
        ...known,
        ...{ givenBase, sourceBase },
        lifetimeS: asked.lifetimeS ?? known.lifetimeS,
        updatedS: this.#parts.nowS(),
        attributes: JSON.stringify(attributes),
      };
    });
    if (!updated) throw unknownEndpoint();
    await this.#renewThings(updated);
    return updated;
  }

  /** @throws NotFoundError `endpoint-unknown`; VerificationError `endpoint-of-another` */
  async remove(id: string, from: Registrant): Promise<void> {
    const known = await this.endpoint(id);
    assertOwner(known, from);
    // First what hangs on it: whoever is killed in between is asked to remove it again.
    await this.#dropThings(known, thingsOf(known));
    await this.#parts.store.deleteEndpoint(id, (found) => {
      assertOwner(found, from);
    });
  }

  /** @throws NotFoundError `endpoint-unknown` */
  async endpoint(id: string): Promise<Endpoint> {
    await this.purge();
    const known = await this.#parts.store.endpoint(id);
    if (!known) throw unknownEndpoint();
    return known;
  }

  /** Removes what has outlived its lifetime; its Things end at the same time. @returns the ids */
  async purge(): Promise<readonly string[]> {
    const { store, nowS } = this.#parts;
    return store.purgeEndpoints(nowS());
  }

  position(): Promise<number> {
    return this.#parts.store.endpointPosition();
  }

  async all(): Promise<readonly Endpoint[]> {
    return this.#parts.store.endpoints();
  }

  /**
   * Takes what was fetched for an endpoint into the directory, and out of it what it does not describe any more.
   * @returns what was refused, and why
   */
  async describe(id: string, found: readonly { readonly href: string; readonly td: unknown }[]): Promise<unknown[]> {
    const endpoint = await this.endpoint(id);
    const refusals: unknown[] = [];
    const things: string[] = [];
    for (const { href, td } of found) {
      try {
        things.push(await this.#putThing(endpoint, href, td));
      } catch (error) {
        refusals.push(error);
      }
    }
    const updated = await this.#parts.store.updateEndpoint(id, (known) => ({
      ...known,
      things: JSON.stringify(things),
    }));
    await this.#dropThings(endpoint, updated ? thingsOf(endpoint).filter((each) => !things.includes(each)) : things);
    return refusals;
  }

  async #admitted(
    { name, sector }: EndpointQuery,
    from: Registrant,
  ): Promise<{ readonly name: string; readonly sector: string }> {
    if (name === undefined) throw malformed('ep is missing: an endpoint needs a name');
    if (isReservedId(name)) throw new VerificationError('name-reserved', `${name} is a name of a device of our own`);
    const thing = await this.#parts.directory.entry(name).catch((error: unknown) => {
      if (error instanceof NotFoundError) return undefined;
      throw error;
    });
    if (thing === undefined) return { name, sector };
    const known = await this.#parts.store.endpointNamed(name, sector);
    if (known && thing.owner === ownerOfThings(known)) return { name, sector };
    throw new VerificationError('endpoint-of-another', `${ownerOf(from)} takes the name of the Thing ${name}`);
  }

  /** @returns its id */
  async #putThing(endpoint: Endpoint, href: string, td: unknown): Promise<string> {
    const { directory, suite } = this.#parts;
    if (typeof td !== 'object' || td === null || Array.isArray(td)) throw malformed('no Thing Description');
    const registration = { expires: endOf(endpoint) };
    const change = { owner: ownerOfThings(endpoint) };
    const id: unknown = 'id' in td ? td.id : undefined;
    if (id === undefined) {
      const name = uuidOf(suite.publicSha256(utf8(`${endpoint.id} ${href}`)));
      return directory.add(`urn:uuid:${name}`, { ...td, registration }, change);
    }
    if (typeof id !== 'string' || isReservedId(id)) {
      throw new VerificationError('name-reserved', `${JSON.stringify(id)} is no name that anybody may take`);
    }
    await directory.put(id, { ...td, registration }, change);
    return id;
  }

  async #renewThings(endpoint: Endpoint): Promise<void> {
    const patch = { registration: { ttl: null, expires: endOf(endpoint) } };
    for (const id of thingsOf(endpoint)) {
      await orGone(this.#parts.directory.patch(id, patch, { owner: ownerOfThings(endpoint) }));
    }
  }

  async #dropThings(endpoint: Endpoint, ids: readonly string[]): Promise<void> {
    for (const id of ids) await orGone(this.#parts.directory.delete(id, { owner: ownerOfThings(endpoint) }));
  }
}

const linksOf = ({ links }: Endpoint): readonly Link[] => parseLinks(utf8(links));
const thingsOf = ({ things }: Endpoint): readonly string[] => JSON.parse(things) as string[];
const attributesOf = ({ attributes }: Endpoint): readonly LinkAttribute[] => JSON.parse(attributes) as LinkAttribute[];
const baseUrlOf = ({ givenBase, sourceBase }: Endpoint): string => givenBase ?? sourceBase;
const endOf = ({ updatedS, lifetimeS }: Endpoint): string => new Date((updatedS + lifetimeS) * 1000).toISOString();

/** What an endpoint registered, as lookups give it: with targets and anchors that stand for themselves. */
export function lookupOf(endpoint: Endpoint): LookupEndpoint {
  const { name, sector } = endpoint;
  const base = baseUrlOf(endpoint);
  const links = linksOf(endpoint).map(({ href, attributes }): Link => ({
    href: resolved(href, base),
    attributes: attributes.map(([attribute, value]) =>
      attribute === 'anchor' && value !== null ? [attribute, resolved(value, base)] : [attribute, value],
    ),
  }));
  return lookupEndpoint({ path: `/rd/${endpoint.id}`, name, sector, base }, attributesOf(endpoint), links);
}

/**
 * Where an endpoint says that Thing Descriptions are: URLs of CoAP, on the host alone from which it registered, so that
 * nobody is sent anywhere else.
 */
export const tdUrlsOf = (endpoint: Endpoint): readonly string[] => {
  const urls = linksOf(endpoint)
    .filter((link) => (attributeOf(link, 'rt') ?? '').split(' ').includes('wot.thing'))
    .map(({ href }) => resolved(href, baseUrlOf(endpoint)))
    .filter((href) => {
      const { protocol, hostname } = new URL(href);
      return protocol === 'coap:' && hostname.replace(/^\[|\]$/g, '') === endpoint.owner;
    });
  return [...new Set(urls)].slice(0, limits.endpointThings);
};

/** An IPv4 address as such, whatever the socket; an address without its zone, which means nothing to others. */
export const ownerOf = ({ address }: Registrant): string =>
  address.replace(/^::ffff:(?=\d+\.)/, '').replace(/%.*$/, '');

/** RFC 9176 §5: where a registration comes from is its base, where it gives none. */
export function baseOf(from: Registrant): string {
  const address = ownerOf(from);
  const host = address.includes(':') ? `[${address}]` : address;
  return `coap://${host}${from.port === 5683 ? '' : `:${from.port}`}`;
}

/** What is absolute stays as it was written (RFC 9176 §6.1). */
const resolved = (reference: string, base: string): string =>
  /^[a-z][a-z0-9+.-]*:/i.test(reference) ? reference : new URL(reference, base).href;

function assertResolvable(links: readonly Link[], base: string): void {
  for (const link of links) {
    for (const reference of [link.href, attributeOf(link, 'anchor') ?? '']) {
      if (!URL.canParse(reference, base)) {
        throw new MalformedError('links-malformed', `${JSON.stringify(reference)} has no meaning below ${base}`);
      }
    }
  }
}

function assertOwner(known: Endpoint, from: Registrant): void {
  if (known.owner === ownerOf(from)) return;
  throw new VerificationError('endpoint-of-another', `${known.name} was registered from ${known.owner}`);
}

/** What is there no more, or is somebody else's by now, is no matter of the endpoint's. */
async function orGone(change: Promise<unknown>): Promise<void> {
  try {
    await change;
  } catch (error) {
    const isOfAnother = error instanceof VerificationError && error.code === 'td-of-another';
    if (!isOfAnother && !(error instanceof NotFoundError)) throw error;
  }
}

const unknownEndpoint = (): NotFoundError => new NotFoundError('endpoint-unknown', 'no endpoint is registered here');
const malformed = (message: string): MalformedError => new MalformedError('query-malformed', message);
