/** A root, an issuing CA and certified callers, as the command line would make them. */
import { randomBytes } from 'node:crypto';
import { parseCertificate, type CaCertificate, type LeafCertificate, type Role } from '../../crypto/certificate.js';
import { issueCertificate, type CertificateSubject } from '../../crypto/certificate/issue.js';
import { generateSigner, type FreshSigner } from '../../crypto/keys.js';
import type { Suite } from '../../crypto/suite.js';
import type { TokenHolder } from '../../servients/bindings/token.js';

export const dayS = 86_400;

export interface Pki {
  readonly root: CaCertificate;
  readonly issuing: CaCertificate;
  holder(role: Role, id: string): TokenHolder;
}

const random = (length: number): Uint8Array => new Uint8Array(randomBytes(length));

export function makePki(suite: Suite, nowS: number): Pki {
  const issue = (
    issuer: { readonly signer: FreshSigner['signer']; readonly certificate?: CaCertificate },
    key: FreshSigner,
    subject: CertificateSubject,
  ) =>
    parseCertificate(
      suite,
      issueCertificate(suite, {
        issuer,
        subject,
        subjectPublicKey: key.signer.publicKey,
        serial: random(16),
        notBeforeS: nowS - dayS,
        notAfterS: nowS + dayS,
      }),
    );
  const rootKey = generateSigner(suite, random);
  const root = issue(rootKey, rootKey, { ca: 'root', name: 'Root' }) as CaCertificate;
  const issuingKey = generateSigner(suite, random);
  const rootIssuer = { signer: rootKey.signer, certificate: root };
  const issuing = issue(rootIssuer, issuingKey, { ca: 'issuing', name: 'Issuing' }) as CaCertificate;
  return {
    root,
    issuing,
    holder(role, id) {
      const key = generateSigner(suite, random);
      const issuer = { signer: issuingKey.signer, certificate: issuing };
      const certificate = issue(issuer, key, { role, id }) as LeafCertificate;
      return { suite, secret: key.secret, certificate, intermediates: [issuing] };
    },
  };
}
