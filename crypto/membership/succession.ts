/**
 * How certificates follow one another (protocol §3): an entry names those that its holder had before, so that a meter
 * whose certificate is renewed is no stranger. The authority signs that; here is what one list may say after another.
 */
import { equalBytes, toHex } from '../bytes.js';
import { ConflictError } from '../errors.js';
import { lineOf, type AuthorityList, type ListEntry } from './list.js';

/** The entry of whoever had a certificate before the one that it has now. */
export const successorOf = ({ entries }: AuthorityList, certHash: Uint8Array): ListEntry | undefined =>
  entries.find(({ replaced = [] }) => replaced.some((before) => equalBytes(before, certHash)));

/** All certificates of whoever has, or had, this one, the oldest first; undefined where the list does not know it. */
export const lineWith = ({ entries }: AuthorityList, certHash: Uint8Array): readonly Uint8Array[] | undefined =>
  entries.map(lineOf).find((line) => line.some((each) => equalBytes(each, certHash)));

/**
 * A line only grows at its end: what was replaced comes back in no later list, and nobody else takes its place. The
 * authority could sign otherwise by mistake; whoever knows the list before refuses it.
 * @throws ConflictError `membership-succession`
 */
export function assertSucceeds(next: AuthorityList, before: AuthorityList): void {
  const lines = new Map(next.entries.flatMap((entry) => lineOf(entry).map((certHash) => [toHex(certHash), entry])));
  for (const known of before.entries.map(lineOf)) {
    const heirs = new Set(known.flatMap((certHash) => lines.get(toHex(certHash)) ?? []));
    for (const heir of heirs) if (heirs.size > 1 || !isPrefix(known, lineOf(heir))) throw broken();
  }
}

const isPrefix = (first: readonly Uint8Array[], line: readonly Uint8Array[]): boolean =>
  first.every((certHash, i) => equalBytes(certHash, line[i] ?? new Uint8Array(0)));

const broken = (): ConflictError =>
  new ConflictError(
    'membership-succession',
    'a certificate that was replaced comes back, or another takes its place than before',
  );
