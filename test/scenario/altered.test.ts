import { describe, expect, it } from 'vitest';
import { equalBytes } from '../../crypto/bytes.js';
import { parseSign1 } from '../../crypto/cose.js';
import { GridringError } from '../../crypto/errors.js';
import { limits } from '../../crypto/limits.js';
import { onConfirmation, onShare, onToken } from '../../crypto/ring/coordinator.js';
import { onAnnouncement, onConfirmations, onRoster, onTokens } from '../../crypto/ring/member.js';
import { verifyRecord } from '../../crypto/ring/record.js';
import { at, fingerprint, flipped, inRing, neighbourhoodOf, suites } from '../support/forge.js';
import { nowS, seededRandom } from '../support/neighbourhood.js';
import {
  collectConfirmations,
  collectTokens,
  makePlayers,
  snapshot,
  throughConfirmations,
  throughShares,
  type MemberRound,
  type Player,
} from '../support/ring.js';

/** The bits whose flip is not refused. A stride of 7 tries at least one bit of every byte. */
function acceptedFlips(message: Uint8Array, receive: (altered: Uint8Array) => void, stride = 1): readonly number[] {
  const accepted: number[] = [];
  for (let bit = 0; bit < message.length * 8; bit += stride) {
    try {
      receive(flipped(message, bit));
      accepted.push(bit);
    } catch (error) {
      if (!(error instanceof GridringError)) throw error;
    }
  }
  return accepted;
}

/** At a member: no refusal may touch its state, and what is accepted must do what the message as sent does. */
function acceptedByMember(player: Player, round: MemberRound, message: Uint8Array, stride = 1): readonly number[] {
  const { context, state } = player;
  const step = (bytes: Uint8Array) => round({ ...context, random: seededRandom('member') }, state, bytes).state;
  const before = fingerprint(state);
  const honest = step(message);
  const accepted = acceptedFlips(
    message,
    (altered) => {
      const { round: nextRound, active } = step(altered);
      expect(nextRound.kind).toBe(honest.round.kind);
      expect(active?.groupKey).toEqual(honest.active?.groupKey);
    },
    stride,
  );
  expect(fingerprint(state)).toBe(before);
  return accepted;
}

/** Where `part` stands in `message`, as bits. */
function bitsOf(message: Uint8Array, part: Uint8Array): { readonly first: number; readonly end: number } {
  for (let start = 0; start + part.length <= message.length; start++) {
    const end = start + part.length;
    if (equalBytes(message.subarray(start, end), part)) return { first: start * 8, end: end * 8 };
  }
  throw new RangeError('the message does not hold that part');
}

describe.each(suites)('every bit of what is signed counts, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 3);
  const coordinator = n.coordinatorContext();
  const idle = makePlayers(n);
  const afterShares = throughShares(n, { players: snapshot(idle) });
  const shared = snapshot(afterShares.players);
  const afterTokens = collectTokens(n, afterShares);
  const tokenSent = snapshot(afterTokens.players);
  const { confirmations, published, players: confirmed } = collectConfirmations(n, afterTokens);

  it('in an announcement', () => {
    const { announcementMessage } = afterShares.collecting;
    expect(acceptedByMember(at(idle, 0), onAnnouncement, announcementMessage)).toEqual([]);
  });

  it('in a share', () => {
    const before = { ...afterShares.collecting, shares: new Map() };
    const message = at(afterShares.shares, 0);
    expect(acceptedFlips(message, (altered) => onShare(coordinator, before, altered))).toEqual([]);
  });

  it('in a roster bundle', () => {
    expect(acceptedByMember(at(shared, 0), onRoster, afterTokens.roster.rosterMessage, 7)).toEqual([]);
  });

  it('in a token', () => {
    const message = at(afterTokens.tokens, 0);
    expect(acceptedFlips(message, (altered) => onToken(coordinator, afterTokens.roster, altered))).toEqual([]);
  });

  it('in the payload of a token bundle; whose signature counts only where the tokens do not fit', () => {
    const message = afterTokens.confirming.tokensMessage;
    const { payload, signature } = parseSign1(message, limits.bundle);
    const { first, end } = bitsOf(message, payload);
    const bare = bitsOf(message, signature);
    for (const bit of acceptedByMember(at(tokenSent, 0), onTokens, message, 7)) {
      expect(bit < first || bit >= end).toBe(true);
      expect(bit >= bare.first || bit < first).toBe(true);
    }
  });

  it('in a confirmation', () => {
    const message = at(confirmations, 0);
    const receive = (altered: Uint8Array) => onConfirmation(coordinator, afterTokens.confirming, altered);
    expect(acceptedFlips(message, receive)).toEqual([]);
  });

  it('in the payload of a confirmation bundle, but for the member’s own signature in it', () => {
    const message = published.confirmationsMessage;
    const { payload } = parseSign1(message, limits.bundle);
    const { first, end } = bitsOf(message, payload);
    const [own] = inRing(published.ring, confirmed);
    const ownReply = own?.state.round.kind === 'confirmed' ? own.state.round.confirmationReply : payload;
    const ownSignature = bitsOf(message, parseSign1(ownReply, limits.memberMessage).signature);
    for (const bit of acceptedByMember(at(inRing(published.ring, confirmed), 0), onConfirmations, message, 7)) {
      const unread = bit < first || bit >= end || (bit >= ownSignature.first && bit < ownSignature.end);
      expect(unread).toBe(true);
    }
  });

  it('in a record', () => {
    const pair = neighbourhoodOf(suite, 2);
    const membership = pair.membership();
    const verify = (altered: Uint8Array) => verifyRecord(suite, membership, altered, nowS);
    expect(acceptedFlips(throughConfirmations(pair).published.record, verify, 13)).toEqual([]);
  });
});
