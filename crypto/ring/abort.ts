/** Tokens that do not add up: the signed abort, and the one checked reveal (protocol §1 rule 4, §6). */
import { sign1, type Sign1 } from '../cose.js';
import { withRound, verifyFrom, type MemberContext, type MemberStep } from './member-context.js';
import type { Aborted, MemberState, TokenSent } from './member-state.js';
import { contextOf, encodeAbort, encodeReveal, type TokenBundle } from './messages.js';
import { verifyTokenOf } from './roster.js';
import type { TokenFault } from './verdict.js';

/** Nothing is concluded from a bundle that the coordinator did not sign (protocol §5). */
export function abort(
  context: MemberContext,
  state: MemberState,
  round: TokenSent,
  message: Sign1,
  bundle: TokenBundle,
  { reason, accused }: TokenFault,
): MemberStep {
  const { suite, self } = context;
  const { ring, announcement } = round;
  verifyFrom(context, announcement.coordinator, message, 'tokens', ring.th1);
  const payload = encodeAbort({ sessionRef: ring.sid.slice(0, 8), reason, accused });
  const abortReply = sign1(suite, self.signer, self.kid, contextOf('abort', ring.th1), payload);
  const { leftEdge, rightEdge, ...session } = round;
  const aborted: Aborted = { ...session, kind: 'aborted', abortReply };
  const buried = { ...state, tombstone: ring.sid };
  const consumed = [leftEdge, rightEdge];
  if (accused === null && bundle.entries.every(({ signature }) => signature !== null)) {
    const reveal = revealOnce(context, buried, aborted, message, bundle);
    return { ...reveal, consumed: [...consumed, ...reveal.consumed] };
  }
  return { state: { ...buried, round: aborted }, reply: abortReply, consumed };
}

/**
 * Rule 4: the ephemeral is shown only against the valid signatures of all n tokens under one's own th1, which still do
 * not add up; then it is forgotten. A bundle without them is answered with the abort again.
 */
export function revealOnce(
  context: MemberContext,
  state: MemberState,
  round: Aborted,
  message: Sign1,
  bundle: TokenBundle,
): MemberStep {
  const { suite, self } = context;
  const { ring } = round;
  if (bundle.entries.some(({ signature }) => signature === null)) {
    return { state, reply: round.abortReply, consumed: [] };
  }
  verifyFrom(context, round.announcement.coordinator, message, 'tokens', ring.th1);
  ring.members.forEach((member, i) => {
    const entry = bundle.entries[i];
    if (entry) verifyTokenOf(suite, ring, member, entry);
  });
  const payload = encodeReveal({ sessionRef: ring.sid.slice(0, 8), secret: round.secret });
  const reply = sign1(suite, self.signer, self.kid, contextOf('reveal', ring.th1), payload);
  return withRound(state, { kind: 'idle' }, reply);
}
