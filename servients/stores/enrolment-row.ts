/** Enrolments as both databases keep them. */
import { decodeStrict, encode } from '../../crypto/cbor.js';
import { arrayOf, bytesOf } from '../../crypto/fields.js';
import { limits } from '../../crypto/limits.js';
import type { Enrolment, EnrolmentKind } from '../../things/enrolment-store.js';

export interface EnrolmentRow {
  readonly device: string;
  readonly kind: string;
  readonly proof: Uint8Array;
  readonly createdS: number;
  readonly expiresS: number;
  readonly request: Uint8Array | null;
  readonly certificates: Uint8Array | null;
}

const what = 'certificates of an enrolment';

export const encodeCertificates = (certificates: readonly Uint8Array[]): Uint8Array => encode(certificates);

export const enrolmentOfRow = ({ kind, certificates, proof, request, ...row }: EnrolmentRow): Enrolment => ({
  ...row,
  kind: kind as EnrolmentKind,
  proof: new Uint8Array(proof),
  request: request && new Uint8Array(request),
  certificates:
    certificates &&
    arrayOf(decodeStrict(new Uint8Array(certificates), 5 * limits.certificate), what).map((der) => bytesOf(der, what)),
});
