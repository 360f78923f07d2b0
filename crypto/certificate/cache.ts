/** Parsed certificates by their hash: parsing one costs as much as a dozen signatures, and every member holds the same. */
import { toHex } from '../bytes.js';
import type { Certificate } from '../certificate.js';

const maxCertificates = 2_048;

/** For one suite. The least recently used give way. */
export class CertificateCache {
  readonly #parsed = new Map<string, Certificate>();

  /** By certHash in hex. */
  get(key: string): Certificate | undefined {
    return this.#parsed.get(key);
  }

  /** Of lists whose signature verified only: a stranger could otherwise push out all that is in use. */
  add(certificate: Certificate): void {
    const key = toHex(certificate.certHash);
    this.#parsed.delete(key);
    this.#parsed.set(key, certificate);
    const oldest = this.#parsed.keys().next();
    if (this.#parsed.size > maxCertificates && oldest.done !== true) this.#parsed.delete(oldest.value);
  }
}
