/** What a backend keeps of devices that ask for certificates, until whoever holds the CA's key has answered. */

/** A device that is invited asks with a code; one that has a certificate asks with that. */
export type EnrolmentKind = 'invitation' | 'renewal';

export interface Enrolment {
  /** `urn:gridring:<role>:<id>` */
  readonly device: string;
  readonly kind: EnrolmentKind;
  /** SHA-256 of the code; of a renewal the certHash of the certificate that asked. */
  readonly proof: Uint8Array;
  readonly createdS: number;
  /** Forgotten then. */
  readonly expiresS: number;
  /** PKCS #10, of a renewal as its holder has signed it (crypto/renewal.ts); null until the device has asked. */
  readonly request: Uint8Array | null;
  /** Leaf first; null until they were issued. */
  readonly certificates: readonly Uint8Array[] | null;
}

export interface EnrolmentStore {
  /** In the place of what there was of the same device and kind. */
  putEnrolment(enrolment: Enrolment): Promise<void>;
  enrolment(device: string, kind: EnrolmentKind): Promise<Enrolment | undefined>;
  /** Ascending by device, after `afterDevice`; at first after ''. */
  enrolments(afterDevice: string, limit: number): Promise<readonly Enrolment[]>;
  /** The first request under a proof is kept, until `expiresS`. @returns false where there is another, or no such proof */
  fileRequest(of: Pick<Enrolment, 'device' | 'kind' | 'proof' | 'expiresS'>, request: Uint8Array): Promise<boolean>;
  /** @returns false where the request is no longer this one */
  fileCertificates(
    of: Pick<Enrolment, 'device' | 'kind' | 'expiresS'>,
    request: Uint8Array,
    certificates: readonly Uint8Array[],
  ): Promise<boolean>;
  /** @returns false where there was none */
  removeEnrolment(device: string, kind: EnrolmentKind): Promise<boolean>;
  purgeEnrolments(nowS: number): Promise<void>;
}
