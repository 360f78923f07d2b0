/** A small certificate authority in a folder: a root that signs one issuing CA, which signs everybody else. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { issueCertificate, type ServerNames } from '../crypto/certificate/issue.js';
import { toPem } from '../crypto/certificate/pem.js';
import { parseCertificate, type CaCertificate, type Role } from '../crypto/certificate.js';
import { SetupError } from '../crypto/errors.js';
import { generateSigner } from '../crypto/keys.js';
import type { Random, Signer, Suite } from '../crypto/suite.js';
import {
  privateKeyFromPem,
  privateKeyToPem,
  readCertificates,
  readText,
  writePrivate,
  writePublic,
} from './identity-files.js';

const dayS = 86_400;
/** Clocks of devices that are enrolled at once may be a little behind. */
const backdateS = 3_600;

export interface CertificateAuthority {
  readonly suite: Suite;
  readonly root: CaCertificate;
  readonly issuing: CaCertificate;
  readonly issuingSigner: Signer;
}

export const caFiles = (folder: string) => ({
  root: join(folder, 'root.pem'),
  rootKey: join(folder, 'root.key.pem'),
  issuing: join(folder, 'issuing.pem'),
  issuingKey: join(folder, 'issuing.key.pem'),
});

/** Makes root and issuing CA. @throws SetupError `ca-exists` when the folder holds one already */
export function initCa(
  suite: Suite,
  folder: string,
  { name, nowS, random }: { readonly name: string; readonly nowS: number; readonly random: Random },
): CertificateAuthority {
  const files = caFiles(folder);
  if (existsSync(files.root)) {
    throw new SetupError(
      'ca-exists',
      `${folder} holds a CA already; choose another folder, its keys are not overwritten`,
    );
  }
  const rootKey = generateSigner(suite, random);
  const root = parseCa(
    suite,
    issueCertificate(suite, {
      issuer: { signer: rootKey.signer },
      subjectPublicKey: rootKey.signer.publicKey,
      subject: { ca: 'root', name: `${name} root` },
      serial: random(16),
      notBeforeS: nowS - backdateS,
      notAfterS: nowS + 20 * 365 * dayS,
    }),
  );
  const issuingKey = generateSigner(suite, random);
  const issuing = parseCa(
    suite,
    issueCertificate(suite, {
      issuer: { signer: rootKey.signer, certificate: root },
      subjectPublicKey: issuingKey.signer.publicKey,
      subject: { ca: 'issuing', name: `${name} issuing CA` },
      serial: random(16),
      notBeforeS: nowS - backdateS,
      notAfterS: nowS + 10 * 365 * dayS,
    }),
  );
  writePrivate(files.rootKey, privateKeyToPem(suite, rootKey.secret, rootKey.signer.publicKey));
  writePrivate(files.issuingKey, privateKeyToPem(suite, issuingKey.secret, issuingKey.signer.publicKey));
  writePublic(files.issuing, toPem(issuing.der));
  writePublic(files.root, toPem(root.der));
  return { suite, root, issuing, issuingSigner: issuingKey.signer };
}

/** Opens the CA of a folder; the root's key is not needed and not read. @throws SetupError */
export function openCa(suite: Suite, folder: string): CertificateAuthority {
  const files = caFiles(folder);
  const roots = readCertificates(suite, files.root, 'root certificate');
  const [issuing] = readCertificates(suite, files.issuing, 'issuing certificate');
  // In a move to another root both are in the file.
  const root = roots.find(({ verifier }) => issuing && verifier.verify(issuing.tbs, issuing.signature)) ?? roots[0];
  if (root?.role !== 'ca' || issuing?.role !== 'ca') {
    throw new SetupError(
      'certificate-unusable',
      `${folder} holds no CA; make one with "gridring ca init --dir ${folder}"`,
    );
  }
  const secret = privateKeyFromPem(suite, readText(files.issuingKey, 'issuing key'), files.issuingKey);
  return { suite, root, issuing, issuingSigner: suite.signer(secret) };
}

export interface IssueRequest {
  readonly role: Role;
  readonly id: string;
  readonly nowS: number;
  readonly days: number;
  /** Of a backend that serves HTTPS. */
  readonly servedAs?: ServerNames;
  readonly random: Random;
}

/** A fresh key with its certificate; the chain is leaf first, without the root. @throws SetupError `certificate-request` */
export function issue(
  ca: CertificateAuthority,
  request: IssueRequest,
): { readonly secret: Uint8Array; readonly signer: Signer; readonly chain: readonly Uint8Array[] } {
  const { secret, signer } = generateSigner(ca.suite, request.random);
  return { secret, signer, chain: certify(ca, signer.publicKey, request) };
}

/** A certificate of somebody else's key; the chain is leaf first, without the root. @throws SetupError `certificate-request` */
export function certify(
  { suite, issuing, issuingSigner }: CertificateAuthority,
  subjectPublicKey: Uint8Array,
  { role, id, nowS, days, servedAs, random }: IssueRequest,
): readonly Uint8Array[] {
  const leaf = issueCertificate(suite, {
    issuer: { signer: issuingSigner, certificate: issuing },
    subjectPublicKey,
    subject: { role, id, ...(servedAs && { servedAs }) },
    serial: random(16),
    notBeforeS: nowS - backdateS,
    notAfterS: Math.min(nowS + days * dayS, issuing.notAfterS),
  });
  return [leaf, issuing.der];
}

function parseCa(suite: Suite, der: Uint8Array): CaCertificate {
  const certificate = parseCertificate(suite, der);
  if (certificate.role !== 'ca') throw new TypeError('a CA certificate was issued as a leaf');
  return certificate;
}
