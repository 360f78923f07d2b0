/** Tokens that do not add up: the signed abort, and the one checked reveal (protocol §1 rule 4, §6). */
import { sign1, type Sign1 } from '../cose.js';
import { ConflictError } from '../errors.js';
import { withRound, verifyFrom, type MemberContext, type MemberStep } from './member-context.js';
import type { Aborted, MemberState, TokenSent } from './member-state.js';
import { contextOf, encodeAbort, encodeReveal, type TokenBundle } from './messages.js';
import { ringIndexOf, verifyTokenOf, type Ring } from './roster.js';
import { openTokens, type TokenFault } from './token-fault.js';

/** Nothing is concluded from a bundle that the coordinator did not sign (protocol §5). */
export function abort(
  context: MemberContext,
  state: MemberState,
  round: TokenSent,
  message: Sign1,
  bundle: TokenBundle,
  fault: TokenFault,
): MemberStep {
  const { suite, self } = context;
  const { ring, announcement } = round;
  verifyFrom(context, announcement.coordinator, message, 'tokens', ring.th1);
  const accused = provenAccused(ring, bundle, fault);
  const payload = encodeAbort({ sessionRef: ring.sid.slice(0, 8), reason: fault.reason, accused });
  const abortReply = sign1(suite, self.signer, self.kid, contextOf('abort', ring.th1), payload);
  const buried = { ...state, tombstone: ring.sid };
  return revealOrAbort(context, buried, { ...round, kind: 'aborted', abortReply }, message.payload, bundle, fault);
}

/** Whoever altered the bundle could have a member accuse the innocent, so only a signed token convicts its owner. */
function provenAccused(ring: Ring, bundle: TokenBundle, { accused }: TokenFault): Uint8Array | null {
  const index = accused === null ? -1 : ringIndexOf(ring, accused);
  const member = ring.members[index];
  const entry = bundle.entries[index];
  if (!member || !entry?.signature) return null;
  verifyTokenOf(ring, member, entry);
  return accused;
}

/**
 * Another bundle for a session that was given up. It may bring the signatures for the one reveal; but tokens that do fit
 * reveal nothing, or else an altered bundle first and the true one after it would buy the ephemeral (rule 4).
 * @throws VerificationError, ConflictError `tokens-equivocation`
 */
export function onTokensAfterAbort(
  context: MemberContext,
  state: MemberState,
  round: Aborted,
  message: Sign1,
  bundle: TokenBundle,
): MemberStep {
  verifyFrom(context, round.announcement.coordinator, message, 'tokens', round.ring.th1);
  const opened = openTokens(context.suite, round.ring, bundle.entries, round);
  if ('fault' in opened) return revealOrAbort(context, state, round, message.payload, bundle, opened.fault);
  for (const edge of opened.edges) edge.fill(0);
  throw new ConflictError('tokens-equivocation', 'the coordinator signed two bundles of tokens for one session');
}

/**
 * Rule 4: the ephemeral is shown only against the valid signatures of all n tokens under one's own th1, which do not add
 * up and convict nobody by themselves; then it is forgotten, and the reveal stays to be sent again. Everything else is answered with the abort. In the
 * constrained profile nobody reveals: whoever learns an ephemeral in one roster of an announcement could play its owner
 * in another, before members that check no signature of it (formal/README.md, Limits).
 */
function revealOrAbort(
  context: MemberContext,
  state: MemberState,
  round: Aborted,
  tokensPayload: Uint8Array,
  bundle: TokenBundle,
  { accused }: TokenFault,
): MemberStep {
  const { suite, self } = context;
  const { ring } = round;
  const neverReveals = context.membership.list.policy.profile === 'constrained';
  if (neverReveals || accused !== null || bundle.entries.some(({ signature }) => signature === null)) {
    return { state: { ...state, round }, reply: round.abortReply, consumed: [] };
  }
  ring.members.forEach((member, i) => {
    const entry = bundle.entries[i];
    if (entry) verifyTokenOf(ring, member, entry);
  });
  const payload = encodeReveal({ sessionRef: ring.sid.slice(0, 8), secret: round.secret });
  const reply = sign1(suite, self.signer, self.kid, contextOf('reveal', ring.th1), payload);
  const { annId, announcement } = round;
  return withRound(state, { kind: 'revealed', annId, announcement, tokensPayload, revealReply: reply }, reply);
}
