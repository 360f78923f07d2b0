import { describe, expect, it } from 'vitest';
import { concatBytes, toHex } from '../../crypto/bytes.js';
import { encode } from '../../crypto/cbor.js';
import { assembleSign1, parseSign1, protectedHeader } from '../../crypto/cose.js';
import { limits } from '../../crypto/limits.js';
import type { CollectingShares } from '../../crypto/ring/coordinator-state.js';
import { announce } from '../../crypto/ring/coordinator.js';
import { newMemberState } from '../../crypto/ring/member-state.js';
import { onAnnouncement, onConfirmations, onMembership, onRoster, onTokens } from '../../crypto/ring/member.js';
import { encodeAnnouncement, type Announcement } from '../../crypto/ring/messages.js';
import type { Membership } from '../../crypto/membership.js';
import { at, neighbourhoodOf, payloadOf, refusal, refusedBy, signAs, suites } from '../support/forge.js';
import { nowS, type Neighbourhood, type Principal } from '../support/neighbourhood.js';
import { activeKey, agree, makePlayers, play, throughConfirmations, type Player } from '../support/ring.js';

const announceAs = (n: Neighbourhood, epoch: number, attempt: number, membership?: Membership): CollectingShares =>
  announce(n.coordinatorContext(membership), { epoch, attempt, reason: 'periodic', expiryS: nowS + 120 });

const announcement = (n: Neighbourhood, epoch: number, attempt: number, membership?: Membership): Uint8Array =>
  announceAs(n, epoch, attempt, membership).announcementMessage;

/** An announcement with any content, signed by whomever. */
function forged(n: Neighbourhood, changes: Partial<Announcement>, signer: Principal = n.gateway): Uint8Array {
  const honest = announceAs(n, 1, 1).announcement;
  return signAs(n.suite, signer, 'announcement', n.gid, encodeAnnouncement({ ...honest, ...changes }));
}

const newPlayer = (n: Neighbourhood, membership?: Membership): Player =>
  at(makePlayers(n, membership === undefined ? {} : { membership }), 0);

describe.each(suites)('a member that hears an announcement, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 3);

  it('answers an attempt once, and none at or below its high water mark', () => {
    const player = newPlayer(n);
    play(player, onAnnouncement, announcement(n, 5, 3));
    for (const [epoch, attempt] of [
      [5, 3],
      [5, 2],
      [4, 255],
      [1, 1],
    ] as const) {
      expect(refusedBy(player, onAnnouncement, announcement(n, epoch, attempt))).toBe('epoch-stale');
    }
    expect(play(player, onAnnouncement, announcement(n, 5, 4)).length).toBeGreaterThan(0);
    expect(player.state.highWater).toEqual({ epoch: 5, attempt: 4 });
  });

  it('refuses an epoch more than 1024 ahead', () => {
    expect(refusedBy(newPlayer(n), onAnnouncement, announcement(n, limits.epochAhead + 1, 1))).toBe('epoch-ahead');
    expect(play(newPlayer(n), onAnnouncement, announcement(n, limits.epochAhead, 1)).length).toBeGreaterThan(0);
  });

  it('goes further ahead only from a floor that the signed list states', () => {
    const membership = n.membership(n.list({ policy: { epochFloor: 100_000 } }));
    const ahead = announcement(n, 100_000 + limits.epochAhead, 1, membership);
    expect(play(newPlayer(n, membership), onAnnouncement, ahead).length).toBeGreaterThan(0);
    const tooFar = announcement(n, 100_001 + limits.epochAhead, 1, membership);
    expect(refusedBy(newPlayer(n, membership), onAnnouncement, tooFar)).toBe('epoch-ahead');
  });

  it('refuses a list older than its own, and one that it does not know yet', () => {
    const [older, newer] = [n.membership(), n.membership(n.list({ version: 2 }))];
    const underOlder = announcement(n, 1, 1, older);
    const underNewer = announcement(n, 1, 1, newer);
    expect(refusedBy(newPlayer(n, newer), onAnnouncement, underOlder)).toBe('membership-unknown');
    expect(refusedBy(newPlayer(n, older), onAnnouncement, underNewer)).toBe('membership-unknown');
  });

  it('refuses an old list even when its host hands it one, for the version is part of the state', () => {
    const [older, newer] = [n.membership(), n.membership(n.list({ version: 2 }))];
    const player = newPlayer(n, older);
    player.state = onMembership(player.state, newer).state;
    expect(refusedBy(player, onAnnouncement, announcement(n, 1, 1, older))).toBe('membership-unknown');
    expect(refusal(() => onMembership(player.state, older))).toBe('membership-rollback');
  });

  it('refuses a list of another group, though the announcement names it', () => {
    const player = { ...newPlayer(n), state: newMemberState(new Uint8Array(16)) };
    const message = forged(n, { gid: new Uint8Array(16) });
    expect(refusedBy(player, onAnnouncement, message)).toBe('membership-unknown');
  });

  it('refuses an announcement that a meter, the operator or a reader signed', () => {
    for (const signer of [at(n.meters, 1), n.operator, n.utility]) {
      const posing = forged(n, {}, signer);
      expect(refusedBy(newPlayer(n), onAnnouncement, posing)).toBe('wrong-signer');
      const asItself = forged(n, { coordinator: signer.certHash }, signer);
      expect(refusedBy(newPlayer(n), onAnnouncement, asItself)).toBe('not-listed');
    }
  });

  it('refuses a certified gateway that the list does not name, and a key id that nobody has', () => {
    const outsider = n.certify('gateway', 'gw-2', { seed: 'another gateway' });
    const byOutsider = forged(n, { coordinator: outsider.certHash }, outsider);
    expect(refusedBy(newPlayer(n), onAnnouncement, byOutsider)).toBe('not-listed');
    const underUnknownKid = forged(n, {}, { ...n.gateway, kid: new Uint8Array(8) });
    expect(refusedBy(newPlayer(n), onAnnouncement, underUnknownKid)).toBe('wrong-signer');
  });

  it('refuses what was signed as a message of another type or group', () => {
    const { announcement: honest } = announceAs(n, 1, 1);
    const asRoster = signAs(suite, n.gateway, 'roster', n.gid, encodeAnnouncement(honest));
    expect(refusedBy(newPlayer(n), onAnnouncement, asRoster)).toBe('signature-invalid');
    const inOtherGroup = signAs(suite, n.gateway, 'announcement', new Uint8Array(16), encodeAnnouncement(honest));
    expect(refusedBy(newPlayer(n), onAnnouncement, inOtherGroup)).toBe('signature-invalid');
    expect(refusedBy(newPlayer(n), onAnnouncement, forged(n, { gid: new Uint8Array(16) }))).toBe('wrong-group');
  });

  it('refuses another suite, and an algorithm that is not the suite’s', () => {
    expect(refusedBy(newPlayer(n), onAnnouncement, forged(n, { suite: suite.id === 1 ? 2 : 1 }))).toBe(
      'suite-mismatch',
    );
    const { payload, signature } = parseSign1(announcement(n, 1, 1), limits.memberMessage);
    const otherAlgorithm = suite.signatureAlgorithm === -19 ? -9 : -19;
    const confused = assembleSign1(protectedHeader(otherAlgorithm, n.gateway.kid), payload, signature);
    expect(refusedBy(newPlayer(n), onAnnouncement, confused)).toBe('algorithm-mismatch');
  });

  it('refuses one that has expired, beyond the forgiven clock difference', () => {
    const late = forged(n, { expiryS: nowS - limits.clockSkewS - 1 });
    expect(refusedBy(newPlayer(n), onAnnouncement, late)).toBe('announcement-expired');
    const forgiven = forged(n, { expiryS: nowS - limits.clockSkewS });
    expect(play(newPlayer(n), onAnnouncement, forgiven).length).toBeGreaterThan(0);
  });

  it('answers under no list that has expired, and with no certificate that has', () => {
    const list = n.list();
    const message = announcement(n, 1, 1);
    const changed = { nowS: list.notAfterS + limits.clockSkewS + 1 };
    expect(refusedBy(newPlayer(n), onAnnouncement, message, changed)).toBe('certificate-expired');
    const shortLived = n.membership({ ...list, notAfterS: nowS + 3_600 });
    const underShortLived = announcement(n, 1, 1, shortLived);
    const later = { nowS: nowS + 3_600 + limits.clockSkewS + 1 };
    expect(refusedBy(newPlayer(n, shortLived), onAnnouncement, underShortLived, later)).toBe('membership-expired');
  });

  it('does not answer at all where it is not a member', () => {
    const expelled = at(n.meters, 0);
    const membership = n.membership(n.list({ without: [expelled] }));
    expect(refusedBy(newPlayer(n, membership), onAnnouncement, announcement(n, 1, 1, membership))).toBe('not-listed');
  });

  it('refuses a payload that is not in the one deterministic encoding, whoever signed it', () => {
    const payload = payloadOf(announcement(n, 1, 1));
    const epochAt = 18;
    expect(payload[epochAt]).toBe(1);
    const longHead = concatBytes(payload.slice(0, epochAt), Uint8Array.of(0x18, 1), payload.slice(epochAt + 1));
    const trailing = concatBytes(payload, Uint8Array.of(0));
    for (const altered of [longHead, trailing]) {
      const message = signAs(suite, n.gateway, 'announcement', n.gid, altered);
      expect(refusedBy(newPlayer(n), onAnnouncement, message)).toMatch(/^cbor-/);
    }
    const oneFieldMore = signAs(suite, n.gateway, 'announcement', n.gid, encode([...Array<number>(10).fill(1)]));
    expect(refusedBy(newPlayer(n), onAnnouncement, oneFieldMore)).toBe('message-malformed');
    const tooLong = signAs(suite, n.gateway, 'announcement', n.gid, new Uint8Array(limits.memberMessage));
    expect(refusedBy(newPlayer(n), onAnnouncement, tooLong)).toBe('too-large');
  });

  it('lets no late bundle of the old attempt do anything after a higher announcement', () => {
    const old = throughConfirmations(n);
    const fresh = makePlayers(n);
    const player = at(fresh, 0);
    const rounds = [
      [onAnnouncement, old.collecting.announcementMessage, 'epoch-stale'],
      [onRoster, old.roster.rosterMessage, 'wrong-round'],
      [onTokens, old.confirming.tokensMessage, 'wrong-round'],
      [onConfirmations, old.published.confirmationsMessage, 'wrong-round'],
    ] as const;
    play(player, onAnnouncement, announcement(n, 1, 2));
    for (const [round, message, code] of rounds) expect(refusedBy(player, round, message)).toBe(code);

    const pending = at(old.players, 0);
    expect(pending.state.round.kind).toBe('confirmed');
    play(pending, onAnnouncement, announcement(n, 1, 2));
    for (const [round, message, code] of rounds) expect(refusedBy(pending, round, message)).toBe(code);
    expect(pending.state.active).toBeNull();
  });

  it('keeps its active key through any number of attempts that fail', () => {
    const { players } = agree(n);
    const player = at(players, 0);
    const key = toHex(activeKey(player).groupKey);
    for (const attempt of [1, 2, 3]) play(player, onAnnouncement, announcement(n, 2, attempt));
    expect(toHex(activeKey(player).groupKey)).toBe(key);
  });
});
