/**
 * A certificate that takes another's place, on disk. The next key is made beside the one in use and is on the disk before
 * anybody hears of it; certificate and key then change places in steps, of which any may be the last one before a power
 * cut: `finishRenewal` does the rest.
 */
import { existsSync, renameSync } from 'node:fs';
import { dirname } from 'node:path';
import { equalBytes } from '../crypto/bytes.js';
import { toPem } from '../crypto/certificate/pem.js';
import { parseCertificate } from '../crypto/certificate.js';
import { VerificationError } from '../crypto/errors.js';
import { generateSigner } from '../crypto/keys.js';
import type { Random, Signer, Suite } from '../crypto/suite.js';
import { syncFolder, writeDurably } from './durable-file.js';
import {
  privateKeyFromPem,
  privateKeyToPem,
  readCertificates,
  readText,
  type IdentityFiles,
} from './identity-files.js';
import { fileError } from './stores/sqlite/store-error.js';

const nextOf = (path: string): string => `${path}.next`;

/** Whether a next key was made: whoever asks for it is waiting for its certificate. */
export const isRenewing = ({ key }: IdentityFiles): boolean => existsSync(nextOf(key));

/** The key of the next certificate; made once. @throws SetupError, UnavailableError as the file system says */
export function nextSigner(suite: Suite, { key }: IdentityFiles, random: Random): Signer {
  const path = nextOf(key);
  if (existsSync(path)) return signerIn(suite, path);
  const { secret, signer } = generateSigner(suite, random);
  change(path, () => {
    writeDurably(path, privateKeyToPem(suite, secret, signer.publicKey), 0o600);
  });
  return signer;
}

/**
 * Puts a certificate in the place of the one in use: one for the next key, or again for the same.
 * @throws VerificationError `certificate-of-another` where it is for neither; and as the file system says
 */
export function takeCertificate(suite: Suite, files: IdentityFiles, chain: readonly Uint8Array[]): void {
  const { publicKey } = parseCertificate(suite, chain[0] ?? new Uint8Array(0)).verifier;
  if (![nextOf(files.key), files.key].some((path) => isKeyIn(suite, path, publicKey))) {
    throw new VerificationError('certificate-of-another', 'the new certificate is for a key that is not here');
  }
  const path = nextOf(files.certificate);
  change(path, () => {
    writeDurably(path, chain.map(toPem).join(''), 0o644);
  });
  finishRenewal(suite, files);
}

/** Ends what `takeCertificate` has begun. To be called before the files are read. @throws as `takeCertificate` */
export function finishRenewal(suite: Suite, { certificate, key }: IdentityFiles): void {
  const [nextCertificate, nextKey] = [nextOf(certificate), nextOf(key)];
  if (!existsSync(nextCertificate)) return;
  const [leaf] = readCertificates(suite, nextCertificate, 'next certificate');
  change(certificate, () => {
    if (leaf && isKeyIn(suite, nextKey, leaf.verifier.publicKey)) renameSync(nextKey, key);
    renameSync(nextCertificate, certificate);
    for (const folder of new Set([key, certificate].map(dirname))) syncFolder(folder);
  });
}

const isKeyIn = (suite: Suite, path: string, publicKey: Uint8Array): boolean =>
  existsSync(path) && equalBytes(signerIn(suite, path).publicKey, publicKey);

const signerIn = (suite: Suite, path: string): Signer =>
  suite.signer(privateKeyFromPem(suite, readText(path, 'private key'), path));

function change(path: string, work: () => void): void {
  try {
    work();
  } catch (cause) {
    throw fileError(path, cause);
  }
}
