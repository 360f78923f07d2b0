/** What stands behind a gateway's affordances: enrolment, coordination of the ring, and the passing on of readings. */
import { equalBytes, toHex } from '../crypto/bytes.js';
import type { VerifiedCertificate } from '../crypto/certificate.js';
import { parseSign1, verifySign1 } from '../crypto/cose.js';
import { verifyEnrolment } from '../crypto/enrolment.js';
import { signReceipt, verifyReceipt } from '../crypto/envelope/reading.js';
import { ConflictError, GridringError, MalformedError, VerificationError } from '../crypto/errors.js';
import { limits } from '../crypto/limits.js';
import { certificateOf, findEntry, verifyMembership, type ListRole, type Membership } from '../crypto/membership.js';
import type { CoordinatorContext } from '../crypto/ring/coordinator.js';
import { contextOf, parseRekeyRequest, type Reason } from '../crypto/ring/messages.js';
import type { ActionHandler, PropertyReader, ThingBehaviour, ThingEmitter } from './behaviour.js';
import { EpochRun, type MemberAction, type Members } from './epoch-run.js';
import {
  coordinatorStatusOf,
  groupOf,
  healthOf,
  isoTime,
  outboxOf,
  roundOf,
  type ActiveEpoch,
  type Delivery,
} from './gateway-status.js';
import type { Parts } from './parts.js';
import type { EnrolledMeter, GatewayStore } from './stores.js';
import { packUpload, verifyUpload, type PreparedUpload } from './upload.js';

export interface GatewayParts extends Parts {
  readonly store: GatewayStore;
  readonly members: Members;
  /** Says what is wrong with a TD, or nothing. */
  readonly tdFault: (td: unknown) => string | undefined;
  /** Enrolments are to be found in the directory; delivered in the background. */
  readonly onEnrolled: (meter: EnrolledMeter) => void;
  /** Every epoch that was agreed, whoever asked for it. */
  readonly onEpoch: (outcome: EpochOutcome) => void;
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly roundDeadlineMs: number;
  readonly maxAttempts: number;
}

/** How long an announcement may be answered, beyond the rounds' own deadlines. */
const announcementLifeS = 300;

export interface EpochOutcome {
  readonly epoch: number;
  readonly attempt: number;
  readonly members: number;
  readonly confirmed: number;
  readonly agreementMs: number;
}

export class Gateway implements ThingBehaviour {
  readonly actions: Readonly<Record<string, ActionHandler>>;
  readonly properties: Readonly<Record<string, PropertyReader>>;
  readonly #parts: GatewayParts;
  readonly #membership: Membership;
  readonly #membershipBundle: Uint8Array;
  readonly #enrolled: Map<string, EnrolledMeter>;
  readonly #startedS: number;
  #run: EpochRun | undefined;
  readonly #enrolledSinceStart = new Set<string>();
  /** Enrolled since the last agreement began, and not in its epoch. */
  readonly #waiting = new Set<string>();
  #founding: Promise<EpochOutcome> | undefined;
  #active: ActiveEpoch | undefined;
  #delivery: Delivery = {};
  #emitter: ThingEmitter | undefined;

  private constructor(
    parts: GatewayParts,
    membership: { readonly verified: Membership; readonly bundle: Uint8Array },
    enrolled: readonly EnrolledMeter[],
  ) {
    this.#parts = parts;
    this.#membership = membership.verified;
    this.#membershipBundle = membership.bundle;
    this.#enrolled = new Map(enrolled.map((meter) => [toHex(meter.certHash), meter]));
    this.#startedS = parts.nowS();
    const submit = async (message: Uint8Array): Promise<Uint8Array> => {
      if (!this.#run) throw new ConflictError('wrong-round', 'no round is open');
      this.#run.accept(message);
      return new Uint8Array(0);
    };
    this.actions = {
      enrol: { kind: 'message', invoke: (message) => this.#enrol(message) },
      submitPublicKey: { kind: 'message', invoke: submit },
      submitToken: { kind: 'message', invoke: submit },
      submitConfirmation: { kind: 'message', invoke: submit },
      submitReadings: { kind: 'message', invoke: (message) => this.#submitReadings(message) },
      rekey: { kind: 'message', invoke: (message) => this.#rekeyRequested(message) },
    };
    this.properties = {
      identity: async () => ({
        id: `urn:gridring:gateway:${parts.identity.id}`,
        role: 'gateway',
        certHash: toHex(parts.identity.certHash),
        suite: parts.suite.id,
        version: parts.version,
      }),
      groups: async () => ({ groups: [groupOf(this.#membership, this.#enrolled, this.#active)] }),
      keyStatus: async () => ({ groups: [coordinatorStatusOf(this.#membership, this.#run?.state, this.#active)] }),
      round: async () => ({ groups: this.#run ? [roundOf(this.#run)] : [] }),
      outbox: async () => outboxOf(await parts.store.outboxStatus(), this.#delivery, parts.nowS()),
      health: async () => ({
        version: parts.version,
        uptimeS: parts.nowS() - this.#startedS,
        ...healthOf(this.#active, this.#delivery),
      }),
    };
  }

  /**
   * Starts from the newer of the stored list and the one from the configuration.
   * @throws MalformedError, VerificationError when the list does not verify; `not-listed` when it names another coordinator
   */
  static async load(parts: GatewayParts, configuredBundle: Uint8Array): Promise<Gateway> {
    const { suite, identity, trustedRoots, nowS, store } = parts;
    const verify = (bundle: Uint8Array): Membership => verifyMembership({ suite, trustedRoots, nowS: nowS() }, bundle);
    const configured = verify(configuredBundle);
    const verifyStored = (bundle: Uint8Array): Membership | undefined => {
      try {
        return verify(bundle);
      } catch (error) {
        parts.log.warn({ err: error }, 'the stored membership list is not valid now; starting with the configured one');
        return undefined;
      }
    };
    const storedBundle = await store.loadMembership(configured.list.gid);
    const stored = storedBundle && { bundle: storedBundle, verified: verifyStored(storedBundle) };
    const membership =
      stored?.verified && stored.verified.list.version > configured.list.version
        ? { verified: stored.verified, bundle: stored.bundle }
        : { verified: configured, bundle: configuredBundle };
    certificateOf(membership.verified, identity.certHash, 'coordinator', nowS());
    await store.saveMembership(configured.list.gid, membership.verified.list.version, membership.bundle);
    return new Gateway(parts, membership, await store.enrolments());
  }

  attach(emitter: ThingEmitter): void {
    this.#emitter = emitter;
  }

  get membership(): Membership {
    return this.#membership;
  }

  get membershipBundle(): Uint8Array {
    return this.#membershipBundle;
  }

  get enrolments(): readonly EnrolledMeter[] {
    return [...this.#enrolled.values()];
  }

  /** Whether a meter has enrolled that only the next epoch can let in. */
  get someoneWaits(): boolean {
    return this.#waiting.size > 0;
  }

  /** Whether every member of the list has enrolled since this process started: an agreement need not wait any longer. */
  get everybodyEnrolled(): boolean {
    const { list } = this.#membership;
    return list.entries.every(
      ({ certHash }) => !findEntry(list, certHash, 'member') || this.#enrolledSinceStart.has(toHex(certHash)),
    );
  }

  /** Ends a run that is under way; its attempt is over. */
  stop(): void {
    this.#run?.stop();
  }

  /**
   * Agrees on the next epoch: attempt after attempt, each with fresh ephemerals for all, and a longer pause after each.
   * One at a time: who asks while one is under way gets its outcome.
   * @throws GridringError of the last attempt
   */
  rekey(reason: Reason): Promise<EpochOutcome> {
    this.#founding ??= this.#agree(reason).finally(() => (this.#founding = undefined));
    return this.#founding;
  }

  async #agree(reason: Reason): Promise<EpochOutcome> {
    const { store, nowS, maxAttempts, sleep, log } = this.#parts;
    const { gid, policy } = this.#membership.list;
    this.#waiting.clear();
    const announced = await store.loadAnnounced(gid);
    // The floor lets a coordinator that lost its state go on above what members have answered.
    const epoch = Math.max(announced?.epoch ?? 0, policy.epochFloor ?? 0) + 1;
    const never = new AbortController().signal;
    for (let attempt = 1; ; attempt++) {
      await store.saveAnnounced(gid, epoch, attempt);
      try {
        const plan = {
          epoch,
          attempt,
          reason: attempt === 1 ? reason : 'retry',
          expiryS: nowS() + announcementLifeS,
        } as const;
        return await this.#attempt(plan);
      } catch (error) {
        if (attempt >= maxAttempts || !(error instanceof GridringError)) throw error;
        log.warn({ epoch, attempt, code: error.code, err: error }, 'attempt failed; trying again');
        await sleep(250 * 2 ** attempt, never);
      }
    }
  }

  async #attempt(plan: {
    readonly epoch: number;
    readonly attempt: number;
    readonly reason: Reason;
    readonly expiryS: number;
  }): Promise<EpochOutcome> {
    const { members, roundDeadlineMs, sleep, store, nowS, log, onEpoch } = this.#parts;
    const started = performance.now();
    const run = new EpochRun(
      {
        context: () => this.#context(),
        membershipBundle: this.#membershipBundle,
        members,
        reach: () => 'callable',
        roundDeadlineMs,
        sleeperDeadlineMs: roundDeadlineMs,
        sleep,
        onMemberFailed: (member, action, error) => {
          this.#memberFailed(member, action, error);
        },
        onProgress: () => this.#emitter?.propertyChanged('keyStatus'),
      },
      plan,
    );
    this.#run = run;
    this.#emitter?.propertyChanged('keyStatus');
    const published = await run.run();
    const { gid } = published.name;
    await store.saveRecord(gid, plan.epoch, plan.attempt, published.record);
    const confirmed = await run.activate(published);
    const agreementMs = performance.now() - started;
    this.#active = { published, sinceS: nowS() };
    for (const { certHash } of published.ring.members) this.#waiting.delete(toHex(certHash));
    this.#emitter?.propertyChanged('keyStatus');
    const roster = published.ring.members.length;
    this.#emitter?.event('rekeyed', {
      gid: toHex(gid),
      epoch: plan.epoch,
      attempt: plan.attempt,
      keyName: toHex(published.name.th2.subarray(0, 8)),
      members: roster,
      time: isoTime(nowS()),
    });
    log.info({ ...plan, members: roster, confirmed: confirmed.length, agreementMs }, 'epoch agreed');
    const { epoch, attempt } = plan;
    const outcome = { epoch, attempt, members: roster, confirmed: confirmed.length, agreementMs };
    onEpoch(outcome);
    return outcome;
  }

  #memberFailed(member: Uint8Array, action: MemberAction, error: unknown): void {
    const id = this.#membership.certificates.find((listed) => listed && equalBytes(listed.certHash, member))?.id;
    const code = error instanceof GridringError ? error.code : 'internal';
    this.#parts.log.warn({ member: id, action, code, err: error }, 'a member did not take part in a round');
  }

  async #enrol(message: Uint8Array): Promise<Uint8Array> {
    const { suite, trustedRoots, nowS, store, tdFault, onEnrolled } = this.#parts;
    const { certificate, certificates, td, timeS } = verifyEnrolment({ suite, trustedRoots, nowS: nowS() }, message);
    this.#requireListed(certificate, 'member');
    const id = `urn:gridring:meter:${certificate.id}`;
    const described = parseJson(td);
    const fault = tdFault(described);
    if (fault !== undefined) throw new MalformedError('td-invalid', fault);
    if ((described as { readonly id?: unknown }).id !== id) {
      throw new VerificationError('td-of-another', `the TD is not that of ${id}`);
    }
    const known = this.#enrolled.get(toHex(certificate.certHash));
    if (known && timeS < known.enrolledS) {
      throw new ConflictError('enrolment-stale', 'a newer enrolment of this meter is known');
    }
    const enrolled = { certHash: certificate.certHash, id, certificates, td, enrolledS: timeS };
    await store.saveEnrolment(enrolled);
    this.#enrolled.set(toHex(enrolled.certHash), enrolled);
    this.#enrolledSinceStart.add(toHex(enrolled.certHash));
    const inEpoch = this.#active?.published.ring.members.some((member) =>
      equalBytes(member.certHash, enrolled.certHash),
    );
    if (!inEpoch) this.#waiting.add(toHex(enrolled.certHash));
    onEnrolled(enrolled);
    this.#emitter?.event('memberChanged', {
      gid: toHex(this.#membership.list.gid),
      id,
      certHash: toHex(enrolled.certHash),
      change: 'enrolled',
      time: isoTime(nowS()),
    });
    return this.#membershipBundle;
  }

  /** Verifies every item before any is kept, keeps all of them, and then signs for them. */
  async #submitReadings(message: Uint8Array): Promise<Uint8Array> {
    const { suite, identity, nowS, store } = this.#parts;
    const { items, meters } = verifyUpload({ suite, nowS: nowS(), membershipFor: () => [this.#membership] }, message);
    const [meter] = meters;
    if (!meter || meters.length !== 1) throw new MalformedError('upload-mixed', 'an upload is of exactly one meter');
    await store.accept(items, nowS());
    return signReceipt(suite, identity, meter, message);
  }

  /** A member or an operator asks for a new epoch; it follows on its own. */
  async #rekeyRequested(bytes: Uint8Array): Promise<Uint8Array> {
    const { suite, nowS, log } = this.#parts;
    const message = parseSign1(bytes, limits.memberMessage);
    const request = parseRekeyRequest(message.payload);
    const { list } = this.#membership;
    if (!equalBytes(request.gid, list.gid)) throw new ConflictError('wrong-group', 'a request for another group');
    const entry = list.entries.find(({ certHash }) => equalBytes(certHash.subarray(0, 8), message.kid));
    const role: ListRole = entry && findEntry(list, entry.certHash, 'operator') ? 'operator' : 'member';
    const { verifier, id } = certificateOf(this.#membership, entry?.certHash ?? message.kid, role, nowS());
    verifySign1(suite, verifier, message, contextOf('rekeyRequest', list.gid));
    if (Math.abs(nowS() - request.timeS) > limits.clockSkewS)
      throw new ConflictError('request-stale', 'an old request');
    if (request.currentEpoch !== this.#active?.published.name.epoch) {
      throw new ConflictError('epoch-stale', 'the request names an epoch that is not the current one');
    }
    log.info({ by: id, epoch: request.currentEpoch }, 'new epoch asked for');
    void this.rekey('request').catch((error: unknown) => {
      log.warn({ err: error }, 'the epoch that was asked for was not agreed');
    });
    return new Uint8Array(0);
  }

  /** The oldest of what the backend does not have yet; undefined when it has everything. */
  nextUpload(): Promise<PreparedUpload | undefined> {
    return packUpload(this.#parts.store);
  }

  /** Forgets what the backend has signed for. @throws MalformedError, VerificationError */
  async acknowledge(upload: PreparedUpload, receipt: Uint8Array, backend: VerifiedCertificate): Promise<void> {
    const { suite, identity, store, nowS } = this.#parts;
    verifyReceipt(suite, backend, identity.certHash, upload.message, receipt);
    await store.acknowledge(upload.positions);
    this.#delivery = { lastS: nowS() };
  }

  /** For the outbox's status: why nothing is delivered. */
  deliveryFailed(errorCode: string): void {
    this.#delivery = { ...this.#delivery, errorCode };
  }

  #context(): CoordinatorContext {
    const { suite, identity, nowS, random } = this.#parts;
    return { suite, self: identity, membership: this.#membership, nowS: nowS(), random };
  }

  #requireListed({ certHash }: VerifiedCertificate, role: ListRole): void {
    certificateOf(this.#membership, certHash, role, this.#parts.nowS());
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new MalformedError('td-invalid', 'the TD is not JSON', cause);
  }
}
