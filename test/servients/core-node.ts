/** A small CoAP node, which registers and is asked. */
import { CoapEndpoint, type Resource } from '../../servients/bindings/coap-endpoint.js';
import { contentReply, linkType, tdType } from '../../servients/bindings/coap-formats.js';
import { NotFoundError } from '../../crypto/errors.js';

export interface CoreNode {
  readonly origin: string;
  readonly port: number;
  /** What it was asked for. */
  readonly asked: string[];
  close(): Promise<void>;
}

const contentAt = (mediaType: string, text: string): Resource => ({
  id: text,
  methods: ['GET'],
  types: [mediaType],
  handle: async () => contentReply(mediaType, Buffer.from(text)),
});

/** Serves its links, and the texts of Thing Descriptions under their paths. */
export async function runNode(
  links: string,
  tds: Readonly<Record<string, string>> = {},
  address = '127.0.0.1',
  ownPort = 0,
): Promise<CoreNode> {
  const asked: string[] = [];
  const endpoint = new CoapEndpoint({ port: ownPort, address }, ({ path }) => {
    const place = path.join('/');
    asked.push(place);
    if (place === '.well-known/core') return contentAt(linkType, links);
    const td = tds[place];
    if (td === undefined) throw new NotFoundError('resource-unknown', 'nothing there');
    return contentAt(tdType, td);
  });
  await endpoint.start();
  const { port } = endpoint;
  return { origin: `coap://${address}:${port}`, port, asked, close: () => endpoint.stop() };
}

export const lampTd = (id: string | undefined, origin: string): string =>
  JSON.stringify({
    '@context': 'https://www.w3.org/2022/wot/td/v1.1',
    ...(id !== undefined && { id }),
    title: 'Lamp',
    securityDefinitions: { nosec_sc: { scheme: 'nosec' } },
    security: 'nosec_sc',
    properties: { on: { type: 'boolean', forms: [{ href: `${origin}/on`, subprotocol: 'cov:observe' }] } },
  });
