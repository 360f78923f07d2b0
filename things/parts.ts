/** What every Thing is given: who it is, whom it trusts, and the time, randomness and log that it has not of its own. */
import type { Certificate } from '../crypto/certificate.js';
import type { CertificateCache } from '../crypto/certificate/cache.js';
import type { Random, Signer, Suite } from '../crypto/suite.js';

/** A certified device or server with its private key. */
export interface Identity {
  readonly id: string;
  readonly certHash: Uint8Array;
  readonly kid: Uint8Array;
  readonly signer: Signer;
  /** Leaf first, then its intermediates; DER. */
  readonly certificates: readonly Uint8Array[];
}

export interface Log {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface Parts {
  readonly suite: Suite;
  readonly identity: Identity;
  readonly trustedRoots: readonly Certificate[];
  /** Trusted once: what was verified and kept then is read under them still. */
  readonly retiredRoots?: readonly Certificate[];
  /** A list says that other roots are to be trusted: whoever runs the Thing takes them, and loads it anew. */
  readonly onTrust?: ((roots: readonly Certificate[]) => void) | undefined;
  /** Of membership lists: the next one names nearly the same certificates. */
  readonly certificateCache?: CertificateCache;
  readonly nowS: () => number;
  readonly random: Random;
  readonly log: Log;
  /** Of the software, as it is shown. */
  readonly version: string;
}
