/**
 * A deployment moves from one root to the next (protocol §12): who hangs on which, and certificates for the same keys under
 * the new one.
 */
import { randomBytes } from 'node:crypto';
import { equalBytes, toHex } from '../../crypto/bytes.js';
import { signAnchors } from '../../crypto/anchors.js';
import {
  parseCertificate,
  serverNamesOf,
  verifyChain,
  type Certificate,
  type LeafCertificate,
  type VerifiedCertificate,
} from '../../crypto/certificate.js';
import { MalformedError, SetupError, VerificationError } from '../../crypto/errors.js';
import type { Suite } from '../../crypto/suite.js';
import { caFiles, certify, type CertificateAuthority } from '../ca.js';
import { privateKeyFromPem, readText } from '../identity-files.js';
import type { OpenList } from '../membership/list-file.js';

export const urnOf = ({ role, id }: LeafCertificate): string => `urn:gridring:${role}:${id}`;

/** Whether a certificate is good under a root and no other. */
export function hangsOn(
  suite: Suite,
  root: Certificate,
  leaf: Certificate,
  above: readonly Certificate[],
  nowS: number,
): boolean {
  try {
    verifyChain(suite, leaf, above, [root], nowS);
    return true;
  } catch (error) {
    if (error instanceof VerificationError) return false;
    throw error;
  }
}

/**
 * The certificates that a backend shows of itself, leaf first. The next root's key signs for what stands in them, so that
 * they count only as those of a backend under a root that is trusted: else whoever runs it would choose key and role.
 * @throws MalformedError; VerificationError as `verifyChain`
 */
export function shownBackend(
  { suite, trustedRoots, nowS }: Pick<OpenList, 'suite' | 'trustedRoots'> & { readonly nowS: number },
  ders: readonly Uint8Array[],
): readonly [VerifiedCertificate, ...Certificate[]] {
  const [leaf, ...above] = ders.map((der) => parseCertificate(suite, der));
  if (!leaf) throw new MalformedError('message-malformed', 'the backend shows no certificate');
  return [verifyChain(suite, leaf, above, trustedRoots, nowS, 'backend'), ...above];
}

/** Whoever a list names, by certificate. @throws SetupError `certificate-unknown` where the bundle has not all of them */
export function holdersIn({ list, certificates }: OpenList): readonly LeafCertificate[] {
  const leaves = new Map(
    certificates.flatMap((certificate) =>
      certificate.role === 'ca' ? [] : [[toHex(certificate.certHash), certificate] as const],
    ),
  );
  return list.entries.map(({ certHash }) => {
    const leaf = leaves.get(toHex(certHash));
    if (leaf) return leaf;
    const advice = 'add it anew with "gridring membership add", or remove the entry';
    throw new SetupError('certificate-unknown', `the list came without the certificate ${toHex(certHash)}: ${advice}`);
  });
}

/** A certificate for the key that a holder has, under another CA; leaf first, without the root. */
export function recertify(
  ca: CertificateAuthority,
  leaf: LeafCertificate,
  { days, nowS }: { readonly days: number; readonly nowS: number },
): readonly Uint8Array[] {
  const { role, id, verifier } = leaf;
  return certify(ca, verifier.publicKey, { role, id, servedAs: serverNamesOf(leaf), days, nowS, random: randomBytes });
}

/**
 * What everybody who trusts `from` is to trust instead, signed with the key of one of these, which is in the folder.
 * @throws SetupError `root-other` where it is of another, and of its file
 */
export function stateTrust(
  suite: Suite,
  folder: string,
  from: readonly Certificate[],
  to: readonly Certificate[],
): Uint8Array {
  const { rootKey } = caFiles(folder);
  const signer = suite.signer(privateKeyFromPem(suite, readText(rootKey, 'key of the root'), rootKey));
  const root = from.find(({ verifier }) => equalBytes(verifier.publicKey, signer.publicKey));
  if (root?.role === 'ca') return signAnchors(suite, { certificate: root, signer }, from, to);
  throw new SetupError('root-other', `${rootKey} is not the key of a root that is trusted now`);
}
