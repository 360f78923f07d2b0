/** One rekey of a group: attempt after attempt, each with fresh ephemerals for all, and a longer pause after each. */
import { ConflictError, GridringError, UnavailableError } from '../crypto/errors.js';
import { assertListValid, type Membership, type MembershipList } from '../crypto/membership.js';
import type { Reason } from '../crypto/ring/messages.js';
import type { Published } from '../crypto/ring/coordinator-state.js';
import {
  EpochRun,
  type Activation,
  type EpochPlan,
  type EpochReport,
  type MemberAction,
  type Members,
} from './epoch-run.js';
import type { EpochNumber, VerifiedBundle } from './known-lists.js';
import type { Parts } from './parts.js';
import type { Cause } from './rekey-schedule.js';
import type { Roll } from './roll.js';
import type { GatewayStore } from './stores.js';

export interface AgreementParts extends Parts {
  readonly store: GatewayStore;
  readonly members: Members;
  /** Milliseconds of a steady clock: for windows and pauses, never for what is signed. */
  readonly nowMs: () => number;
  /** Resolves after the time, or at once when the signal is aborted. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly roundDeadlineMs: number;
  readonly sleeperDeadlineMs: number;
  readonly maxAttempts: number;
}

/** What the group adds to it. */
export interface AgreementGroup {
  /** Asked for each attempt. */
  readonly newest: () => VerifiedBundle;
  readonly roll: Roll;
  readonly onProgress: () => void;
  readonly onMemberFailed: (member: Uint8Array, action: MemberAction, error: unknown) => void;
  /** An attempt under a list has ended, either way. */
  readonly onAttempted: (report: EpochReport, plan: EpochPlan, membership: Membership) => Promise<void>;
  /** All have confirmed, and the record is on disk. */
  readonly onPublished: (published: Published) => Promise<void>;
}

export interface Agreed {
  readonly published: Published;
  readonly activation: Activation;
}

/** For these it is worth waiting for members that were silent before. */
const thorough: ReadonlySet<Reason> = new Set(['founding', 'restart', 'periodic', 'retry']);
/** Attempts are numbered in one byte. */
export const lastAttempt = 255;
/** Beyond the rounds' own deadlines. */
const announcementLifeS = 300;

export class Agreement {
  readonly #parts: AgreementParts;
  readonly #group: AgreementGroup;
  readonly #stopped = new AbortController();
  #run: EpochRun | undefined;

  constructor(parts: AgreementParts, group: AgreementGroup) {
    this.#parts = parts;
    this.#group = group;
  }

  /** The attempt that is under way or ended last. */
  get run(): EpochRun | undefined {
    return this.#run;
  }

  /** Ends it, whatever it is at. A key that was published stays. */
  stop(): void {
    this.#stopped.abort();
    this.#run?.stop();
  }

  /**
   * @throws GridringError of the last attempt; ConflictError `epoch-stale`, `epoch-stopped`; VerificationError
   * `membership-expired`
   */
  async agree(reason: Cause): Promise<Agreed> {
    const { store, nowS, maxAttempts, sleep, log } = this.#parts;
    const { list } = this.#group.newest().membership;
    const { gid } = list;
    // Nobody would answer, and every announcement uses up a number.
    assertListValid(list, nowS());
    const { epoch, attempt: first } = await this.#next(list);
    for (let attempt = first; ; attempt++) {
      this.#assertNotStopped();
      if (!(await store.saveAnnounced(gid, epoch, attempt))) {
        throw new ConflictError('epoch-stale', `epoch ${epoch}.${attempt} or a higher one was announced already`);
      }
      try {
        return await this.#attempt({
          epoch,
          attempt,
          reason: attempt === first ? reason : 'retry',
          expiryS: this.#expiryS(),
        });
      } catch (error) {
        if (attempt - first + 1 >= maxAttempts || !(error instanceof GridringError)) throw error;
        this.#assertNotStopped();
        log.warn({ epoch, attempt, code: error.code, err: error }, 'attempt failed; trying again');
        await sleep(250 * 2 ** (attempt - first + 1), this.#stopped.signal);
      }
    }
  }

  /**
   * An epoch that came to nothing is gone on with: members take none that is far ahead of what they have answered, and
   * some may be away for days.
   */
  async #next({ gid, policy }: MembershipList): Promise<EpochNumber> {
    const { store, maxAttempts } = this.#parts;
    const announced = (await store.loadAnnounced(gid)) ?? { epoch: 0, attempt: 0 };
    const agreedEpoch = (await store.latestRecord(gid))?.epoch ?? 0;
    // The floor lets a coordinator that lost its state go on above what members have answered.
    const passed = Math.max(agreedEpoch, policy.epochFloor ?? 0);
    const { epoch, attempt } = announced;
    if (epoch > passed && attempt + maxAttempts <= lastAttempt) return { epoch, attempt: attempt + 1 };
    return { epoch: Math.max(epoch, passed) + 1, attempt: 1 };
  }

  #assertNotStopped(): void {
    if (this.#stopped.signal.aborted) throw new ConflictError('epoch-stopped', 'the rekey was stopped');
  }

  #expiryS(): number {
    const { nowS, sleeperDeadlineMs } = this.#parts;
    return nowS() + announcementLifeS + Math.ceil((4 * sleeperDeadlineMs) / 1_000);
  }

  async #attempt(plan: EpochPlan): Promise<Agreed> {
    const { store, nowS } = this.#parts;
    const { onAttempted, onProgress, onPublished } = this.#group;
    const { membership, bundle } = this.#group.newest();
    const run = this.#newRun(plan, membership, bundle);
    this.#run = run;
    onProgress();
    try {
      const published = await run.run();
      const { name, announcement, record } = published;
      await store.saveRecord({ ...name, listHash: announcement.listHash, record, agreedS: nowS() });
      await onPublished(published);
      return { published, activation: await this.#activate(run, published) };
    } finally {
      if (run.report) await onAttempted(run.report, plan, membership);
    }
  }

  /** A member that is silent now gets the key by its own asking; whoever has to be left out must not wait for it. */
  async #activate(run: EpochRun, published: Published): Promise<Activation> {
    const stopped = new Promise<Activation>((resolve) => {
      this.#stopped.signal.addEventListener('abort', () => {
        resolve({ active: 0, refused: 0 });
      });
    });
    return Promise.race([run.activate(published), stopped]);
  }

  /** Under one list from beginning to end: a newer one is for the next attempt. */
  #newRun(plan: EpochPlan, membership: Membership, bundle: Uint8Array): EpochRun {
    const { suite, identity, nowS, random, members, roundDeadlineMs, sleeperDeadlineMs, sleep } = this.#parts;
    const { roll, onMemberFailed, onProgress } = this.#group;
    roll.beginAttempt(membership.list, thorough.has(plan.reason));
    const parts = {
      context: () => ({ suite, self: identity, membership, nowS: nowS(), random }),
      membershipBundle: bundle,
      members,
      reach: (member: Uint8Array) => roll.reach(member),
      roundDeadlineMs,
      sleeperDeadlineMs,
      sleep,
      onMemberFailed: (member: Uint8Array, action: MemberAction, error: unknown) => {
        if (action === 'rekey' && error instanceof UnavailableError) roll.silent(member);
        onMemberFailed(member, action, error);
      },
      onProgress,
    };
    return new EpochRun(parts, plan);
  }
}
