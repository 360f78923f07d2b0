/** What a lookup in the CoRE Resource Directory finds (RFC 9176 §6). */
import { MalformedError } from '../crypto/errors.js';
import { limits } from '../crypto/limits.js';
import { matches, parseCriteria, parseQuery, type Criterion } from './link-filter.js';
import type { Link, LinkAttribute } from './link-format.js';

/** An endpoint as lookups see it. */
export interface LookupEndpoint {
  /** `ep` and `d`. */
  readonly name: string;
  readonly sector: string;
  /** To its registration (RFC 9176 §6.4). */
  readonly own: Link;
  /** With targets and anchors resolved. */
  readonly links: readonly Link[];
}

/** @param attributes beyond `ep`, `d` and `base` */
export const lookupEndpoint = (
  at: { readonly path: string; readonly name: string; readonly sector: string; readonly base: string },
  attributes: readonly LinkAttribute[],
  links: readonly Link[],
): LookupEndpoint => ({
  name: at.name,
  sector: at.sector,
  own: {
    href: at.path,
    attributes: [
      ['rt', 'core.rd-ep'],
      ['ep', at.name],
      ...(at.sector === '' ? [] : [['d', at.sector] as const]),
      ['base', at.base],
      ...attributes,
    ],
  },
  links,
});

export type LookupKind = 'ep' | 'res';

interface Query {
  readonly criteria: readonly Criterion[];
  readonly page: { readonly start: number; readonly count: number } | undefined;
}

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

/** RFC 9176 §6.2: an endpoint is meant where it fits itself, or one of its links does. */
function endpointLinks({ own, links }: LookupEndpoint, criteria: readonly Criterion[]): readonly Link[] {
  const fits = criteria.every((criterion) => matches(own, criterion) || links.some((link) => matches(link, criterion)));
  return fits ? [own] : [];
}

/** The same of a link: where it fits itself, or its endpoint does. */
function resourceLinks({ own, links }: LookupEndpoint, criteria: readonly Criterion[]): readonly Link[] {
  const open = criteria.filter((criterion) => !matches(own, criterion));
  return open.length === 0 ? links : links.filter((link) => open.every((criterion) => matches(link, criterion)));
}

const malformed = (message: string): MalformedError => new MalformedError('query-malformed', message);
