/** /.well-known/core (RFC 6690 §4) over HTTP. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { MalformedError } from '../../crypto/errors.js';
import { linksAskedFor } from '../../things/link-filter.js';
import { writeLinks, type Link } from '../../things/link-format.js';
import { linkType } from './coap-formats.js';

/** @throws MalformedError `query-malformed`, `too-large` */
export const sendLinks = ({ url }: FastifyRequest, reply: FastifyReply, links: readonly Link[]): FastifyReply =>
  reply.type(linkType).send(Buffer.from(writeLinks(linksAskedFor(links, queryOf(url)))));

/** The parts of the query, decoded. */
function queryOf(url: string): readonly string[] {
  const [, query = ''] = /\?([^#]*)/.exec(url) ?? [];
  try {
    return query === '' ? [] : query.split('&').map((part) => decodeURIComponent(part.replaceAll('+', ' ')));
  } catch (cause) {
    throw new MalformedError('query-malformed', 'the query is not percent-encoded UTF-8', cause);
  }
}
