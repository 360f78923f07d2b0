/** Bytes of the protocol over HTTP: as they are, or as base64url in JSON for programs that know only the TD. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { fromBase64Url, toBase64Url } from '../../crypto/bytes.js';
import { MalformedError } from '../../crypto/errors.js';
import { cborType, coseType, jsonType } from '../bindings/media-types.js';
import { negotiate } from '../bindings/http-negotiate.js';
import { HttpRefusal } from '../bindings/http-problem.js';
import { parseStrictJson } from '../bindings/strict-json.js';

/** @throws MalformedError `body-malformed` */
const parseJson = async (_request: FastifyRequest, body: Buffer): Promise<unknown> => parseStrictJson(body);

/** JSON and COSE, and nothing else. */
export function parseMessages(scope: FastifyInstance): void {
  scope.removeContentTypeParser('text/plain');
  scope.addContentTypeParser(jsonType, { parseAs: 'buffer' }, parseJson);
  scope.addContentTypeParser(coseType, { parseAs: 'buffer' }, (_request, body, done) => {
    done(null, body);
  });
}

/** @throws MalformedError `base64url-malformed`; HttpRefusal `media-type-unsupported` */
export function messageOf({ body }: FastifyRequest): Uint8Array {
  if (body instanceof Uint8Array) return new Uint8Array(body);
  if (body === undefined || body === null) {
    const types = `${jsonType}, ${coseType}`;
    throw new HttpRefusal(415, 'media-type-unsupported', `taken here: ${types}`, { accept: types });
  }
  try {
    return fromBase64Url((body as { readonly message: string }).message);
  } catch (cause) {
    throw new MalformedError('base64url-malformed', 'the message is not canonical base64url', cause);
  }
}

/** In the form in which the request came. */
export const answerMessage = ({ body }: FastifyRequest, reply: FastifyReply, message: Uint8Array): FastifyReply =>
  body instanceof Uint8Array
    ? reply.type(coseType).send(Buffer.from(message))
    : reply.send({ message: toBase64Url(message) });

/** In the form that the caller likes best. @throws HttpRefusal `not-acceptable` */
export function sendMessage({ headers }: FastifyRequest, reply: FastifyReply, message: Uint8Array): FastifyReply {
  const type = negotiate(headers.accept, [jsonType, cborType]);
  if (type === undefined) throw new HttpRefusal(406, 'not-acceptable', `offered here: ${jsonType}, ${cborType}`);
  return type === cborType
    ? reply.type(cborType).send(Buffer.from(message))
    : reply.send({ message: toBase64Url(message) });
}
