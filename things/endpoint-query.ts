/** What an endpoint says of itself in the query of its registration (RFC 9176 §5). */
import { utf8 } from '../crypto/bytes.js';
import { MalformedError } from '../crypto/errors.js';
import { uint32Max } from '../crypto/fields.js';
import { limits } from '../crypto/limits.js';
import { parseQuery } from './link-filter.js';
import type { LinkAttribute } from './link-format.js';

export interface EndpointQuery {
  readonly name: string | undefined;
  /** Empty where none was given. */
  readonly sector: string;
  readonly lifetimeS: number | undefined;
  readonly base: string | undefined;
  readonly attributes: readonly LinkAttribute[];
}

const known = new Set(['ep', 'd', 'lt', 'base']);
/** Lookups give them another meaning. */
const reserved = new Set(['href', 'rt', 'anchor', 'page', 'count']);
const schemes = /^(?:coaps?(?:\+(?:tcp|ws))?|https?):$/;

/** @throws MalformedError `query-malformed`, `too-large` */
export function readEndpointQuery(parts: readonly string[]): EndpointQuery {
  const given = parseQuery(parts);
  if (given.length > limits.linkAttributes) {
    throw new MalformedError('too-large', `an endpoint has at most ${limits.linkAttributes} attributes`);
  }
  const names = given.map(([name]) => name);
  const surplus = names.find((name, index) => reserved.has(name) || names.indexOf(name) !== index);
  if (surplus !== undefined) throw malformed(`${surplus} cannot be an attribute of an endpoint, or not twice`);
  const valueOf = (wanted: string): string | undefined => {
    const found = given.find(([name]) => name === wanted);
    if (found && (found[1] ?? '') === '') throw malformed(`${wanted} has no value`);
    return found?.[1] ?? undefined;
  };
  return {
    name: nameIn('ep', valueOf('ep')),
    sector: nameIn('d', valueOf('d')) ?? '',
    lifetimeS: lifetimeIn(valueOf('lt')),
    base: baseIn(valueOf('base')),
    attributes: given.filter(([name]) => !known.has(name)),
  };
}

function nameIn(field: string, value: string | undefined): string | undefined {
  if (value === undefined || utf8(value).length <= limits.endpointName) return value;
  throw malformed(`${field} has at most ${limits.endpointName} bytes`);
}

function lifetimeIn(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const lifetimeS = /^\d{1,10}$/.test(value) ? Number(value) : 0;
  if (lifetimeS >= 1 && lifetimeS <= uint32Max) return lifetimeS;
  throw malformed(`lt is a number of seconds from 1 to ${uint32Max}`);
}

/** What the links are resolved against, and others reach the endpoint at: no more than a scheme, a host and a path. */
function baseIn(value: string | undefined): string | undefined {
  if (value === undefined) return undefined;
  const url = URL.canParse(value) ? new URL(value) : undefined;
  const isPlain = /^[!-~]+$/.test(value) && !/[<>"{}|\\^`%?#@]/.test(value);
  if (url && schemes.test(url.protocol) && url.host !== '' && isPlain) return value;
  throw malformed('base is a URL of CoAP or HTTP without query, fragment, user or zone');
}

const malformed = (message: string): MalformedError => new MalformedError('query-malformed', message);
