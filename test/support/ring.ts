/** Runs an honest ring in memory, keeping every message of it: the ground that attacks in tests start from. */
import type {
  CollectingConfirmations,
  CollectingShares,
  CollectingTokens,
  Published,
} from '../../crypto/ring/coordinator-state.js';
import { announce, closeShares, onConfirmation, onShare, onToken } from '../../crypto/ring/coordinator.js';
import type { MemberContext, MemberStep } from '../../crypto/ring/member-context.js';
import { newMemberState, type EpochKey, type MemberState } from '../../crypto/ring/member-state.js';
import { onAnnouncement, onConfirmations, onRoster, onTokens } from '../../crypto/ring/member.js';
import type { Membership } from '../../crypto/membership.js';
import type { Reason } from '../../crypto/ring/messages.js';
import type { Random } from '../../crypto/suite.js';
import { nowS, type Neighbourhood, type Principal } from './neighbourhood.js';

export interface Player {
  readonly principal: Principal;
  readonly context: MemberContext;
  state: MemberState;
  /** Sees every step before it is kept. */
  readonly watch?: (before: MemberState, step: MemberStep) => void;
}

export interface Plan {
  readonly epoch?: number;
  readonly attempt?: number;
  readonly reason?: Reason;
  readonly membership?: Membership;
  readonly players?: readonly Player[];
  /** Draws of each member, by position in the list of meters. */
  readonly randomOf?: (index: number) => Random;
}

export type MemberRound = (context: MemberContext, state: MemberState, message: Uint8Array) => MemberStep;

/** Steps a player and keeps its state, as a host would. @returns the reply */
export function play(player: Player, round: MemberRound, message: Uint8Array): Uint8Array {
  const step = round(player.context, player.state, message);
  player.watch?.(player.state, step);
  player.state = step.state;
  return step.reply;
}

/** Members as they are now, whatever they are played through after. */
export const snapshot = (players: readonly Player[]): readonly Player[] => players.map((player) => ({ ...player }));

export const makePlayers = (n: Neighbourhood, { membership, randomOf }: Plan = {}): readonly Player[] =>
  n.meters.map((principal, i) => ({
    principal,
    context: n.memberContext(principal, membership, randomOf?.(i)),
    state: newMemberState(n.gid),
  }));

export interface AfterShares {
  readonly players: readonly Player[];
  readonly shares: readonly Uint8Array[];
  readonly collecting: CollectingShares;
}

/** Announces, and collects everybody's share. */
export function throughShares(n: Neighbourhood, plan: Plan = {}): AfterShares {
  const context = n.coordinatorContext(plan.membership);
  const players = plan.players ?? makePlayers(n, plan);
  const { epoch = 1, attempt = 1, reason = 'founding' } = plan;
  let collecting = announce(context, { epoch, attempt, reason, expiryS: nowS + 120 });
  const shares = players.map((player) => play(player, onAnnouncement, collecting.announcementMessage));
  for (const share of shares) collecting = onShare(context, collecting, share);
  return { players, shares, collecting };
}

export interface AfterTokens extends AfterShares {
  readonly roster: CollectingTokens;
  readonly tokens: readonly Uint8Array[];
  readonly confirming: CollectingConfirmations;
}

export const throughTokens = (n: Neighbourhood, plan: Plan = {}): AfterTokens =>
  collectTokens(n, throughShares(n, plan), plan.membership);

/** Closes round 1 and collects everybody's token. */
export function collectTokens(n: Neighbourhood, after: AfterShares, membership?: Membership): AfterTokens {
  const context = n.coordinatorContext(membership);
  const roster = closeShares(context, after.collecting);
  const tokens = after.players.map((player) => play(player, onRoster, roster.rosterMessage));
  let state: ReturnType<typeof onToken> = roster;
  for (const token of tokens) if (state.kind === 'tokens') state = onToken(context, state, token);
  if (state.kind !== 'confirmations') throw new Error(`an honest ring ended in ${state.kind}`);
  return { ...after, roster, tokens, confirming: state };
}

export interface AfterConfirmations extends AfterTokens {
  readonly confirmations: readonly Uint8Array[];
  readonly published: Published;
}

export const throughConfirmations = (n: Neighbourhood, plan: Plan = {}): AfterConfirmations =>
  collectConfirmations(n, throughTokens(n, plan), plan.membership);

/** Hands out the tokens and collects everybody's confirmation. */
export function collectConfirmations(
  n: Neighbourhood,
  after: AfterTokens,
  membership?: Membership,
): AfterConfirmations {
  const context = n.coordinatorContext(membership);
  const confirmations = after.players.map((player) => play(player, onTokens, after.confirming.tokensMessage));
  let state: ReturnType<typeof onConfirmation> = after.confirming;
  for (const confirmation of confirmations) {
    if (state.kind === 'confirmations') state = onConfirmation(context, state, confirmation);
  }
  if (state.kind !== 'published') throw new Error(`an honest ring ended in ${state.kind}`);
  return { ...after, confirmations, published: state };
}

/** A whole founding or rekey: everybody active. */
export function agree(n: Neighbourhood, plan: Plan = {}): AfterConfirmations {
  const after = throughConfirmations(n, plan);
  for (const player of after.players) play(player, onConfirmations, after.published.confirmationsMessage);
  return after;
}

/** The active key. @throws Error when the player has none */
export function activeKey({ state }: Player): EpochKey {
  if (!state.active) throw new Error('no active key');
  return state.active;
}
