/** The outside of a backup: an age file (https://age-encryption.org/v1), for recipients or under a passphrase. */
import { once } from 'node:events';
import {
  closeSync,
  createReadStream,
  createWriteStream,
  openSync,
  readSync,
  statSync,
  type WriteStream,
} from 'node:fs';
import { Decrypter, Encrypter } from 'age-encryption';
import { GridringError, MalformedError, SetupError, VerificationError } from '../../crypto/errors.js';
import { fileError } from '../stores/sqlite/store-error.js';
import { chunkBytes } from './archive.js';

declare global {
  /** Of browsers; the types of age-encryption name it, and nothing here uses it. */
  type AuthenticationExtensionsPRFValues = never;
}

/** Either recipients (`age1…`) or a passphrase. */
export type Protection = { readonly recipients: readonly string[] } | { readonly passphrase: string };
/** Either identities (`AGE-SECRET-KEY-…`) or the passphrase. */
export type Opening = { readonly identities: readonly string[] } | { readonly passphrase: string };

/**
 * Seals the plaintext into a file, as it comes; the file is on the disk when it resolves.
 * @returns its size in bytes
 * @throws SetupError `recipient-unusable`, `data-unreadable`; UnavailableError `disk-full`
 */
export async function sealFile(
  path: string,
  plaintext: AsyncIterable<Uint8Array>,
  protection: Protection,
): Promise<number> {
  const sealed = await encrypterFor(protection).encrypt(ReadableStream.from<Uint8Array>(plaintext));
  const file = createWriteStream(path, { flags: 'wx', mode: 0o600, flush: true });
  let bytes = 0;
  try {
    await opened(file);
    for await (const chunk of sealed) {
      bytes += chunk.length;
      if (!file.write(chunk)) await once(file, 'drain');
    }
    file.end();
    await once(file, 'close');
  } catch (cause) {
    file.destroy();
    throw cause instanceof GridringError ? cause : fileError(path, cause);
  }
  return bytes;
}

async function opened(file: WriteStream): Promise<void> {
  await once(file, 'open');
}

function encrypterFor(protection: Protection): Encrypter {
  const encrypter = new Encrypter();
  if ('passphrase' in protection) {
    encrypter.setPassphrase(protection.passphrase);
    return encrypter;
  }
  for (const recipient of protection.recipients) {
    try {
      encrypter.addRecipient(recipient);
    } catch (cause) {
      throw new SetupError('recipient-unusable', `"${recipient}" is no recipient of age: one begins with age1`, cause);
    }
  }
  return encrypter;
}

/**
 * The plaintext of a sealed file, as it is read. Every chunk is authentic; that it was the last one is known only at the end.
 * @throws SetupError `file-unreadable`, `identity-unusable`; MalformedError `backup-malformed`, `backup-truncated`;
 * VerificationError `backup-key-wrong`, `backup-altered`
 */
export async function* openFile(path: string, opening: Opening): AsyncGenerator<Uint8Array> {
  assertWhole(path);
  const decrypter = decrypterFor(opening);
  const source = createReadStream(path, { highWaterMark: chunkBytes });
  try {
    const plaintext = await decrypted(decrypter, ReadableStream.from<Uint8Array>(source));
    const reader = plaintext.getReader();
    for (;;) {
      const { done, value } = await reader.read().catch((cause: unknown) => {
        throw new VerificationError('backup-altered', `${path} was altered: take another copy of it`, cause);
      });
      if (done) return;
      yield value;
    }
  } finally {
    source.destroy();
  }
}

async function decrypted(
  decrypter: Decrypter,
  sealed: ReadableStream<Uint8Array>,
): Promise<ReadableStream<Uint8Array>> {
  try {
    return await decrypter.decrypt(sealed);
  } catch (cause) {
    const isWrongKey = cause instanceof Error && cause.message.startsWith('no identity matched');
    throw isWrongKey
      ? new VerificationError('backup-key-wrong', 'the backup is not sealed for this key or passphrase', cause)
      : new VerificationError('backup-altered', 'the beginning of the backup was altered: take another copy', cause);
  }
}

function decrypterFor(opening: Opening): Decrypter {
  const decrypter = new Decrypter();
  if ('passphrase' in opening) {
    decrypter.addPassphrase(opening.passphrase);
    return decrypter;
  }
  for (const identity of opening.identities) {
    try {
      decrypter.addIdentity(identity);
    } catch (cause) {
      throw new SetupError('identity-unusable', 'no identity of age: one begins with AGE-SECRET-KEY-', cause);
    }
  }
  return decrypter;
}

const tagBytes = 16;
const nonceBytes = 16;
const firstLine = 'age-encryption.org/v1\n';
/** Of which the header is a part: each recipient takes some hundred bytes. */
const headerBytes = 65_536;

/** Of a whole backup all chunks are full: one that was cut is told without its key. */
function assertWhole(path: string): void {
  const { size, start } = beginningOf(path);
  if (!start.startsWith(firstLine)) throw new MalformedError('backup-malformed', `${path} is no file of age`);
  const end = /\n--- [\w+/]+\n/.exec(start);
  const payloadBytes = end ? size - end.index - end[0].length - nonceBytes : 0;
  if (payloadBytes > 0 && payloadBytes % (chunkBytes + tagBytes) === 0) return;
  throw new MalformedError('backup-truncated', `${path} is cut off: take another copy of it`);
}

function beginningOf(path: string): { readonly size: number; readonly start: string } {
  let file: number | undefined;
  try {
    file = openSync(path, 'r');
    const start = Buffer.alloc(headerBytes);
    const bytes = readSync(file, start);
    return { size: statSync(path).size, start: start.toString('latin1', 0, bytes) };
  } catch (cause) {
    throw new SetupError('file-unreadable', `backup: ${path} cannot be read; check the path`, cause);
  } finally {
    if (file !== undefined) closeSync(file);
  }
}
