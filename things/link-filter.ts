/** Which links a query asks for (RFC 6690 §4.1, RFC 9176 §6.2). */
import { MalformedError } from '../crypto/errors.js';
import { limits } from '../crypto/limits.js';
import type { Link, LinkAttribute } from './link-format.js';

/** An attribute that must be there, with a value where one was asked for. */
export interface Criterion {
  readonly name: string;
  readonly value: string | null;
  /** Whether what begins with the value is meant as well. */
  readonly isPrefix: boolean;
}

/** Attributes that hold several values, with spaces between them. */
const lists = new Set(['rt', 'if', 'rel', 'rev', 'ct']);

/** @throws MalformedError `query-malformed`, `too-large` */
export function parseCriteria(query: readonly LinkAttribute[]): readonly Criterion[] {
  if (query.length > limits.lookupCriteria) {
    throw new MalformedError('too-large', `a query has at most ${limits.lookupCriteria} criteria`);
  }
  return query.map(([name, value]) => {
    if (value?.endsWith('*') !== true) return { name, value, isPrefix: false };
    return { name, value: value.slice(0, -1), isPrefix: true };
  });
}

/**
 * The parts of a query: a name and a value each.
 * @throws MalformedError `query-malformed`, `too-large`
 */
export function parseQuery(parts: readonly string[]): readonly LinkAttribute[] {
  return parts.map((part) => {
    const [, name, value] = /^([A-Za-z0-9!#$&+\-.^_`|~]+\*?)(?:=(.*))?$/su.exec(part) ?? [];
    if (name === undefined || /[\p{Cc}\uFFFD]/u.test(part)) {
      throw new MalformedError('query-malformed', `${JSON.stringify(part.slice(0, 64))} is no name=value`);
    }
    if (part.length > limits.linkAttribute) {
      throw new MalformedError('too-large', `a part of a query has at most ${limits.linkAttribute} characters`);
    }
    return [name, value ?? null];
  });
}

/**
 * Of the links of a server, those that a query asks for; `href` is an attribute too.
 * @throws MalformedError `query-malformed`, `too-large`
 */
export function linksAskedFor(links: readonly Link[], query: readonly string[]): readonly Link[] {
  const criteria = parseCriteria(parseQuery(query));
  return links.filter((link) => criteria.every((criterion) => matches(link, criterion)));
}

/** Whether the target, or one of the attributes, is what was asked for. Called for every link of a directory. */
export function matches({ href, attributes }: Link, criterion: Criterion): boolean {
  if (criterion.name === 'href' && hasValue('href', href, criterion)) return true;
  return attributes.some(([name, value]) => name === criterion.name && hasValue(name, value, criterion));
}

function hasValue(name: string, value: string | null, { value: wanted, isPrefix }: Criterion): boolean {
  if (wanted === null) return true;
  if (value === null) return wanted === '' && isPrefix;
  const isWanted = (each: string): boolean => (isPrefix ? each.startsWith(wanted) : each === wanted);
  return isWanted(value) || (lists.has(name) && value.includes(' ') && value.split(' ').some(isWanted));
}
