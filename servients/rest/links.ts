/** /.well-known/core: where the directory is, for those who know no more of this host (WoT Discovery §6.3). */
import type { FastifyInstance } from 'fastify';
import { linkType } from '../bindings/coap-formats.js';
import { thingLink } from '../bindings/coap-links.js';
import { sendLinks } from '../bindings/http-links.js';
import { open } from './access.js';
import { operation, stream } from './operation.js';

const links = [thingLink('/.well-known/wot', 'wot.directory')];

export function linkRoutes(scope: FastifyInstance): void {
  const text = { type: 'string' };
  const schema = operation({
    id: 'getLinks',
    tag: 'Directory',
    summary: 'Where the directory is, in the CoRE Link Format (RFC 6690)',
    description: 'With attributes in the query, the links that have them; a * at the end stands for anything.',
    query: { href: text, rt: text, ct: text },
    gives: { 200: stream(linkType, 'Links') },
  });
  scope.get('/.well-known/core', { onRequest: open, schema }, async (request, reply) =>
    sendLinks(request, reply, links),
  );
}
