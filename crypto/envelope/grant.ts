/**
 * Grants (protocol §8): a meter gives one reader its reading key of an epoch, sealed by HPKE to the key that stands in
 * the signed membership list, and signed.
 */
import { equalBytes } from '../bytes.js';
import { decodeStrict, encode } from '../cbor.js';
import type { VerifiedCertificate } from '../certificate.js';
import { parseSign1, sign1, verifySign1 } from '../cose.js';
import { VerificationError } from '../errors.js';
import { arrayOf, bytesOf, uint32Max, uintOf } from '../fields.js';
import { hash } from '../hash.js';
import { hpkeOpen, hpkeSeal } from '../hpke.js';
import { limits } from '../limits.js';
import type { KeyName } from '../ring/schedule.js';
import type { AgreementKey, Random, Signer, Suite } from '../suite.js';

export interface Grant {
  readonly name: KeyName;
  readonly meter: Uint8Array;
  readonly reader: Uint8Array;
  /** H(rk, key): envelopes carry it too, since no AEAD commits to its key. */
  readonly keyHash: Uint8Array;
  readonly enc: Uint8Array;
  readonly ciphertext: Uint8Array;
}

export const readingKeyHash = (suite: Suite, readingKey: Uint8Array): Uint8Array => hash(suite, 'rk', readingKey);

export interface GrantOrder {
  readonly name: KeyName;
  readonly meter: { readonly certHash: Uint8Array; readonly kid: Uint8Array; readonly signer: Signer };
  readonly reader: { readonly certHash: Uint8Array; readonly hpkeKey: Uint8Array };
  readonly readingKey: Uint8Array;
}

/** A signed grant of `readingKey` to one reader. */
export function makeGrant(suite: Suite, { name, meter, reader, readingKey }: GrantOrder, random: Random): Uint8Array {
  const info = grantInfo(name, meter.certHash, reader.certHash);
  const { enc, ciphertext } = hpkeSeal(suite, reader.hpkeKey, info, new Uint8Array(0), readingKey, random);
  const payload = encode([
    name.gid,
    name.epoch,
    name.attempt,
    name.th2,
    meter.certHash,
    reader.certHash,
    readingKeyHash(suite, readingKey),
    enc,
    ciphertext,
  ]);
  return sign1(suite, meter.signer, meter.kid, { type: 'grant', context: name.gid }, payload);
}

/** Parses without verifying. @throws MalformedError */
export function parseGrant(bytes: Uint8Array): Grant {
  const what = 'grant';
  const { payload } = parseSign1(bytes, limits.envelope);
  const [gid, epoch, attempt, th2, meter, reader, keyHash, enc, ciphertext] = arrayOf(
    decodeStrict(payload, limits.envelope),
    what,
    9,
  );
  return {
    name: {
      gid: bytesOf(gid, what, 16),
      epoch: uintOf(epoch, what, uint32Max, 1),
      attempt: uintOf(attempt, what, 255, 1),
      th2: bytesOf(th2, what, 32),
    },
    meter: bytesOf(meter, what, 32),
    reader: bytesOf(reader, what, 32),
    keyHash: bytesOf(keyHash, what, 32),
    enc: bytesOf(enc, what, 32, 65),
    ciphertext: bytesOf(ciphertext, what, 32, 48),
  };
}

/** @throws MalformedError, VerificationError `wrong-signer`, `signature-invalid` */
export function verifyGrant(suite: Suite, meter: VerifiedCertificate, bytes: Uint8Array): Grant {
  const grant = parseGrant(bytes);
  if (!equalBytes(grant.meter, meter.certHash)) throw new VerificationError('wrong-signer', 'a grant of another meter');
  verifySign1(suite, meter.verifier, parseSign1(bytes, limits.envelope), { type: 'grant', context: grant.name.gid });
  return grant;
}

/**
 * The reading key of a verified grant, for its reader.
 * @throws VerificationError `grant-not-mine`, `hpke-open-failed`, `reading-key-mismatch`
 */
export function openGrant(
  suite: Suite,
  reader: { readonly certHash: Uint8Array; readonly hpkeKey: AgreementKey },
  grant: Grant,
): Uint8Array {
  if (!equalBytes(grant.reader, reader.certHash))
    throw new VerificationError('grant-not-mine', 'a grant to another reader');
  const info = grantInfo(grant.name, grant.meter, grant.reader);
  const readingKey = hpkeOpen(suite, reader.hpkeKey, grant.enc, info, new Uint8Array(0), grant.ciphertext);
  if (!equalBytes(readingKeyHash(suite, readingKey), grant.keyHash)) {
    throw new VerificationError('reading-key-mismatch', 'the granted key is not the one that the grant names');
  }
  return readingKey;
}

const grantInfo = ({ gid, epoch, attempt, th2 }: KeyName, meter: Uint8Array, reader: Uint8Array): Uint8Array =>
  encode(['gridring1', 'grant', gid, epoch, attempt, th2, meter, reader]);
