/** Keys and certificates on disk: PEM (PKCS #8 and X.509), private keys readable by their owner only. */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { chmodSync, lstatSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { equalBytes, fromBase64Url, toBase64Url } from '../crypto/bytes.js';
import { fromPem, toPem } from '../crypto/certificate/pem.js';
import { parseCertificate, type Certificate, type LeafCertificate } from '../crypto/certificate.js';
import { GridringError, SetupError } from '../crypto/errors.js';
import type { Suite } from '../crypto/suite.js';
import type { Identity } from '../things/parts.js';
import { writeDurably } from './durable-file.js';

/** @throws SetupError `file-unreadable` with the path and what to do */
export function readText(path: string, what: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'error';
    const why = code === 'ENOENT' ? 'does not exist' : `cannot be read (${code})`;
    throw new SetupError('file-unreadable', `${what}: ${path} ${why}; check the path and its permissions`, cause);
  }
}

/**
 * Writes a file that nobody but its owner reads at any moment, whatever was there before, and the folders that lead to it.
 * @throws SetupError `file-unwritable`
 */
export function writePrivate(path: string, content: string | Uint8Array): void {
  write(path, () => {
    const there = lstatSync(path, { throwIfNoEntry: false });
    if (there === undefined || there.isFile()) {
      writeDurably(path, content, 0o600);
      return;
    }
    // A link, or a device.
    writeFileSync(path, content, { mode: 0o600 });
    chmodSync(path, 0o600);
  });
}

/** Writes a file, and the folders that lead to it. @throws SetupError `file-unwritable` */
export function writePublic(path: string, content: string | Uint8Array): void {
  write(path, () => {
    writeFileSync(path, content);
  });
}

function write(path: string, work: () => void): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    work();
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? 'error';
    throw new SetupError('file-unwritable', `${path} cannot be written (${why}); choose another folder`, cause);
  }
}

/** PKCS #8 PEM of a signing key's 32 secret bytes; `publicKey` as `Signer` has it. */
export function privateKeyToPem(suite: Suite, secret: Uint8Array, publicKey: Uint8Array): string {
  const d = toBase64Url(secret);
  const jwk =
    suite.name === 'x25519'
      ? { kty: 'OKP', crv: 'Ed25519', d, x: toBase64Url(publicKey) }
      : { kty: 'EC', crv: 'P-256', d, x: toBase64Url(publicKey.slice(1, 33)), y: toBase64Url(publicKey.slice(33)) };
  return createPrivateKey({ key: jwk, format: 'jwk' }).export({ type: 'pkcs8', format: 'pem' }).toString();
}

/** The 32 secret bytes. @throws SetupError `key-unusable` when it is no unencrypted private key of the suite */
export function privateKeyFromPem(suite: Suite, pem: string, path: string): Uint8Array {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch (cause) {
    throw new SetupError('key-unusable', `${path} holds no private key in PEM (PKCS #8, unencrypted)`, cause);
  }
  const { d, crv } = key.export({ format: 'jwk' });
  if (d === undefined || crv !== (suite.name === 'x25519' ? 'Ed25519' : 'P-256')) {
    throw new SetupError('key-unusable', `${path} is not a key of suite ${suite.name}`);
  }
  return fromBase64Url(d);
}

/** All certificates of a PEM file, parsed. @throws SetupError `file-unreadable`, `certificate-unusable` */
export function readCertificates(suite: Suite, path: string, what: string): readonly Certificate[] {
  const text = readText(path, what);
  try {
    return fromPem(text).map((der) => parseCertificate(suite, der));
  } catch (cause) {
    if (!(cause instanceof GridringError)) throw cause;
    throw new SetupError('certificate-unusable', `${what}: ${path}: ${cause.message}`, cause);
  }
}

export interface IdentityFiles {
  readonly certificate: string;
  readonly key: string;
}

/** A certified identity with its key. @throws SetupError when a file is missing, unusable, or key and certificate differ */
export function readIdentity(
  suite: Suite,
  files: IdentityFiles,
): Identity & { readonly leaf: LeafCertificate; readonly secret: Uint8Array } {
  const certificates = readCertificates(suite, files.certificate, 'certificate');
  const [leaf] = certificates;
  if (!leaf || leaf.role === 'ca') {
    throw new SetupError('certificate-unusable', `${files.certificate} does not begin with a device's certificate`);
  }
  const secret = privateKeyFromPem(suite, readText(files.key, 'private key'), files.key);
  const signer = suite.signer(secret);
  if (!equalBytes(signer.publicKey, leaf.verifier.publicKey)) {
    throw new SetupError('key-mismatch', `${files.key} is not the key of ${files.certificate}`);
  }
  const { id, certHash, kid } = leaf;
  return { id, certHash, kid, signer, secret, leaf, certificates: certificates.map(({ der }) => der) };
}

/** Writes what `readIdentity` reads: the chain (leaf first, DER) and the key. */
export function writeIdentity(
  suite: Suite,
  files: IdentityFiles,
  { chain, secret }: { readonly chain: readonly Uint8Array[]; readonly secret: Uint8Array },
): void {
  writePublic(files.certificate, chain.map(toPem).join(''));
  writePrivate(files.key, privateKeyToPem(suite, secret, suite.signer(secret).publicKey));
}
