/** CoRE Link Format (RFC 6690 §2), strictly: no white space between links, targets of the characters of URIs alone. */
import { MalformedError } from '../crypto/errors.js';
import { limits } from '../crypto/limits.js';

/** A target attribute; null where it has no value, as `obs`. */
export type LinkAttribute = readonly [name: string, value: string | null];

export interface Link {
  /** A URI reference, as it was written. */
  readonly href: string;
  readonly attributes: readonly LinkAttribute[];
}

/** Of these only the first of a link counts (RFC 6690 §3, RFC 8288 §3). */
const single = new Set(['rel', 'anchor', 'rt', 'if', 'sz', 'title', 'title*', 'media', 'type']);

const referencePattern = /^(?:[A-Za-z0-9\-._~:/?#[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*$/;
const namePattern = /[A-Za-z0-9!#$&+\-.^_`|~]+\*?/y;
const tokenPattern = /[A-Za-z0-9!#$%&'()*+\-./:<=>?@[\]^_`{|}~]+/y;
const quotedPattern = /"((?:[^"\\\p{Cc}]|\\[^\p{Cc}])*)"/uy;
const targetPattern = /<([^<>]*)>/y;

/**
 * The links of a payload; none of an empty one.
 * @throws MalformedError `too-large`, `links-malformed`
 */
export function parseLinks(bytes: Uint8Array): readonly Link[] {
  if (bytes.length > limits.linkFormat) throw tooLarge(`more than ${limits.linkFormat} bytes of links`);
  const text = decode(bytes);
  const links: Link[] = [];
  if (text === '') return links;
  const reader = new Reader(text);
  do {
    if (links.length === limits.links) throw tooLarge(`more than ${limits.links} links`);
    links.push(readLink(reader));
  } while (reader.take(','));
  if (!reader.isAtEnd) throw malformed(`unexpected text at character ${reader.position + 1}`);
  return links;
}

/** Links as they are sent; what they hold came from `parseLinks` or is of the program's own making. */
export const writeLinks = (links: readonly Link[]): string =>
  links
    .map(({ href, attributes }) => [`<${href}>`, ...attributes.map((attribute) => writeAttribute(attribute))].join(';'))
    .join(',');

/** The value of the first attribute of that name; undefined where there is none, or none with a value. */
export const attributeOf = ({ attributes }: Link, wanted: string): string | undefined =>
  attributes.find(([name]) => name === wanted)?.[1] ?? undefined;

/** The text of a query or a payload. @throws MalformedError `links-malformed` for what is not UTF-8 */
function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw malformed('not UTF-8', cause);
  }
}

class Reader {
  readonly #text: string;
  position = 0;

  constructor(text: string) {
    this.#text = text;
  }

  get isAtEnd(): boolean {
    return this.position === this.#text.length;
  }

  take(character: string): boolean {
    if (this.#text[this.position] !== character) return false;
    this.position += 1;
    return true;
  }

  /** What a sticky pattern matches here, and moves behind it. */
  match(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.position;
    const found = pattern.exec(this.#text);
    if (!found) return undefined;
    this.position += found[0].length;
    return found;
  }
}

function readLink(reader: Reader): Link {
  const href = reader.match(targetPattern)?.[1];
  if (href === undefined) throw malformed(`no link at character ${reader.position + 1}`);
  assertReference(href);
  const attributes: LinkAttribute[] = [];
  const met = new Set<string>();
  let count = 0;
  while (reader.take(';')) {
    if (count++ === limits.linkAttributes) throw tooLarge(`more than ${limits.linkAttributes} attributes of a link`);
    const [name, value] = readAttribute(reader);
    if (single.has(name) && met.has(name)) continue;
    met.add(name);
    attributes.push([name, value]);
  }
  return { href, attributes };
}

function readAttribute(reader: Reader): LinkAttribute {
  const name = reader.match(namePattern)?.[0];
  if (name === undefined) throw malformed(`no attribute at character ${reader.position + 1}`);
  if (!reader.take('=')) return [name, null];
  const value = reader.match(quotedPattern)?.[1]?.replace(/\\(.)/gsu, '$1') ?? reader.match(tokenPattern)?.[0];
  if (value === undefined) throw malformed(`no value of ${name} at character ${reader.position + 1}`);
  if (value.length > limits.linkAttribute) throw tooLarge(`a value of more than ${limits.linkAttribute} characters`);
  if (name === 'anchor') assertReference(value);
  return [name, value];
}

function assertReference(text: string): void {
  if (text.length > limits.linkAttribute) throw tooLarge(`a target of more than ${limits.linkAttribute} characters`);
  if (!referencePattern.test(text)) throw malformed(`${JSON.stringify(text.slice(0, 64))} is no URI reference`);
}

function writeAttribute([name, value]: LinkAttribute): string {
  if (value === null) return name;
  return `${name}=${/^\d+$/.test(value) ? value : `"${value.replace(/["\\]/g, '\\$&')}"`}`;
}

const malformed = (message: string, cause?: unknown): MalformedError =>
  new MalformedError('links-malformed', `not CoRE Link Format: ${message}`, cause);
const tooLarge = (message: string): MalformedError => new MalformedError('too-large', message);
