/** Real members in memory under a real EpochRun, by a clock that costs no time. */
import { equalBytes, toHex } from '../../crypto/bytes.js';
import { GridringError, UnavailableError } from '../../crypto/errors.js';
import type { Membership } from '../../crypto/membership.js';
import { onAnnouncement, onConfirmations, onRoster, onTokens } from '../../crypto/ring/member.js';
import type { Published } from '../../crypto/ring/coordinator-state.js';
import { EpochRun, type MemberAction, type Reach } from '../../things/epoch-run.js';
import { at } from './forge.js';
import { nowS, type Neighbourhood } from './neighbourhood.js';
import { makePlayers, play, type MemberRound, type Player } from './ring.js';
import { VirtualClock } from './virtual-clock.js';

const rounds: Readonly<Partial<Record<MemberAction, MemberRound>>> = {
  rekey: onAnnouncement,
  agree: onRoster,
  confirm: onTokens,
  activate: onConfirmations,
};

/** What a member that is not honest, or cannot be heard, does instead; `honest` gives what it should have answered. */
export type Behaviour = (
  action: MemberAction,
  message: Uint8Array,
  honest: () => Uint8Array,
  player: Player,
) => Uint8Array;

export const unreachable = (): never => {
  throw new UnavailableError('unreachable', 'the member does not answer');
};

export interface Setting {
  readonly n: Neighbourhood;
  readonly players: readonly Player[];
  readonly clock: VirtualClock;
  readonly run: EpochRun;
  /** `action member` of every call, by position in the list of meters. */
  readonly calls: readonly string[];
  /** Code of every failure of a member. */
  readonly failures: readonly string[];
}

export interface Options {
  readonly membership?: Membership;
  readonly players?: readonly Player[];
  readonly attempt?: number;
  /** By position in the list of meters; callable when not said. */
  readonly reach?: Readonly<Record<number, Reach>>;
  readonly behaviours?: Readonly<Record<number, Behaviour>>;
  /** Of everybody, instead. */
  readonly behaviour?: Behaviour;
}

export const roundDeadlineMs = 5_000;
export const sleeperDeadlineMs = 600_000;

export function makeRun(n: Neighbourhood, options: Options = {}): Setting {
  const { membership = n.membership(), attempt = 1, reach = {}, behaviours = {} } = options;
  const players = options.players ?? makePlayers(n, { membership });
  const clock = new VirtualClock(nowS);
  const calls: string[] = [];
  const failures: string[] = [];
  const indexOf = (member: Uint8Array): number =>
    players.findIndex(({ principal }) => equalBytes(principal.certHash, member));
  const run = new EpochRun(
    {
      context: () => ({ ...n.coordinatorContext(membership), nowS: clock.nowS }),
      membershipBundle: new Uint8Array(0),
      members: {
        invoke: async (member, action, message) => {
          const i = indexOf(member);
          calls.push(`${action} ${String(i)}`);
          const player = at(players, i);
          const honest = (): Uint8Array => stepOf(player, action, message, clock);
          const behave = options.behaviour ?? behaviours[i];
          return behave ? behave(action, message, honest, player) : honest();
        },
      },
      reach: (member) => reach[indexOf(member)] ?? 'callable',
      roundDeadlineMs,
      sleeperDeadlineMs,
      sleep: clock.sleep,
      onMemberFailed: (_member, _action, error) =>
        failures.push(error instanceof GridringError ? error.code : String(error)),
      onProgress: () => undefined,
    },
    { epoch: 1, attempt, reason: 'founding', expiryS: nowS + 1_800 },
  );
  return { n, players, clock, run, calls, failures };
}

function stepOf(player: Player, action: MemberAction, message: Uint8Array, { nowS }: VirtualClock): Uint8Array {
  const round = rounds[action];
  if (!round) throw new Error(`no round for ${action}`);
  return play(player, (context, state, bytes) => round({ ...context, nowS }, state, bytes), message);
}

/** A member that nobody can call: every so often it does one step with what it finds, and hands in the answer. */
export async function wakeEvery(setting: Setting, index: number, intervalMs: number): Promise<void> {
  const { clock, run, players } = setting;
  const actions = {
    shares: 'rekey',
    tokens: 'agree',
    confirmations: 'confirm',
    inconsistent: 'confirm',
    published: 'activate',
  } as const;
  for (;;) {
    await clock.sleep(intervalMs);
    if (run.report && run.state.kind !== 'published') return;
    const action = actions[run.state.kind];
    const reply = stepOf(at(players, index), action, run.currentMessage, clock);
    if (action === 'activate') return;
    run.accept(reply);
  }
}

/** Runs to the end and activates. @returns what was published, or the code of the failure */
export async function outcome({ run, clock }: Setting): Promise<Published | string> {
  try {
    const published = await clock.until(run.run());
    await clock.until(run.activate(published));
    return published;
  } catch (error) {
    if (error instanceof GridringError) return error.code;
    throw error;
  }
}

/** Positions in the list of meters. */
export const positions = ({ n }: Setting, members: readonly Uint8Array[]): readonly number[] =>
  members.map((member) => n.meters.findIndex(({ certHash }) => equalBytes(certHash, member))).sort((a, b) => a - b);

/** Who has which key. */
export const activeKeys = ({ players }: Setting): readonly (string | null)[] =>
  players.map(({ state: { active } }) => active && toHex(active.groupKey));
