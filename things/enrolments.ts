/**
 * How devices come to certificates. The CA's key is in no server: a device is invited with a code, asks with it, and
 * waits here until whoever holds that key has answered; one that has a certificate asks for the next with that.
 */
import { equalBytes, equalSecret, utf8 } from '../crypto/bytes.js';
import { verifyRequest, type VerifiedRequest } from '../crypto/certificate/request.js';
import { parseCertificate, verifyChain, type Certificate, type VerifiedCertificate } from '../crypto/certificate.js';
import { ConflictError, MalformedError, NotFoundError, VerificationError } from '../crypto/errors.js';
import { limits } from '../crypto/limits.js';
import { requestIn, verifyRenewal } from '../crypto/renewal.js';
import type { Suite } from '../crypto/suite.js';
import type { Enrolment, EnrolmentKind, EnrolmentStore } from './enrolment-store.js';

interface EnrolmentParts {
  readonly suite: Suite;
  readonly trustedRoots: readonly Certificate[];
  readonly store: EnrolmentStore;
  readonly nowS: () => number;
}

const dayS = 86_400;
/** The longest life of a code. */
const invitationLimitS = 7 * dayS;
/** How long a request waits for an answer, and an answer for being fetched. */
const waitsS = 30 * dayS;

/** Undefined as long as the device waits. */
export type EnrolmentAnswer = readonly Uint8Array[] | undefined;

export class Enrolments {
  readonly #parts: EnrolmentParts;

  constructor(parts: EnrolmentParts) {
    this.#parts = parts;
  }

  /**
   * Expects a device that will show a code; only the code's SHA-256 is told to anybody here. A newer invitation takes the
   * place of the older.
   * @throws MalformedError `invitation-time`
   */
  async invite(device: string, codeHash: Uint8Array, expiresS: number): Promise<void> {
    const createdS = this.#parts.nowS();
    if (expiresS <= createdS || expiresS > createdS + invitationLimitS) {
      throw new MalformedError('invitation-time', 'an invitation ends within seven days');
    }
    const fresh = { proof: codeHash, createdS, expiresS, request: null, certificates: null };
    await this.#parts.store.putEnrolment({ device, kind: 'invitation', ...fresh });
  }

  /**
   * A device asks with its code, as often as it likes with the same request; with another one the code is used up.
   * @throws MalformedError; VerificationError `enrolment-code`, which tells nobody whether there is such an invitation
   */
  async ask(device: string, code: string, request: Uint8Array): Promise<EnrolmentAnswer> {
    const { suite, store, nowS } = this.#parts;
    const { role, id } = verifyRequest(suite, request);
    const proof = suite.sha256(utf8(code));
    const invited = await store.enrolment(device, 'invitation');
    const isCode = equalSecret(invited?.proof ?? new Uint8Array(32), proof);
    if (!invited || !isCode || invited.expiresS < nowS() || device !== `urn:gridring:${role}:${id}`)
      throw codeRefused();
    const kept = { device, kind: 'invitation', proof, expiresS: nowS() + waitsS } as const;
    if (!(await store.fileRequest(kept, request))) throw codeRefused();
    return invited.certificates ?? undefined;
  }

  /**
   * The holder of a certificate asks for the next one, whoever brings it. One for another key takes the place of the older.
   * @param assertHolds throws where the holder has no rights any more
   * @throws as `verifyRenewal`; ConflictError `enrolment-stale`
   */
  async renew(message: Uint8Array, assertHolds: (holder: VerifiedCertificate) => void): Promise<EnrolmentAnswer> {
    const { suite, trustedRoots, store, nowS } = this.#parts;
    const { holder, publicKey, timeS } = verifyRenewal({ suite, trustedRoots, nowS: nowS() }, message);
    assertHolds(holder);
    if (Math.abs(nowS() - timeS) > limits.clockSkewS) {
      throw new ConflictError('enrolment-stale', 'the renewal was not asked for just now; check the clocks');
    }
    const device = `urn:gridring:${holder.role}:${holder.id}`;
    const known = await store.enrolment(device, 'renewal');
    if (known?.request && equalBytes(this.#keyAsked('renewal', known.request).publicKey, publicKey)) {
      if (equalBytes(known.proof, holder.certHash)) return known.certificates ?? undefined;
    }
    const asked = { proof: holder.certHash, createdS: nowS(), expiresS: nowS() + waitsS, certificates: null };
    await store.putEnrolment({ device, kind: 'renewal', ...asked, request: message });
    return undefined;
  }

  /** Of what a device has asked with, which was verified when it came. */
  #keyAsked(kind: EnrolmentKind, request: Uint8Array): Pick<VerifiedRequest, 'role' | 'id' | 'publicKey'> {
    const { suite } = this.#parts;
    return verifyRequest(suite, kind === 'invitation' ? request : requestIn(request));
  }

  /** Ascending by device. */
  list(afterDevice: string, limit: number): Promise<readonly Enrolment[]> {
    return this.#parts.store.enrolments(afterDevice, limit);
  }

  /**
   * The answer of whoever holds the CA's key. It must be for the name and the key that were asked for.
   * @throws NotFoundError `enrolment-unknown`; ConflictError `enrolment-changed`; MalformedError, VerificationError
   */
  async issue(device: string, kind: EnrolmentKind, chain: readonly Uint8Array[]): Promise<void> {
    const { store, nowS } = this.#parts;
    const request = (await store.enrolment(device, kind))?.request;
    if (!request) throw enrolmentUnknown();
    this.assertIsFor(this.#keyAsked(kind, request), chain);
    if (!(await store.fileCertificates({ device, kind, expiresS: nowS() + waitsS }, request, chain))) {
      throw new ConflictError('enrolment-changed', 'the device has asked anew meanwhile');
    }
  }

  /**
   * Another certificate of a key and name that are known, as whoever holds the CA's key gives it unasked.
   * @throws MalformedError; VerificationError `certificate-of-another`, and as `verifyChain`
   */
  assertIsFor(
    { id, publicKey, role }: Pick<VerifiedRequest, 'id' | 'publicKey' | 'role'>,
    chain: readonly Uint8Array[],
  ): void {
    const { suite, trustedRoots, nowS } = this.#parts;
    const [leaf, ...above] = chain.map((der) => parseCertificate(suite, der));
    if (!leaf) throw new MalformedError('message-malformed', 'no certificate');
    const certificate = verifyChain(suite, leaf, above, trustedRoots, nowS(), role);
    if (certificate.id === id && equalBytes(certificate.verifier.publicKey, publicKey)) return;
    throw new VerificationError('certificate-of-another', 'a certificate for another name or key than was asked for');
  }

  /** @throws NotFoundError `enrolment-unknown` */
  async withdraw(device: string, kind: EnrolmentKind): Promise<void> {
    if (!(await this.#parts.store.removeEnrolment(device, kind))) throw enrolmentUnknown();
  }

  purge(): Promise<void> {
    return this.#parts.store.purgeEnrolments(this.#parts.nowS());
  }
}

const codeRefused = (): VerificationError =>
  new VerificationError('enrolment-code', 'no invitation for that device and code');
const enrolmentUnknown = (): NotFoundError => new NotFoundError('enrolment-unknown', 'no such enrolment waits here');
