/**
 * COSE messages as a media type of node-wot: `application/cose` (RFC 9052 §11.3), whose value is a Uint8Array.
 * Core keeps its codecs in one table of the process, so importing this file is what registers it.
 */
import { ContentSerdes, type ContentCodec } from '@node-wot/core';
import { MalformedError } from '../../crypto/errors.js';
import { coseType } from './media-types.js';

const coseCodec: ContentCodec = {
  getMediaType: () => coseType,
  bytesToValue: (bytes) => Uint8Array.from(bytes),
  valueToBytes(value) {
    if (!(value instanceof Uint8Array)) {
      throw new MalformedError('media-type-mismatch', `a value of ${coseType} is a Uint8Array`);
    }
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  },
};

ContentSerdes.get().addCodec(coseCodec);

/**
 * Whether an action carries a protocol message. If so, every binding offers it as application/json first and as
 * application/cose second; all else is application/json alone.
 */
export function carriesMessage(action: { readonly input?: WoT.DataSchema }): boolean {
  const properties = action.input?.properties as Record<string, { contentEncoding?: unknown }> | undefined;
  return properties?.message?.contentEncoding === 'base64url';
}
