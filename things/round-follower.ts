/**
 * How a meter goes on by itself, with what its gateway shows in the property `round`: a meter that cannot be called takes
 * every step this way, one at a time; one that can be called, what it seems to have missed (protocol §7).
 */
import { equalBytes } from '../crypto/bytes.js';
import { GridringError } from '../crypto/errors.js';
import type { MeterCommands } from './meter-commands.js';
import type { MeterGroups } from './meter-groups.js';
import type { Log } from './parts.js';
import { parseRounds, type GroupRound } from './round.js';

/** A reply that the gateway is to be given by this action of its. */
export interface Submission {
  readonly action: 'submitPublicKey' | 'submitToken' | 'submitConfirmation' | 'submitReceipt';
  readonly message: Uint8Array;
}

export interface Followed {
  readonly submissions: readonly Submission[];
  /** An epoch went by without this meter: the gateway should know that it wants to be in the next one. */
  readonly missed: boolean;
}

const submitActions = {
  announcement: 'submitPublicKey',
  roster: 'submitToken',
  tokens: 'submitConfirmation',
  confirmations: undefined,
} as const;

export class RoundFollower {
  readonly #groups: MeterGroups;
  readonly #commands: MeterCommands;
  readonly #log: Log;
  /** The list that was last taken of each group that is shown: it is long, and verified once. */
  readonly #lists = new Map<string, Uint8Array>();
  readonly #refusals = new Map<string, string>();
  /** Epochs of each group, one after the other, that went by without this meter. */
  readonly #missed = new Map<string, ReadonlySet<string>>();

  constructor({ groups, commands }: { readonly groups: MeterGroups; readonly commands: MeterCommands }, log: Log) {
    this.#groups = groups;
    this.#commands = commands;
    this.#log = log;
  }

  /**
   * Does one step in every group. A message that does not fit is passed over: the gateway may be further, or the meter.
   * @throws MalformedError `round-malformed`
   */
  async follow(shown: unknown): Promise<Followed> {
    const rounds = parseRounds(shown);
    this.#forgetOthers(new Set(rounds.map(({ gid }) => gid)));
    // Before the rounds: the key that a command is sealed to may be gone after them.
    const receipts = await this.#obeyAll(rounds);
    const followed = await Promise.all(rounds.map((round) => this.#followOne(round)));
    return {
      submissions: [...receipts, ...followed.flatMap(({ submission }) => submission ?? [])],
      missed: followed.some(({ missed }) => missed),
    };
  }

  async #obeyAll(rounds: readonly GroupRound[]): Promise<readonly Submission[]> {
    const receipts: Submission[] = [];
    for (const round of rounds) {
      for (const command of round.commands) {
        if (!this.#commands.concerns(command)) continue;
        const message = await this.#passingOver(round, () => this.#commands.take(command));
        if (message) receipts.push({ action: 'submitReceipt', message });
      }
    }
    return receipts;
  }

  /** What is shown is not signed: whoever shows other groups at every look must not fill the memory. */
  #forgetOthers(shown: ReadonlySet<string>): void {
    for (const kept of [this.#lists, this.#refusals, this.#missed]) {
      for (const gid of kept.keys()) if (!shown.has(gid)) kept.delete(gid);
    }
  }

  async #followOne(round: GroupRound): Promise<{ readonly submission?: Submission; readonly missed: boolean }> {
    const message = await this.#step(round);
    // Not in the midst of a round: a newer list would end it.
    if (!this.#groups.inRound(round.gid)) await this.#takeList(round);
    const { endorsement } = round;
    if (endorsement) await this.#passingOver(round, () => this.#groups.endorse(endorsement));
    const action = submitActions[round.type];
    return {
      ...(action && message && message.length > 0 && { submission: { action, message } }),
      missed: this.#isMissed(round),
    };
  }

  /** With the list that the message is under, where that is not known yet. */
  async #step(round: GroupRound): Promise<Uint8Array | undefined> {
    const take = (): Promise<Uint8Array> => this.#groups.take(round.type, round.message);
    try {
      return await take();
    } catch (error) {
      const isUnlisted = error instanceof GridringError && error.code === 'membership-unknown';
      if (isUnlisted && (await this.#takeList(round))) return this.#passingOver(round, take);
      this.#passOver(round, error);
      return undefined;
    }
  }

  /** @returns whether a list was taken */
  async #takeList(round: GroupRound): Promise<boolean> {
    const { gid, membership } = round;
    const last = this.#lists.get(gid);
    if (!membership || (last && equalBytes(last, membership))) return false;
    const taken = await this.#passingOver(round, () => this.#groups.updateMembership(membership));
    // What is refused now may be right once the clock is, or the disk has room.
    if (taken) this.#lists.set(gid, membership);
    return taken !== undefined;
  }

  async #passingOver(round: GroupRound, step: () => Promise<Uint8Array>): Promise<Uint8Array | undefined> {
    try {
      return await step();
    } catch (error) {
      this.#passOver(round, error);
      return undefined;
    }
  }

  /** Logged once, however often it is shown. */
  #passOver({ gid, epoch, attempt, type }: GroupRound, error: unknown): void {
    if (!(error instanceof GridringError)) throw error;
    const refusal = `${epoch}.${attempt} ${type} ${error.code}`;
    if (this.#refusals.get(gid) !== refusal) {
      this.#log.info({ gid, epoch, attempt, type, code: error.code }, 'passed over what the gateway shows');
    }
    this.#refusals.set(gid, refusal);
  }

  /**
   * Told of the first such epoch in a row, the second, the fourth, …: a meter that is too slow for its gateway would
   * have it rekey the group time and again.
   */
  #isMissed({ gid, epoch, attempt, type }: GroupRound): boolean {
    const before = this.#missed.get(gid) ?? new Set<string>();
    const name = `${epoch}.${attempt}`;
    if (type !== 'confirmations' || before.has(name)) return false;
    const missed = this.#groups.lacks(gid, { epoch, attempt }) ? new Set([...before, name]) : new Set<string>();
    this.#missed.set(gid, missed);
    return missed.size > 0 && Number.isInteger(Math.log2(missed.size));
  }
}

/** How long a meter that can be called waits for a call, and then asks by itself; in seconds. */
const missedAfterS = 5;
const longestPauseS = 60;
/** A meter that lacks nothing looks all the same: it may be unreachable without knowing. */
const heartbeatS = 900;

/**
 * When a meter that can be called looks at its gateway's rounds by itself.
 * @param waitingSinceS since when it waits for a message; undefined when it lacks nothing
 * @param looks how often it has looked since then
 */
export const nextLookS = (waitingSinceS: number | undefined, lastLookS: number, looks: number): number =>
  waitingSinceS === undefined
    ? lastLookS + heartbeatS
    : Math.max(waitingSinceS + missedAfterS, lastLookS + Math.min(longestPauseS, missedAfterS * 2 ** looks));
