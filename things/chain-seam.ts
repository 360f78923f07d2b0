/** Where a meter's chain goes on under its next certificate (protocol §8): behind all that it had signed before. */
import { equalBytes } from '../crypto/bytes.js';
import type { LeafCertificate } from '../crypto/certificate.js';
import { ConflictError } from '../crypto/errors.js';
import type { BackendStore, StoredItem } from './stores.js';

/**
 * What is shown of a replaced certificate ends where the next one begins, so a meter could begin early and hide what it
 * had said. What came before the next certificate was made is no thief's: its place is taken.
 * @param line of the meter, the oldest certificate first; `items` those of one upload
 * @throws ConflictError `sequence-conflict`
 */
export async function assertGoesOn(
  store: Pick<BackendStore, 'entries' | 'droppedEntries'>,
  { certHash, notBeforeS }: Pick<LeafCertificate, 'certHash' | 'notBeforeS'>,
  line: readonly Uint8Array[],
  items: readonly StoredItem[],
): Promise<void> {
  const place = line.findIndex((each) => equalBytes(each, certHash));
  const sequences = items.flatMap((item) =>
    item.kind !== 'grant' && equalBytes(item.meter, certHash) ? [item.sequence] : [],
  );
  if (place < 1 || sequences.length === 0) return;
  const first = Math.min(...sequences);
  const [own] = await store.entries(certHash, 0, 1);
  if (own && own.sequence <= first) return;
  for (const before of line.slice(0, place)) {
    const [taken] = await store.entries(before, first - 1, 1);
    const dropped = await store.droppedEntries(before);
    if ((taken && taken.receivedS < notBeforeS) || dropped.some(({ last }) => last >= first)) {
      throw new ConflictError('sequence-conflict', `sequence ${first} is known from the certificate before`);
    }
  }
}
