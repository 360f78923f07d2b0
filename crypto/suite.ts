/**
 * The one synchronous interface to primitives. `suite-node.ts` implements it on `node:crypto`, `suite-noble.ts` on
 * noble (reference and browser); the protocol takes either as an argument and knows no other.
 */
export type SuiteId = 1 | 2;
export type SuiteName = 'x25519' | 'p256';

export interface Suite {
  readonly id: SuiteId;
  readonly name: SuiteName;
  /** COSE algorithm of signatures: Ed25519 −19, ESP256 −9 (RFC 9864). */
  readonly signatureAlgorithm: -19 | -9;
  /** COSE algorithm of the AEAD: ChaCha20-Poly1305 24, A128GCM 1 (RFC 9053 §4). */
  readonly aeadAlgorithm: 24 | 1;
  readonly aeadKeyBytes: 32 | 16;
  /** RFC 9180 §7: KEM and AEAD identifiers; the KDF is HKDF-SHA256 in both suites. */
  readonly hpke: { readonly kemId: 0x20 | 0x10; readonly aeadId: 3 | 1; readonly publicKeyBytes: 32 | 65 };

  /** 32 bytes. No other copy of them is left behind, since they may be secret. */
  sha256(data: Uint8Array): Uint8Array;
  /** The same, faster where that is possible, for what everybody may know. */
  publicSha256(data: Uint8Array): Uint8Array;
  /** 32 bytes. */
  hmacSha256(key: Uint8Array, data: Uint8Array): Uint8Array;

  /**
   * An agreement key from 32 secret bytes (X25519 scalar before clamping; P-256 scalar, big endian).
   * @throws VerificationError `key-invalid` when a P-256 scalar is 0 or not below the group order
   */
  agreementKey(secret: Uint8Array): AgreementKey;

  /**
   * Checks a received HPKE public key (32 bytes u; 65 bytes uncompressed point) and returns its 32 wire bytes.
   * @throws VerificationError `key-invalid`
   */
  hpkeToWire(publicKey: Uint8Array): Uint8Array;

  /** A signing key from 32 secret bytes (Ed25519 seed; P-256 scalar). @throws VerificationError `key-invalid` */
  signer(secret: Uint8Array): Signer;

  /**
   * A verification key (Ed25519: 32 bytes; P-256: 65 bytes uncompressed), validated once, here.
   * @throws VerificationError `key-invalid` for small-order, non-canonical, off-curve and infinity
   */
  verifier(publicKey: Uint8Array): Verifier;

  /** Ciphertext ‖ 16-byte tag. `nonce` is 12 bytes. */
  seal(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, plaintext: Uint8Array): Uint8Array;
  /** @throws VerificationError `seal-invalid` */
  open(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array): Uint8Array;
}

export interface AgreementKey {
  /** As on the wire: 32 bytes (u of X25519; x of P-256). */
  readonly publicKey: Uint8Array;
  /** As HPKE serializes it: 32 bytes, or 65 bytes uncompressed. */
  readonly hpkePublicKey: Uint8Array;
  /**
   * The 32-byte shared secret with a peer's wire key.
   * @throws VerificationError `key-invalid` for u ≥ p, set top bit, low order or all-zero output, x off the curve
   */
  agree(peerPublicKey: Uint8Array): Uint8Array;
}

export interface Signer {
  /** As `Suite.verifier` takes it. */
  readonly publicKey: Uint8Array;
  /** 64 bytes: Ed25519, or r ‖ s with s low. */
  sign(data: Uint8Array): Uint8Array;
}

export interface Verifier {
  readonly publicKey: Uint8Array;
  /** Refuses a high s in suite 2. Never throws. */
  verify(data: Uint8Array, signature: Uint8Array): boolean;
  /** The same beside other work, on another thread where the platform has one; `data` is not changed before it is over. */
  verifyAside(data: Uint8Array, signature: Uint8Array): Promise<boolean>;
}

/** `length` fresh random bytes; the only source of randomness that the core knows. */
export type Random = (length: number) => Uint8Array;
