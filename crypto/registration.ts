/**
 * A device's word for its own Thing Description: signed by the key of its certificate for one directory, and carried in
 * the description itself, so that whoever reads it out of a directory can check it (docs/protocol.md §11).
 */
import { equalBytes, fromBase64Url, toBase64Url, utf8 } from './bytes.js';
import { canonicalJson } from './canonical-json.js';
import { decodeStrict, encode } from './cbor.js';
import { parseCertificate, verifyChain, type Certificate, type VerifiedCertificate } from './certificate.js';
import { parseSign1, sign1, verifySign1 } from './cose.js';
import { MalformedError, VerificationError } from './errors.js';
import { arrayOf, bytesOf, uintOf } from './fields.js';
import { limits } from './limits.js';
import type { Signer, Suite } from './suite.js';

type Td = Readonly<Record<string, unknown>>;

/** The member of a Thing Description that holds its proof: base64url of a COSE_Sign1. */
export const proofMember = 'gridring:proof';
/** The member of a gateway's Thing Description that names the directory which its proofs are to be for. */
export const directoryMember = 'gridring:directory';
/** Added by directories to the contexts of what they give out (WoT Discovery §7.3.1). */
export const discoveryContext = 'https://www.w3.org/2022/wot/discovery';

/** In any spelling: URNs are compared without regard to case (RFC 8141 §3.1), and one that looks like another deceives. */
export const isReservedId = (id: unknown): boolean => typeof id === 'string' && /^urn:gridring:/i.test(id);

const what = 'registration';
/** Three certificates, the directory's name, and the rest. */
const maxBytes = 3 * limits.certificate + 1_000;
const maxDirectoryBytes = 256;

interface Device {
  readonly certHash: Uint8Array;
  readonly kid: Uint8Array;
  readonly signer: Signer;
  /** Leaf first, then its intermediates; DER. */
  readonly certificates: readonly Uint8Array[];
}

/**
 * The Thing Description with the device's proof.
 * @param use `directory` is the audience of its tokens; `timeS` puts descriptions of one Thing in order, Unix seconds
 */
export function signRegistration(
  suite: Suite,
  device: Device,
  td: Td,
  use: { readonly directory: string; readonly timeS: number },
): Td {
  const payload = encode([device.certificates, utf8(use.directory), use.timeS, hashOf(suite, td)]);
  const message = sign1(suite, device.signer, device.kid, { type: what, context: device.certHash }, payload);
  return { ...td, [proofMember]: toBase64Url(message) };
}

export interface RegistrationCheck {
  readonly suite: Suite;
  readonly trustedRoots: readonly Certificate[];
  readonly nowS: number;
  /** Left out: the proof may be for any. */
  readonly directory?: string;
}

export interface VerifiedRegistration {
  readonly certificate: VerifiedCertificate;
  /** Of two proofs of one Thing, the later holds. */
  readonly timeS: number;
}

/**
 * That the device whose id the Thing Description has says so: chain, signature, id, content and directory. Whether the
 * device is still in a group's list is not in it.
 * @throws MalformedError; VerificationError `td-unsigned`, `td-of-another`, `td-altered`, `td-elsewhere`, `td-early`,
 * `wrong-signer`, `signature-invalid` and those of `verifyChain`
 */
export function verifyRegistration(check: RegistrationCheck, td: Td): VerifiedRegistration {
  const { suite, trustedRoots, nowS } = check;
  const message = parseSign1(proofOf(td), maxBytes);
  const [chain, directory, time, hash] = arrayOf(decodeStrict(message.payload, maxBytes), what, 4);
  const [leaf, ...above] = arrayOf(chain, what).map((der) => parseCertificate(suite, bytesOf(der, what)));
  if (!leaf || above.length > 2) throw new MalformedError('message-malformed', 'a proof without a chain');
  const certificate = verifyChain(suite, leaf, above, trustedRoots, nowS);
  if (!equalBytes(certificate.kid, message.kid)) {
    throw new VerificationError('wrong-signer', 'the proof is signed by another device');
  }
  verifySign1(suite, certificate.verifier, message, { type: what, context: certificate.certHash });
  const urn = `urn:gridring:${certificate.role}:${certificate.id}`;
  if (td['id'] !== urn && !String(td['id']).startsWith(`${urn}:`)) {
    throw new VerificationError('td-of-another', `${urn} speaks for itself alone`);
  }
  if (!equalBytes(bytesOf(hash, what, 32), hashOf(suite, td))) {
    throw new VerificationError('td-altered', `the Thing Description is not the one that ${urn} has signed`);
  }
  const timeS = uintOf(time, what);
  if (timeS > nowS + limits.clockSkewS) throw new VerificationError('td-early', 'signed at a time that is still ahead');
  const named = bytesOf(directory, what);
  if (named.length > maxDirectoryBytes) throw new MalformedError('message-malformed', 'a long name of a directory');
  if (check.directory !== undefined && !equalBytes(named, utf8(check.directory))) {
    throw new VerificationError('td-elsewhere', 'signed for another directory');
  }
  return { certificate, timeS };
}

function proofOf(td: Td): Uint8Array {
  const proof = td[proofMember];
  if (typeof proof !== 'string') throw new VerificationError('td-unsigned', 'the Thing Description carries no proof');
  if (proof.length > 2 * maxBytes) throw new MalformedError('too-large', `a proof has at most ${maxBytes} bytes`);
  try {
    return fromBase64Url(proof);
  } catch (cause) {
    throw new MalformedError('message-malformed', 'a proof that is not base64url', cause);
  }
}

/** Of what the device has said: without the proof, and without what a directory adds. */
function hashOf(suite: Suite, { registration: _, [proofMember]: __, '@context': context, ...described }: Td) {
  const contexts = [context].flat().filter((entry) => entry !== discoveryContext);
  return suite.publicSha256(utf8(canonicalJson({ ...described, '@context': contexts })));
}
