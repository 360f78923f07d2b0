/** One group that a gateway coordinates: its membership list, the epoch that is active, and what asks for the next. */
import { equalBytes, toHex } from '../crypto/bytes.js';
import { ConflictError, GridringError } from '../crypto/errors.js';
import { findEntry, type Membership } from '../crypto/membership.js';
import { EpochRun, type EpochPlan, type MemberAction, type Members, type Reach } from './epoch-run.js';
import { coordinatorStatusOf, groupOf, isoTime, roundOf, type ActiveEpoch } from './gateway-status.js';
import type { ThingEmitter } from './behaviour.js';
import type { Parts } from './parts.js';
import {
  ask,
  begin,
  dueMs,
  failed,
  newSchedule,
  succeeded,
  withdraw,
  type Cause,
  type RekeySchedule,
} from './rekey-schedule.js';
import type { EnrolledMeter, GatewayStore } from './stores.js';

export interface CoordinationParts extends Parts {
  readonly store: GatewayStore;
  readonly members: Members;
  /** Milliseconds of a steady clock: for windows and pauses, never for what is signed. */
  readonly nowMs: () => number;
  /** Resolves after the time, or at once when the signal is aborted. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** How long joins and leaves are gathered before they are followed by a rekey. */
  readonly windowMs: number;
  readonly roundDeadlineMs: number;
  readonly maxAttempts: number;
  /** Whether everybody who has enrolled can be found by now; as long as not, a window is not cut short. */
  readonly settled: () => boolean;
  readonly onAgreement: (group: { readonly gid: string; readonly members: number; readonly reason: Cause }) => void;
  /** Every epoch that was agreed, whoever asked for it. */
  readonly onEpoch: (outcome: EpochOutcome) => void;
  /** A rekey came to nothing; the old key stays in use, and it is tried again. */
  readonly onFailed: (failure: { readonly gid: string; readonly code: string; readonly failures: number }) => void;
}

export interface EpochOutcome {
  readonly gid: string;
  readonly epoch: number;
  readonly attempt: number;
  readonly members: number;
  readonly confirmed: number;
  readonly agreementMs: number;
}

/** How long an announcement may be answered, beyond the rounds' own deadlines. */
const announcementLifeS = 300;
/** A sleep without anything due; whatever changes ends it. */
const idleMs = 3_600_000;

export class Coordination {
  readonly #parts: CoordinationParts;
  /** Of all groups; which of them are of this one, the list says. */
  readonly #enrolled: ReadonlyMap<string, EnrolledMeter>;
  readonly #emitter: () => ThingEmitter | undefined;
  #membership: Membership;
  #bundle: Uint8Array;
  #run: EpochRun | undefined;
  #active: ActiveEpoch | undefined;
  #rekeying: Promise<EpochOutcome> | undefined;
  #schedule: RekeySchedule = newSchedule;
  /** Enrolled since this process started. */
  readonly #present = new Set<string>();
  /** Enrolled since the last agreement began, and not in its epoch. */
  readonly #waiting = new Set<string>();
  /** What the first rekey of this process is for. */
  #firstCause: 'founding' | 'restart' = 'founding';
  #wake = new AbortController();

  private constructor(
    parts: CoordinationParts,
    membership: VerifiedBundle,
    enrolled: ReadonlyMap<string, EnrolledMeter>,
    emitter: () => ThingEmitter | undefined,
  ) {
    this.#parts = parts;
    this.#membership = membership.verified;
    this.#bundle = membership.bundle;
    this.#enrolled = enrolled;
    this.#emitter = emitter;
  }

  /**
   * Goes on where the store says. After a restart the group is rekeyed once its members had the time to enrol: they may
   * not, for they do not know that this process is another one.
   */
  static async load(
    parts: CoordinationParts,
    membership: VerifiedBundle,
    enrolled: ReadonlyMap<string, EnrolledMeter>,
    emitter: () => ThingEmitter | undefined,
  ): Promise<Coordination> {
    const coordination = new Coordination(parts, membership, enrolled, emitter);
    if (await parts.store.loadAnnounced(coordination.#list.gid)) {
      coordination.#firstCause = 'restart';
      coordination.#ask('restart');
    }
    return coordination;
  }

  get #list(): Membership['list'] {
    return this.#membership.list;
  }

  get gid(): string {
    return toHex(this.#list.gid);
  }

  get membership(): Membership {
    return this.#membership;
  }

  get membershipBundle(): Uint8Array {
    return this.#bundle;
  }

  /** Whether the list names the certificate as a member of this group. */
  lists(certHash: Uint8Array): boolean {
    return findEntry(this.#list, certHash, 'member') !== undefined;
  }

  get activeEpoch(): ActiveEpoch | undefined {
    return this.#active;
  }

  /** Values for the properties of the Thing. */
  group(): unknown {
    return groupOf(this.#membership, this.#enrolled, this.#active);
  }

  status(): unknown {
    return coordinatorStatusOf(this.#membership, this.#run?.state, this.#active);
  }

  round(): unknown {
    return this.#run && roundOf(this.#run);
  }

  /**
   * Takes a share, token or confirmation into the run that is open.
   * @throws MalformedError, VerificationError, ConflictError `wrong-round`
   */
  accept(message: Uint8Array): void {
    if (!this.#run) throw new ConflictError('wrong-round', 'no round is open');
    this.#run.accept(message);
  }

  /** A member has enrolled: only the next epoch can let it in. */
  enrolled({ certHash, id }: EnrolledMeter): void {
    const key = toHex(certHash);
    this.#present.add(key);
    this.#emitter()?.event('memberChanged', {
      gid: this.gid,
      id,
      certHash: key,
      change: 'enrolled',
      time: isoTime(this.#parts.nowS()),
    });
    if (this.#active?.roster.some((member) => equalBytes(member, certHash))) return;
    this.#waiting.add(key);
    this.#ask(this.#active ? 'join' : this.#firstCause);
  }

  /** A member or an operator asks for a new epoch; it follows on its own. */
  requested(): void {
    this.#ask('request');
  }

  #ask(cause: Cause): void {
    this.#schedule = ask(this.#schedule, cause, this.#parts.nowMs());
    this.wake();
  }

  /** What is due is looked at again. */
  wake(): void {
    this.#wake.abort();
  }

  /** Ends a run that is under way; its attempt is over. */
  stop(): void {
    this.#run?.stop();
  }

  /** Rekeys whenever the schedule says so, until it is told to stop. */
  async keepKeyed(signal: AbortSignal): Promise<void> {
    const { nowMs, sleep } = this.#parts;
    while (!signal.aborted) {
      this.#wake = new AbortController();
      const waitMs = (this.#dueMs() ?? Infinity) - nowMs();
      if (waitMs > 0) await sleep(Math.min(waitMs, idleMs), AbortSignal.any([signal, this.#wake.signal]));
      else await this.#rekeyAsAsked();
    }
  }

  #dueMs(): number | undefined {
    const { windowMs, settled } = this.#parts;
    const intervalMs = this.#list.policy.rekeyIntervalS * 1_000;
    return dueMs(this.#schedule, { windowMs, intervalMs, complete: this.#everybodyPresent() && settled() });
  }

  #everybodyPresent(): boolean {
    return this.#list.entries.every(({ certHash }) => !this.lists(certHash) || this.#present.has(toHex(certHash)));
  }

  async #rekeyAsAsked(): Promise<void> {
    const { nowMs, random, onFailed, log } = this.#parts;
    const { reason, schedule } = begin(this.#schedule);
    this.#schedule = schedule;
    try {
      await this.rekey(reason);
    } catch (error) {
      const [jitter = 0] = random(1);
      this.#schedule = failed(this.#schedule, reason, nowMs(), jitter / 255);
      const code = error instanceof GridringError ? error.code : 'internal';
      const { failures } = this.#schedule;
      log.warn({ gid: this.gid, reason, failures, code, err: error }, 'no epoch could be agreed; trying again');
      onFailed({ gid: this.gid, code, failures });
    }
  }

  /**
   * Agrees on the next epoch: attempt after attempt, each with fresh ephemerals for all, and a longer pause after each.
   * One at a time: who asks while one is under way gets its outcome.
   * @throws GridringError of the last attempt
   */
  rekey(reason: Cause): Promise<EpochOutcome> {
    this.#rekeying ??= this.#agree(reason).finally(() => (this.#rekeying = undefined));
    return this.#rekeying;
  }

  async #agree(reason: Cause): Promise<EpochOutcome> {
    const { store, nowS, nowMs, maxAttempts, sleep, log, onAgreement } = this.#parts;
    const { gid } = this.#list;
    this.#waiting.clear();
    onAgreement({ gid: this.gid, members: this.#enrolled.size, reason });
    const announced = await store.loadAnnounced(gid);
    // The floor lets a coordinator that lost its state go on above what members have answered.
    const epoch = Math.max(announced?.epoch ?? 0, this.#list.policy.epochFloor ?? 0) + 1;
    const never = new AbortController().signal;
    for (let attempt = 1; ; attempt++) {
      if (!(await store.saveAnnounced(gid, epoch, attempt))) {
        throw new ConflictError('epoch-stale', `epoch ${epoch}.${attempt} or a higher one was announced already`);
      }
      try {
        const plan = {
          epoch,
          attempt,
          reason: attempt === 1 ? reason : 'retry',
          expiryS: nowS() + announcementLifeS,
        } as const;
        const outcome = await this.#attempt(plan);
        this.#schedule = (['founding', 'restart', 'join'] as const).reduce(
          withdraw,
          succeeded(this.#schedule, nowMs()),
        );
        if (this.#waiting.size > 0) this.#ask('join');
        return outcome;
      } catch (error) {
        if (attempt >= maxAttempts || !(error instanceof GridringError)) throw error;
        log.warn({ gid: this.gid, epoch, attempt, code: error.code, err: error }, 'attempt failed; trying again');
        await sleep(250 * 2 ** attempt, never);
      }
    }
  }

  async #attempt(plan: EpochPlan): Promise<EpochOutcome> {
    const { store, nowS, onEpoch, log } = this.#parts;
    const started = performance.now();
    const run = this.#newRun(plan);
    this.#run = run;
    this.#keyStatusChanged();
    const published = await run.run();
    const { name, ring, record } = published;
    const roster = ring.members.map(({ certHash }) => certHash);
    await store.saveRecord(name.gid, plan.epoch, plan.attempt, record);
    const confirmed = await run.activate(published);
    const agreementMs = performance.now() - started;
    this.#active = { name, roster, sinceS: nowS() };
    for (const certHash of roster) this.#waiting.delete(toHex(certHash));
    this.#keyStatusChanged();
    this.#emitter()?.event('rekeyed', {
      gid: this.gid,
      epoch: plan.epoch,
      attempt: plan.attempt,
      keyName: toHex(name.th2.subarray(0, 8)),
      members: roster.length,
      time: isoTime(nowS()),
    });
    const { epoch, attempt } = plan;
    const counts = { members: roster.length, confirmed: confirmed.length, agreementMs };
    log.info({ gid: this.gid, ...plan, ...counts }, 'epoch agreed');
    const outcome = { gid: this.gid, epoch, attempt, ...counts };
    onEpoch(outcome);
    return outcome;
  }

  /** Under one list from beginning to end: a newer one is for the next attempt. */
  #newRun(plan: EpochPlan): EpochRun {
    const { suite, identity, nowS, random, members, roundDeadlineMs, sleep } = this.#parts;
    const membership = this.#membership;
    const parts = {
      context: () => ({ suite, self: identity, membership, nowS: nowS(), random }),
      membershipBundle: this.#bundle,
      members,
      reach: (member: Uint8Array): Reach => (this.#enrolled.has(toHex(member)) ? 'callable' : 'absent'),
      roundDeadlineMs,
      sleeperDeadlineMs: roundDeadlineMs,
      sleep,
      onMemberFailed: (member: Uint8Array, action: MemberAction, error: unknown) => {
        this.#memberFailed(member, action, error);
      },
      onProgress: () => {
        this.#keyStatusChanged();
      },
    };
    return new EpochRun(parts, plan);
  }

  #memberFailed(member: Uint8Array, action: MemberAction, error: unknown): void {
    const id = this.#membership.certificates.find((each) => each && equalBytes(each.certHash, member))?.id;
    const code = error instanceof GridringError ? error.code : 'internal';
    this.#parts.log.warn(
      { gid: this.gid, member: id, action, code, err: error },
      'a member did not take part in a round',
    );
  }

  #keyStatusChanged(): void {
    this.#emitter()?.propertyChanged('keyStatus');
  }
}

/** A list that has been verified, with the bytes that it came as. */
export interface VerifiedBundle {
  readonly verified: Membership;
  readonly bundle: Uint8Array;
}
