/** Who of a group's members takes part in its next attempt: who has enrolled, is heard of, has departed, or drops out. */
import { equalBytes, toHex } from '../crypto/bytes.js';
import { limits } from '../crypto/limits.js';
import { findEntry, isQuorum, successorOf, type MembershipList } from '../crypto/membership.js';
import type { EpochReport, Reach } from './epoch-run.js';
import {
  afterAttempt,
  afterEnrolment,
  afterVerdict,
  decodeQuarantine,
  emptyQuarantine,
  encodeQuarantine,
  exclusions,
  type Exclusion,
  type Quarantine,
} from './quarantine.js';
import type { Departure, EnrolledMeter, GroupStore } from './stores.js';

interface RollParts {
  readonly store: GroupStore;
  readonly nowS: () => number;
  readonly nowMs: () => number;
  /** A member that cannot be called is waited for when it was heard of within twice this time. */
  readonly sleeperDeadlineMs: number;
}

/** Why a listed member stands in no roster. */
export type Standing = Exclusion | { readonly reason: Departure['kind'] };

export interface Attendance {
  readonly reach: Reach;
  readonly standing?: Standing;
  readonly lastHeardS?: number;
}

export class Roll {
  readonly #parts: RollParts;
  readonly #gid: Uint8Array;
  /** Of all groups, by certHash in hex. */
  readonly #enrolled: ReadonlyMap<string, EnrolledMeter>;
  readonly #departures: Map<string, Departure>;
  #quarantine: Quarantine;
  /** As of the attempt that began last. */
  #excluded: ReadonlyMap<string, Exclusion> = new Map();
  /** When a member gave a sign of life, by the steady clock. */
  readonly #heardMs = new Map<string, number>();
  /** When a member was heard of last by this process, Unix seconds. */
  readonly #heardS = new Map<string, number>();
  /** Called in vain, and not heard of since. */
  readonly #silent = new Set<string>();

  private constructor(
    parts: RollParts,
    gid: Uint8Array,
    enrolled: ReadonlyMap<string, EnrolledMeter>,
    departures: readonly Departure[],
    quarantine: Quarantine,
  ) {
    this.#parts = parts;
    this.#gid = gid;
    this.#enrolled = enrolled;
    this.#departures = new Map(departures.map((departure) => [toHex(departure.certHash), departure]));
    this.#quarantine = quarantine;
    // After a restart nobody has been heard of yet: whoever was there before gets the time to come.
    for (const member of enrolled.keys()) this.#heardMs.set(member, parts.nowMs());
  }

  static async load(parts: RollParts, gid: Uint8Array, enrolled: ReadonlyMap<string, EnrolledMeter>): Promise<Roll> {
    const quarantine = await parts.store.loadQuarantine(gid);
    const departures = await parts.store.departures(gid);
    return new Roll(parts, gid, enrolled, departures, quarantine ? decodeQuarantine(quarantine) : emptyQuarantine);
  }

  /**
   * Settles who is left out of the attempt that begins now.
   * @param thorough whether members that were silent the last time are waited for: what is urgent must not wait for who is
   *   not there, and who is there gives a sign of life
   */
  beginAttempt(list: MembershipList, thorough: boolean): void {
    if (thorough) this.#silent.clear();
    this.#excluded = this.#exclusionsNow(list);
  }

  /** A member could not be reached. */
  silent(member: Uint8Array): void {
    this.#silent.add(toHex(member));
  }

  /** How a member takes part in the attempt that began last. */
  reach(member: Uint8Array): Reach {
    const key = toHex(member);
    return this.#departures.has(key) || this.#excluded.has(key) ? 'quarantined' : this.#presence(key);
  }

  /** @returns the members that are left out from now on, and were not before */
  async attempted(report: EpochReport, list: MembershipList): Promise<readonly Uint8Array[]> {
    const before = this.#exclusionsNow(list);
    for (const member of report.faithful) this.heard(member);
    await this.#save(afterAttempt(this.#quarantine, report, list, this.#parts.nowS()));
    const after = this.#exclusionsNow(list);
    return report.dropouts.map(({ member }) => member).filter((m) => after.has(toHex(m)) && !before.has(toHex(m)));
  }

  /** Whether the next attempt can count on a member, as far as is known now, and when it was heard of last. */
  attendance(list: MembershipList, member: Uint8Array): Attendance {
    const standing = this.standing(list, member);
    const lastHeardS = this.#heardS.get(toHex(member));
    return {
      reach: standing ? 'quarantined' : this.#presence(toHex(member)),
      ...(standing && { standing }),
      ...(lastHeardS !== undefined && { lastHeardS }),
    };
  }

  /** Why a member stands in no roster at this time. */
  standing(list: MembershipList, member: Uint8Array): Standing | undefined {
    const departure = this.#departures.get(toHex(member));
    return departure ? { reason: departure.kind } : this.#exclusionsNow(list).get(toHex(member));
  }

  /** Members that a verdict convicted are left out until there is a newer list. */
  convict(accused: readonly Uint8Array[], list: MembershipList): Promise<void> {
    return this.#save(afterVerdict(this.#quarantine, accused, list));
  }

  /** When the first of those who are left out for a time may come back, Unix seconds. */
  nextReturnS(list: MembershipList): number | undefined {
    const untils = [...this.#exclusionsNow(list).values()].flatMap((e) => (e.reason === 'dropouts' ? [e.untilS] : []));
    return untils.length === 0 ? undefined : Math.min(...untils);
  }

  heard(member: Uint8Array): void {
    this.#silent.delete(toHex(member));
    this.#heardMs.set(toHex(member), this.#parts.nowMs());
    this.#heardS.set(toHex(member), this.#parts.nowS());
  }

  /** A member that has left is back; the store has forgotten its leave together with the enrolment. */
  async enrolled({ certHash, enrolledS }: EnrolledMeter): Promise<void> {
    const departure = this.#departures.get(toHex(certHash));
    if (departure?.kind === 'left' && this.isBefore(departure, enrolledS)) {
      await this.#parts.store.forgetDeparture(this.#gid, certHash);
      this.#departures.delete(toHex(certHash));
    }
    this.heard(certHash);
    await this.#save(afterEnrolment(this.#quarantine, certHash));
  }

  /** Whether a departure comes before a time; one that is still to come is from a clock that was wrong. */
  isBefore({ signedS }: Departure, timeS: number): boolean {
    return signedS < timeS || signedS > this.#parts.nowS() + limits.clockSkewS;
  }

  /** Until it enrols again, or for an operator's word for ever, the member stands in no roster. */
  async depart(certHash: Uint8Array, kind: Departure['kind'], signedS: number): Promise<void> {
    const departure = { gid: this.#gid, certHash, kind, signedS };
    await this.#parts.store.saveDeparture(departure);
    if (this.#departures.get(toHex(certHash))?.kind !== 'revoked') this.#departures.set(toHex(certHash), departure);
  }

  departed(member: Uint8Array): Departure | undefined {
    return this.#departures.get(toHex(member));
  }

  /**
   * Who stands in a list again that did not name it meanwhile begins anew; but no operator's word is undone by a renewal of
   * the certificate.
   */
  async listed(list: MembershipList): Promise<void> {
    for (const [key, { certHash, kind, signedS }] of this.#departures) {
      if (findEntry(list, certHash, 'member')) continue;
      const heir = kind === 'revoked' ? successorOf(list, certHash) : undefined;
      if (heir) await this.depart(heir.certHash, kind, signedS);
      await this.#parts.store.forgetDeparture(this.#gid, certHash);
      this.#departures.delete(key);
    }
  }

  /** Whether the group could still be rekeyed without this member, as far as the list goes. */
  canDoWithout(list: MembershipList, member: Uint8Array): boolean {
    const rest = this.#staying(list).filter((certHash) => !equalBytes(certHash, member));
    return isQuorum(list, rest);
  }

  #staying(list: MembershipList): readonly Uint8Array[] {
    return list.entries
      .map(({ certHash }) => certHash)
      .filter((certHash) => findEntry(list, certHash, 'member') && !this.#departures.has(toHex(certHash)));
  }

  #exclusionsNow(list: MembershipList): ReadonlyMap<string, Exclusion> {
    const expected = this.#staying(list).filter((certHash) => this.#presence(toHex(certHash)) !== 'absent');
    return exclusions(this.#quarantine, list, expected, this.#parts.nowS());
  }

  #presence(member: string): 'callable' | 'awaited' | 'absent' {
    const meter = this.#enrolled.get(member);
    if (!meter) return 'absent';
    if (isCallable(meter)) return this.#silent.has(member) ? 'absent' : 'callable';
    const { nowMs, sleeperDeadlineMs } = this.#parts;
    const heardMs = this.#heardMs.get(member);
    return heardMs !== undefined && nowMs() - heardMs <= 2 * sleeperDeadlineMs ? 'awaited' : 'absent';
  }

  async #save(quarantine: Quarantine): Promise<void> {
    const encoded = encodeQuarantine(quarantine);
    if (equalBytes(encoded, encodeQuarantine(this.#quarantine))) return;
    await this.#parts.store.saveQuarantine(this.#gid, encoded);
    this.#quarantine = quarantine;
  }
}

const callables = new WeakMap<EnrolledMeter, boolean>();

/** Whether the Thing Description of a member says how to call it; gateways take only TDs that are valid. */
export function isCallable(meter: EnrolledMeter): boolean {
  const known = callables.get(meter) ?? hasForms(meter.td, 'rekey');
  callables.set(meter, known);
  return known;
}

function hasForms(td: string, action: string): boolean {
  const { actions } = JSON.parse(td) as { readonly actions?: Record<string, { readonly forms?: readonly unknown[] }> };
  return (actions?.[action]?.forms?.length ?? 0) > 0;
}
