import { Certificate as X509, type TBSCertificate } from '@peculiar/asn1-x509';
import { utf8 } from '../../crypto/bytes.js';
import { algorithmsOf, decodeDer, encodeDer } from '../../crypto/certificate/algorithms.js';
import { issueCertificate, type CertificateSubject } from '../../crypto/certificate/issue.js';
import {
  parseCertificate,
  type CaCertificate,
  type Certificate,
  type LeafCertificate,
} from '../../crypto/certificate.js';
import type { Signer, Suite } from '../../crypto/suite.js';

export const nowS = Date.UTC(2026, 5, 1) / 1000;
export const dayS = 86_400;

/** The same key for the same name, in every run. */
export const signerNamed = (suite: Suite, name: string): Signer => suite.signer(suite.sha256(utf8(name)));

export interface Authority {
  readonly signer: Signer;
  readonly certificate: CaCertificate;
}

export interface Wish {
  readonly subject: CertificateSubject;
  readonly issuer?: Authority;
  /** Of the subject's key; the key of a leaf's id or a CA's name where left out. */
  readonly key?: string;
  readonly notBeforeS?: number;
  readonly notAfterS?: number;
}

const nameOf = (subject: CertificateSubject): string => ('ca' in subject ? subject.name : subject.id);

export const issue = (
  suite: Suite,
  { subject, issuer, key = nameOf(subject), notBeforeS, notAfterS }: Wish,
): Uint8Array =>
  issueCertificate(suite, {
    issuer: issuer ?? { signer: signerNamed(suite, key) },
    subjectPublicKey: signerNamed(suite, key).publicKey,
    subject,
    serial: suite.sha256(utf8(`serial of ${key}`)).slice(0, 16),
    notBeforeS: notBeforeS ?? nowS - 30 * dayS,
    notAfterS: notAfterS ?? nowS + 30 * dayS,
  });

export const issueCa = (
  suite: Suite,
  subject: Extract<CertificateSubject, { readonly ca: string }>,
  wish: Omit<Wish, 'subject'> = {},
): Authority => {
  const certificate = parseCertificate(suite, issue(suite, { ...wish, subject }));
  if (certificate.role !== 'ca') throw new TypeError('not a CA');
  return { signer: signerNamed(suite, wish.key ?? subject.name), certificate };
};

export const issueLeaf = (suite: Suite, issuer: Authority, wish: Partial<Wish> = {}): LeafCertificate => {
  const certificate = parseCertificate(suite, issue(suite, { subject: { role: 'meter', id: 'm-1' }, ...wish, issuer }));
  if (certificate.role === 'ca') throw new TypeError('not a leaf');
  return certificate;
};

export interface Pki {
  readonly root: Authority;
  readonly issuing: Authority;
  readonly leaf: LeafCertificate;
}

export function makePki(suite: Suite): Pki {
  const root = issueCa(suite, { ca: 'root', name: 'Test root' });
  const issuing = issueCa(suite, { ca: 'issuing', name: 'Test issuing CA' }, { issuer: root });
  return { root, issuing, leaf: issueLeaf(suite, issuing) };
}

/** A certificate changed and signed again, by a CA that does not keep to the profile, or by an attacker. */
export function forge(
  suite: Suite,
  signer: Signer,
  original: Certificate,
  change: (tbs: TBSCertificate) => void,
): Uint8Array {
  const x509 = decodeDer(original.der, X509);
  change(x509.tbsCertificate);
  const signature = algorithmsOf[suite.name].signatureToX509(signer.sign(encodeDer(x509.tbsCertificate)));
  x509.signatureValue = new Uint8Array(signature).buffer;
  return encodeDer(x509);
}
