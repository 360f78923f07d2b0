import { createHash, randomBytes } from 'node:crypto';
import type { StoredEntry, StoredGrant } from '../../../things/stores.js';

export type Reading = StoredEntry;
export type Grant = StoredGrant;

export const bytes = (length: number): Uint8Array => new Uint8Array(randomBytes(length));
export const gid = bytes(16);
export const nowS = 1_750_000_000;

/** A meter's readings chain by these hashes; another `variant` is another content for the same sequence. */
const readingHash = (meter: Uint8Array, sequence: number, variant = 0): Uint8Array =>
  new Uint8Array(createHash('sha256').update(meter).update(`${sequence}/${variant}`).digest());

export const reading = (meter: Uint8Array, sequence: number, variant = 0, messageBytes = 200): Reading => ({
  kind: 'reading',
  meter,
  sequence,
  gid,
  epoch: 3,
  attempt: 1,
  hash: readingHash(meter, sequence, variant),
  previousHash: readingHash(meter, sequence - 1, variant),
  message: bytes(messageBytes),
});

/** Sequences `from` to `to`, both included. */
export const readings = (meter: Uint8Array, from: number, to: number): readonly Reading[] =>
  Array.from({ length: to - from + 1 }, (_, i) => reading(meter, from + i));

export const grant = (meter: Uint8Array, reader: Uint8Array, epoch: number, keyHash = bytes(32)): Grant => ({
  kind: 'grant',
  meter,
  reader,
  gid,
  epoch,
  attempt: 0,
  keyHash,
  message: bytes(150),
});
