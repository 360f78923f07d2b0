/**
 * JSON from strangers: valid UTF-8, no name twice in an object (RFC 8259 §4 leaves open which counts), no deeper than a
 * limit, and none of the names by which objects of JavaScript are led astray.
 */
import { MalformedError } from '../../crypto/errors.js';
import { limits } from '../../crypto/limits.js';

const utf8 = new TextDecoder('utf-8', { fatal: true });
const token = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]/g;
const refusedNames = new Set(['__proto__', 'constructor', 'prototype']);

/** @throws MalformedError `body-malformed` */
export function parseStrictJson(bytes: Uint8Array): unknown {
  try {
    const text = utf8.decode(bytes);
    const value: unknown = JSON.parse(text);
    assertPlain(text);
    return value;
  } catch (cause) {
    if (cause instanceof MalformedError) throw cause;
    throw malformed(bytes.length === 0 ? 'the body is empty' : 'the body is not JSON', cause);
  }
}

/** Of a text that is valid JSON: its strings and punctuation tell names from values. */
function assertPlain(text: string): void {
  // The names of each object that is open, and null for an array.
  const open: (Set<string> | null)[] = [];
  let string = '';
  for (const [part] of text.matchAll(token)) {
    if (part === '{' || part === '[') {
      open.push(part === '{' ? new Set() : null);
      if (open.length > limits.jsonDepth) throw malformed(`the body nests deeper than ${limits.jsonDepth}`);
    } else if (part === '}' || part === ']') open.pop();
    else if (part === ':') takeName(open.at(-1), JSON.parse(string) as string);
    else if (part !== ',') string = part;
  }
}

function takeName(names: Set<string> | null | undefined, name: string): void {
  if (refusedNames.has(name)) throw malformed(`the body has a name that is not taken: ${name}`);
  if (names?.has(name) === true) throw malformed('the body has a name twice in one object');
  names?.add(name);
}

const malformed = (message: string, cause?: unknown): MalformedError =>
  new MalformedError('body-malformed', message, cause);
