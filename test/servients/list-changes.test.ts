/** What whoever signs is shown of a list: made from the two lists, so that nothing rides along unseen. */
import { describe, expect, it } from 'vitest';
import { equalBytes } from '../../crypto/bytes.js';
import { roleBit, unchangedList, type AuthorityList, type ListEntry } from '../../crypto/membership.js';
import { suiteX25519 as suite } from '../../crypto/suite-node.js';
import { changesBetween } from '../../servients/membership/changes.js';
import { makeNeighbourhood } from '../support/neighbourhood.js';

const n = makeNeighbourhood(suite, 2);
const base = unchangedList(n.list());
const renewed = new Uint8Array(32).fill(9);
const nameOf = (certHash: Uint8Array): string =>
  equalBytes(certHash, renewed) || equalBytes(certHash, n.utility.certHash) ? 'utility' : 'another';
/** The list with another certificate of the utility, and whatever else is changed of its entry. */
const withRenewal = (change: Partial<ListEntry> = {}): AuthorityList => ({
  ...base,
  entries: base.entries.map((entry) =>
    equalBytes(entry.certHash, n.utility.certHash)
      ? { ...entry, certHash: renewed, replaced: [entry.certHash], ...change }
      : entry,
  ),
});
const entryLines = (next: AuthorityList): readonly string[] =>
  changesBetween(base, next, nameOf).filter((line) => !/ reads? /.test(line));

describe('a new certificate in the place of another', () => {
  it('is one line where it brings nothing else', () => {
    expect(entryLines(withRenewal())).toEqual([expect.stringMatching(/^\* reader utility has a new certificate /)]);
  });

  it('hides no other key that readings would be sealed to, and no other role', () => {
    const stolen = withRenewal({
      hpkeKey: n.household.hpkeKey.hpkePublicKey,
      roles: roleBit.reader | roleBit.operator,
    });
    expect(entryLines(stolen)).toEqual([
      expect.stringMatching(/^\* reader, operator utility has a new certificate /),
      expect.stringMatching(/^\* reader, operator utility \(/),
      '* utility opens grants with another key',
    ]);
  });
});
