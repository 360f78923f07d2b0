/**
 * X.509 certificates (RFC 5280) in the profile of this project: a self-signed root, issuing CAs, and leaves whose
 * identity is exactly one subject alternative name, `urn:gridring:<role>:<id>`, beside which a backend's may name hosts. Everything is signed with the suite's
 * own algorithm; paths are verified as in §6.1. Not here: revocation, which means not to stand in the current membership
 * list; name constraints and policies, which are refused where they are critical.
 */
import {
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate as X509Certificate,
  type Extension,
  KeyUsage,
  KeyUsageFlags,
  SubjectAlternativeName,
  SubjectKeyIdentifier,
  type SubjectPublicKeyInfo,
  id_ce_authorityKeyIdentifier,
  id_ce_basicConstraints,
  id_ce_keyUsage,
  id_ce_subjectAltName,
  id_ce_subjectKeyIdentifier,
  Version,
} from '@peculiar/asn1-x509';
import { equalBytes } from './bytes.js';
import { algorithmsOf, decodeDer, encodeDer, malformed } from './certificate/algorithms.js';
import { protectedHeader } from './cose.js';
import { MalformedError, VerificationError } from './errors.js';
import { limits } from './limits.js';
import type { Suite, SuiteId, Verifier } from './suite.js';

export const roles = ['meter', 'gateway', 'backend', 'reader', 'operator', 'authority'] as const;
export type Role = (typeof roles)[number];

interface CertificateFields {
  readonly suite: SuiteId;
  readonly der: Uint8Array;
  /** SHA-256 of the DER, 32 bytes: the holder's identity in the protocol. */
  readonly certHash: Uint8Array;
  /** certHash[0..8]; only finds a key. */
  readonly kid: Uint8Array;
  /** Encoded {alg, kid}, as it stands in whatever the holder signs. */
  readonly protectedHeader: Uint8Array;
  /** Of the certified key, which has been validated. */
  readonly verifier: Verifier;
  readonly notBeforeS: number;
  readonly notAfterS: number;
  /** Distinguished names as DER. */
  readonly issuerName: Uint8Array;
  readonly subjectName: Uint8Array;
  readonly subjectKeyId: Uint8Array | undefined;
  readonly authorityKeyId: Uint8Array | undefined;
  /** The signed bytes. */
  readonly tbs: Uint8Array;
  /** 64 bytes, as a `Verifier` takes them. */
  readonly signature: Uint8Array;
}

export interface LeafCertificate extends CertificateFields {
  readonly role: Role;
  readonly id: string;
}

export interface CaCertificate extends CertificateFields {
  readonly role: 'ca';
  readonly ca: 'root' | 'issuing';
  /** How many CA certificates may stand between this one and a leaf; undefined: any number. */
  readonly pathLength: number | undefined;
}

/** Parsed; nobody vouches for it yet. */
export type Certificate = LeafCertificate | CaCertificate;

declare const verified: unique symbol;
/** A leaf whose chain has been verified: only `verifyChain` makes one. */
export type VerifiedCertificate = LeafCertificate & { readonly [verified]: true };

/**
 * Parses and checks the form, and that the key is a valid one of the suite; verifies no signature.
 * @throws MalformedError `too-large`, `certificate-malformed`; VerificationError `certificate-key-type`, `key-invalid`
 */
export function parseCertificate(suite: Suite, der: Uint8Array): Certificate {
  if (der.length > limits.certificate) {
    throw new MalformedError('too-large', `a certificate of more than ${limits.certificate} bytes`);
  }
  const x509 = decodeDer(der, X509Certificate);
  const { tbsCertificate: tbs, tbsCertificateRaw: tbsDer, signatureAlgorithm } = x509;
  if (tbs.version !== Version.v3 || tbsDer === undefined) throw malformed('not of version 3');
  if (!isSerial(new Uint8Array(tbs.serialNumber))) throw malformed('the serial number is not positive, or too long');
  if (!tbs.signature.isEqual(signatureAlgorithm)) throw malformed('the two signature algorithms differ');
  const algorithms = algorithmsOf[suite.name];
  if (!signatureAlgorithm.isEqual(algorithms.signature)) throw wrongKeyType(suite);
  const extensions = readExtensions(tbs.extensions ?? []);
  const issuerName = encodeDer(tbs.issuer);
  const subjectName = encodeDer(tbs.subject);
  const certHash = suite.sha256(der);
  const kid = certHash.slice(0, 8);
  return {
    suite: suite.id,
    der: new Uint8Array(der),
    certHash,
    kid,
    protectedHeader: protectedHeader(suite.signatureAlgorithm, kid),
    verifier: readKey(suite, tbs.subjectPublicKeyInfo),
    notBeforeS: tbs.validity.notBefore.getTime().getTime() / 1000,
    notAfterS: tbs.validity.notAfter.getTime().getTime() / 1000,
    issuerName,
    subjectName,
    subjectKeyId: extensions.subjectKeyId,
    authorityKeyId: extensions.authorityKeyId,
    tbs: new Uint8Array(tbsDer),
    signature: algorithms.signatureFromX509(new Uint8Array(x509.signatureValue)),
    ...readSubject(extensions, equalBytes(issuerName, subjectName)),
  };
}

/** RFC 5280 §4.1.2.2: positive, at most 20 bytes. */
const isSerial = (serial: Uint8Array): boolean =>
  serial.length >= 1 && serial.length <= 20 && (serial[0] ?? 0x80) < 0x80 && serial.some((byte) => byte !== 0);

const wrongKeyType = (suite: Suite): VerificationError =>
  new VerificationError('certificate-key-type', `the certificate's key or signature is not of suite ${suite.id}`);

function readKey(suite: Suite, { algorithm, subjectPublicKey }: SubjectPublicKeyInfo): Verifier {
  if (!algorithm.isEqual(algorithmsOf[suite.name].key)) throw wrongKeyType(suite);
  return suite.verifier(new Uint8Array(subjectPublicKey));
}

interface Extensions {
  readonly basicConstraints: BasicConstraints;
  /** Sum of `KeyUsageFlags`; 0 where the extension is absent. */
  readonly keyUsage: number;
  readonly identities: SubjectAlternativeName;
  readonly subjectKeyId: Uint8Array | undefined;
  readonly authorityKeyId: Uint8Array | undefined;
}

const known: ReadonlySet<string> = new Set([
  id_ce_basicConstraints,
  id_ce_keyUsage,
  id_ce_subjectAltName,
  id_ce_subjectKeyIdentifier,
  id_ce_authorityKeyIdentifier,
]);

function readExtensions(list: readonly Extension[]): Extensions {
  const byId = new Map(list.map((extension) => [extension.extnID, extension]));
  if (byId.size !== list.length) throw malformed('an extension stands twice');
  const unknown = list.find(({ extnID, critical }) => critical && !known.has(extnID));
  if (unknown) throw malformed(`the critical extension ${unknown.extnID} is not understood`);
  const read = <T>(id: string, type: new () => T): T | undefined => {
    const extension = byId.get(id);
    return extension && decodeDer(new Uint8Array(extension.extnValue.buffer), type);
  };
  const authorityKeyId = read(id_ce_authorityKeyIdentifier, AuthorityKeyIdentifier)?.keyIdentifier;
  const subjectKeyId = read(id_ce_subjectKeyIdentifier, SubjectKeyIdentifier);
  return {
    basicConstraints: read(id_ce_basicConstraints, BasicConstraints) ?? new BasicConstraints(),
    keyUsage: read(id_ce_keyUsage, KeyUsage)?.toNumber() ?? 0,
    identities: read(id_ce_subjectAltName, SubjectAlternativeName) ?? new SubjectAlternativeName(),
    subjectKeyId: subjectKeyId && new Uint8Array(subjectKeyId.buffer),
    authorityKeyId: authorityKeyId && new Uint8Array(authorityKeyId.buffer),
  };
}

type Subject = Pick<LeafCertificate, 'role' | 'id'> | Pick<CaCertificate, 'role' | 'ca' | 'pathLength'>;

function readSubject(extensions: Extensions, selfIssued: boolean): Subject {
  const { cA: isCa, pathLenConstraint: pathLength } = extensions.basicConstraints;
  const may = (use: KeyUsageFlags): boolean => (extensions.keyUsage & use) !== 0;
  if (isCa !== may(KeyUsageFlags.keyCertSign)) throw malformed('basic constraints and key usage contradict each other');
  if (pathLength !== undefined && !(Number.isInteger(pathLength) && pathLength >= 0))
    throw malformed('the path length');
  if (isCa) return { role: 'ca', ca: selfIssued ? 'root' : 'issuing', pathLength };
  if (!may(KeyUsageFlags.digitalSignature)) throw malformed('the key may not sign');
  return parseIdentity(extensions.identities);
}

const identityPattern = new RegExp(`^urn:gridring:(?<role>${roles.join('|')}):(?<id>[a-z0-9-]{1,64})$`);

/** The one identity that a subject alternative name of ours has. @throws MalformedError `certificate-malformed` */
export function parseIdentity(names: SubjectAlternativeName): Pick<LeafCertificate, 'role' | 'id'> {
  const served = names.filter(({ dNSName, iPAddress }) => dNSName !== undefined || iPAddress !== undefined);
  const [identity, ...more] = names.filter((name) => !served.includes(name));
  const groups =
    more.length === 0 ? identityPattern.exec(identity?.uniformResourceIdentifier ?? '')?.groups : undefined;
  const role = roles.find((name) => name === groups?.role);
  if (!role || groups?.id === undefined)
    throw malformed('not exactly one identity of the form urn:gridring:<role>:<id>');
  if (served.length > (mayServeNames(role) ? limits.certificateNames : 0))
    throw malformed('DNS names and IP addresses that a certificate of this role does not have, or too many of them');
  return { role, id: groups.id };
}

/** The hosts that a certificate names, beside its holder. */
export function serverNamesOf({ der }: LeafCertificate): {
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
} {
  const { tbsCertificate } = decodeDer(der, X509Certificate);
  const { identities } = readExtensions(tbsCertificate.extensions ?? []);
  return {
    dnsNames: identities.flatMap(({ dNSName }) => dNSName ?? []),
    ipAddresses: identities.flatMap(({ iPAddress }) => iPAddress ?? []),
  };
}

/** Whose certificate may name hosts: nobody else is to pass for a server of the deployment. */
export const mayServeNames = (role: Role): boolean => role === 'backend';

/** CA certificates of a path, the root counted. */
const maxCas = 3;

/**
 * Verifies a leaf up to a trusted root: names, signatures, validity of every certificate within `limits.clockSkewS`,
 * CA flags and path lengths, and the role. `intermediates` may stand in any order, and have others among them.
 * @throws VerificationError `certificate-role`, `certificate-key-type`, `certificate-expired`,
 * `certificate-not-yet-valid`, `certificate-untrusted`, `certificate-signature`, `certificate-path`
 */
export function verifyChain(
  suite: Suite,
  leaf: Certificate,
  intermediates: readonly Certificate[],
  trustedRoots: readonly Certificate[],
  nowS: number,
  expectedRole?: Role,
): VerifiedCertificate {
  if (leaf.role === 'ca' || (expectedRole !== undefined && leaf.role !== expectedRole)) {
    throw new VerificationError('certificate-role', `a certificate of role ${leaf.role} where that is not accepted`);
  }
  if (leaf.suite !== suite.id) {
    throw new VerificationError('certificate-key-type', `a certificate of suite ${leaf.suite} under suite ${suite.id}`);
  }
  assertValidAt(leaf, nowS);
  const candidates = [...trustedRoots, ...intermediates];
  let certificate: Certificate = leaf;
  for (let casBelow = 0; casBelow < maxCas; casBelow++) {
    certificate = issuerOf(certificate, candidates, casBelow, nowS);
    if (trustedRoots.some(({ certHash }) => equalBytes(certHash, certificate.certHash))) return asVerified(leaf);
    if (isNamedIssuer(certificate, certificate)) throw untrusted('the chain ends at a root that is not trusted');
  }
  throw new VerificationError('certificate-path', `no trusted root within ${maxCas} CA certificates`);
}

/**
 * A certificate that the holder of a verified one had before, vouched for by a signed list that names its hash: what it
 * has signed outlives its own end, and that of the CA above it.
 * @throws MalformedError; VerificationError `certificate-of-another` where it has another hash, role or id
 */
export function vouchedCertificate(
  suite: Suite,
  der: Uint8Array,
  certHash: Uint8Array,
  holder: VerifiedCertificate,
): VerifiedCertificate {
  const certificate = parseCertificate(suite, der);
  const isIts = equalBytes(certificate.certHash, certHash) && certificate.role === holder.role;
  if (isIts && certificate.id === holder.id) return asVerified(certificate);
  throw new VerificationError('certificate-of-another', `not a certificate that ${holder.id} had before`);
}

const untrusted = (why: string): VerificationError => new VerificationError('certificate-untrusted', why);

const asVerified = (leaf: LeafCertificate): VerifiedCertificate => leaf as VerifiedCertificate;

/** The CAs between a certificate and a root, the nearest first, as their names say. */
export function issuersOf(certificate: Certificate, cas: readonly CaCertificate[]): readonly CaCertificate[] {
  const issuers: CaCertificate[] = [];
  for (let below = certificate; issuers.length < maxCas;) {
    const issuer = cas.find((ca) => ca.ca === 'issuing' && isNamedIssuer(ca, below));
    if (!issuer) break;
    issuers.push(issuer);
    below = issuer;
  }
  return issuers;
}

/** The first candidate that certified the given one; signatures are checked last, for they cost most. */
function issuerOf(
  certificate: Certificate,
  candidates: readonly Certificate[],
  casBelow: number,
  nowS: number,
): Certificate {
  let refusal = untrusted('the issuer is neither trusted nor given');
  for (const issuer of candidates.filter((candidate) => isNamedIssuer(candidate, certificate))) {
    try {
      assertIssued(issuer, certificate, casBelow, nowS);
      return issuer;
    } catch (error) {
      if (!(error instanceof VerificationError)) throw error;
      refusal = error;
    }
  }
  throw refusal;
}

function isNamedIssuer(issuer: Certificate, { issuerName, authorityKeyId }: Certificate): boolean {
  if (!equalBytes(issuer.subjectName, issuerName)) return false;
  const { subjectKeyId } = issuer;
  return authorityKeyId === undefined || subjectKeyId === undefined || equalBytes(subjectKeyId, authorityKeyId);
}

function assertIssued(issuer: Certificate, certificate: Certificate, casBelow: number, nowS: number): void {
  if (issuer.role !== 'ca') throw new VerificationError('certificate-path', 'the issuer is not a CA');
  if (issuer.pathLength !== undefined && issuer.pathLength < casBelow) {
    throw new VerificationError('certificate-path', `more than ${issuer.pathLength} CA certificates below the issuer`);
  }
  assertValidAt(issuer, nowS);
  if (!issuer.verifier.verify(certificate.tbs, certificate.signature)) {
    throw new VerificationError('certificate-signature', 'the signature of the issuer does not verify');
  }
}

/** @throws VerificationError `certificate-expired`, `certificate-not-yet-valid` */
function assertValidAt({ notBeforeS, notAfterS }: Certificate, nowS: number): void {
  if (nowS - limits.clockSkewS > notAfterS) {
    throw new VerificationError('certificate-expired', 'the certificate, or one above it, has expired');
  }
  if (nowS + limits.clockSkewS < notBeforeS) {
    throw new VerificationError('certificate-not-yet-valid', 'the certificate, or one above it, is not valid yet');
  }
}
