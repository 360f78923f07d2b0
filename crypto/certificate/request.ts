/**
 * Requests for certificates (PKCS #10, RFC 2986) in the profile of this project: a key of the suite, exactly one identity
 * `urn:gridring:<role>:<id>` as a requested extension, signed by that key. Other extensions that are asked for are not
 * given, so requests with any are refused: nobody is to believe that they were.
 */
import { Attributes, CertificationRequest, CertificationRequestInfo } from '@peculiar/asn1-csr';
import {
  Attribute,
  Extension,
  Extensions,
  GeneralName,
  id_ce_subjectAltName,
  SubjectAlternativeName,
  SubjectPublicKeyInfo,
} from '@peculiar/asn1-x509';
import { OctetString } from '@peculiar/asn1-schema';
import { MalformedError, VerificationError } from '../errors.js';
import { limits } from '../limits.js';
import type { Signer, Suite } from '../suite.js';
import { algorithmsOf, decodeDer, encodeDer } from './algorithms.js';
import { parseIdentity, type Role } from '../certificate.js';
import { subjectNameOf } from './issue.js';

/** extensionRequest of PKCS #9 (RFC 2985 §5.4.2). */
const extensionRequest = '1.2.840.113549.1.9.14';

export interface VerifiedRequest {
  readonly role: Role;
  readonly id: string;
  /** As `Suite.verifier` takes it; whoever made the request has its secret. */
  readonly publicKey: Uint8Array;
}

/** A request as DER, signed by the key that it is for. */
export function makeRequest(
  suite: Suite,
  signer: Signer,
  subject: { readonly role: Role; readonly id: string },
): Uint8Array {
  const algorithms = algorithmsOf[suite.name];
  const uniformResourceIdentifier = `urn:gridring:${subject.role}:${subject.id}`;
  const names = new SubjectAlternativeName([new GeneralName({ uniformResourceIdentifier })]);
  const extensions = new Extensions([
    new Extension({ extnID: id_ce_subjectAltName, critical: false, extnValue: new OctetString(encodeDer(names)) }),
  ]);
  const info = new CertificationRequestInfo({
    version: 0,
    subject: subjectNameOf(subject),
    subjectPKInfo: new SubjectPublicKeyInfo({
      algorithm: algorithms.key,
      subjectPublicKey: toBuffer(signer.publicKey),
    }),
    attributes: new Attributes([new Attribute({ type: extensionRequest, values: [toBuffer(encodeDer(extensions))] })]),
  });
  return encodeDer(
    new CertificationRequest({
      certificationRequestInfo: info,
      signatureAlgorithm: algorithms.signature,
      signature: toBuffer(algorithms.signatureToX509(signer.sign(encodeDer(info)))),
    }),
  );
}

/**
 * Checks form, key and the proof that whoever asks has it.
 * @throws MalformedError `too-large`, `certificate-malformed`, `csr-malformed`; VerificationError
 * `certificate-key-type`, `key-invalid`, `certificate-signature`
 */
export function verifyRequest(suite: Suite, der: Uint8Array): VerifiedRequest {
  if (der.length > limits.certificate) {
    throw new MalformedError('too-large', `a request of more than ${limits.certificate} bytes`);
  }
  const request = decodeDer(der, CertificationRequest);
  const { certificationRequestInfo: info, signatureAlgorithm } = request;
  const algorithms = algorithmsOf[suite.name];
  if (!info.subjectPKInfo.algorithm.isEqual(algorithms.key) || !signatureAlgorithm.isEqual(algorithms.signature)) {
    throw new VerificationError('certificate-key-type', `the request's key or signature is not of suite ${suite.id}`);
  }
  const verifier = suite.verifier(new Uint8Array(info.subjectPKInfo.subjectPublicKey));
  const signature = algorithms.signatureFromX509(new Uint8Array(request.signature));
  if (!verifier.verify(encodeDer(info), signature)) {
    throw new VerificationError('certificate-signature', 'the request is not signed by the key that it is for');
  }
  return { ...parseIdentity(requestedNames(info)), publicKey: verifier.publicKey };
}

function requestedNames({ version, attributes }: CertificationRequestInfo): SubjectAlternativeName {
  // Absent in what some software makes, whatever the type says.
  const [attribute, ...others] = (attributes as readonly Attribute[] | undefined) ?? [];
  const [value, ...more] = attribute?.values ?? [];
  if (version !== 0 || attribute?.type !== extensionRequest || !value || others.length + more.length > 0) {
    throw malformed('not of version 1 with a request of extensions, and nothing else');
  }
  const [extension, ...unknown] = decodeDer(new Uint8Array(value), Extensions);
  if (extension?.extnID !== id_ce_subjectAltName || unknown.length > 0) {
    throw malformed('it asks for other extensions than its name');
  }
  return decodeDer(new Uint8Array(extension.extnValue.buffer), SubjectAlternativeName);
}

const malformed = (why: string): MalformedError =>
  new MalformedError('csr-malformed', `request for a certificate: ${why}`);

const toBuffer = (bytes: Uint8Array): ArrayBuffer => new Uint8Array(bytes).buffer;
