import { describe, expect, it } from 'vitest';
import { encode } from '../../crypto/cbor.js';
import { encodeAnnouncement, encodeRosterBundle, type RosterEntry } from '../../crypto/ring/messages.js';
import {
  announcementOf,
  encodeRecord,
  parseRecord,
  verifyRecord,
  type RecordMessages,
} from '../../crypto/ring/record.js';
import { roleBit } from '../../crypto/membership.js';
import {
  at,
  confirmationEntries,
  flipped,
  neighbourhoodOf,
  payloadOf,
  refusal,
  replaced,
  rosterEntries,
  signAs,
  signConfirmations,
  signRoster,
  signTokens,
  suites,
  tokenEntries,
} from '../support/forge.js';
import { nowS } from '../support/neighbourhood.js';
import { throughConfirmations } from '../support/ring.js';

describe.each(suites)('a record, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 4);
  const membership = n.membership();
  const { published, confirming, roster, collecting } = throughConfirmations(n);
  const honest = parseRecord(published.record);
  const verdict = (parts: readonly Uint8Array[], list = membership): string =>
    refusal(() => verifyRecord(suite, list, encodeRecord(parts as unknown as RecordMessages), nowS));
  const withPart = (i: number, part: Uint8Array): readonly Uint8Array[] => replaced(honest, i, () => part);

  it('tells from its announcement alone which group, epoch and list it is of', () => {
    expect(announcementOf(published.record)).toEqual(collecting.announcement);
  });

  it('is refused under another list, and under one of another group', () => {
    expect(verdict(honest, n.membership(n.list({ version: 2 })))).toBe('membership-unknown');
    const otherGid = { ...collecting.announcement, gid: new Uint8Array(16) };
    const ofOtherGroup = signAs(suite, n.gateway, 'announcement', otherGid.gid, encodeAnnouncement(otherGid));
    expect(verdict(withPart(0, ofOtherGroup))).toBe('wrong-group');
  });

  it('is refused where parts of two epochs are mixed', () => {
    const other = parseRecord(throughConfirmations(n, { epoch: 2 }).published.record);
    for (const i of [0, 1, 2, 3]) expect(verdict(withPart(i, at(other, i)))).toBe('signature-invalid');
  });

  it('is refused where the coordinator signs for another session than it refers to', () => {
    const payload = encodeRosterBundle({ announcementRef: new Uint8Array(8), entries: rosterEntries(roster) });
    expect(verdict(withPart(1, signAs(suite, n.gateway, 'roster', roster.annId, payload)))).toBe('record-session');
  });

  it('is refused where anybody but the announcing coordinator signed a bundle', () => {
    for (const [i, type, context] of [
      [1, 'roster', roster.annId],
      [2, 'tokens', roster.ring.th1],
      [3, 'confirmations', published.name.th2],
    ] as const) {
      const byMember = signAs(suite, at(n.meters, 0), type, context, payloadOf(at(honest, i)));
      expect(verdict(withPart(i, byMember))).toBe('wrong-signer');
    }
  });

  it.each([0, 1, 2, 3])('is refused without the share, token or confirmation signature of member %i', (i) => {
    const without = <T extends { readonly signature: Uint8Array | null }>(entries: readonly T[]) =>
      replaced(entries, i, (entry) => ({ ...entry, signature: null }));
    const shares = signRoster(n, roster.annId, without(rosterEntries(roster)));
    expect(verdict(withPart(1, shares))).toBe('share-signature-missing');
    const tokens = signTokens(n, roster.ring, without(tokenEntries(confirming)));
    expect(verdict(withPart(2, tokens))).toBe('token-signature-missing');
    const forged = replaced(confirmationEntries(published), i, (entry) => ({
      ...entry,
      signature: flipped(entry.signature),
    }));
    expect(verdict(withPart(3, signConfirmations(n, published, forged)))).toBe('signature-invalid');
  });

  it('is refused with a member’s altered share, token or MAC under the coordinator’s signature', () => {
    const shares = replaced(rosterEntries(roster), 1, (entry): RosterEntry => ({
      ...entry,
      commitment: flipped(entry.commitment),
    }));
    expect(verdict(withPart(1, signRoster(n, roster.annId, shares)))).toBe('signature-invalid');
    const tokens = replaced(tokenEntries(confirming), 1, (entry) => ({ ...entry, token: flipped(entry.token) }));
    expect(verdict(withPart(2, signTokens(n, roster.ring, tokens)))).toBe('signature-invalid');
    const macs = replaced(confirmationEntries(published), 1, (entry) => ({ ...entry, mac: flipped(entry.mac) }));
    expect(verdict(withPart(3, signConfirmations(n, published, macs)))).toBe('signature-invalid');
  });

  it('is refused with fewer or more tokens or confirmations than members, or with keys that differ', () => {
    const tokens = signTokens(n, roster.ring, tokenEntries(confirming).slice(0, 3));
    expect(verdict(withPart(2, tokens))).toBe('record-tokens');
    const [first] = tokenEntries(confirming);
    const empty = { ...first!, token: new Uint8Array(32), rightTag: first!.leftTag };
    const oneMore = signTokens(n, roster.ring, [...tokenEntries(confirming), empty]);
    expect(verdict(withPart(2, oneMore))).toBe('record-tokens');
    const entries = confirmationEntries(published);
    expect(verdict(withPart(3, signConfirmations(n, published, entries.slice(0, 3))))).toBe('record-key');
    const keys = replaced(entries, 1, (entry) => ({ ...entry, groupPublicKey: flipped(entry.groupPublicKey) }));
    expect(verdict(withPart(3, signConfirmations(n, published, keys)))).toBe('record-key');
  });

  it('is refused for a roster that is no quorum, in another order, or with a member twice', () => {
    const entries = rosterEntries(roster);
    const cases = [
      [entries.slice(0, 2), 'roster-minority'],
      [[...entries].reverse(), 'roster-order'],
      [[...entries, at(entries, 0)], 'roster-duplicate'],
    ] as const;
    for (const [altered, code] of cases) {
      expect(verdict(withPart(1, signRoster(n, roster.annId, altered)))).toBe(code);
    }
  });

  it('is refused under the other suite, and unread where it is not four byte strings', () => {
    const announcement = { ...collecting.announcement, suite: suite.id === 1 ? 2 : 1 } as const;
    const ofOtherSuite = signAs(suite, n.gateway, 'announcement', n.gid, encodeAnnouncement(announcement));
    expect(verdict(withPart(0, ofOtherSuite))).toBe('suite-mismatch');
    expect(verdict(honest.slice(0, 3))).toBe('message-malformed');
    expect(refusal(() => verifyRecord(suite, membership, encode([1, 2, 3, 4]), nowS))).toBe('message-malformed');
  });

  it('is refused by a list that names the coordinator no longer', () => {
    const list = n.list();
    const entries = list.entries.map((entry) =>
      entry.roles === roleBit.coordinator ? { ...entry, roles: roleBit.operator } : entry,
    );
    const demoted = n.membership({ ...list, entries });
    const announcement = { ...collecting.announcement, listHash: demoted.listHash };
    const message = signAs(suite, n.gateway, 'announcement', n.gid, encodeAnnouncement(announcement));
    expect(verdict(withPart(0, message), demoted)).toBe('not-listed');
  });
});
