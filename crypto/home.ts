/** Where a gateway is, in its own words (protocol §11): how a meter learns of the one that takes another's place. */
import { decodeStrict, encode } from './cbor.js';
import type { VerifiedCertificate } from './certificate.js';
import { parseSign1, sign1, verifySign1 } from './cose.js';
import { MalformedError } from './errors.js';
import { arrayOf, bytesOf, uintOf } from './fields.js';
import { limits } from './limits.js';
import type { Signer, Suite } from './suite.js';

export interface Home {
  readonly gid: Uint8Array;
  /** URLs of the gateway's Thing Description, at most one for each binding. */
  readonly tdUrls: readonly string[];
  /** When it was signed, Unix seconds. */
  readonly timeS: number;
}

const what = 'home';
const mostUrls = 4;

export const encodeHome = ({ gid, tdUrls, timeS }: Home): Uint8Array => encode([gid, tdUrls, timeS]);

/** @throws MalformedError */
export function decodeHome(payload: Uint8Array): Home {
  const [gid, urls, timeS] = arrayOf(decodeStrict(payload, limits.home), what, 3);
  const tdUrls = arrayOf(urls, what).map(urlOf);
  uintOf(tdUrls.length, what, mostUrls, 1);
  return { gid: bytesOf(gid, what, 16), tdUrls, timeS: uintOf(timeS, what) };
}

export const signHome = (
  suite: Suite,
  gateway: { readonly kid: Uint8Array; readonly signer: Signer },
  home: Home,
): Uint8Array => sign1(suite, gateway.signer, gateway.kid, { type: what, context: home.gid }, encodeHome(home));

/** Whose word it may be is to be looked up in the newest list. @throws MalformedError */
export function parseHome(bytes: Uint8Array): { readonly home: Home; readonly kid: Uint8Array } {
  const { payload, kid } = parseSign1(bytes, limits.home);
  return { home: decodeHome(payload), kid };
}

/** @throws MalformedError, VerificationError `signature-invalid`, `wrong-signer` */
export function verifyHome(suite: Suite, gateway: VerifiedCertificate, bytes: Uint8Array): void {
  const message = parseSign1(bytes, limits.home);
  verifySign1(suite, gateway.verifier, message, { type: what, context: decodeHome(message.payload).gid });
}

function urlOf(item: unknown): string {
  if (typeof item === 'string' && URL.canParse(item) && /^(coap|https?):$/.test(new URL(item).protocol)) return item;
  throw new MalformedError('message-malformed', 'a home without a URL of CoAP or HTTP');
}
