/** How the directory takes and gives Thing Descriptions: media types, gzip, and problems in the caller's language. */
import { gunzipSync, gzipSync } from 'node:zlib';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { MalformedError } from '../../crypto/errors.js';
import { limits } from '../../crypto/limits.js';
import { TdInvalidError } from '../../things/directory.js';
import { jsonType } from '../bindings/media-types.js';
import { negotiate } from '../bindings/http-negotiate.js';
import { languageOf } from '../bindings/language.js';
import { HttpRefusal } from '../bindings/http-problem.js';
import { parseStrictJson } from '../bindings/strict-json.js';

export const tdType = 'application/td+json';
export const ldType = 'application/ld+json';
export const patchType = 'application/merge-patch+json';

/** Under this, compressing costs more than it saves. */
const worthGzipBytes = 1_400;

/** A TD is JSON under any of its three names. */
export const tdTypes = [tdType, ldType, jsonType] as const;

/** Bodies are JSON of these types, and may come compressed; validating it is the directory's matter. */
export function parseOnly(scope: FastifyInstance, types: readonly string[]): void {
  scope.removeAllContentTypeParsers();
  scope.addContentTypeParser([...types], { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) =>
    parseStrictJson(decoded(body, request.headers['content-encoding'])),
  );
}

/** What is compressed may be as large as what is not. */
function decoded(body: Buffer, encoding: string | undefined): Uint8Array {
  if (encoding === undefined || encoding === 'identity') return body;
  if (encoding !== 'gzip') {
    throw new HttpRefusal(415, 'media-type-unsupported', 'the only content encoding that is taken is gzip', {
      'accept-encoding': 'gzip',
    });
  }
  try {
    return gunzipSync(body, { maxOutputLength: limits.thingDescription });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') {
      throw new MalformedError('too-large', `a TD has at most ${limits.thingDescription} bytes`, cause);
    }
    throw new MalformedError('body-malformed', 'the body is not gzip', cause);
  }
}

/** The offered type that the caller likes best. @throws HttpRefusal 406 `not-acceptable` */
export function accepted({ headers }: FastifyRequest, offered: readonly string[]): string {
  const type = negotiate(headers.accept, offered);
  if (type === undefined) throw new HttpRefusal(406, 'not-acceptable', `offered here: ${offered.join(', ')}`);
  return type;
}

/** As bytes, for Fastify adds a charset to text, which no JSON type has (RFC 8259 §11). */
export const sendJson = (reply: FastifyReply, type: string, value: unknown): FastifyReply =>
  reply.type(type).send(Buffer.from(JSON.stringify(value)));

/** Compresses answers for who takes gzip. To be added after the hook that gives ETags, which are those of the content. */
export function compressAnswers(scope: FastifyInstance): void {
  scope.addHook('onSend', async (request, reply, payload) => {
    const accepts = request.headers['accept-encoding'];
    if (!(payload instanceof Uint8Array) || payload.length < worthGzipBytes) return payload;
    reply.header('vary', 'accept, accept-encoding, authorization');
    if (accepts === undefined || negotiate(accepts, ['gzip']) === undefined) return payload;
    reply.header('content-encoding', 'gzip').removeHeader('content-length');
    return gzipSync(payload);
  });
}

/** WoT Discovery §7.3.2.1.6: the problem document says what is wrong with each field. */
export function describeProblems(scope: FastifyInstance): void {
  const invalid = new WeakMap<FastifyRequest, TdInvalidError>();
  scope.addHook('onError', async (request, _reply, error) => {
    if (error instanceof TdInvalidError) invalid.set(request, error);
  });
  scope.addHook('onSend', async (request, reply, payload) => {
    if (reply.statusCode < 400 || typeof payload !== 'string') return payload;
    const language = languageOf(request.headers['accept-language']);
    const problem = JSON.parse(payload) as { readonly title: string; readonly status: number };
    const error = invalid.get(request);
    reply
      .type('application/problem+json; charset=utf-8')
      .header('content-language', language)
      .header('vary', 'accept-language');
    return JSON.stringify({
      ...problem,
      ...(language === 'de' && { title: germanTitles[problem.status] ?? problem.title }),
      ...(error && { validationErrors: error.validationErrors }),
    });
  });
}

/** The details are in English. */
const germanTitles: Readonly<Record<number, string>> = {
  400: 'Ungültige Anfrage',
  401: 'Anmeldung erforderlich',
  403: 'Nicht erlaubt',
  404: 'Nicht gefunden',
  405: 'Methode nicht erlaubt',
  406: 'Nicht annehmbar',
  409: 'Widerspruch',
  412: 'Inzwischen geändert',
  413: 'Inhalt zu groß',
  415: 'Medientyp nicht unterstützt',
  429: 'Zu viele Anfragen',
  503: 'Derzeit nicht verfügbar',
};
