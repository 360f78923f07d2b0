/**
 * How a suite's keys and signatures stand in X.509: Ed25519 (RFC 8410), and ECDSA with P-256 and SHA-256 (RFC 5480,
 * RFC 5758). A certificate's key and the signature over it are of one suite: a deployment has one PKI per suite.
 */
import { AsnConvert, AsnIntegerBigIntConverter, AsnProp, AsnPropTypes } from '@peculiar/asn1-schema';
import { AlgorithmIdentifier } from '@peculiar/asn1-x509';
import { concatBytes, equalBytes, fromHex, toHex } from '../bytes.js';
import { MalformedError } from '../errors.js';
import type { SuiteName } from '../suite.js';

export interface CertificateAlgorithms {
  readonly key: AlgorithmIdentifier;
  readonly signature: AlgorithmIdentifier;
  /** The 64 bytes that a `Verifier` takes. @throws MalformedError `certificate-malformed` */
  signatureFromX509(encoded: Uint8Array): Uint8Array;
  signatureToX509(signature: Uint8Array): Uint8Array;
}

const ed25519 = '1.3.101.112';
const ecPublicKey = '1.2.840.10045.2.1';
const ecdsaWithSha256 = '1.2.840.10045.4.3.2';
/** The named curve, 1.2.840.10045.3.1.7, as DER. */
const prime256v1 = fromHex('06082a8648ce3d030107');

const p256Order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

export const algorithmsOf: Readonly<Record<SuiteName, CertificateAlgorithms>> = {
  x25519: {
    key: new AlgorithmIdentifier({ algorithm: ed25519 }),
    signature: new AlgorithmIdentifier({ algorithm: ed25519 }),
    signatureFromX509(encoded) {
      if (encoded.length !== 64) throw malformed('an Ed25519 signature that is not 64 bytes long');
      return encoded;
    },
    signatureToX509: (signature) => signature,
  },
  p256: {
    key: new AlgorithmIdentifier({ algorithm: ecPublicKey, parameters: prime256v1.slice().buffer }),
    signature: new AlgorithmIdentifier({ algorithm: ecdsaWithSha256 }),
    signatureFromX509: ecdsaFromDer,
    signatureToX509(signature) {
      const value = new EcdsaSignatureValue();
      value.r = BigInt(`0x${toHex(signature.subarray(0, 32))}`);
      value.s = BigInt(`0x${toHex(signature.subarray(32))}`);
      return encodeDer(value);
    },
  },
};

/** ECDSA-Sig-Value of RFC 3279 §2.2.3. */
class EcdsaSignatureValue {
  r = 0n;
  s = 0n;
}
const integer = AsnProp({ type: AsnPropTypes.Integer, converter: AsnIntegerBigIntConverter });
integer(EcdsaSignatureValue.prototype, 'r');
integer(EcdsaSignatureValue.prototype, 's');

/**
 * Half of all signatures that common certificate authorities make have a high s, so both are taken, and s is lowered
 * here. That does no harm: the other s gives other DER, hence another certHash, which no membership list names.
 */
function ecdsaFromDer(encoded: Uint8Array): Uint8Array {
  const { r, s } = decodeDer(encoded, EcdsaSignatureValue);
  if (r <= 0n || r >= p256Order || s <= 0n || s >= p256Order) throw malformed('an ECDSA signature out of range');
  return concatBytes(scalar(r), scalar(s > p256Order / 2n ? p256Order - s : s));
}

const scalar = (value: bigint): Uint8Array => fromHex(value.toString(16).padStart(64, '0'));

export const encodeDer = (value: unknown): Uint8Array => new Uint8Array(AsnConvert.serialize(value));

/**
 * Only what re-encodes to the same bytes is taken: DER, nothing left over, no field that the type does not know.
 * @throws MalformedError `certificate-malformed`
 */
export function decodeDer<T>(der: Uint8Array, type: new () => T): T {
  try {
    const value = AsnConvert.parse(der, type);
    if (equalBytes(encodeDer(value), der)) return value;
  } catch (cause) {
    throw malformed(`not DER of a ${type.name}`, cause);
  }
  throw malformed(`not the distinguished encoding of a ${type.name}`);
}

export const malformed = (why: string, cause?: unknown): MalformedError =>
  new MalformedError('certificate-malformed', why, cause);
