/**
 * Statements of trust (protocol §12): a root that is trusted says which roots are to be trusted instead of those that are,
 * for everybody who trusts exactly these. So a deployment moves from one root to the next, by way of both. They travel with
 * membership lists, whoever carries them; nothing but the key of a root makes one, and one that was used fits nobody again.
 */
import { compareBytes, equalBytes } from './bytes.js';
import { decodeStrict, encode } from './cbor.js';
import { parseCertificate, type CaCertificate, type Certificate } from './certificate.js';
import { parseSign1, sign1, verifySign1 } from './cose.js';
import { MalformedError, VerificationError } from './errors.js';
import { arrayOf, bytesOf } from './fields.js';
import { limits } from './limits.js';
import type { Signer, Suite } from './suite.js';

const what = 'statement of trust';
const context = { type: 'anchors', context: new Uint8Array(0) };

/** COSE_Sign1 of a root in `from`. Both name one root or more, `to` with the certificates. */
export function signAnchors(
  suite: Suite,
  root: { readonly certificate: CaCertificate; readonly signer: Signer },
  from: readonly Certificate[],
  to: readonly Certificate[],
): Uint8Array {
  const payload = encode([hashesOf(from), sorted(to).map(({ der }) => der)]);
  return sign1(suite, root.signer, root.certificate.kid, context, payload);
}

/**
 * The roots that are to be trusted, by whoever trusts these now: each statement is for who trusts exactly what it begins
 * with, and changes nothing for anybody else.
 * @throws MalformedError; VerificationError `anchor-signer`, `signature-invalid` for one that is for these roots and not
 * signed by one of them, or names what is no root
 */
export function followAnchors(
  suite: Suite,
  trusted: readonly Certificate[],
  statements: readonly Uint8Array[],
): readonly Certificate[] {
  return statements.slice(0, limits.anchorStatements).reduce((roots, bytes) => follow(suite, roots, bytes), trusted);
}

function follow(suite: Suite, trusted: readonly Certificate[], bytes: Uint8Array): readonly Certificate[] {
  const message = parseSign1(bytes, limits.anchors);
  const [from, to] = arrayOf(decodeStrict(message.payload, limits.anchors), what, 2);
  const hashes = arrayOf(from, what).map((item) => bytesOf(item, what, 32));
  const known = hashesOf(trusted);
  const isForThese = hashes.length === known.length && hashes.every((each, i) => equalBytes(each, known[i] ?? each));
  if (!isForThese) return trusted;
  const signer = trusted.find(({ kid }) => equalBytes(kid, message.kid));
  if (!signer) throw new VerificationError('anchor-signer', 'a statement of trust that no trusted root has signed');
  verifySign1(suite, signer.verifier, message, context);
  const roots = arrayOf(to, what).map((der) => parseCertificate(suite, bytesOf(der, what)));
  if (roots.length === 0 || roots.length > limits.anchors / limits.certificate) {
    throw new MalformedError('message-malformed', 'a statement of trust in no root, or in too many');
  }
  if (roots.every((root) => isRoot(root))) return roots;
  throw new VerificationError('anchor-signer', 'a statement of trust in what is no root');
}

/** Self-signed: whoever is named has the key that it is named with. */
const isRoot = (root: Certificate): boolean =>
  root.role === 'ca' && root.ca === 'root' && root.verifier.verify(root.tbs, root.signature);

const sorted = (certificates: readonly Certificate[]): readonly Certificate[] =>
  [...certificates].sort((a, b) => compareBytes(a.certHash, b.certHash));

const hashesOf = (certificates: readonly Certificate[]): readonly Uint8Array[] =>
  sorted(certificates).map(({ certHash }) => certHash);

/** What lists say is to be trusted, where that is not what is; undefined where it is. */
export const newTrust = (
  trusted: readonly Certificate[],
  memberships: readonly { readonly trustedRoots: readonly Certificate[] }[],
): readonly Certificate[] | undefined =>
  memberships.find(({ trustedRoots }) => !areSameRoots(trustedRoots, trusted))?.trustedRoots;

/** Whether both are the same roots, in whatever order. */
const areSameRoots = (a: readonly Certificate[], b: readonly Certificate[]): boolean =>
  a.length === b.length &&
  hashesOf(a).every((certHash, i) => equalBytes(certHash, hashesOf(b)[i] ?? certHash.slice(1)));
