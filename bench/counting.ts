/** Counts public-key work, by standing before a suite. */
import type { Suite } from '../crypto/suite.js';

export interface PublicKeyWork {
  readonly keyPairs: number;
  readonly agreements: number;
  readonly signatures: number;
  readonly verifications: number;
}

export interface Counting {
  /** Works as the suite that it was made of. */
  readonly suite: Suite;
  /** All work within calls of `during`, with whatever keys the suite has ever made. */
  readonly work: Readonly<PublicKeyWork>;
  during<T>(task: () => T): T;
}

/** A counter before `suite`; it counts nothing until it is told during what. */
export function countingSuite(suite: Suite): Counting {
  const work = { keyPairs: 0, agreements: 0, signatures: 0, verifications: 0 };
  let counting = 0;
  const counted: Suite = {
    ...suite,
    agreementKey(secret) {
      work.keyPairs += counting;
      const key = suite.agreementKey(secret);
      return {
        ...key,
        agree(peer) {
          work.agreements += counting;
          return key.agree(peer);
        },
      };
    },
    signer(secret) {
      const signer = suite.signer(secret);
      return {
        ...signer,
        sign(data) {
          work.signatures += counting;
          return signer.sign(data);
        },
      };
    },
    verifier(publicKey) {
      const verifier = suite.verifier(publicKey);
      return {
        ...verifier,
        verify(data, signature) {
          work.verifications += counting;
          return verifier.verify(data, signature);
        },
        verifyAside(data, signature) {
          work.verifications += counting;
          return verifier.verifyAside(data, signature);
        },
      };
    },
  };
  const during = <T>(task: () => T): T => {
    counting = 1;
    try {
      return task();
    } finally {
      counting = 0;
    }
  };
  return { suite: counted, work, during };
}
