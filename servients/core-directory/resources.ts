/** What the CoRE Resource Directory (RFC 9176) has under which path of CoAP. */
import { LimitError, MalformedError, NotFoundError } from '../../crypto/errors.js';
import type { EndpointIndex } from '../../things/endpoint-index.js';
import { lookUp, type LookupEndpoint, type LookupKind } from '../../things/endpoint-lookup.js';
import { lookupOf, ownerOf, type Endpoints, type Registrant } from '../../things/endpoints.js';
import type { Link } from '../../things/link-format.js';
import type { Resource } from '../bindings/coap-endpoint.js';
import { contentReply, linkType, tdType } from '../bindings/coap-formats.js';
import { linksReply, thingLink, wellKnownCore } from '../bindings/coap-links.js';
import { optionNumber, type Reply } from '../bindings/coap-message.js';
import { CoapRefusal, refusalReply } from '../bindings/coap-refusal.js';
import type { CoapRequest } from '../bindings/coap-request.js';
import { jsonType } from '../bindings/media-types.js';
import type { RateLimit } from '../bindings/rate-limit.js';
import type { Registrants } from './registrants.js';

export interface CoreResources {
  readonly endpoints: Endpoints;
  readonly index: EndpointIndex;
  readonly registrants: Registrants;
  /** Whether everybody may look up what is registered. */
  readonly isOpen: boolean;
  /** Whether everybody may register. */
  readonly openRegistration: boolean;
  /** The directory's own TD, as JSON. */
  readonly td: () => Promise<string>;
  readonly rates: Readonly<Record<'registrations' | 'lookups' | 'lookupsOfAll', RateLimit>>;
}

/** @throws NotFoundError `resource-unknown` */
export function findCoreResource(parts: CoreResources, request: CoapRequest): Resource {
  const [first, second, third] = request.path;
  const found = third === undefined ? resourceAt(parts, request, first, second) : undefined;
  if (!found) throw new NotFoundError('resource-unknown', 'there is no such resource');
  return found;
}

function resourceAt(
  parts: CoreResources,
  request: CoapRequest,
  first: string | undefined,
  second: string | undefined,
): Resource | undefined {
  switch (first) {
    case '.well-known':
      if (second === 'core') return wellKnownCore(linksOf(parts), request.query);
      if (second === 'rd') return simpleRegistration(parts, request);
      return second === 'wot' ? description(parts) : undefined;
    case 'rd':
      return second === undefined ? registration(parts, request) : registered(parts, request, second);
    case 'rd-lookup':
      return second === 'ep' || second === 'res' ? lookup(parts, request, second) : undefined;
    default:
      return undefined;
  }
}

/** RFC 9176 §4.3, and the introduction of WoT Discovery. */
function linksOf({ isOpen, openRegistration }: CoreResources): readonly Link[] {
  const link = (href: string, rt: string, observed: boolean): Link => ({
    href,
    attributes: [['rt', rt], ['ct', '40'], ...(observed ? [['obs', null] as const] : [])],
  });
  return [
    thingLink('/.well-known/wot', 'wot.directory'),
    ...(openRegistration ? [link('/rd', 'core.rd', false)] : []),
    ...(isOpen
      ? [link('/rd-lookup/ep', 'core.rd-lookup-ep', true), link('/rd-lookup/res', 'core.rd-lookup-res', true)]
      : []),
  ];
}

const description = ({ td }: CoreResources): Resource => ({
  id: '.well-known/wot',
  methods: ['GET'],
  types: [tdType, jsonType],
  handle: async (_method, mediaType) => contentReply(mediaType, Buffer.from(await td())),
});

const fromOf = ({ source, sourcePort }: CoapRequest): Registrant => ({ address: source, port: sourcePort });

/** RFC 9176 §5. */
const registration = (parts: CoreResources, request: CoapRequest): Resource => ({
  id: 'rd',
  methods: ['POST'],
  types: [linkType],
  handle: async (_method, _mediaType, body) => {
    const from = admit(parts, request);
    const endpoint = await parts.endpoints.register(request.query, body, from);
    parts.registrants.registered(endpoint);
    const location = ['rd', endpoint.id].map((part) => [optionNumber.locationPath, Buffer.from(part)] as const);
    return { code: '2.01', options: location };
  },
});

/** RFC 9176 §5.1: the answer comes before anything is fetched, and says only that it will be. */
const simpleRegistration = (parts: CoreResources, request: CoapRequest): Resource => ({
  id: '.well-known/rd',
  methods: ['POST'],
  types: [linkType],
  handle: async (_method, _mediaType, body) => {
    const from = admit(parts, request);
    assertEmpty(body);
    await parts.endpoints.assertSimple(request.query, from);
    parts.registrants.simply(request.query, from);
    return { code: '2.04' };
  },
});

/** RFC 9176 §5.3. A Thing has such a path too, to be read. */
const registered = (parts: CoreResources, request: CoapRequest, id: string): Resource => ({
  id: `rd/${id}`,
  methods: ['GET', 'POST', 'DELETE'],
  types: [linkType],
  handle: async (method, _mediaType, body) => {
    if (method === 'GET') return read(parts, request, id);
    const from = admit(parts, request);
    if (method === 'DELETE') {
      await parts.endpoints.remove(id, from);
      return { code: '2.02' };
    }
    assertEmpty(body);
    parts.registrants.registered(await parts.endpoints.update(id, request.query, from));
    return { code: '2.04' };
  },
});

async function read(parts: CoreResources, request: CoapRequest, id: string): Promise<Reply> {
  slowLookups(parts, request);
  const own = await parts.endpoints.endpoint(id).catch((error: unknown) => {
    if (error instanceof NotFoundError) return undefined;
    throw error;
  });
  if (own?.owner === ownerOf(fromOf(request))) return linksReply(lookupOf(own).links);
  const seen = await endpointsSeen(parts);
  const found = seen.find(({ own: { href } }) => href === `/rd/${id}`);
  if (!found) throw new NotFoundError('endpoint-unknown', 'no endpoint is registered here');
  return linksReply(found.links);
}

/** RFC 9176 §6. */
const lookup = (parts: CoreResources, request: CoapRequest, kind: LookupKind): Resource => ({
  id: lookupId(kind, request.query),
  methods: ['GET'],
  types: [linkType],
  observed: 'state',
  handle: async () => {
    slowLookups(parts, request);
    return linksReply(lookUp(kind, await endpointsSeen(parts), request.query));
  },
});

const lookupId = (kind: LookupKind, query: readonly string[]): string => JSON.stringify([kind, ...query]);

/** What the observers of a lookup are told, whose resource has this id; a refusal is the last that they hear. */
export function lookupAgain(endpoints: readonly LookupEndpoint[], id: string): Reply {
  try {
    const [kind, ...query] = JSON.parse(id) as [LookupKind, ...string[]];
    return linksReply(lookUp(kind, endpoints, query));
  } catch (error) {
    return refusalReply(error);
  }
}

async function endpointsSeen({ isOpen, index }: CoreResources): Promise<readonly LookupEndpoint[]> {
  if (isOpen) return index.current();
  throw new CoapRefusal('4.01', 'token-missing', 'reading this directory takes a token: ask it over HTTP');
}

/** Who registers, where everybody may. */
function admit({ openRegistration, rates }: CoreResources, request: CoapRequest): Registrant {
  if (!openRegistration) {
    throw new CoapRefusal('4.03', 'registration-closed', 'this directory takes registrations over HTTP, with a token');
  }
  slowDown(rates.registrations, request);
  return fromOf(request);
}

function slowLookups({ rates }: CoreResources, request: CoapRequest): void {
  slowDown(rates.lookups, request);
  slowDown(rates.lookupsOfAll, { source: 'all' });
}

function slowDown(rate: RateLimit, { source }: Pick<CoapRequest, 'source'>): void {
  if (!rate.take(source, Date.now())) throw new LimitError('too-many-requests', 'slow down');
}

function assertEmpty(body: Buffer): void {
  if (body.length > 0) throw new MalformedError('body-malformed', 'this request has no payload');
}
