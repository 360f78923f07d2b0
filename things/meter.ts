/** What stands behind a meter's affordances: its part in the rings of its groups, and the sealing of its readings. */
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
import type { VerifiedCertificate } from '../crypto/certificate.js';
import type { Reading } from '../crypto/envelope/senml.js';
import { ConflictError, VerificationError } from '../crypto/errors.js';
import { limits } from '../crypto/limits.js';
import { certificateOf, findEntry, verifyMembership, type Membership } from '../crypto/membership.js';
import { verifyEndorsement } from '../crypto/ring/endorsement.js';
import { decodeMemberState, newMemberState, type EpochKey, type MemberState } from '../crypto/ring/member-state.js';
import { onAnnouncement, onConfirmations, onRoster, onTokens } from '../crypto/ring/member.js';
import type { ActionHandler, PropertyReader, ThingBehaviour, ThingEmitter } from './behaviour.js';
import { MeterGroup, wipe, type MemberRound } from './meter-group.js';
import { isoTime, keyStatusOf } from './meter-status.js';
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

export class Meter implements ThingBehaviour {
  readonly actions: Readonly<Record<string, ActionHandler>>;
  readonly properties: Readonly<Record<string, PropertyReader>>;
  readonly #parts: MeterParts;
  /** By gid in hex. */
  readonly #groups = new Map<string, MeterGroup>();
  readonly #joining = new Serial();
  readonly #sealingSerial = new Serial();
  #sealing: SealingState;
  #emitter: ThingEmitter | undefined;

  private constructor(parts: MeterParts, sealing: SealingState) {
    this.#parts = parts;
    this.#sealing = sealing;
    this.actions = {
      rekey: { kind: 'message', invoke: (message) => this.#rekey(message) },
      agree: { kind: 'message', invoke: (message) => this.#inItsGroup(onRoster, message) },
      confirm: { kind: 'message', invoke: (message) => this.#inItsGroup(onTokens, message) },
      activate: { kind: 'message', invoke: (message) => this.#inItsGroup(onConfirmations, message) },
      updateMembership: { kind: 'message', invoke: (bundle) => this.updateMembership(bundle) },
      endorse: { kind: 'message', invoke: (bundle) => this.#endorse(bundle) },
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
    const sealing = await store.loadSealing();
    const meter = new Meter(parts, sealing ? decodeSealingState(sealing) : newSealingState);
    for (const gid of await store.groups()) {
      const [member, bundle] = [await store.loadMember(gid), await store.loadMembership(gid)];
      if (!member) continue;
      let membership: Membership | undefined;
      try {
        membership = bundle && verifyMembership({ suite, trustedRoots, nowS: nowS() }, bundle);
      } catch (error) {
        parts.log.warn({ meter: parts.identity.id, err: error }, 'the stored membership list is not valid now');
      }
      meter.#groups.set(toHex(gid), meter.#group(decodeMemberState(member), membership));
    }
    return meter;
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
  async updateMembership(bundle: Uint8Array): Promise<Uint8Array> {
    const { suite, trustedRoots, nowS } = this.#parts;
    const membership = verifyMembership({ suite, trustedRoots, nowS: nowS() }, bundle);
    const known = this.#groups.get(toHex(membership.list.gid));
    return known?.updateMembership(membership, bundle) ?? this.#join(membership, bundle);
  }

  /** The first list of a group. Another may be on its way to the disk. */
  #join(membership: Membership, bundle: Uint8Array): Promise<Uint8Array> {
    return this.#joining.run(async () => {
      const { gid } = membership.list;
      if (!findEntry(membership.list, this.#parts.identity.certHash, 'member')) {
        throw new VerificationError('not-listed', 'the list is of a group that this meter is no member of');
      }
      const group = this.#groups.get(toHex(gid)) ?? this.#group(newMemberState(gid), undefined);
      const reply = await group.updateMembership(membership, bundle);
      this.#groups.set(toHex(gid), group);
      return reply;
    });
  }

  /**
   * Seals a reading and keeps it for the gateway; returns once it is on disk.
   * @throws ConflictError `not-keyed` before the first epoch, UnavailableError `disk-full`; nothing has changed then
   */
  report(reading: Reading): Promise<void> {
    return this.#sealingSerial.run(async () => {
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
    const { suite, identity, store } = this.#parts;
    const { kid } = parseSign1(receipt, limits.memberMessage);
    const certificate = this.#coordinatorBy(kid);
    if (!certificate) throw new VerificationError('not-listed', 'a receipt of nobody in the lists');
    verifyReceipt(suite, certificate, identity.certHash, upload.message, receipt);
    await store.acknowledge(upload.positions);
  }

  #coordinatorBy(kid: Uint8Array): VerifiedCertificate | undefined {
    for (const { membership } of this.#groups.values()) {
      const entry = membership?.list.entries.find(({ certHash }) => equalBytes(certHash.subarray(0, 8), kid));
      if (membership && entry && findEntry(membership.list, entry.certHash, 'coordinator')) {
        return certificateOf(membership, entry.certHash, 'coordinator', this.#parts.nowS());
      }
    }
    return undefined;
  }

  /** Gives up rounds and old keys whose time has passed. */
  async tick(): Promise<void> {
    await Promise.all([...this.#groups.values()].map((group) => group.tick()));
  }

  async #rekey(message: Uint8Array): Promise<Uint8Array> {
    try {
      return await this.#inItsGroup(onAnnouncement, message);
    } catch (error) {
      if (!(error instanceof ConflictError && error.code === 'wrong-group')) throw error;
      throw new ConflictError('membership-unknown', 'no membership list of that group is known here');
    }
  }

  /**
   * Steps are pure, so the group that a message belongs to is the one whose step takes it. All are asked at once: a
   * group that is busy keeps no other waiting.
   */
  async #inItsGroup(round: MemberRound, message: Uint8Array): Promise<Uint8Array> {
    const refusals: ConflictError[] = [];
    const asked = [...this.#groups.values()].map(async (group) => {
      try {
        return { reply: await group.take(round, message) };
      } catch (error) {
        if (!(error instanceof ConflictError && isForAnother(error))) return { error };
        refusals.push(error);
        throw error;
      }
    });
    const taken = await Promise.any(asked).catch(() => undefined);
    if (!taken) {
      const unlisted = refusals.find(({ code }) => code === 'membership-unknown');
      throw unlisted ?? refusals[0] ?? new ConflictError('wrong-group', 'this meter is in no group yet');
    }
    if ('error' in taken) throw taken.error;
    return taken.reply;
  }

  async #endorse(bundle: Uint8Array): Promise<Uint8Array> {
    const { suite, trustedRoots, nowS } = this.#parts;
    const endorsement = verifyEndorsement({ suite, trustedRoots, nowS: nowS() }, bundle);
    const group = this.#groups.get(toHex(endorsement.gid));
    if (!group) throw new ConflictError('wrong-group', 'an endorsement of a group that is not known here');
    return group.endorse(endorsement);
  }

  #group(state: MemberState, membership: Membership | undefined): MeterGroup {
    const parts = { ...this.#parts, onStep: this.#onStep.bind(this) };
    return new MeterGroup(parts, state, membership);
  }

  #onStep(before: MemberState, { round, active }: MemberState): void {
    if (before.round.kind !== round.kind || before.active !== active) this.#emitter?.propertyChanged('keyStatus');
    if (active && before.active?.name !== active.name) {
      const { epoch, attempt } = active.name;
      const { log, identity } = this.#parts;
      log.info({ meter: identity.id, epoch, attempt, provisional: active.provisional }, 'epoch key active');
    }
  }

  /**
   * The group under whose policy readings are sealed, once its key is active: the one whose policy says who reads them;
   * of several, that with the lowest gid.
   */
  #reportingGroup(): { readonly membership: Membership; readonly active: EpochKey } | undefined {
    const { certHash } = this.#parts.identity;
    const [reporting] = [...this.#groups]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .flatMap(([, { membership, state }]) =>
        membership && membership.list.policy.readings.length > 0 && findEntry(membership.list, certHash, 'member')
          ? [{ membership, active: state.active }]
          : [],
      );
    return reporting?.active ? { membership: reporting.membership, active: reporting.active } : undefined;
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

const isForAnother = ({ code }: ConflictError): boolean =>
  code === 'wrong-group' || code === 'wrong-round' || code === 'membership-unknown';
