/** Issues certificates of the profile that `certificate.ts` reads. */
import { OctetString } from '@peculiar/asn1-schema';
import {
  AttributeTypeAndValue,
  AttributeValue,
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate as X509Certificate,
  Extension,
  Extensions,
  GeneralName,
  KeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  Name,
  RelativeDistinguishedName,
  SubjectAlternativeName,
  SubjectKeyIdentifier,
  SubjectPublicKeyInfo,
  TBSCertificate,
  Validity,
  id_ce_authorityKeyIdentifier,
  id_ce_basicConstraints,
  id_ce_keyUsage,
  id_ce_subjectAltName,
  id_ce_subjectKeyIdentifier,
  Version,
} from '@peculiar/asn1-x509';
import { equalBytes } from '../bytes.js';
import { mayServeNames, type CaCertificate, type Role } from '../certificate.js';
import { SetupError } from '../errors.js';
import { limits } from '../limits.js';
import type { Signer, Suite } from '../suite.js';
import { algorithmsOf, decodeDer, encodeDer } from './algorithms.js';

export type CertificateSubject =
  | {
      readonly role: Role;
      /** 1 to 64 of a–z, 0–9 and hyphen. */
      readonly id: string;
      /** Of a backend: the DNS names and IP addresses under which it serves HTTPS. */
      readonly servedAs?: ServerNames;
    }
  | {
      readonly ca: 'root' | 'issuing';
      /** Common name, 1 to 64 characters. */
      readonly name: string;
      /** CA certificates allowed between this one and a leaf: 1 for a root and 0 for an issuing CA where left out. */
      readonly pathLength?: number;
    };

export interface ServerNames {
  readonly dnsNames: readonly string[];
  /** As text. */
  readonly ipAddresses: readonly string[];
}

export interface CertificateRequest {
  /** The certificate is left out by a root, which signs itself. */
  readonly issuer: { readonly signer: Signer; readonly certificate?: CaCertificate };
  /** As `Suite.verifier` takes it. */
  readonly subjectPublicKey: Uint8Array;
  readonly subject: CertificateSubject;
  /** 16 random bytes; the two highest bits are overwritten, so that it is positive and of constant length. */
  readonly serial: Uint8Array;
  readonly notBeforeS: number;
  readonly notAfterS: number;
}

/**
 * A certificate as DER, signed by the issuer.
 * @throws SetupError `certificate-request` when the request contradicts itself or the profile;
 * VerificationError `key-invalid`
 */
export function issueCertificate(suite: Suite, request: CertificateRequest): Uint8Array {
  assertIssuable(request);
  const { issuer, subject, subjectPublicKey } = request;
  const algorithms = algorithmsOf[suite.name];
  const { publicKey } = suite.verifier(subjectPublicKey);
  const subjectName = subjectNameOf(subject);
  const tbs = new TBSCertificate({
    version: Version.v3,
    serialNumber: toBuffer(positive(request.serial)),
    signature: algorithms.signature,
    issuer: issuer.certificate ? decodeDer(issuer.certificate.subjectName, Name) : subjectName,
    validity: new Validity({
      notBefore: new Date(request.notBeforeS * 1000),
      notAfter: new Date(request.notAfterS * 1000),
    }),
    subject: subjectName,
    subjectPublicKeyInfo: new SubjectPublicKeyInfo({
      algorithm: algorithms.key,
      subjectPublicKey: toBuffer(publicKey),
    }),
    extensions: new Extensions([
      ...profileExtensions(subject),
      extension(id_ce_subjectKeyIdentifier, false, new SubjectKeyIdentifier(keyId(suite, publicKey))),
      extension(
        id_ce_authorityKeyIdentifier,
        false,
        new AuthorityKeyIdentifier({
          keyIdentifier: new KeyIdentifier(issuer.certificate?.subjectKeyId ?? keyId(suite, issuer.signer.publicKey)),
        }),
      ),
    ]),
  });
  const signature = algorithms.signatureToX509(issuer.signer.sign(encodeDer(tbs)));
  return encodeDer(
    new X509Certificate({
      tbsCertificate: tbs,
      signatureAlgorithm: algorithms.signature,
      signatureValue: toBuffer(signature),
    }),
  );
}

function assertIssuable({
  issuer,
  subject,
  subjectPublicKey,
  serial,
  notBeforeS,
  notAfterS,
}: CertificateRequest): void {
  const { signer, certificate } = issuer;
  if (serial.length !== 16) throw refused('the serial number must be 16 random bytes');
  if (notAfterS <= notBeforeS) throw refused('the certificate would end before it begins');
  if ('id' in subject && !/^[a-z0-9-]{1,64}$/.test(subject.id)) {
    throw refused(`"${subject.id}" cannot be an id: use 1 to 64 of a-z, 0-9 and hyphen`);
  }
  if ('id' in subject && subject.servedAs) assertServerNames(subject.role, subject.servedAs);
  if ('name' in subject && !/^.{1,64}$/.test(subject.name))
    throw refused('the name of a CA must have 1 to 64 characters');
  if (certificate === undefined) {
    const isRoot = 'ca' in subject && subject.ca === 'root';
    if (!isRoot || !equalBytes(signer.publicKey, subjectPublicKey)) throw refused('only a root signs itself');
    return;
  }
  if ('ca' in subject && subject.ca === 'root') throw refused('a root is not issued by another CA');
  if (!equalBytes(signer.publicKey, certificate.verifier.publicKey)) {
    throw refused("the issuer's key is not that of the issuer's certificate");
  }
  if ('ca' in subject && certificate.pathLength === 0) throw refused('the issuer may certify no further CA');
}

/** RFC 5280 §4.2.1.6; no wildcards. */
const dnsName = /^(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

function assertServerNames(role: Role, { dnsNames, ipAddresses }: ServerNames): void {
  const count = dnsNames.length + ipAddresses.length;
  if (count > 0 && !mayServeNames(role)) throw refused('only a backend is certified under DNS names and IP addresses');
  if (count > limits.certificateNames) throw refused(`more than ${limits.certificateNames} DNS names and IP addresses`);
  const wrong = dnsNames.find((name) => !dnsName.test(name));
  if (wrong !== undefined) throw refused(`"${wrong}" is no DNS name in lower case`);
}

const refused = (why: string): SetupError => new SetupError('certificate-request', why);

/** OU = role and CN = id, for a CA its CN: what tools show; only the subject alternative name counts. */
export const subjectNameOf = (subject: CertificateSubject): Name =>
  'ca' in subject
    ? new Name([attribute('2.5.4.3', subject.name)])
    : new Name([attribute('2.5.4.11', subject.role), attribute('2.5.4.3', subject.id)]);

const attribute = (type: string, utf8String: string): RelativeDistinguishedName =>
  new RelativeDistinguishedName([new AttributeTypeAndValue({ type, value: new AttributeValue({ utf8String }) })]);

function profileExtensions(subject: CertificateSubject): readonly Extension[] {
  if ('ca' in subject) {
    const pathLenConstraint = subject.pathLength ?? (subject.ca === 'root' ? 1 : 0);
    return [
      extension(id_ce_basicConstraints, true, new BasicConstraints({ cA: true, pathLenConstraint })),
      extension(id_ce_keyUsage, true, new KeyUsage(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign)),
    ];
  }
  const uniformResourceIdentifier = `urn:gridring:${subject.role}:${subject.id}`;
  return [
    extension(id_ce_basicConstraints, true, new BasicConstraints()),
    extension(id_ce_keyUsage, true, new KeyUsage(KeyUsageFlags.digitalSignature)),
    extension(
      id_ce_subjectAltName,
      false,
      new SubjectAlternativeName([
        new GeneralName({ uniformResourceIdentifier }),
        ...(subject.servedAs?.dnsNames ?? []).map((dNSName) => new GeneralName({ dNSName })),
        ...(subject.servedAs?.ipAddresses ?? []).map((iPAddress) => new GeneralName({ iPAddress })),
      ]),
    ),
  ];
}

const extension = (extnID: string, critical: boolean, value: object): Extension =>
  new Extension({ extnID, critical, extnValue: new OctetString(encodeDer(value)) });

/** RFC 7093 §2 method 1: the leftmost 160 bits of the SHA-256 of the public key. */
const keyId = (suite: Suite, publicKey: Uint8Array): Uint8Array => suite.sha256(publicKey).slice(0, 20);

const positive = (serial: Uint8Array): Uint8Array => serial.map((byte, i) => (i === 0 ? (byte & 0x3f) | 0x40 : byte));

const toBuffer = (bytes: Uint8Array): ArrayBuffer => new Uint8Array(bytes).buffer;
