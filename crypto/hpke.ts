/**
 * HPKE (RFC 9180), base mode, single shot, with the KEM and AEAD of the suite and HKDF-SHA256. No PSK or Auth modes,
 * no exporter, no sequence of messages.
 */
import { concatBytes, utf8 } from './bytes.js';
import { VerificationError } from './errors.js';
import { hkdfExpand, hkdfExtract } from './hash.js';
import { firstAccepted, type FreshAgreementKey } from './keys.js';
import type { AgreementKey, Random, Suite } from './suite.js';

const kdfHkdfSha256 = 1;
const modeBase = 0;
const empty = new Uint8Array(0);
const version = utf8('HPKE-v1');

export interface HpkeSealed {
  /** The ephemeral public key: 32 or 65 bytes. */
  readonly enc: Uint8Array;
  /** Plaintext length + 16. */
  readonly ciphertext: Uint8Array;
}

/**
 * DeriveKeyPair of RFC 9180 §7.1.3; `ikm` has at least 32 bytes of entropy.
 * @throws VerificationError `key-invalid` when no candidate is a scalar (never, in practice)
 */
export function deriveKeyPair(suite: Suite, ikm: Uint8Array): FreshAgreementKey {
  const labels = kemLabels(suite);
  const prk = labels.extract(empty, 'dkp_prk', ikm);
  return firstAccepted(
    (counter) =>
      suite.name === 'x25519'
        ? labels.expand(prk, 'sk', empty, 32)
        : labels.expand(prk, 'candidate', Uint8Array.of(counter), 32),
    (secret) => suite.agreementKey(secret),
  );
}

/**
 * Seals to `recipientPublicKey` (32 or 65 bytes) under an ephemeral key derived from `random(32)`.
 * @throws VerificationError `key-invalid`
 */
export function hpkeSeal(
  suite: Suite,
  recipientPublicKey: Uint8Array,
  info: Uint8Array,
  aad: Uint8Array,
  plaintext: Uint8Array,
  random: Random,
): HpkeSealed {
  const recipientWireKey = suite.hpkeToWire(recipientPublicKey);
  const ephemeral = deriveKeyPair(suite, random(32)).key;
  const enc = ephemeral.hpkePublicKey;
  const shared = extractAndExpand(suite, ephemeral.agree(recipientWireKey), concatBytes(enc, recipientPublicKey));
  const { key, nonce } = keySchedule(suite, shared, info);
  return { enc, ciphertext: suite.seal(key, nonce, aad, plaintext) };
}

/** @throws VerificationError `key-invalid` for a bad `enc`, `hpke-open-failed` for everything else that does not fit */
export function hpkeOpen(
  suite: Suite,
  recipientKey: AgreementKey,
  enc: Uint8Array,
  info: Uint8Array,
  aad: Uint8Array,
  ciphertext: Uint8Array,
): Uint8Array {
  const agreed = recipientKey.agree(suite.hpkeToWire(enc));
  const shared = extractAndExpand(suite, agreed, concatBytes(enc, recipientKey.hpkePublicKey));
  const { key, nonce } = keySchedule(suite, shared, info);
  try {
    return suite.open(key, nonce, aad, ciphertext);
  } catch (cause) {
    throw new VerificationError('hpke-open-failed', 'not sealed to this key in this context', cause);
  }
}

/** RFC 9180 §4.1. */
function extractAndExpand(suite: Suite, agreed: Uint8Array, kemContext: Uint8Array): Uint8Array {
  const labels = kemLabels(suite);
  return labels.expand(labels.extract(empty, 'eae_prk', agreed), 'shared_secret', kemContext, 32);
}

/** RFC 9180 §5.1 in base mode: an empty PSK, and the nonce of sequence number 0. */
function keySchedule(
  suite: Suite,
  shared: Uint8Array,
  info: Uint8Array,
): { readonly key: Uint8Array; readonly nonce: Uint8Array } {
  const { kemId, aeadId } = suite.hpke;
  const labels = labelled(suite, concatBytes(utf8('HPKE'), Uint8Array.of(0, kemId, 0, kdfHkdfSha256, 0, aeadId)));
  const pskIdHash = labels.extract(empty, 'psk_id_hash', empty);
  const context = concatBytes(Uint8Array.of(modeBase), pskIdHash, labels.extract(empty, 'info_hash', info));
  const secret = labels.extract(shared, 'secret', empty);
  return {
    key: labels.expand(secret, 'key', context, suite.aeadKeyBytes),
    nonce: labels.expand(secret, 'base_nonce', context, 12),
  };
}

interface Labelled {
  extract(salt: Uint8Array, label: string, inputKey: Uint8Array): Uint8Array;
  expand(prk: Uint8Array, label: string, info: Uint8Array, length: number): Uint8Array;
}

/** LabeledExtract and LabeledExpand of RFC 9180 §4. */
const labelled = (suite: Suite, suiteId: Uint8Array): Labelled => ({
  extract: (salt, label, inputKey) => hkdfExtract(suite, salt, concatBytes(version, suiteId, utf8(label), inputKey)),
  expand: (prk, label, info, length) =>
    hkdfExpand(suite, prk, concatBytes(Uint8Array.of(0, length), version, suiteId, utf8(label), info), length),
});

const kemLabels = (suite: Suite): Labelled =>
  labelled(suite, concatBytes(utf8('KEM'), Uint8Array.of(0, suite.hpke.kemId)));
