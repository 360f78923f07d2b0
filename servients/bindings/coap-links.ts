/** Links as resources: /.well-known/core (RFC 6690 §4) and what is like it. */
import { linksAskedFor } from '../../things/link-filter.js';
import { writeLinks, type Link } from '../../things/link-format.js';
import type { Resource } from './coap-endpoint.js';
import { contentReply, formatOf, linkType, tdType } from './coap-formats.js';
import type { Reply } from './coap-message.js';

/** To a Thing Description, as the introduction of WoT Discovery §6.3 has it. */
export const thingLink = (href: string, type: 'wot.thing' | 'wot.directory' = 'wot.thing'): Link => ({
  href,
  attributes: [
    ['rt', type],
    ['ct', String(formatOf(tdType))],
  ],
});

export const wellKnownCore = (links: readonly Link[], query: readonly string[]): Resource => ({
  id: '.well-known/core',
  methods: ['GET'],
  types: [linkType],
  handle: async () => linksReply(linksAskedFor(links, query)),
});

export const linksReply = (links: readonly Link[]): Reply => contentReply(linkType, Buffer.from(writeLinks(links)));
