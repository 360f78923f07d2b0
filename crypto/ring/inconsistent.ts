/**
 * An attempt that came to no key: what members still answer the token bundle with all signatures, and what follows from
 * it. Members reveal against that bundle only, and never after they have confirmed (protocol §1, rule 4).
 */
import { equalBytes } from '../bytes.js';
import { parseSign1 } from '../cose.js';
import { ConflictError, VerificationError } from '../errors.js';
import { limits } from '../limits.js';
import { judge, signVerdict, type Judgement } from './blame.js';
import {
  announced,
  verifyInSession,
  wrongRound,
  type CollectingConfirmations,
  type CoordinatorContext,
  type Fault,
  type Inconsistent,
  type InSession,
} from './coordinator-state.js';
import { parseTokensReply } from './messages.js';

type Session = InSession & Pick<Inconsistent, 'signedTokensMessage' | 'tokens' | 'th2'>;

export const inconsistent = (
  session: Session,
  fault: Fault,
  confirmed: ReadonlySet<number> = new Set(),
): Inconsistent => ({
  ...announced(session),
  kind: 'inconsistent',
  ring: session.ring,
  rosterMessage: session.rosterMessage,
  signedTokensMessage: session.signedTokensMessage,
  tokens: session.tokens,
  th2: session.th2,
  fault,
  reveals: new Map(),
  aborted: new Set(),
  confirmed,
});

/** Round 3 ends when a member says that the tokens do not fit, though nothing public shows it. */
export function onObjection(
  context: CoordinatorContext,
  state: CollectingConfirmations,
  bytes: Uint8Array,
): Inconsistent {
  const fault = { reason: 'abort', accused: null } as const;
  return onTokensReply(context, inconsistent(state, fault, new Set(state.confirmations.keys())), bytes);
}

/**
 * Takes what a member answers the signed tokens with: a reveal, an abort, or its confirmation.
 * @throws MalformedError, VerificationError `confirmation-transcript`, ConflictError `wrong-round`, `reveal-equivocation`
 */
export function onTokensReply(context: CoordinatorContext, state: Inconsistent, bytes: Uint8Array): Inconsistent {
  const message = parseSign1(bytes, limits.memberMessage);
  const reply = parseTokensReply(message.payload);
  if (!asksForReplies(context, state)) throw wrongRound(reply.kind);
  const { ring, th2 } = state;
  const signedUnder = reply.kind === 'confirmation' ? th2 : ring.th1;
  const position = verifyInSession(context, state, message, reply.sessionRef, reply.kind, signedUnder);
  switch (reply.kind) {
    case 'abort':
      return { ...state, aborted: new Set(state.aborted).add(position) };
    case 'confirmation':
      if (!equalBytes(reply.th2, th2))
        throw new VerificationError('confirmation-transcript', 'it confirms other tokens');
      return { ...state, confirmed: new Set(state.confirmed).add(position) };
    case 'reveal': {
      const known = state.reveals.get(position);
      if (known && equalBytes(known.secret, reply.secret)) return state;
      if (known) throw new ConflictError('reveal-equivocation', 'a member signed two reveals for one session');
      const { secret } = reply;
      return { ...state, reveals: new Map(state.reveals).set(position, { secret, message: bytes }) };
    }
    default:
      return reply satisfies never;
  }
}

/**
 * Whether members can still say who it was. A commitment convicts without them, keys that differ are never answered with
 * a reveal, and in the constrained profile nobody reveals; there only the word of one can be held against that of others.
 */
function asksForReplies({ membership }: CoordinatorContext, { fault }: Inconsistent): boolean {
  if (fault.reason === 'commitment' || fault.reason === 'key') return false;
  return fault.reason === 'abort' || membership.list.policy.profile === 'full';
}

/** Who of the roster has not said yet what it has to say, as certHashes in ring order. */
export function unheard(context: CoordinatorContext, state: Inconsistent): readonly Uint8Array[] {
  if (!asksForReplies(context, state)) return [];
  const { reveals, confirmed, aborted } = state;
  const abortIsLast = context.membership.list.policy.profile === 'constrained';
  const isHeard = (i: number): boolean => reveals.has(i) || confirmed.has(i) || (abortIsLast && aborted.has(i));
  return certHashesOf(state, (i) => !isHeard(i));
}

/** How an attempt without a key ended for its members, as certHashes in ring order. */
interface Findings {
  readonly judgement: Judgement | null;
  /** The judgement with its proof, signed. */
  readonly verdict: Uint8Array | null;
  /** Who did its part. */
  readonly faithful: readonly Uint8Array[];
  /** Who did not, without proof. */
  readonly failing: readonly Uint8Array[];
}

/**
 * Where nothing proves anything, those fail who stand against members that confirmed: honest members are shown the same
 * tokens, so either all of them confirm or none does.
 */
export function findings(context: CoordinatorContext, state: Inconsistent): Findings {
  const { ring, tokens, reveals, confirmed, fault } = state;
  const secrets = new Map([...reveals].map(([position, { secret }]) => [position, secret]));
  const judgement = judge(context.suite, ring, tokens, secrets);
  if (!judgement) {
    const isWordAgainstWord = fault.reason === 'abort' || fault.reason === 'key';
    return {
      judgement,
      verdict: null,
      faithful: certHashesOf(state, (i) => isWordAgainstWord && confirmed.has(i)),
      failing: certHashesOf(state, (i) => isWordAgainstWord && !confirmed.has(i)),
    };
  }
  const { accused, silent } = judgement;
  const isNamed = (certHash: Uint8Array | undefined): boolean =>
    certHash !== undefined &&
    [...accused.map((one) => one.certHash), ...silent].some((named) => equalBytes(named, certHash));
  return {
    judgement,
    verdict: signVerdict(context.suite, context.self, ring.th1, {
      sid: ring.sid,
      ...judgement,
      evidence: [state.announcementMessage, state.rosterMessage, state.signedTokensMessage],
      reveals: [...reveals].sort(([a], [b]) => a - b).map(([, { message }]) => message),
    }),
    faithful: certHashesOf(state, (i) => !isNamed(ring.members[i]?.certHash)),
    failing: silent,
  };
}

const certHashesOf = ({ ring }: InSession, isMeant: (position: number) => boolean): readonly Uint8Array[] =>
  ring.members.filter((_, i) => isMeant(i)).map(({ certHash }) => certHash);
