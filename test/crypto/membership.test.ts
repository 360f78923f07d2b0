import { describe, expect, it } from 'vitest';
import { CertificateCache } from '../../crypto/certificate/cache.js';
import { parseCertificate } from '../../crypto/certificate.js';
import { toHex } from '../../crypto/bytes.js';
import { encode } from '../../crypto/cbor.js';
import { sign1 } from '../../crypto/cose.js';
import { limits } from '../../crypto/limits.js';
import {
  certificateOf,
  encodeMembershipBundle,
  encodeMembershipList,
  findEntry,
  memberCount,
  parseMembershipBundle,
  parseMembershipList,
  roleBit,
  signMembershipList,
  unchangedList,
  verifyMembership,
  type AuthorityList,
} from '../../crypto/membership.js';
import { decodeMemberState, encodeMemberState } from '../../crypto/ring/member-state.js';
import { onAnnouncement, onMembership } from '../../crypto/ring/member.js';
import { at, flipped, neighbourhoodOf, payloadOf, refusal, suites } from '../support/forge.js';
import { makeNeighbourhood, nowS } from '../support/neighbourhood.js';
import { agree, makePlayers, play, throughShares } from '../support/ring.js';

describe.each(suites)('a membership list, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 3);
  const check = { suite, trustedRoots: [n.root], nowS };
  const { listMessage, certificates } = parseMembershipBundle(n.bundle(n.list()));
  const verdict = (message: Uint8Array, ders: readonly Uint8Array[] = certificates, when = check): string =>
    refusal(() => verifyMembership(when, encodeMembershipBundle(message, ders)));
  /** A payload of any form, signed by the authority. */
  const signedPayload = (payload: Uint8Array) =>
    sign1(suite, n.authority.signer, n.authority.kid, { type: 'membership', context: n.gid }, payload);

  it('survives encoding: entries come out in the order that rosters refer to', () => {
    const list = n.list();
    const parsed = parseMembershipList(encodeMembershipList(list));
    expect(new Set(parsed.entries)).toEqual(new Set(list.entries));
    const inOrder = { ...list, entries: parsed.entries };
    expect(unchangedList(parsed)).toEqual({ ...unchangedList(inOrder), revision: 0 });
    expect(memberCount(list)).toBe(3);
  });

  it('counts for nothing unless an authority certified under a trusted root signed it', () => {
    for (const signer of [n.gateway, n.backend, n.operator, at(n.meters, 0)]) {
      expect(verdict(signMembershipList(suite, signer, n.list()))).toBe('membership-authority');
      const posing = { signer: signer.signer, kid: n.authority.kid };
      expect(verdict(signMembershipList(suite, posing, n.list()))).toBe('signature-invalid');
    }
  });

  it('counts for nothing under the authority of another root', () => {
    const elsewhere = makeNeighbourhood(suite, 2, 'elsewhere');
    expect(verdict(signMembershipList(suite, elsewhere.authority, n.list()))).toBe('membership-authority');
    const brought = signMembershipList(suite, elsewhere.authority, n.list());
    expect(verdict(brought, [...certificates, ...elsewhere.certificates])).toBe('certificate-untrusted');
    expect(verdict(listMessage, certificates, { ...check, trustedRoots: [elsewhere.root] })).toBe(
      'certificate-untrusted',
    );
    expect(verdict(listMessage, certificates, { ...check, trustedRoots: [] })).toBe('certificate-untrusted');
  });

  it('is refused when a bit of it has changed, wherever that is', () => {
    const [issuing, authority] = certificates;
    for (let bit = 0; bit < listMessage.length * 8; bit += 29) {
      expect(verdict(flipped(listMessage, bit), [issuing!, authority!])).toMatch(/./);
    }
  });

  it('is refused as the list of another group, or signed as something else', () => {
    const asOtherType = sign1(
      suite,
      n.authority.signer,
      n.authority.kid,
      { type: 'delegation', context: n.gid },
      payloadOf(listMessage),
    );
    expect(verdict(asOtherType)).toBe('signature-invalid');
    const otherGid = signedPayload(encodeMembershipList({ ...n.list(), gid: new Uint8Array(16) }));
    expect(verdict(otherGid)).toBe('signature-invalid');
    const player = at(makePlayers(n), 0);
    const ofOtherGroup = { ...n.membership(), list: { ...n.list(), gid: new Uint8Array(16) } };
    expect(refusal(() => onMembership(player.state, ofOtherGroup))).toBe('wrong-group');
  });

  it('is refused before its time, after it, and for another suite', () => {
    const list = n.list();
    const early = { ...check, nowS: list.notBeforeS - limits.clockSkewS - 1 };
    const late = { ...list, notAfterS: nowS - limits.clockSkewS - 1 };
    expect(verdict(listMessage, certificates, early)).toBe('membership-expired');
    expect(verdict(signMembershipList(suite, n.authority, late))).toBe('membership-expired');
    const otherSuite = n.list({ policy: { suite: suite.id === 1 ? 2 : 1 } });
    expect(verdict(signMembershipList(suite, n.authority, otherSuite))).toBe('membership-suite');
  });

  it('never goes back to an older version, and keeps a key that was agreed under one', () => {
    const [older, newer] = [n.membership(), n.membership(n.list({ version: 2 }))];
    const { players } = agree(n);
    const player = at(players, 0);
    player.state = onMembership(player.state, newer).state;
    expect(player.state.active).not.toBeNull();
    expect(refusal(() => onMembership(player.state, older))).toBe('membership-rollback');
    expect(onMembership(player.state, newer).state).toEqual(player.state);
  });

  it('is refused beside another of the same version, also when the first one is no longer at hand', () => {
    const player = at(makePlayers(n), 0);
    player.state = onMembership(player.state, n.membership(n.list({ version: 2 }))).state;
    const other = n.membership(n.list({ version: 2, policy: { graceS: 1 } }));
    const restarted = decodeMemberState(encodeMemberState(player.state));
    expect(refusal(() => onMembership(restarted, other))).toBe('membership-conflict');
  });

  it.each([
    ['an entry that stands twice', (list: AuthorityList) => [...list.entries, at(list.entries, 0)], 'sorted'],
    ['entries out of order', (list: AuthorityList) => [...list.entries].reverse(), 'as given'],
  ] as const)('is refused for %s', (_, entriesOf, how) => {
    const sorted = parseMembershipList(payloadOf(listMessage));
    const entries = entriesOf(sorted);
    const payload = encodeMembershipList({ ...sorted, entries });
    const items = entries.map(({ certHash, roles, hpkeKey }) => [certHash, roles, hpkeKey] as const);
    const [gid, version, policy] = fieldsBefore(sorted);
    const unsorted = encode([gid, version, policy, items, sorted.notBeforeS, sorted.notAfterS]);
    expect(verdict(signedPayload(how === 'sorted' ? payload : unsorted))).toBe('membership-malformed');
  });

  /** The first three fields as they are encoded. */
  function fieldsBefore({ gid, version, policy }: AuthorityList) {
    const profile = policy.profile === 'full' ? 0 : 1;
    const readings = policy.readings.map(({ reader, meters }) => [reader, meters] as const);
    const { minMembers, requiredMembers, gatewayIsMember, rekeyIntervalS, graceS, epochFloor } = policy;
    return [
      gid,
      version,
      [
        policy.suite,
        minMembers,
        requiredMembers,
        gatewayIsMember,
        profile,
        rekeyIntervalS,
        graceS,
        readings,
        epochFloor,
      ],
    ] as const;
  }

  it('is refused for a version of zero, a least number below two, no roles, or roles that do not exist', () => {
    const bad = [
      n.list({ version: 0 }),
      n.list({ policy: { minMembers: 1 } }),
      n.list({ policy: { minMembers: 65 } }),
      { ...n.list(), entries: n.list().entries.map((entry) => ({ ...entry, roles: 0 })) },
      { ...n.list(), entries: n.list().entries.map((entry) => ({ ...entry, roles: 16 })) },
    ];
    for (const list of bad) expect(verdict(signedPayload(encodeMembershipList(list)))).toBe('message-malformed');
  });

  it('takes a coordinator as a member only where the policy says so', () => {
    const entries = n
      .list()
      .entries.map((entry) =>
        entry.roles === roleBit.coordinator ? { ...entry, roles: roleBit.coordinator | roleBit.member } : entry,
      );
    const list = { ...n.list(), entries };
    expect(verdict(signMembershipList(suite, n.authority, list))).toBe('membership-malformed');
    const allowed = n.membership({ ...list, policy: { ...list.policy, gatewayIsMember: true } });
    expect(memberCount(allowed.list)).toBe(4);
    expect(certificateOf(allowed, n.gateway.certHash, 'member', nowS).id).toBe('gw-1');
  });

  it('lets nobody take part under a role that is not the certificate’s, nor under none', () => {
    const stranger = n.certify('meter', 'meter-98', { seed: 'stranger' });
    const reader = n.certify('reader', 'reader-9', { seed: 'reader as member' });
    const membership = n.membership(n.list({ add: [stranger, reader] }), [reader]);
    for (const { certHash } of [stranger, reader]) {
      expect(findEntry(membership.list, certHash, 'member')).toBeDefined();
      expect(refusal(() => certificateOf(membership, certHash, 'member', nowS))).toBe('not-listed');
    }
    for (const role of ['reader', 'operator', 'coordinator'] as const) {
      expect(refusal(() => certificateOf(membership, at(n.meters, 0).certHash, role, nowS))).toBe('not-listed');
    }
  });

  it('leaves a member with an expired certificate out, and lets the others go on', () => {
    const expired = n.certify('meter', 'meter-97', { seed: 'expired', notAfterS: nowS - limits.clockSkewS - 1 });
    const membership = n.membership(n.list({ add: [expired] }), [expired]);
    expect(refusal(() => certificateOf(membership, expired.certHash, 'member', nowS))).toBe('not-listed');
    const { players } = agree(n, { membership });
    expect(players.every(({ state }) => state.active !== null)).toBe(true);
    const late = at(makePlayers({ ...n, meters: [expired] }, { membership }), 0);
    const { announcementMessage } = throughShares(n, { membership }).collecting;
    expect(refusal(() => play(late, onAnnouncement, announcementMessage))).toBe('not-listed');
  });

  it('costs whoever is sent a forged one a few certificates, not all that stand in it', () => {
    let keysRead = 0;
    const counting = { ...suite, verifier: (key: Uint8Array) => (keysRead++, suite.verifier(key)) };
    const posing = { signer: n.gateway.signer, kid: n.authority.kid };
    const strangers = Array.from(
      { length: 3 },
      (_, i) => n.certify('meter', `meter-${60 + i}`, { seed: `stuffed ${i}` }).certificate.der,
    );
    const stuffed = Array.from({ length: 90 }, (_, i) => at(strangers, i % 3));
    const forged = encodeMembershipBundle(signMembershipList(suite, posing, n.list()), [...certificates, ...stuffed]);
    expect(refusal(() => verifyMembership({ ...check, suite: counting }, forged))).toBe('signature-invalid');
    expect(keysRead).toBe(limits.membershipCas);
    const alone = encodeMembershipBundle(signMembershipList(suite, posing, n.list()), certificates);
    keysRead = 0;
    expect(refusal(() => verifyMembership({ ...check, suite: counting }, alone))).toBe('signature-invalid');
    expect(keysRead).toBe(3);
  });

  it('is read once in a process of many members, whose newest lists crowd out the oldest', () => {
    let keysRead = 0;
    const counting = { ...suite, verifier: (key: Uint8Array) => (keysRead++, suite.verifier(key)) };
    const certificateCache = new CertificateCache();
    const bundle = n.bundle(n.list());
    const verifications = [0, 1].map(() => verifyMembership({ ...check, suite: counting, certificateCache }, bundle));
    expect(keysRead).toBe(certificates.length);
    expect(verifications[1]).toEqual(verifications[0]);
    const { certificate } = n.authority;
    for (let i = 0; i < 2_048; i++) certificateCache.add({ ...certificate, certHash: Uint8Array.of(i >> 8, i) });
    expect(certificateCache.get(toHex(certificate.certHash))).toBeUndefined();
    expect(certificateCache.get('0001')).toBeDefined();
  });

  it('is refused with more members than a ring holds, saying that cells are the way', () => {
    const members = Array.from({ length: 65 }, (_, i) => ({
      certHash: suite.sha256(Uint8Array.of(i)),
      roles: roleBit.member,
      hpkeKey: null,
    }));
    const list = (entries: AuthorityList['entries']): Uint8Array => encodeMembershipList({ ...n.list(), entries });
    expect(verdict(signedPayload(list(members)))).toBe('members-too-many');
    expect(() => parseMembershipList(list(members))).toThrow(/split the group into cells/);
    expect(memberCount(parseMembershipList(list(members.slice(1))))).toBe(64);
  });

  it('makes nobody a member and an operator at once', () => {
    const entries = n.list().entries.map((entry) => ({ ...entry, roles: entry.roles === 1 ? 5 : entry.roles }));
    expect(verdict(signMembershipList(suite, n.authority, { ...n.list(), entries }))).toBe('membership-malformed');
  });

  it('is refused unread where it is too large or carries what is no certificate', () => {
    expect(refusal(() => parseMembershipBundle(new Uint8Array(limits.membership + 1)))).toBe('too-large');
    expect(verdict(listMessage, [...certificates, Uint8Array.of(0x30, 0)])).toBe('certificate-malformed');
    const many = Array.from({ length: limits.membershipEntries + 1 }, (_, i) => ({
      certHash: suite.sha256(Uint8Array.of(i >> 8, i)),
      roles: roleBit.reader,
      hpkeKey: null,
    }));
    expect(verdict(signedPayload(encodeMembershipList({ ...n.list(), entries: many })))).toBe('membership-malformed');
    expect(parseCertificate(suite, at(certificates, 0)).role).toBe('ca');
  });
});
