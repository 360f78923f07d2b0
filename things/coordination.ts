/** One group that a gateway coordinates: its membership list, the epoch that is active, and what asks for the next. */
import { equalBytes, toHex } from '../crypto/bytes.js';
import { parseSign1 } from '../crypto/cose.js';
import { ConflictError, VerificationError } from '../crypto/errors.js';
import { limits } from '../crypto/limits.js';
import { findEntry, successorOf, type Membership } from '../crypto/membership.js';
import type { Published } from '../crypto/ring/coordinator-state.js';
import { needsEndorsement, restoreEpoch, type ActiveEpoch } from './active-epoch.js';
import { Agreement, type AgreementParts } from './agreement.js';
import type { ThingEmitter } from './behaviour.js';
import type { EpochPlan, EpochReport, EpochRun, MemberAction } from './epoch-run.js';
import { coordinatorStatusOf, groupOf, roundOf } from './gateway-status.js';
import { GroupNews } from './group-news.js';
import { HandOut } from './hand-out.js';
import { KnownLists, removalUnderDelegation, type EpochNumber } from './known-lists.js';
import { Newcomers } from './newcomers.js';
import { RekeyLoop, type RekeyFailure } from './rekey-loop.js';
import type { Cause, RekeyPolicy } from './rekey-schedule.js';
import { isCallable, Roll } from './roll.js';
import { Serial } from './serial.js';
import type { AgreedEpoch, Departure, EnrolledMeter } from './stores.js';

export interface CoordinationParts extends AgreementParts {
  /** How long joins and leaves are gathered before they are followed by a rekey. */
  readonly windowMs: number;
  /** Whether everybody who has enrolled can be found by now; as long as not, a window is not cut short. */
  readonly settled: () => boolean;
  readonly onAgreement: (group: { readonly gid: string; readonly members: number; readonly reason: Cause }) => void;
  /** Every epoch that was agreed, whoever asked for it. */
  readonly onEpoch: (outcome: EpochOutcome) => void;
  /** A rekey came to nothing; the old key stays in use, and it is tried again. */
  readonly onFailed: (failure: { readonly gid: string; readonly code: string; readonly failures: number }) => void;
  /** A newer list is in force here, and others may not know it yet. */
  readonly onMembership: (membership: Membership) => void;
}

export interface EpochOutcome {
  readonly gid: string;
  readonly epoch: number;
  readonly attempt: number;
  readonly members: number;
  readonly confirmed: number;
  /** Whether the backend's word for the record is still awaited. */
  readonly provisional: boolean;
  readonly agreementMs: number;
}

/** What all groups of a gateway share. */
export interface Community {
  /** Of all groups, by certHash in hex. */
  readonly enrolled: ReadonlyMap<string, EnrolledMeter>;
  readonly emitter: () => ThingEmitter | undefined;
  /** Operators' commands to members of a group, by its id in hex, that cannot be called. */
  readonly shownCommands: (gid: string) => readonly Uint8Array[];
}

export class Coordination {
  readonly #parts: CoordinationParts;
  readonly #community: Community;
  readonly #lists: KnownLists;
  readonly #roll: Roll;
  readonly #changes = new Serial();
  readonly #news: GroupNews;
  readonly #loop: RekeyLoop;
  readonly #handOut: HandOut;
  #active: ActiveEpoch | undefined;
  #agreement: Agreement | undefined;
  #rekeying: Promise<EpochOutcome> | undefined;
  readonly #newcomers = new Newcomers();
  /** Left out for a time, when it was looked at last. */
  #out: readonly Uint8Array[] = [];
  /** What the first rekey of this process is for. */
  #firstCause: 'founding' | 'restart' = 'founding';

  private constructor(parts: CoordinationParts, community: Community, lists: KnownLists, roll: Roll) {
    this.#parts = parts;
    this.#community = community;
    this.#lists = lists;
    this.#roll = roll;
    this.#news = new GroupNews(parts, this.gid, community.emitter);
    const onMemberFailed = (member: Uint8Array, action: MemberAction, error: unknown): void => {
      this.#news.memberFailed(this.membership, member, action, error);
    };
    this.#handOut = new HandOut({ ...parts, enrolled: community.enrolled, onMemberFailed });
    this.#loop = new RekeyLoop({
      ...parts,
      jitter: () => (parts.random(1)[0] ?? 0) / 255,
      policy: () => this.#rekeyPolicy(),
      look: () => this.#letReturn(),
      rekey: (reason) => this.rekey(reason),
      onFailed: (reason, failure, error) => {
        this.#rekeyFailed(reason, failure, error);
      },
    });
  }

  /**
   * Goes on where the store says. After a restart the group is rekeyed once its members had the time to enrol: they may
   * not, for they do not know that this process is another one.
   * @throws MalformedError, VerificationError when the list does not verify or names another coordinator
   */
  static async load(
    parts: CoordinationParts,
    configuredBundle: Uint8Array,
    community: Community,
  ): Promise<Coordination> {
    const lists = await KnownLists.load(parts, configuredBundle);
    const { gid } = lists.newest.membership.list;
    const roll = await Roll.load(parts, gid, community.enrolled);
    // The process may have ended between the two.
    await roll.listed(lists.newest.membership.list);
    const coordination = new Coordination(parts, community, lists, roll);
    await coordination.#restore(gid);
    return coordination;
  }

  async #restore(gid: Uint8Array): Promise<void> {
    const { store, suite, log } = this.#parts;
    if ((await store.loadAnnounced(gid)) === undefined) return;
    this.#firstCause = 'restart';
    this.#loop.ask('restart');
    const agreed = await store.latestRecord(gid);
    const membership = agreed && this.#lists.byHash(agreed.listHash);
    if (!agreed || !membership) return;
    try {
      this.#active = restoreEpoch(suite, membership, agreed);
    } catch (error) {
      log.warn({ gid: this.gid, err: error }, 'the stored record of the active epoch does not verify');
    }
  }

  get gid(): string {
    return toHex(this.membership.list.gid);
  }

  get membership(): Membership {
    return this.#lists.newest.membership;
  }

  get membershipBundle(): Uint8Array {
    return this.#lists.newest.bundle;
  }

  get activeEpoch(): ActiveEpoch | undefined {
    return this.#active;
  }

  /** Whether the newest list names the certificate as a member of this group. */
  lists(certHash: Uint8Array): boolean {
    return findEntry(this.membership.list, certHash, 'member') !== undefined;
  }

  /** Whether the newest list names the certificate, or the one that has replaced it. */
  #knows(certHash: Uint8Array): boolean {
    return this.lists(certHash) || successorOf(this.membership.list, certHash) !== undefined;
  }

  /** The lists that something sealed in an epoch may rest on, the newest first. */
  listsReaching(epoch: EpochNumber): Iterable<Membership> {
    return this.#lists.reaching(epoch);
  }

  /** Values for the properties of the Thing. */
  group(): unknown {
    const { list } = this.membership;
    const attendanceOf = (member: Uint8Array) => this.#roll.attendance(list, member);
    return groupOf(this.membership, this.#community.enrolled, this.#active, attendanceOf);
  }

  status(): unknown {
    return coordinatorStatusOf(this.membership, this.#openRun()?.state, this.#active, this.#loop.failure);
  }

  round(): unknown {
    const someoneSleeps = [...this.#community.enrolled.values()].some(
      (meter) => this.#knows(meter.certHash) && !isCallable(meter),
    );
    const commands = this.#community.shownCommands(this.gid);
    return roundOf(this.#openRun(), this.#active, someoneSleeps ? this.membershipBundle : undefined, commands);
  }

  /** The attempt that is under way; one that has ended has nothing more to say. */
  #openRun(): EpochRun | undefined {
    const run = this.#agreement?.run;
    return run?.report ? undefined : run;
  }

  /**
   * Takes a share, token or confirmation into the run that is open.
   * @throws MalformedError, VerificationError, ConflictError `wrong-round`, `quarantined`
   */
  accept(message: Uint8Array): void {
    const run = this.#openRun();
    if (!run) throw new ConflictError('wrong-round', 'no round is open');
    run.accept(message);
    const { kid } = parseSign1(message, limits.memberMessage);
    const entry = this.membership.list.entries.find(({ certHash }) => equalBytes(certHash.subarray(0, 8), kid));
    if (entry) this.#roll.heard(entry.certHash);
  }

  /** A member has enrolled: it may have left before, or started again. */
  async enrolled(meter: EnrolledMeter): Promise<void> {
    const { certHash } = meter;
    await this.#roll.enrolled(meter);
    this.#news.memberChanged(this.membership, certHash, 'enrolled');
    this.#newcomers.enrolled(certHash);
    this.#letIn(certHash);
  }

  /** Whether the member has left this group after the time, so that an enrolment of then is an old one. */
  leftSince(member: Uint8Array, timeS: number): boolean {
    const departure = this.#roll.departed(member);
    return departure?.kind === 'left' && !this.#roll.isBefore(departure, timeS);
  }

  /** A member has given a sign of life. If the active epoch is without it, the next one is tried, once. */
  heard(member: Uint8Array): void {
    this.#roll.heard(member);
    const isEnrolled = this.#community.enrolled.has(toHex(member));
    if (this.#active && isEnrolled && this.#newcomers.isWorthATry(member)) this.#letIn(member);
  }

  #letIn(member: Uint8Array): void {
    const { list } = this.membership;
    if (this.#inActiveEpoch(member) || !this.lists(member) || this.#roll.standing(list, member)) return;
    if (this.#newcomers.wait(member)) this.#loop.ask(this.#active ? 'join' : this.#firstCause);
  }

  #inActiveEpoch(member: Uint8Array): boolean {
    return this.#active?.roster.some((other) => equalBytes(other, member)) ?? false;
  }

  /** A member or an operator asks for a new epoch; it follows on its own. */
  requested(): void {
    this.#loop.ask('request');
  }

  /**
   * A member leaves: it stands in no roster until it enrols again.
   * @throws ConflictError `quorum-needed` when the list allows no roster without it; `request-stale`
   */
  leave(member: Uint8Array, signedS: number): Promise<void> {
    return this.#changes.run(async () => {
      const enrolledS = this.#community.enrolled.get(toHex(member))?.enrolledS ?? 0;
      if (signedS < enrolledS) throw new ConflictError('request-stale', 'it has enrolled since');
      if (!this.#roll.canDoWithout(this.membership.list, member)) {
        throw new ConflictError('quorum-needed', 'the list allows no roster without this member; ask the authority');
      }
      await this.#depart(member, 'left', signedS);
      if (this.#inActiveEpoch(member)) this.#loop.ask('leave');
    });
  }

  /**
   * An operator leaves a member out of every roster, at once. Under a delegation that allows it, the list goes without it
   * too: then the other members know, and stop sending under the key that it holds.
   */
  revoke(member: Uint8Array, signedS: number): Promise<void> {
    return this.#changes.run(async () => {
      // Played again, it must not stop the rekey that it has called for; but a crash may have come before the list.
      if (this.#roll.departed(member)?.kind !== 'revoked') {
        await this.#depart(member, 'revoked', signedS);
        this.#leaveOut([member]);
      }
      if (!this.lists(member)) return;
      const bundle = removalUnderDelegation(this.#parts, this.#lists.newest, member);
      if (bundle) await this.#applyList(bundle);
    });
  }

  async #depart(member: Uint8Array, kind: Departure['kind'], signedS: number): Promise<void> {
    if (this.#roll.departed(member)?.kind === kind) return;
    await this.#roll.depart(member, kind, signedS);
    this.#newcomers.departed(member);
    this.#news.memberChanged(this.membership, member, kind);
  }

  /** Who is out must not get the next key, nor stay in the present one any longer than it takes. */
  #leaveOut(members: readonly Uint8Array[]): void {
    this.#agreement?.stop();
    if (members.some((member) => this.#inActiveEpoch(member))) this.#loop.ask('revocation');
  }

  /**
   * Takes a newer list, and keeps it before it is used. Members that it no longer names are left out at once.
   * @throws MalformedError, VerificationError; ConflictError `membership-rollback`, `membership-conflict`
   */
  updateMembership(bundle: Uint8Array): Promise<void> {
    return this.#changes.run(() => this.#applyList(bundle));
  }

  async #applyList(bundle: Uint8Array): Promise<void> {
    const before = this.membership;
    if (!(await this.#lists.update(bundle))) return;
    const { list } = this.membership;
    await this.#roll.listed(list);
    this.#parts.log.info({ gid: this.gid, version: list.version, revision: list.revision }, 'list in force');
    const members = membersOf(this.membership);
    const removed = membersOf(before).filter((member) => !this.lists(member));
    for (const member of removed) {
      this.#newcomers.departed(member);
      this.#news.memberChanged(before, member, this.#knows(member) ? 'renewed' : 'removed');
    }
    this.#parts.onMembership(this.membership);
    if (removed.length > 0) this.#leaveOut(removed.filter((member) => !this.#knows(member)));
    // It comes back under its new certificate, and others may at the same time.
    if (removed.some((member) => this.#inActiveEpoch(member))) this.#loop.ask('leave');
    for (const member of members) if (this.#community.enrolled.has(toHex(member))) this.#letIn(member);
    void this.#distribute(bundle, removed, members);
  }

  /** A list that reaches a member in the midst of a round ends it there, so the members that stay get it afterwards. */
  async #distribute(bundle: Uint8Array, removed: readonly Uint8Array[], members: readonly Uint8Array[]): Promise<void> {
    const toRemoved = this.#handOut.give('updateMembership', bundle, removed);
    await this.#rekeying?.catch(() => undefined);
    await Promise.all([toRemoved, this.#handOut.give('updateMembership', bundle, members)]);
  }

  /** The backend's word for a record, which is verified and on disk, goes to the members that wait for it. */
  endorsed({ epoch, attempt }: AgreedEpoch, endorsement: Uint8Array): void {
    const active = this.#active;
    if (active?.name.epoch !== epoch || active.name.attempt !== attempt) return;
    this.#active = { ...active, endorsement, provisional: false };
    this.#news.keyStatusChanged();
    if (active.provisional) void this.#handOut.give('endorse', endorsement, active.roster);
  }

  /** What is due is looked at again. */
  wake(): void {
    this.#loop.wake();
  }

  /** Ends what is under way. */
  stop(): void {
    this.#handOut.close();
    this.#agreement?.stop();
  }

  /** Founds and rekeys the group whenever it is due, until it is told to stop. */
  keepKeyed(signal: AbortSignal): Promise<void> {
    this.#tellRenewed();
    return this.#loop.run(signal);
  }

  /** Whoever has not taken a new certificate finds it in the list. */
  #tellRenewed(): void {
    const renewed = [...this.#community.enrolled.values()]
      .map(({ certHash }) => certHash)
      .filter((certHash) => this.#knows(certHash) && !this.lists(certHash));
    void this.#handOut.give('updateMembership', this.membershipBundle, renewed);
  }

  #rekeyPolicy(): RekeyPolicy {
    const { windowMs, settled } = this.#parts;
    const intervalMs = this.membership.list.policy.rekeyIntervalS * 1_000;
    const everybodyPresent = membersOf(this.membership).every(
      (member) => this.#newcomers.isPresent(member) || this.#roll.departed(member) !== undefined,
    );
    return { windowMs, intervalMs, complete: everybodyPresent && settled() };
  }

  /** Members whose time out is over may join again. @returns in how many milliseconds the next one's is */
  #letReturn(): number {
    const { list } = this.membership;
    const isOut = (member: Uint8Array): boolean => this.#roll.standing(list, member)?.reason === 'dropouts';
    const returned = this.#out.filter((member) => !isOut(member));
    this.#out = membersOf(this.membership).filter(isOut);
    for (const member of returned) {
      this.#news.memberChanged(this.membership, member, 'returned');
      this.#letIn(member);
    }
    const returnS = this.#roll.nextReturnS(list);
    return returnS === undefined ? Infinity : Math.max(1_000, (returnS - this.#parts.nowS()) * 1_000);
  }

  #rekeyFailed(reason: Cause, { failures, code }: RekeyFailure, error: unknown): void {
    const { onFailed, log } = this.#parts;
    log.warn({ gid: this.gid, reason, failures, code, err: error }, 'no epoch could be agreed; trying again');
    onFailed({ gid: this.gid, code, failures });
    this.#news.keyStatusChanged();
  }

  /**
   * Agrees on the next epoch. One at a time: who asks while one is under way gets its outcome.
   * @throws GridringError of the last attempt; ConflictError `epoch-stopped`; VerificationError `activation-refused`
   */
  rekey(reason: Cause): Promise<EpochOutcome> {
    this.#rekeying ??= this.#agree(reason).finally(() => (this.#rekeying = undefined));
    return this.#rekeying;
  }

  async #agree(reason: Cause): Promise<EpochOutcome> {
    const { onAgreement, onEpoch, log } = this.#parts;
    const startedMs = performance.now();
    this.#newcomers.asked();
    onAgreement({ gid: this.gid, members: this.#community.enrolled.size, reason });
    this.#agreement = new Agreement(this.#parts, {
      newest: () => this.#lists.newest,
      roll: this.#roll,
      onProgress: () => {
        this.#news.keyStatusChanged();
      },
      onMemberFailed: (member, action, error) => {
        this.#news.memberFailed(this.membership, member, action, error);
      },
      onAttempted: (report, plan, membership) => this.#attempted(report, plan, membership),
      onPublished: (published) => this.#published(published),
    });
    const { published, activation } = await this.#agreement.agree(reason);
    const { epoch, attempt } = published.name;
    const agreementMs = performance.now() - startedMs;
    const members = published.ring.members.length;
    // A false MAC, which only members can see: signed and recorded, and of no use to anybody.
    if (activation.refused * 2 > members) {
      throw new VerificationError('activation-refused', `${activation.refused} of ${members} members refuse the epoch`);
    }
    const provisional = this.#active?.provisional ?? false;
    const outcome = { gid: this.gid, epoch, attempt, members, confirmed: activation.active, provisional, agreementMs };
    log.info({ ...outcome, reason }, 'epoch agreed');
    onEpoch(outcome);
    return outcome;
  }

  async #attempted(report: EpochReport, { epoch, attempt }: EpochPlan, membership: Membership): Promise<void> {
    for (const member of await this.#roll.attempted(report, this.membership.list)) {
      this.#news.memberChanged(membership, member, 'quarantined');
    }
    const { verdict } = report;
    if (!verdict) return;
    const { gid } = membership.list;
    const kept = { gid, epoch, attempt, judgedS: this.#parts.nowS(), message: verdict.message };
    await this.#parts.store.saveVerdict(kept);
    const accused = verdict.accused.map(({ certHash }) => certHash);
    await this.#roll.convict(accused, membership.list);
    this.#news.verdict(membership, kept, accused);
    for (const member of accused) this.#news.memberChanged(membership, member, 'convicted');
  }

  async #published({ name, ring, announcement, confirmationsMessage, record }: Published): Promise<void> {
    const { nowS } = this.#parts;
    const roster = ring.members.map(({ certHash }) => certHash);
    const membership = this.#lists.byHash(announcement.listHash) ?? this.membership;
    const provisional = needsEndorsement(membership, roster.length);
    this.#active = { name, roster, confirmationsMessage, record, sinceS: nowS(), endorsement: null, provisional };
    await this.#lists.refresh();
    this.#loop.agreed();
    this.#newcomers.agreed(roster);
    if (this.#newcomers.someoneWaits) this.#loop.ask('join');
    this.#leaveOutDeparted(roster);
    this.#news.rekeyed(name, roster.length);
  }

  /** Whoever departed while the epoch was agreed holds its key. */
  #leaveOutDeparted(roster: readonly Uint8Array[]): void {
    const departed = roster.filter((member) => !this.lists(member) || this.#roll.departed(member));
    if (departed.length === 0) return;
    const allLeft = departed.every((member) => this.lists(member) && this.#roll.departed(member)?.kind === 'left');
    this.#loop.ask(allLeft ? 'leave' : 'revocation');
  }
}

const membersOf = ({ list }: Membership): readonly Uint8Array[] =>
  list.entries.map(({ certHash }) => certHash).filter((certHash) => findEntry(list, certHash, 'member'));
