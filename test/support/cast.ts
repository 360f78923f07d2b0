/** What only the CA and the membership authority of a deployment on disk can make: further identities, and newer lists. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseCertificate, type Certificate, type LeafCertificate, type Role } from '../../crypto/certificate.js';
import { deriveKeyPair } from '../../crypto/hpke.js';
import {
  encodeMembershipBundle,
  parseMembershipBundle,
  signMembershipList,
  verifyMembership,
  type Membership,
  type MembershipList,
} from '../../crypto/membership.js';
import type { Suite } from '../../crypto/suite.js';
import { suiteByName } from '../../crypto/suite-node.js';
import { issue, openCa, type CertificateAuthority } from '../../servients/ca.js';
import { readCertificates, readIdentity } from '../../servients/identity-files.js';
import { readReaderFile, writeReaderFile } from '../../servients/reader-file.js';
import { systemNowS } from '../../servients/runtime.js';
import type { Identity } from '../../things/parts.js';
import type { TestDeployment } from './deployment.js';

export const suiteOf = (d: TestDeployment): Suite => suiteByName(d.suite);

export const caOf = (d: TestDeployment): CertificateAuthority => openCa(suiteOf(d), join(d.folder, 'ca'));

/** The identity of a role or meter, with the key that its process uses. */
export const identityIn = (d: TestDeployment, place: string): Identity & { readonly secret: Uint8Array } =>
  readIdentity(suiteOf(d), {
    certificate: join(d.folder, place, 'certificate.pem'),
    key: join(d.folder, place, 'key.pem'),
  });

export interface Certified extends Identity {
  readonly certificate: LeafCertificate;
  readonly secret: Uint8Array;
}

/** A certificate of the CA, valid from `nowS` on for so many days. */
export function certify(
  ca: CertificateAuthority,
  role: Role,
  id: string,
  { nowS = systemNowS(), days = 1 } = {},
): Certified {
  const { signer, secret, chain } = issue(ca, { role, id, nowS, days, random: randomBytes });
  const certificate = parseCertificate(ca.suite, chain[0]!);
  if (certificate.role === 'ca') throw new Error('a leaf was asked for');
  const { certHash, kid } = certificate;
  return { id, certHash, kid, signer, secret, certificates: chain, certificate };
}

export interface NewReader {
  readonly file: string;
  readonly certificate: LeafCertificate;
  readonly hpkeKey: Uint8Array;
}

/** A reader with a certificate of the CA and a key file; in no list yet. */
export function makeReader(d: TestDeployment, id: string): NewReader {
  const suite = suiteOf(d);
  const { certificate, certificates, secret } = certify(caOf(d), 'reader', id);
  const hpke = deriveKeyPair(suite, randomBytes(32));
  const file = join(d.folder, `readers/${id}.json`);
  const { root, backend } = readReaderFile(d.readers.utility);
  writeReaderFile(file, { suite, chain: certificates, secret, hpkeSecret: hpke.secret, root: root.der, backend });
  return { file, certificate, hpkeKey: hpke.key.hpkePublicKey };
}

const firstBundle = (d: TestDeployment): Uint8Array => new Uint8Array(readFileSync(d.membership));

/** The list that the deployment began with, as the authority signed it. */
export const firstMembership = (d: TestDeployment): Membership => {
  const trustedRoots = readCertificates(suiteOf(d), join(d.folder, 'ca/root.pem'), 'root');
  return verifyMembership({ suite: suiteOf(d), trustedRoots, nowS: systemNowS() }, firstBundle(d));
};

/** A list signed by the authority, with the certificates of the first one and more. */
export function signList(d: TestDeployment, list: MembershipList, more: readonly Certificate[]): Uint8Array {
  const { certificates } = parseMembershipBundle(firstBundle(d));
  const message = signMembershipList(suiteOf(d), identityIn(d, 'authority'), list);
  return encodeMembershipBundle(message, [...certificates, ...more.map(({ der }) => der)]);
}
