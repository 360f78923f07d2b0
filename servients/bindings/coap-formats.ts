/** The content formats (RFC 7252 §12.3) that the binding knows, by media type. */
import { optionNumber, uintOption, type Reply } from './coap-message.js';
import { coseType, jsonType } from './media-types.js';

export const tdType = 'application/td+json';
export const linkType = 'application/link-format';

const formats = new Map<string, number>([
  [jsonType, 50],
  // RFC 9052 §11.6 has no number for COSE without its type; messages here are COSE_Sign1.
  [coseType, 18],
  [tdType, 432],
  [linkType, 40],
  ['application/cbor', 60],
  ['application/octet-stream', 42],
  ['text/plain', 0],
]);
const types = new Map([...formats].map(([type, format]) => [format, type]));

/** Parameters of the media type do not count. */
export const formatFor = (mediaType: string): number | undefined =>
  formats.get(mediaType.split(';', 1)[0]?.trim() ?? '');

/** @throws TypeError for a type that the binding does not know */
export function formatOf(mediaType: string): number {
  const format = formatFor(mediaType);
  if (format === undefined) throw new TypeError(`no CoAP content format for ${mediaType}`);
  return format;
}

export const typeOf = (format: number): string | undefined => types.get(format);

/** A reply with content of a media type that the binding knows. */
export const contentReply = (mediaType: string, payload: Buffer, code = '2.05'): Reply => ({
  code,
  options: [[optionNumber.contentFormat, uintOption(formatOf(mediaType))]],
  payload,
});
