/** What stands behind a meter's affordances: its part in the ring, and the sealing of its readings. */
import { equalBytes, toBase64Url, toHex } from '../crypto/bytes.js';
import { parseSign1 } from '../crypto/cose.js';
import { signEnrolment } from '../crypto/enrolment.js';
import { verifyReceipt } from '../crypto/envelope/reading.js';
import {
  decodeSealingState,
  encodeSealingState,
  newSealingState,
  seal,
  type SealingState,
} from '../crypto/envelope/sealing.js';
import type { Reading } from '../crypto/envelope/senml.js';
import { ConflictError, VerificationError } from '../crypto/errors.js';
import { limits } from '../crypto/limits.js';
import { certificateOf, findEntry, verifyMembership, type Membership } from '../crypto/membership.js';
import type { MemberContext, MemberStep } from '../crypto/ring/member-context.js';
import {
  decodeMemberState,
  encodeMemberState,
  newMemberState,
  type EpochKey,
  type MemberState,
} from '../crypto/ring/member-state.js';
import { onAnnouncement, onConfirmations, onMembership, onRoster, onTime, onTokens } from '../crypto/ring/member.js';
import type { ActionHandler, PropertyReader, ThingBehaviour, ThingEmitter } from './behaviour.js';
import type { Parts } from './parts.js';
import { Serial } from './serial.js';
import type { MeterStore } from './stores.js';
import { packUpload, type PreparedUpload } from './upload.js';

export interface MeterParts extends Parts {
  readonly store: MeterStore;
  readonly readingIntervalS: number;
  /** Shown beside the readings' state, e.g. "replay". */
  readonly sourceName: string;
}

interface Group {
  /** Undefined after a restart when the stored list is not valid now: the high water mark is kept all the same. */
  readonly membership: Membership | undefined;
  readonly state: MemberState;
}

type Round = (context: MemberContext, state: MemberState, message: Uint8Array) => MemberStep;

export class Meter implements ThingBehaviour {
  readonly actions: Readonly<Record<string, ActionHandler>>;
  readonly properties: Readonly<Record<string, PropertyReader>>;
  readonly #parts: MeterParts;
  readonly #serial = new Serial();
  readonly #groups: Map<string, Group>;
  #sealing: SealingState;
  #emitter: ThingEmitter | undefined;

  private constructor(parts: MeterParts, groups: Map<string, Group>, sealing: SealingState) {
    this.#parts = parts;
    this.#groups = groups;
    this.#sealing = sealing;
    this.actions = {
      rekey: { kind: 'message', invoke: (message) => this.#rekey(message) },
      agree: { kind: 'message', invoke: (message) => this.#inItsGroup(onRoster, message) },
      confirm: { kind: 'message', invoke: (message) => this.#inItsGroup(onTokens, message) },
      activate: { kind: 'message', invoke: (message) => this.#inItsGroup(onConfirmations, message) },
      updateMembership: { kind: 'message', invoke: (bundle) => this.updateMembership(bundle) },
    };
    this.properties = {
      identity: async () => ({
        id: `urn:gridring:meter:${parts.identity.id}`,
        role: 'meter',
        certHash: toHex(parts.identity.certHash),
        suite: parts.suite.id,
        version: parts.version,
      }),
      keyStatus: async () => ({ groups: [...this.#groups.values()].map(({ state }) => keyStatusOf(state)) }),
      status: () => this.#status(),
      readingInterval: async () => parts.readingIntervalS,
    };
  }

  /** Loads what the store kept: groups with their keys, and where the sealing goes on. */
  static async load(parts: MeterParts): Promise<Meter> {
    const { store, suite, trustedRoots, nowS } = parts;
    const groups = new Map<string, Group>();
    for (const gid of await store.groups()) {
      const [member, bundle] = [await store.loadMember(gid), await store.loadMembership(gid)];
      if (!member) continue;
      let membership: Membership | undefined;
      try {
        membership = bundle && verifyMembership({ suite, trustedRoots, nowS: nowS() }, bundle);
      } catch (error) {
        parts.log.warn({ meter: parts.identity.id, err: error }, 'the stored membership list is not valid now');
      }
      groups.set(toHex(gid), { membership, state: decodeMemberState(member) });
    }
    const sealing = await store.loadSealing();
    return new Meter(parts, groups, sealing ? decodeSealingState(sealing) : newSealingState);
  }

  attach(emitter: ThingEmitter): void {
    this.#emitter = emitter;
  }

  /** Where the source of readings goes on. */
  get lastReading(): SealingState['lastReading'] {
    return this.#sealing.lastReading;
  }

  get lastSequence(): number {
    return this.#sealing.nextSequence - 1;
  }

  /** Whether there is an active key, so that readings can be sealed. */
  get keyed(): boolean {
    return this.#reportingGroup() !== undefined;
  }

  /** This meter's own introduction to its gateway. */
  enrolment(td: string): Uint8Array {
    const { suite, identity, nowS } = this.#parts;
    return signEnrolment(suite, identity, { certificates: identity.certificates, td, timeS: nowS() });
  }

  /**
   * Takes a membership list that the authority signed and that names this meter, or that follows one which did.
   * @throws MalformedError, VerificationError `not-listed`, ConflictError `membership-rollback`, `membership-conflict`
   */
  updateMembership(bundle: Uint8Array): Promise<Uint8Array> {
    return this.#serial.run(async () => {
      const { suite, identity, trustedRoots, nowS, store } = this.#parts;
      const membership = verifyMembership({ suite, trustedRoots, nowS: nowS() }, bundle);
      const { list, listHash } = membership;
      const known = this.#groups.get(toHex(list.gid));
      if (!known && !findEntry(list, identity.certHash, 'member')) {
        throw new VerificationError('not-listed', 'the list is of a group that this meter is no member of');
      }
      const current = known?.membership;
      if (current?.list.version === list.version && !equalBytes(current.listHash, listHash)) {
        throw new ConflictError('membership-conflict', 'another list of the same version is known');
      }
      const step = onMembership(known?.state ?? newMemberState(list.gid), membership);
      await store.saveMembership(list.gid, bundle, encodeMemberState(step.state));
      this.#adopt(membership, step);
      return step.reply;
    });
  }

  /**
   * Seals a reading and keeps it for the gateway; returns once it is on disk.
   * @throws ConflictError `not-keyed` before the first epoch, UnavailableError `disk-full`; nothing has changed then
   */
  report(reading: Reading): Promise<void> {
    return this.#serial.run(async () => {
      const { suite, identity, random, store, nowS } = this.#parts;
      const group = this.#reportingGroup();
      if (!group) throw new ConflictError('not-keyed', 'no epoch key is active yet');
      const context = {
        suite,
        self: identity,
        membership: group.membership,
        activeKey: group.active.name,
        random,
      };
      const step = seal(context, this.#sealing, reading);
      await store.saveSealing(encodeSealingState(step.state), step.items, nowS());
      this.#sealing = step.state;
      wipe(step.consumed);
      const envelope = step.items.at(-1);
      if (envelope) this.#emitter?.event('reading', { message: toBase64Url(envelope.message) });
    });
  }

  /** The oldest of what the gateway does not have yet; undefined when it has everything. */
  nextUpload(): Promise<PreparedUpload | undefined> {
    return packUpload(this.#parts.store);
  }

  /**
   * Forgets what the gateway has signed for.
   * @throws MalformedError, VerificationError `not-listed`, `receipt-mismatch`, `signature-invalid`
   */
  async acknowledge(upload: PreparedUpload, receipt: Uint8Array): Promise<void> {
    const { suite, identity, nowS, store } = this.#parts;
    const { kid } = parseSign1(receipt, limits.memberMessage);
    const group = this.#reportingGroup();
    const coordinator = group?.membership.list.entries.find(({ certHash }) => equalBytes(certHash.subarray(0, 8), kid));
    if (!group || !coordinator) throw new VerificationError('not-listed', 'a receipt of nobody in the list');
    const certificate = certificateOf(group.membership, coordinator.certHash, 'coordinator', nowS());
    verifyReceipt(suite, certificate, identity.certHash, upload.message, receipt);
    await store.acknowledge(upload.positions);
  }

  /** Gives up rounds and old keys whose time has passed. */
  tick(): Promise<void> {
    return this.#serial.run(async () => {
      for (const { state, membership } of this.#groups.values()) {
        const step = onTime(state, this.#parts.nowS());
        if (step.state !== state) await this.#keep(membership, step);
      }
    });
  }

  #rekey(message: Uint8Array): Promise<Uint8Array> {
    return this.#serial.run(async () => {
      try {
        return await this.#tryEach(onAnnouncement, message);
      } catch (error) {
        if (!(error instanceof ConflictError && error.code === 'wrong-group')) throw error;
        throw new ConflictError('membership-unknown', 'no membership list of that group is known here');
      }
    });
  }

  #inItsGroup(round: Round, message: Uint8Array): Promise<Uint8Array> {
    return this.#serial.run(() => this.#tryEach(round, message));
  }

  /** Steps are pure, so the group that a message belongs to is the one whose step takes it. */
  async #tryEach(round: Round, message: Uint8Array): Promise<Uint8Array> {
    let refusal = new ConflictError('wrong-group', 'this meter is in no group yet');
    for (const { state, membership } of this.#groups.values()) {
      if (!membership) {
        refusal = new ConflictError('membership-unknown', 'no valid membership list of the group is known here');
        continue;
      }
      try {
        const step = round(this.#context(membership), state, message);
        await this.#keep(membership, step);
        return step.reply;
      } catch (error) {
        if (!(error instanceof ConflictError && isForAnother(error))) throw error;
        refusal = error;
      }
    }
    throw refusal;
  }

  #context(membership: Membership): MemberContext {
    const { suite, identity, nowS, random } = this.#parts;
    return { suite, self: identity, membership, nowS: nowS(), random };
  }

  /** Saves before anything is answered, and overwrites what the step consumed. */
  async #keep(membership: Membership | undefined, step: MemberStep): Promise<void> {
    await this.#parts.store.saveMember(step.state.gid, encodeMemberState(step.state));
    this.#adopt(membership, step);
  }

  #adopt(membership: Membership | undefined, { state, consumed }: MemberStep): void {
    const before = this.#groups.get(toHex(state.gid))?.state;
    this.#groups.set(toHex(state.gid), { membership, state });
    wipe(consumed);
    if (before?.round.kind !== state.round.kind || before.active !== state.active) {
      this.#emitter?.propertyChanged('keyStatus');
    }
    if (state.active && before?.active !== state.active) {
      const { epoch, attempt } = state.active.name;
      this.#parts.log.info({ meter: this.#parts.identity.id, epoch, attempt }, 'epoch key active');
    }
  }

  /** The group whose policy says who reads the readings, once its key is active. */
  #reportingGroup(): { readonly membership: Membership; readonly active: EpochKey } | undefined {
    for (const { membership, state } of this.#groups.values()) {
      if (membership && state.active && membership.list.policy.readings.length > 0) {
        return { membership, active: state.active };
      }
    }
    return undefined;
  }

  async #status(): Promise<unknown> {
    const { store, sourceName, nowS } = this.#parts;
    const { depth } = await store.outboxStatus();
    const last = this.#sealing.lastReading;
    return {
      readings: {
        lastSequence: this.lastSequence,
        unacknowledged: depth,
        source: sourceName,
        ...(last && { lastReadingTime: isoTime(last.timeS) }),
      },
      clock: { time: isoTime(nowS()) },
    };
  }
}

const isForAnother = ({ code }: ConflictError): boolean => code === 'wrong-group' || code === 'wrong-round';

/** No more than JavaScript allows: copies that the runtime made elsewhere are out of reach (SECURITY.md). */
function wipe(secrets: readonly Uint8Array[]): void {
  for (const secret of secrets) secret.fill(0);
}

const isoTime = (timeS: number): string => new Date(timeS * 1000).toISOString();

const roundNames = {
  idle: 'none',
  shared: 'shared',
  tokenSent: 'tokenSent',
  aborted: 'none',
  confirmed: 'pending',
} as const;

/** An open round is shown before the key it will replace. */
function keyStatusOf({ gid, round, active, highWater }: MemberState): unknown {
  if (round.kind === 'idle' && active) {
    const { epoch, attempt, th2 } = active.name;
    return {
      gid: toHex(gid),
      epoch,
      attempt,
      state: 'active',
      keyName: toHex(th2.subarray(0, 8)),
      members: active.roster.length,
      since: isoTime(active.sinceS),
    };
  }
  const members = 'ring' in round ? round.ring.members.length : round.kind === 'confirmed' ? round.roster.length : 0;
  return { gid: toHex(gid), ...highWater, state: roundNames[round.kind], members };
}
