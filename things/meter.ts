/** What stands behind a meter's affordances: its part in the rings of its groups, and the sealing of its readings. */
import { concatBytes, toBase64Url, toHex } from '../crypto/bytes.js';
import type { VerifiedCertificate } from '../crypto/certificate.js';
import { parseSign1 } from '../crypto/cose.js';
import { signEnrolment } from '../crypto/enrolment.js';
import { signRegistration } from '../crypto/registration.js';
import { verifyReceipt, type Custody } from '../crypto/envelope/reading.js';
import {
  decodeSealingState,
  encodeSealingState,
  newSealingState,
  seal,
  sealGap,
  type SealingContext,
  type SealingState,
  type SealingStep,
} from '../crypto/envelope/sealing.js';
import type { Gap } from '../crypto/envelope/gap-report.js';
import type { Reading } from '../crypto/envelope/senml.js';
import { ConflictError, MalformedError, VerificationError } from '../crypto/errors.js';
import { decodeHome, encodeHome, parseHome, verifyHome, type Home } from '../crypto/home.js';
import { limits } from '../crypto/limits.js';
import type { Renewal } from '../crypto/membership.js';
import type { MemberState } from '../crypto/ring/member-state.js';
import type { ActionHandler, PropertyReader, ThingBehaviour, ThingEmitter } from './behaviour.js';
import { diskOf } from './disk-status.js';
import { MeterCommands } from './meter-commands.js';
import { wipe } from './meter-group.js';
import { MeterGroups } from './meter-groups.js';
import { isoTime, keyStatusOf } from './meter-status.js';
import type { Parts } from './parts.js';
import type { ReadingInterval } from './reading-interval.js';
import { Serial } from './serial.js';
import type { MeterStore } from './stores.js';
import { packUpload, type PreparedUpload } from './upload.js';

export interface MeterParts extends Parts {
  readonly store: MeterStore;
  /** As long as no operator has set another. */
  readonly readingIntervalS: number;
  /** Where operators can change it. */
  readonly interval?: ReadingInterval | undefined;
  /** The gateway is at one of these URLs of its Thing Description from now on. */
  readonly onHome?: (tdUrls: readonly string[]) => void;
  /** As of `MeterGroupParts`. */
  readonly onRenewal?: ((renewal: Renewal) => void) | undefined;
  /** Shown beside the readings' state, e.g. "replay". */
  readonly sourceName: string;
  /** When the state in the store came from a backup, Unix seconds; undefined where it did not. */
  readonly restoredS?: number | undefined;
}

export class Meter implements ThingBehaviour {
  readonly actions: Readonly<Record<string, ActionHandler>>;
  readonly properties: Readonly<Record<string, PropertyReader>>;
  readonly #parts: MeterParts;
  readonly #groups: MeterGroups;
  readonly #commands: MeterCommands;
  readonly #serial = new Serial();
  #sealing: SealingState;
  #home: Home | undefined;
  #emitter: ThingEmitter | undefined;

  private constructor(
    parts: MeterParts,
    groups: MeterGroups,
    commands: MeterCommands,
    sealing: SealingState,
    home: Home | undefined,
  ) {
    this.#home = home;
    this.#commands = commands;
    this.#parts = parts;
    this.#groups = groups;
    this.#sealing = sealing;
    this.actions = {
      rekey: { kind: 'message', invoke: (message) => groups.take('announcement', message) },
      agree: { kind: 'message', invoke: (message) => groups.take('roster', message) },
      confirm: { kind: 'message', invoke: (message) => groups.take('tokens', message) },
      activate: { kind: 'message', invoke: (message) => groups.take('confirmations', message) },
      updateMembership: { kind: 'message', invoke: (bundle) => groups.updateMembership(bundle) },
      rehome: { kind: 'message', invoke: (message) => this.#rehome(message) },
      endorse: { kind: 'message', invoke: (bundle) => groups.endorse(bundle) },
      control: { kind: 'message', invoke: (message) => commands.take(message) },
    };
    this.properties = {
      identity: async () => ({
        id: `urn:gridring:meter:${parts.identity.id}`,
        role: 'meter',
        certHash: toHex(parts.identity.certHash),
        suite: parts.suite.id,
        version: parts.version,
      }),
      keyStatus: async () => ({ groups: groups.states.map(keyStatusOf) }),
      status: () => this.#status(),
      readingInterval: async () => commands.readingIntervalS ?? parts.readingIntervalS,
    };
  }

  /** Loads what the store kept: groups with their keys, and where the sealing goes on. */
  static async load(parts: MeterParts): Promise<Meter> {
    const [sealing, home] = [await parts.store.loadSealing(), await parts.store.loadHome()];
    const onStep = (before: MemberState, after: MemberState): void => {
      meter.#onStep(before, after);
    };
    const groups = await MeterGroups.load({ ...parts, onStep });
    const state = sealing ? decodeSealingState(sealing) : newSealingState;
    const commands = await MeterCommands.load({ ...parts, groups });
    const meter: Meter = new Meter(parts, groups, commands, state, home && decodeHome(home));
    return meter;
  }

  attach(emitter: ThingEmitter): void {
    this.#emitter = emitter;
  }

  get lastReading(): SealingState['lastReading'] {
    return this.#sealing.lastReading;
  }

  /** Until when readings and gap reports account for the time, Unix seconds. */
  get coveredS(): number | null {
    return this.#sealing.coveredS;
  }

  /** Of the last entry of the chain, of whatever kind. */
  get lastSequence(): number {
    return this.#sealing.nextSequence - 1;
  }

  /** How many readings there ever were. */
  get readings(): number {
    return this.#sealing.readings;
  }

  /** URLs of the gateway's Thing Description, where it has told them; empty otherwise. */
  get homeUrls(): readonly string[] {
    return this.#home?.tdUrls ?? [];
  }

  get groups(): MeterGroups {
    return this.#groups;
  }

  get commands(): MeterCommands {
    return this.#commands;
  }

  /** Whether there is an active key, so that readings can be sealed. */
  get keyed(): boolean {
    return this.#groups.reporting() !== undefined;
  }

  /** Of the key under which readings are sealed; 0 without one. */
  get epoch(): number {
    return this.#groups.reporting()?.active.name.epoch ?? 0;
  }

  /** This meter's own introduction to its gateway, with its proof for the directory that the gateway names. */
  enrolment(td: string, directory?: string): Uint8Array {
    const { suite, identity, nowS } = this.#parts;
    const timeS = nowS();
    const proven = directory === undefined ? td : this.#proven(td, { directory, timeS });
    return signEnrolment(suite, identity, { certificates: identity.certificates, td: proven, timeS });
  }

  #proven(td: string, use: { readonly directory: string; readonly timeS: number }): string {
    const { suite, identity } = this.#parts;
    return JSON.stringify(signRegistration(suite, identity, JSON.parse(td) as Readonly<Record<string, unknown>>, use));
  }

  /**
   * Seals a reading and keeps it for the gateway; returns once it is on disk.
   * @throws ConflictError `not-keyed` before the first epoch, UnavailableError `disk-full`; nothing has changed then
   */
  report(reading: Reading): Promise<void> {
    return this.#append((context, state) => seal(context, state, reading));
  }

  /**
   * Says in the chain what could not be measured or kept; returns once it is on disk.
   * @throws as `report`
   */
  reportGap(gap: Gap): Promise<void> {
    return this.#append((context, state) => sealGap(context, state, gap));
  }

  #append(step: (context: SealingContext, state: SealingState) => SealingStep): Promise<void> {
    return this.#serial.run(async () => {
      const { suite, identity, random, store, nowS } = this.#parts;
      const group = this.#groups.reporting();
      if (!group) throw new ConflictError('not-keyed', 'no epoch key is active yet');
      const { membership, active } = group;
      const context = { suite, self: identity, membership, activeKey: active.name, random };
      const { state, items, consumed } = step(context, this.#sealing);
      let sequence = this.#sealing.nextSequence;
      const numbered = items.map((item) => (item.kind === 'grant' ? item : { ...item, sequence: sequence++ }));
      await store.saveSealing(encodeSealingState(state), numbered, nowS());
      this.#sealing = state;
      wipe(consumed);
      const entry = items.at(-1);
      if (entry?.kind === 'reading') this.#emitter?.event('reading', { message: toBase64Url(entry.message) });
    });
  }

  /** The oldest of what the gateway does not have yet, after a position; undefined when it has everything. */
  nextUpload(maxItems?: number, afterPosition?: number): Promise<PreparedUpload | undefined> {
    return packUpload(this.#parts.store, maxItems, afterPosition);
  }

  /**
   * Holds what the gateway has signed for, and forgets what it says the backend has.
   * @throws MalformedError, VerificationError `not-listed`, `receipt-mismatch`, `signature-invalid`
   */
  async acknowledge(upload: PreparedUpload, receipt: Uint8Array): Promise<void> {
    const { store } = this.#parts;
    const { kid } = parseSign1(receipt, limits.memberMessage);
    const certificate = this.#groups.coordinator(kid);
    if (!certificate) throw new VerificationError('not-listed', 'a receipt of nobody in the lists');
    const custody = this.#verifyReceipt(certificate, upload.message, receipt);
    if (!custody) throw new MalformedError('message-malformed', 'a receipt that says nothing of custody');
    const { custodian, storedThrough } = custody;
    await store.hold(upload.positions, { name: concatBytes(kid, custodian), storedThrough });
  }

  /** After a renewal what was sealed before goes out still: such an upload is that of the certificate of then. */
  #verifyReceipt(gateway: VerifiedCertificate, upload: Uint8Array, receipt: Uint8Array): Custody | undefined {
    const { suite } = this.#parts;
    const [own, ...before] = this.#groups.ownLine.toReversed();
    for (const sender of before) {
      try {
        return verifyReceipt(suite, gateway, sender, upload, receipt);
      } catch (error) {
        if (!(error instanceof VerificationError && error.code === 'signature-invalid')) throw error;
      }
    }
    return verifyReceipt(suite, gateway, own ?? this.#parts.identity.certHash, upload, receipt);
  }

  /** Takes the word of a coordinator in the newest list of a group, unless it is older than the one that is known. */
  #rehome(message: Uint8Array): Promise<Uint8Array> {
    return this.#serial.run(async () => {
      const { suite, store, nowS, onHome, log, identity } = this.#parts;
      const { home, kid } = parseHome(message);
      const certificate = this.#groups.coordinatorOf(home.gid, kid);
      if (!certificate) throw new VerificationError('not-listed', 'a home of nobody who coordinates that group');
      verifyHome(suite, certificate, message);
      if (home.timeS < (this.#home?.timeS ?? 0) || home.timeS > nowS() + limits.clockSkewS) {
        throw new ConflictError(
          'home-stale',
          'a newer word is known where the gateway is, or this one is of the future',
        );
      }
      await store.saveHome(encodeHome(home));
      this.#home = home;
      log.info({ meter: identity.id, gateway: certificate.id, tdUrls: home.tdUrls }, 'the gateway is elsewhere');
      onHome?.(home.tdUrls);
      return new Uint8Array(0);
    });
  }

  /** The room for the outbox has become scarce, or is no longer. */
  outboxChanged(): void {
    this.#emitter?.propertyChanged('status');
  }

  #onStep(before: MemberState, { round, active }: MemberState): void {
    if (before.round.kind !== round.kind || before.active !== active) this.#emitter?.propertyChanged('keyStatus');
    if (active && before.active?.name !== active.name) {
      const { epoch, attempt } = active.name;
      const { log, identity } = this.#parts;
      log.info({ meter: identity.id, epoch, attempt, provisional: active.provisional }, 'epoch key active');
    }
  }

  async #status(): Promise<unknown> {
    const { store, sourceName, nowS } = this.#parts;
    const { depth, bytes, oldestS } = await store.outboxStatus();
    const { count, lastCode } = await store.setAsideStatus();
    const last = this.#sealing.lastReading;
    return {
      readings: {
        lastSequence: this.lastSequence,
        unacknowledged: depth,
        unacknowledgedBytes: bytes,
        held: await store.heldCount(),
        ...(oldestS !== null && { oldestAgeS: Math.max(0, nowS() - oldestS) }),
        ...(count > 0 && { setAside: count }),
        ...(lastCode !== null && { setAsideCode: lastCode }),
        source: sourceName,
        ...(last && { lastReadingTime: isoTime(last.timeS) }),
      },
      clock: { time: isoTime(nowS()) },
      disk: diskOf(await store.diskStatus()),
    };
  }
}
