/** PEM files of certificates (RFC 7468). */
import { fromBase64Url, toBase64Url } from '../bytes.js';
import { malformed } from './algorithms.js';

/** One certificate as a PEM block. */
export function toPem(der: Uint8Array): string {
  const url = toBase64Url(der).replaceAll('-', '+').replaceAll('_', '/');
  const lines = url.padEnd(Math.ceil(url.length / 4) * 4, '=').match(/.{1,64}/g) ?? [];
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n');
}

const block = /-----BEGIN CERTIFICATE-----\s([A-Za-z0-9+/\s]+={0,2})\s*-----END CERTIFICATE-----/g;

/**
 * The DER of every certificate in a PEM file, in its order; other blocks and text are passed over.
 * @throws MalformedError `certificate-malformed` when there is none, or one is not Base64
 */
export function fromPem(text: string): readonly Uint8Array[] {
  const ders = [...text.matchAll(block)].map(([, base64 = '']) => fromBase64(base64.replaceAll(/\s/g, '')));
  if (ders.length === 0 || ders.length !== text.split('-----BEGIN CERTIFICATE-----').length - 1) {
    throw malformed('no PEM file with certificates');
  }
  return ders;
}

function fromBase64(text: string): Uint8Array {
  if (text.length % 4 !== 0) throw malformed('a PEM block whose Base64 is not whole');
  try {
    return fromBase64Url(text.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, ''));
  } catch (cause) {
    throw malformed('a PEM block that is not Base64', cause);
  }
}
