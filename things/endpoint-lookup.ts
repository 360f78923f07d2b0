/** What a lookup in the CoRE Resource Directory finds (RFC 9176 §6). */
import { MalformedError } from '../crypto/errors.js';
import { limits } from '../crypto/limits.js';
import { matches, parseCriteria, parseQuery, type Criterion } from './link-filter.js';
import type { Link, LinkAttribute } from './link-format.js';

/** An endpoint as lookups see it. */
export interface LookupEndpoint {
  /** Path of its registration. */
  readonly path: string;
  /** `ep`, `d` and `base` among them. */
  readonly attributes: readonly LinkAttribute[];
  /** With targets and anchors resolved. */
  readonly links: readonly Link[];
}

export type LookupKind = 'ep' | 'res';

interface Query {
  readonly criteria: readonly Criterion[];
  readonly page: { readonly start: number; readonly count: number } | undefined;
}

/** Of every endpoint (RFC 9176 §6.4). */
const endpointType: LinkAttribute = ['rt', 'core.rd-ep'];

/**
 * The links to endpoints, or those to their resources, that all criteria of a query hold for.
 * @throws MalformedError `query-malformed`; `too-large` where there are more than can be given at once
 */
export function lookUp(
  kind: LookupKind,
  endpoints: Iterable<LookupEndpoint>,
  query: readonly string[],
): readonly Link[] {
  const { criteria, page } = readQuery(query);
  const found: Link[] = [];
  const end = page ? page.start + page.count : limits.lookupLinks + 1;
  for (const endpoint of endpoints) {
    for (const link of kind === 'ep' ? endpointLinks(endpoint, criteria) : resourceLinks(endpoint, criteria)) {
      found.push(link);
      if (found.length === end) break;
    }
    if (found.length >= end) break;
  }
  if (page) return found.slice(page.start, end);
  if (found.length < end) return found;
  throw new MalformedError(
    'too-large',
    `more than ${limits.lookupLinks} links: narrow it down, or ask with page and count`,
  );
}

/** @throws MalformedError `query-malformed`, `too-large` */
function readQuery(parts: readonly string[]): Query {
  const attributes = parseQuery(parts);
  const isPaging = ([name]: LinkAttribute): boolean => name === 'page' || name === 'count';
  const criteria = parseCriteria(attributes.filter((attribute) => !isPaging(attribute)));
  const [page, count] = ['page', 'count'].map((wanted) => numberOf(attributes, wanted));
  if (count === undefined) {
    if (page !== undefined) throw malformed('page goes with count');
    return { criteria, page: undefined };
  }
  if (count < 1 || count > limits.lookupLinks) throw malformed(`count is 1 to ${limits.lookupLinks}`);
  return { criteria, page: { start: (page ?? 0) * count, count } };
}

function numberOf(attributes: readonly LinkAttribute[], wanted: string): number | undefined {
  const [found, ...others] = attributes.filter(([name]) => name === wanted);
  if (!found) return undefined;
  if (others.length > 0 || !/^\d{1,6}$/.test(found[1] ?? '')) throw malformed(`${wanted} is one number`);
  return Number(found[1]);
}

const ofEndpoint = ({ path, attributes }: LookupEndpoint): readonly LinkAttribute[] => [
  ['href', path],
  endpointType,
  ...attributes,
];
const ofLink = ({ href, attributes }: Link): readonly LinkAttribute[] => [['href', href], ...attributes];

/** RFC 9176 §6.2: an endpoint is meant where it fits itself, or one of its links does. */
function endpointLinks(endpoint: LookupEndpoint, criteria: readonly Criterion[]): readonly Link[] {
  const own = ofEndpoint(endpoint);
  const fits = criteria.every(
    (criterion) => matches(own, criterion) || endpoint.links.some((link) => matches(ofLink(link), criterion)),
  );
  return fits ? [{ href: endpoint.path, attributes: own.slice(1) }] : [];
}

/** The same of a link: where it fits itself, or its endpoint does. */
function resourceLinks(endpoint: LookupEndpoint, criteria: readonly Criterion[]): readonly Link[] {
  const own = ofEndpoint(endpoint);
  const open = criteria.filter((criterion) => !matches(own, criterion));
  if (open.length === 0) return endpoint.links;
  return endpoint.links.filter((link) => {
    const attributes = ofLink(link);
    return open.every((criterion) => matches(attributes, criterion));
  });
}

const malformed = (message: string): MalformedError => new MalformedError('query-malformed', message);
