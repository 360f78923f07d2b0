/**
 * Asks for a device's next certificate in time: when a third of the life of the one in use is left, and until it is there.
 * For a key of its own, so that a copy of the old one is worth nothing from then on. `<key file>.next` may be made before,
 * by whoever wants it sooner.
 */
import { randomBytes } from 'node:crypto';
import { toHex } from '../crypto/bytes.js';
import { makeRequest } from '../crypto/certificate/request.js';
import type { LeafCertificate } from '../crypto/certificate.js';
import { GridringError } from '../crypto/errors.js';
import type { Renewal } from '../crypto/membership.js';
import { signRenewal } from '../crypto/renewal.js';
import type { Suite } from '../crypto/suite.js';
import type { Identity } from '../things/parts.js';
import type { IdentityFiles } from './identity-files.js';
import { isRenewing, nextSigner, takeCertificate } from './renewal-files.js';
import { codeOf, sleep, type Runtime } from './runtime.js';

interface RenewalParts {
  readonly suite: Suite;
  readonly files: IdentityFiles;
  readonly identity: Identity & { readonly leaf: LeafCertificate };
  readonly nowS: () => number;
  /** Brings the request to whoever signs. @throws GridringError; it is tried again then */
  readonly ask: (message: Uint8Array) => Promise<void>;
  readonly runtime: Pick<Runtime, 'log' | 'emit'>;
}

const lookMs = 60_000;
const afterFailureMs = 10_000;
/** So often it is asked again whether somebody has signed. */
const askAgainMs = 3_600_000;

/** Whether a certificate has come to the last third of its life. */
export const isDue = ({ notBeforeS, notAfterS }: Pick<LeafCertificate, 'notBeforeS' | 'notAfterS'>, nowS: number) =>
  nowS >= notAfterS - (notAfterS - notBeforeS) / 3;

export class RenewalLoop {
  readonly #parts: RenewalParts;
  #hasAsked = false;

  constructor(parts: RenewalParts) {
    this.#parts = parts;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { identity, files, nowS, runtime } = this.#parts;
    while (!signal.aborted) {
      let pauseMs = lookMs;
      try {
        if (isRenewing(files) || isDue(identity.leaf, nowS())) {
          await this.#ask();
          pauseMs = askAgainMs;
        }
      } catch (error) {
        if (!(error instanceof GridringError)) throw error;
        pauseMs = afterFailureMs;
        runtime.log.warn({ id: identity.id, code: codeOf(error), err: error }, 'no new certificate could be asked for');
      }
      await sleep(pauseMs, signal);
    }
  }

  async #ask(): Promise<void> {
    const { suite, files, identity, nowS, ask, runtime } = this.#parts;
    const { leaf, certificates } = identity;
    const request = makeRequest(suite, nextSigner(suite, files, randomBytes), { role: leaf.role, id: leaf.id });
    await ask(signRenewal(suite, identity, { certificates, request, timeS: nowS() }));
    if (!this.#hasAsked) runtime.emit({ event: 'renewal-asked', id: `urn:gridring:${leaf.role}:${leaf.id}` });
    this.#hasAsked = true;
  }
}

/**
 * Takes the certificate that a list has in the place of the one in use.
 * @returns whether it is in use from the next start on; not where it is for a key that is not here, or the disk refuses it
 */
export function takeRenewal(
  { suite, files, runtime }: Pick<RenewalParts, 'suite' | 'files' | 'runtime'>,
  { certificate, chain }: Renewal,
): boolean {
  const { role, id, certHash, notAfterS } = certificate;
  const urn = `urn:gridring:${role}:${id}`;
  try {
    takeCertificate(suite, files, chain);
  } catch (error) {
    if (!(error instanceof GridringError)) throw error;
    const why = 'the list has another certificate for this device, which cannot be taken';
    runtime.log.error({ id: urn, certHash: toHex(certHash), code: codeOf(error), err: error }, why);
    return false;
  }
  runtime.log.info({ id: urn, certHash: toHex(certHash) }, 'certificate renewed');
  const ends = new Date(notAfterS * 1_000).toISOString();
  runtime.emit({ event: 'renewed', id: urn, certHash: toHex(certHash), ends });
  return true;
}
