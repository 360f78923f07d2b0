/** What a directory says of an entry: the enriched TD (WoT Discovery §7.3.1), and how one differs from the other. */
import { discoveryContext } from '../crypto/registration.js';
import { limits } from '../crypto/limits.js';
import { patchBetween } from './merge-patch.js';
import type { DirectoryEntry } from './stores.js';

/** A TD with the directory's registration information. */
export type EnrichedTd = Readonly<Record<string, unknown>>;

/** Unix seconds; null: it lasts until it is removed. */
export const expiryOf = ({ modifiedS, ttlS, expiresS }: DirectoryEntry): number | null =>
  ttlS === null ? expiresS : modifiedS + ttlS;

/** @param retrievedS Unix seconds, where somebody retrieves it */
export function enrich(entry: DirectoryEntry, retrievedS?: number): EnrichedTd {
  const described = JSON.parse(entry.td) as EnrichedTd;
  const context = [described['@context']].flat();
  const expiry = expiryOf(entry);
  return {
    ...described,
    '@context': context.includes(discoveryContext) ? context : [...context, discoveryContext],
    registration: {
      created: isoTime(entry.createdS),
      modified: isoTime(entry.modifiedS),
      ...(entry.ttlS !== null && { ttl: entry.ttlS }),
      ...(expiry !== null && { expires: isoTime(expiry) }),
      ...(retrievedS !== undefined && { retrieved: isoTime(retrievedS) }),
    },
  };
}

/** A merge patch from one state of an entry to the next, as JSON text; null where it would be too long to be kept. */
export function changeBetween(before: DirectoryEntry, after: DirectoryEntry): string | null {
  const patch = JSON.stringify(patchBetween(enrich(before), enrich(after)) ?? {});
  return patch.length > limits.directoryChange ? null : patch;
}

const isoTime = (timeS: number): string => new Date(timeS * 1000).toISOString();
