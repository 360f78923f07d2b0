import { describe, expect, it } from 'vitest';
import { xorBytes } from '../../crypto/bytes.js';
import { parseSign1, verifySign1 } from '../../crypto/cose.js';
import { limits } from '../../crypto/limits.js';
import type { CollectingConfirmations, Inconsistent } from '../../crypto/ring/coordinator-state.js';
import { onToken } from '../../crypto/ring/coordinator.js';
import { onConfirmations, onTokens } from '../../crypto/ring/member.js';
import { contextOf, parseAbort, parseReveal, type Token, type TokenEntry } from '../../crypto/ring/messages.js';
import { encodeRecord, verifyRecord } from '../../crypto/ring/record.js';
import { confirmationMac, tagOf } from '../../crypto/ring/schedule.js';
import type { Membership } from '../../crypto/membership.js';
import {
  at,
  confirmationEntryOf,
  flipped,
  inRing,
  neighbourhoodOf,
  payloadOf,
  refusal,
  refusedBy,
  replaced,
  resignToken,
  signAs,
  signatureOf,
  signConfirmation,
  signConfirmations,
  signTokens,
  suites,
  tokenEntries,
  tokenEntryOf,
  unsigned,
} from '../support/forge.js';
import { nowS, type Neighbourhood } from '../support/neighbourhood.js';
import { play, throughConfirmations, throughTokens, type AfterTokens, type Player } from '../support/ring.js';

/** A ring in which all have sent their tokens, by position in it. */
interface Sent extends AfterTokens {
  readonly members: readonly Player[];
  /** The honest tokens, by position. */
  readonly honest: readonly Uint8Array[];
}

function tokensSent(n: Neighbourhood, epoch = 1, membership = n.membership()): Sent {
  const after = throughTokens(n, { epoch, membership });
  const members = inRing(after.roster.ring, after.players);
  return { ...after, members, honest: members.map((member) => roundOf(member).tokenReply) };
}

function roundOf({ state: { round } }: Player) {
  if (round.kind !== 'tokenSent') throw new Error(`in round ${round.kind}`);
  return round;
}

/** What the coordinator makes of these tokens. */
function collected(n: Neighbourhood, { roster }: Sent, tokens: readonly Uint8Array[]): ReturnType<typeof onToken> {
  let state: ReturnType<typeof onToken> = roster;
  for (const token of tokens) if (state.kind === 'tokens') state = onToken(n.coordinatorContext(), state, token);
  return state;
}

/** The members in `insiders` send other tokens; what the coordinator makes of it. */
function withInsiders(
  n: Neighbourhood,
  sent: Sent,
  insiders: readonly number[],
  change: (token: Token, position: number) => Partial<Token>,
): { readonly state: CollectingConfirmations | Inconsistent; readonly tokens: readonly Uint8Array[] } {
  const { ring } = sent.roster;
  const tokens = sent.honest.map((token, i) =>
    insiders.includes(i)
      ? resignToken(n, ring, at(sent.members, i).principal, token, (parts) => change(parts, i))
      : token,
  );
  const state = collected(n, sent, tokens);
  if (state.kind === 'tokens') throw new Error('a token is missing');
  return { state, tokens };
}

/** The ephemeral secret in a reveal, checked against the share of its owner. */
function revealed(n: Neighbourhood, { roster: { ring } }: Sent, position: number, reply: Uint8Array): Uint8Array {
  const { certificate, ephemeralKey } = at(ring.members, position);
  verifySign1(n.suite, certificate.verifier, parseSign1(reply, limits.memberMessage), contextOf('reveal', ring.th1));
  const { secret } = parseReveal(payloadOf(reply));
  expect(n.suite.agreementKey(secret).publicKey).toEqual(ephemeralKey);
  return secret;
}

const difference = new Uint8Array(32).fill(0xd1);
const shifted = ({ token }: Pick<Token, 'token'>): Partial<Token> => ({ token: xorBytes(token, difference) });

describe.each(suites)('tokens that do not fit, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 4);

  it('do not add up: the coordinator sees it, and each member reveals once against all signatures', () => {
    const sent = tokensSent(n);
    const { state } = withInsiders(n, sent, [1], shifted);
    expect(state).toMatchObject({ kind: 'inconsistent', fault: { reason: 'sum', accused: null } });
    const [member] = sent.members;
    const { secret, leftEdge, rightEdge } = roundOf(member!);
    const step = onTokens(member!.context, member!.state, state.signedTokensMessage);
    expect(revealed(n, sent, 0, step.reply)).toEqual(secret);
    expect(step.consumed).toEqual([secret, leftEdge, rightEdge]);
    expect(step.state).toMatchObject({ round: { kind: 'revealed' }, tombstone: sent.roster.ring.sid, active: null });
    for (const bytes of step.consumed) bytes.fill(0);
    const again = onTokens(member!.context, step.state, state.signedTokensMessage);
    expect(again).toEqual({ state: step.state, reply: step.reply, consumed: [] });
  });

  it('are answered with an abort as long as one signature is missing, and always with the same', () => {
    const sent = tokensSent(n);
    const { state } = withInsiders(n, sent, [1], shifted);
    const entries = tokenEntries(state);
    const member = at(sent.members, 0);
    const bundles = [
      unsigned(entries),
      replaced(entries, 2, (entry) => ({ ...entry, signature: null })),
      unsigned(entries),
    ].map((all) => signTokens(n, sent.roster.ring, all));
    const replies = bundles.map((bundle) => play(member, onTokens, bundle));
    expect(new Set(replies.map((reply) => reply.join())).size).toBe(1);
    expect(parseAbort(payloadOf(at(replies, 0)))).toMatchObject({ reason: 'sum', accused: null });
    expect(member.state.round.kind).toBe('aborted');
    const byAnother = signAs(suite, n.operator, 'tokens', sent.roster.ring.th1, payloadOf(state.signedTokensMessage));
    expect(refusedBy(member, onTokens, byAnother)).toBe('wrong-signer');
    revealed(n, sent, 0, play(member, onTokens, state.signedTokensMessage));
  });

  it('are thrown away where the coordinator did not sign the bundle; the true one is then confirmed', () => {
    const sent = tokensSent(n);
    const member = at(sent.members, 0);
    const altered = replaced(tokenEntries(sent.confirming), 2, (entry) => ({ ...entry, ...shifted(entry) }));
    const bundle = signTokens(n, sent.roster.ring, altered);
    expect(refusedBy(member, onTokens, flipped(bundle, bundle.length * 8 - 1))).toBe('signature-invalid');
    const insider = at(sent.members, 1).principal;
    const posing = signAs(suite, insider, 'tokens', sent.roster.ring.th1, payloadOf(bundle));
    expect(refusedBy(member, onTokens, posing)).toBe('wrong-signer');
    play(member, onTokens, sent.confirming.tokensMessage);
    expect(member.state.round.kind).toBe('confirmed');
  });

  it('convict whoever opens another commitment, and then nobody needs to reveal', () => {
    const sent = tokensSent(n);
    const { state } = withInsiders(n, sent, [1], () => ({ opening: new Uint8Array(16) }));
    const culprit = at(sent.members, 1).principal.certHash;
    expect(state).toMatchObject({ kind: 'inconsistent', fault: { reason: 'commitment', accused: culprit } });
    const member = at(sent.members, 0);
    const abort = play(member, onTokens, state.signedTokensMessage);
    expect(parseAbort(payloadOf(abort))).toMatchObject({ reason: 'commitment', accused: culprit });
    expect(member.state.round.kind).toBe('aborted');
  });

  it('make no member accuse an innocent whose opening the coordinator altered', () => {
    const sent = tokensSent(n);
    const entries = replaced(tokenEntries(sent.confirming), 1, (entry) => ({ ...entry, opening: new Uint8Array(16) }));
    const member = at(sent.members, 0);
    expect(refusedBy(member, onTokens, signTokens(n, sent.roster.ring, entries))).toBe('signature-invalid');
    const abort = play(member, onTokens, signTokens(n, sent.roster.ring, unsigned(entries)));
    expect(parseAbort(payloadOf(abort))).toMatchObject({ reason: 'commitment', accused: null });
  });

  it.each(['leftTag', 'rightTag'] as const)('show by a wrong %s, before anybody confirms', (tag) => {
    const sent = tokensSent(n);
    const { state } = withInsiders(n, sent, [1], () => ({ [tag]: new Uint8Array(16) }));
    expect(state).toMatchObject({ kind: 'inconsistent', fault: { reason: 'tag', accused: null } });
    revealed(n, sent, 0, play(at(sent.members, 0), onTokens, state.signedTokensMessage));
  });

  it('show to every honest member where two neighbours agree on a wrong tag of their edge', () => {
    const sent = tokensSent(n);
    const wrong = new Uint8Array(16);
    const { state } = withInsiders(n, sent, [1, 2], (_, i) => (i === 1 ? { rightTag: wrong } : { leftTag: wrong }));
    if (state.kind !== 'confirmations') throw new Error('nobody without a key can see this');
    for (const member of [0, 3].map((i) => at(sent.members, i))) {
      const abort = play({ ...member }, onTokens, state.tokensMessage);
      expect(parseAbort(payloadOf(abort))).toMatchObject({ reason: 'tag', accused: null });
    }
  });

  it('of two sessions do not mix, signed or not', () => {
    const first = tokensSent(n);
    const second = tokensSent(n, 2);
    const member = at(second.members, 0);
    expect(refusedBy(member, onTokens, first.confirming.tokensMessage)).toBe('wrong-round');
    const [mine, ...others] = tokenEntries(second.confirming);
    const mixed = [mine!, at(tokenEntries(first.confirming), 1), ...others.slice(1)];
    expect(refusedBy(member, onTokens, signTokens(n, second.roster.ring, mixed))).toBe('signature-invalid');
  });

  it('must be one a member', () => {
    const sent = tokensSent(n);
    const entries = tokenEntries(sent.confirming);
    const member = at(sent.members, 0);
    for (const other of [entries.slice(0, 3), [...entries, at(entries, 0)]]) {
      expect(refusedBy(member, onTokens, signTokens(n, sent.roster.ring, other))).toBe('tokens-count');
    }
  });
});

describe.each(suites)('tokens that come too late, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 4);

  it('after the announcement’s expiry, or under another list than the attempt began with', () => {
    const sent = tokensSent(n);
    const member = at(sent.members, 0);
    const { tokensMessage } = sent.confirming;
    const late = { nowS: nowS + 120 + limits.clockSkewS + 1 };
    expect(refusedBy(member, onTokens, tokensMessage, late)).toBe('announcement-expired');
    const membership = n.membership(n.list({ version: 2 }));
    expect(refusedBy(member, onTokens, tokensMessage, { membership })).toBe('membership-changed');
  });
});

describe.each(suites)('a coordinator that collects tokens, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 4);

  it('takes an identical one again, and another one of the same member never', () => {
    const sent = tokensSent(n);
    const first = collected(n, sent, [at(sent.honest, 0)]);
    if (first.kind !== 'tokens') throw new Error('one token closed the round');
    const again = (change: Partial<Token>) =>
      resignToken(n, sent.roster.ring, at(sent.members, 0).principal, at(sent.honest, 0), () => change);
    expect(onToken(n.coordinatorContext(), first, again({}))).toBe(first);
    for (const field of ['token', 'leftTag', 'rightTag', 'opening'] as const) {
      const twoFaced = again({ [field]: new Uint8Array(field === 'token' ? 32 : 16) });
      expect(refusal(() => onToken(n.coordinatorContext(), first, twoFaced))).toBe('token-equivocation');
    }
  });

  it('refuses tokens of another session, of another member’s making, and of who is not in the roster', () => {
    const sent = tokensSent(n);
    const other = tokensSent(n, 2);
    const context = n.coordinatorContext();
    expect(refusal(() => onToken(context, sent.roster, at(other.honest, 0)))).toBe('wrong-round');
    const { sessionRef } = roundOf(at(sent.members, 0)).token;
    const patched = resignToken(n, other.roster.ring, at(sent.members, 0).principal, at(other.honest, 0), () => ({
      sessionRef,
    }));
    expect(refusal(() => onToken(context, sent.roster, patched))).toBe('signature-invalid');
    const { signer } = at(sent.members, 1).principal;
    const { kid } = at(sent.members, 0).principal;
    const posing = signAs(suite, { signer, kid }, 'token', sent.roster.ring.th1, payloadOf(at(sent.honest, 0)));
    expect(refusal(() => onToken(context, sent.roster, posing))).toBe('signature-invalid');
    const byReader = signAs(suite, n.utility, 'token', sent.roster.ring.th1, payloadOf(at(sent.honest, 0)));
    expect(refusal(() => onToken(context, sent.roster, byReader))).toBe('not-listed');
  });
});

describe.each(suites)('a coordinator that would provoke a reveal, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 4);
  const alter = (entries: readonly TokenEntry[]) =>
    replaced(entries, 2, (entry) => ({ ...entry, token: flipped(entry.token) }));

  it('gets none for an altered bundle, with or without signatures', () => {
    const sent = tokensSent(n);
    const entries = alter(tokenEntries(sent.confirming));
    const member = at(sent.members, 0);
    expect(refusedBy(member, onTokens, signTokens(n, sent.roster.ring, entries))).toBe('signature-invalid');
    play(member, onTokens, signTokens(n, sent.roster.ring, unsigned(entries)));
    expect(member.state.round.kind).toBe('aborted');
    expect(refusedBy(member, onTokens, signTokens(n, sent.roster.ring, entries))).toBe('signature-invalid');
  });

  it('gets none for an altered bundle first and the true one, with all signatures, after it', () => {
    const sent = tokensSent(n);
    const member = at(sent.members, 0);
    const entries = tokenEntries(sent.confirming);
    play(member, onTokens, signTokens(n, sent.roster.ring, unsigned(alter(entries))));
    expect(member.state.round.kind).toBe('aborted');
    for (const bundle of [sent.confirming.signedTokensMessage, sent.confirming.tokensMessage]) {
      expect(refusedBy(member, onTokens, bundle)).toBe('tokens-equivocation');
    }
  });

  it('gets none for signatures under another th1', () => {
    const sent = tokensSent(n);
    const other = tokensSent(n, 2);
    const entries = tokenEntries(other.confirming);
    const member = at(sent.members, 0);
    expect(refusedBy(member, onTokens, signTokens(n, sent.roster.ring, entries))).toBe('signature-invalid');
  });

  it('gets none in the same session from who has confirmed, nor from who is active', () => {
    const confirmed = throughConfirmations(n);
    const { ring } = confirmed.roster;
    const insider = at(inRing(ring, confirmed.players), 1).principal;
    const [, token] = inRing(ring, confirmed.players).map(({ principal }) =>
      at(confirmed.tokens, n.meters.indexOf(principal)),
    );
    const twoFaced = tokenEntryOf(resignToken(n, ring, insider, token!, shifted));
    const bundle = signTokens(
      n,
      ring,
      replaced(tokenEntries(confirmed.confirming), 1, () => twoFaced),
    );
    const member = at(inRing(ring, confirmed.players), 0);
    const { round } = member.state;
    expect(refusedBy(member, onTokens, bundle)).toBe('tokens-conflict');
    expect(play(member, onTokens, confirmed.confirming.signedTokensMessage)).toEqual(
      round.kind === 'confirmed' && round.confirmationReply,
    );
    play(member, onConfirmations, confirmed.published.confirmationsMessage);
    expect(refusedBy(member, onTokens, bundle)).toBe('wrong-round');
  });

  it('gets one with an insider’s two-faced token, but then nobody becomes active', () => {
    const sent = tokensSent(n);
    const { ring } = sent.roster;
    const twoFaced = tokenEntryOf(resignToken(n, ring, at(sent.members, 1).principal, at(sent.honest, 1), shifted));
    const victim = at(sent.members, 3);
    const bundle = signTokens(
      n,
      ring,
      replaced(tokenEntries(sent.confirming), 1, () => twoFaced),
    );
    revealed(n, sent, 3, play(victim, onTokens, bundle));
    expect(refusedBy(victim, onTokens, sent.confirming.tokensMessage)).toBe('session-aborted');
    for (const member of [0, 2].map((i) => at(sent.members, i))) {
      play(member, onTokens, sent.confirming.tokensMessage);
      expect(member.state).toMatchObject({ round: { kind: 'confirmed' }, active: null });
    }
  });
});

describe.each(suites)(
  'two insiders that shift the edges between them, so that the sum stays zero, suite $name',
  (suite) => {
    it.each([
      [4, 2],
      [5, 2],
      [5, 3],
    ])('are seen by all in a ring of %i with the second one at position %i', (count, second) => {
      const n = neighbourhoodOf(suite, count);
      const sent = tokensSent(n);
      const { th1 } = sent.roster.ring;
      // Each knows its own two edges, and shows for the shifted one the tag that the shift asks for.
      const { state } = withInsiders(n, sent, [0, second], (token, i) => {
        const { rightEdge, leftEdge } = roundOf(at(sent.members, i));
        const left = (i + count - 1) % count;
        return i === 0
          ? { ...shifted(token), rightTag: tagOf(suite, th1, 0, xorBytes(rightEdge, difference)) }
          : { ...shifted(token), leftTag: tagOf(suite, th1, left, xorBytes(leftEdge, difference)) };
      });
      expect(state).toMatchObject({ kind: 'inconsistent', fault: { reason: 'tag', accused: null } });
      for (const [i, member] of sent.members.entries()) {
        if (i === 0 || i === second) continue;
        const abort = play(member, onTokens, signTokens(n, sent.roster.ring, unsigned(tokenEntries(state))));
        expect(parseAbort(payloadOf(abort))).toMatchObject({ reason: 'tag' });
      }
    });

    /**
     * The insiders at 0 and 2 know every edge once the tokens are out. With the coordinator they show member 1 the edges
     * 2 … count − 1 shifted, and confirm to it under the key that comes of it; member 3 confirms to nobody but the true one.
     */
    function splitRing(n: Neighbourhood, membership: Membership) {
      const sent = tokensSent(n, 1, membership);
      const { ring } = sent.roster;
      const count = ring.members.length;
      const entries = tokenEntries(sent.confirming);
      const edges = [roundOf(at(sent.members, 0)).rightEdge];
      for (let i = 1; i < count; i++) edges.push(xorBytes(at(edges, i - 1), at(entries, i).token));
      const tagFor = (i: number) =>
        tagOf(suite, ring.th1, i, i >= 2 ? xorBytes(at(edges, i), difference) : at(edges, i));
      const faked = unsigned(entries).map((entry, i) => ({
        ...entry,
        ...(i === 0 || i === 2 ? shifted(entry) : {}),
        leftTag: tagFor((i + count - 1) % count),
        rightTag: tagFor(i),
      }));
      const [, deceived, , other] = sent.members;
      play(deceived!, onTokens, signTokens(n, ring, faked));
      const theirs = play(other!, onTokens, sent.confirming.tokensMessage);
      const { round } = deceived!.state;
      if (round.kind !== 'confirmed') throw new Error('the deceived member confirms what it was shown');
      const confirmations = sent.members.map(({ principal }, i) => {
        const mac = confirmationMac(suite, round.keys.confirmationKey, i, round.name.th2);
        const content = { mac, groupPublicKey: round.keys.groupPublicKey };
        return i === 0 || i === 2
          ? confirmationEntryOf(signConfirmation(n, principal, { sid: ring.sid, th2: round.name.th2 }, content))
          : { ...content, signature: signatureOf(i === 1 ? round.confirmationReply : theirs) };
      });
      const bundle = signConfirmations(n, { ring, name: round.name }, confirmations);
      return { sent, deceived: deceived!, other: other!, bundle, faked };
    }

    it.each([4, 5])('and show a ring of %i two faces with the coordinator’s help: nobody becomes active', (count) => {
      const n = neighbourhoodOf(suite, count);
      const { deceived, other, bundle } = splitRing(n, n.membership());
      const keyOf = ({ state: { round } }: Player) => (round.kind === 'confirmed' ? round.keys.groupKey : undefined);
      expect(keyOf(deceived)).not.toEqual(keyOf(other));
      expect(refusedBy(deceived, onConfirmations, bundle)).toBe('signature-invalid');
    });

    it('make the epoch provisional in the constrained profile, and no record ever says otherwise', () => {
      const n = neighbourhoodOf(suite, 4);
      const membership = n.membership(n.list({ policy: { profile: 'constrained' } }));
      const { sent, deceived, bundle, faked } = splitRing(n, membership);
      play(deceived, onConfirmations, bundle);
      expect(deceived.state.active).toMatchObject({ provisional: true });
      const signed = faked.map((entry, i) => ({ ...entry, signature: at(tokenEntries(sent.confirming), i).signature }));
      const record = encodeRecord([
        sent.collecting.announcementMessage,
        sent.roster.rosterMessage,
        signTokens(n, sent.roster.ring, signed),
        bundle,
      ]);
      expect(refusal(() => verifyRecord(suite, membership, record, nowS))).toBe('signature-invalid');
    });
  },
);
