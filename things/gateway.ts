/** What stands behind a gateway's affordances: enrolment, coordination of the ring, and the passing on of readings. */
import { newTrust } from '../crypto/anchors.js';
import { equalBytes, toBase64Url, toHex } from '../crypto/bytes.js';
import type { Certificate, VerifiedCertificate } from '../crypto/certificate.js';
import { parseSign1, verifySign1, type Sign1 } from '../crypto/cose.js';
import { verifyEnrolment } from '../crypto/enrolment.js';
import { encodeCommandReceipts, parseCommandReceipt } from '../crypto/envelope/command.js';
import { signReceipt, verifyReceipt } from '../crypto/envelope/reading.js';
import { ConflictError, GridringError, MalformedError, SetupError, VerificationError } from '../crypto/errors.js';
import { limits } from '../crypto/limits.js';
import {
  certificateOf,
  findEntry,
  lineOf,
  parseMembershipBundle,
  parseMembershipList,
  renewalIn,
  successorOf,
  type ListRole,
  type Membership,
  type Renewal,
} from '../crypto/membership.js';
import { contextOf, parseRekeyRequest } from '../crypto/ring/messages.js';
import { parseLeaveRequest, parseRevokeRequest } from '../crypto/ring/requests.js';
import { verifyRenewal } from '../crypto/renewal.js';
import { assertEndorses } from './active-epoch.js';
import type { ActionHandler, PropertyReader, ThingBehaviour, ThingEmitter } from './behaviour.js';
import type { KeptCommand, KeptCommandReceipt } from './command-store.js';
import { CommandDelivery } from './command-delivery.js';
import { CommandRelay } from './command-relay.js';
import { Coordination, type CoordinationParts } from './coordination.js';
import { healthOf, outboxOf, verdictsOf, type Delivery } from './gateway-status.js';
import type { AgreedEpoch, EnrolledMeter } from './stores.js';
import { packUpload, verifyUpload, type PreparedUpload } from './upload.js';

export interface GatewayParts extends CoordinationParts {
  /** Says what is wrong with a TD, or nothing. */
  readonly tdFault: (td: unknown) => string | undefined;
  /** Enrolments are to be found in the directory; delivered in the background. */
  readonly onEnrolled: (meter: EnrolledMeter) => void;
  /** Brings a member's request for its next certificate to the backend. */
  readonly relayRenewal?: (message: Uint8Array) => Promise<void>;
  /** A command, or a receipt of one, is here that the backend may not have. */
  readonly onCommand?: () => void;
}

export class Gateway implements ThingBehaviour {
  readonly actions: Readonly<Record<string, ActionHandler>>;
  readonly properties: Readonly<Record<string, PropertyReader>>;
  readonly #parts: GatewayParts;
  readonly #enrolled: Map<string, EnrolledMeter>;
  readonly #startedS: number;
  readonly #relay: CommandRelay;
  readonly #commands: CommandDelivery;
  #groups: readonly Coordination[] = [];
  #delivery: Delivery = {};
  #emitter: ThingEmitter | undefined;

  private constructor(parts: GatewayParts, enrolled: readonly EnrolledMeter[]) {
    this.#parts = parts;
    this.#enrolled = new Map(enrolled.map((meter) => [toHex(meter.certHash), meter]));
    this.#startedS = parts.nowS();
    this.#relay = new CommandRelay({
      ...{ suite: parts.suite, nowS: parts.nowS, store: parts.store.commands },
      membershipsOf: (gid) => this.#listsOf(gid),
    });
    this.#commands = new CommandDelivery({
      ...parts,
      store: parts.store.commands,
      enrolled: this.#enrolled,
      takeReceipt: (receipt) => this.#takeReceipt(receipt),
    });
    const submit: ActionHandler = { kind: 'message', invoke: (message) => this.#submit(message) };
    this.actions = {
      enrol: { kind: 'message', invoke: (message) => this.#enrol(message) },
      renew: { kind: 'message', invoke: (message) => this.#renew(message) },
      submitPublicKey: submit,
      submitToken: submit,
      submitConfirmation: submit,
      submitReadings: { kind: 'message', invoke: (message) => this.#submitReadings(message) },
      rekey: { kind: 'message', invoke: (message) => this.#rekeyRequested(message) },
      leave: { kind: 'message', invoke: (message) => this.#leave(message) },
      revoke: { kind: 'message', invoke: (message) => this.#revoke(message) },
      command: { kind: 'message', invoke: (message) => this.takeCommand(message) },
      submitReceipt: { kind: 'message', invoke: (message) => this.#submitReceipt(message) },
      updateMembership: { kind: 'message', invoke: (bundle) => this.#updateMembership(bundle) },
    };
    this.properties = {
      identity: async () => ({
        id: `urn:gridring:gateway:${parts.identity.id}`,
        role: 'gateway',
        certHash: toHex(parts.identity.certHash),
        suite: parts.suite.id,
        version: parts.version,
      }),
      groups: async () => ({ groups: this.#groups.map((group) => group.group()) }),
      keyStatus: async () => ({ groups: this.#groups.map((group) => group.status()) }),
      round: async () => ({ groups: this.#groups.flatMap((group) => group.round() ?? []) }),
      verdicts: async () => verdictsOf(await parts.store.verdicts()),
      outbox: async () => {
        const { store, nowS } = parts;
        const [status, disk] = [await store.outboxStatus(), await store.diskStatus()];
        return outboxOf(status, disk, await store.setAsideStatus(), this.#delivery, nowS());
      },
      health: async () => ({
        version: parts.version,
        uptimeS: parts.nowS() - this.#startedS,
        ...healthOf(
          this.#groups.every(({ activeEpoch }) => activeEpoch !== undefined),
          this.#delivery,
          await parts.store.diskStatus(),
        ),
      }),
    };
  }

  /**
   * Starts each group from the newer of its stored list and the one from the configuration.
   * @param configuredBundles one for each group, in the order in which the groups are shown
   * @throws MalformedError, VerificationError when a list does not verify; `not-listed` when it names another coordinator;
   * SetupError `config-invalid` when two lists are of one group
   */
  static async load(parts: GatewayParts, configuredBundles: readonly Uint8Array[]): Promise<Gateway> {
    const gateway = new Gateway(parts, await parts.store.enrolments());
    const community = {
      enrolled: gateway.#enrolled,
      emitter: () => gateway.#emitter,
      shownCommands: (gid: string) => gateway.#commands.shown(gid),
    };
    const groups: Coordination[] = [];
    for (const configured of configuredBundles) {
      const group = await Coordination.load(parts, configured, community);
      if (groups.some(({ gid }) => gid === group.gid)) {
        throw new SetupError('config-invalid', `two membership lists are of group ${group.gid}; configure one`);
      }
      groups.push(group);
    }
    gateway.#groups = groups;
    return gateway;
  }

  attach(emitter: ThingEmitter): void {
    this.#emitter = emitter;
  }

  get groups(): readonly Coordination[] {
    return this.#groups;
  }

  get enrolments(): readonly EnrolledMeter[] {
    return [...this.#enrolled.values()];
  }

  /** The certificate that the lists have in the place of this gateway's; undefined where it is the newest. */
  get renewal(): Renewal | undefined {
    const { certHash } = this.#parts.identity;
    return this.#groups.flatMap(({ membership }) => renewalIn(membership, certHash) ?? [])[0];
  }

  /** The roots that lists say are to be trusted, where these are others than those that are. */
  get newTrust(): readonly Certificate[] | undefined {
    return newTrust(
      this.#parts.trustedRoots,
      this.#groups.map(({ membership }) => membership),
    );
  }

  /** @throws ConflictError `wrong-group` */
  group(gid: Uint8Array): Coordination {
    const group = this.#groups.find((each) => each.gid === toHex(gid));
    if (!group) throw new ConflictError('wrong-group', 'that group is not coordinated here');
    return group;
  }

  /** Founds and rekeys every group whenever it is due, and brings commands to members, until it is told to stop. */
  async keepKeyed(signal: AbortSignal): Promise<void> {
    await Promise.all([...this.#groups.map((group) => group.keepKeyed(signal)), this.#commands.run(signal)]);
  }

  /** What is due is looked at again: something outside has changed. */
  wake(): void {
    for (const group of this.#groups) group.wake();
  }

  /** Ends the runs that are under way; their attempts are over. */
  stop(): void {
    for (const group of this.#groups) group.stop();
  }

  /** The newest first, and those before it that are kept. */
  #listsOf(gid: Uint8Array): readonly Membership[] {
    const group = this.#groups.find((each) => each.gid === toHex(gid));
    return group ? [...group.listsReaching({ epoch: 0, attempt: 0 })] : [];
  }

  /**
   * Takes an operator's command for members of a group, and brings it to them. The same again tells how far it is.
   * @returns the receipts that have come so far
   * @throws as `CommandRelay.take`
   */
  async takeCommand(message: Uint8Array): Promise<Uint8Array> {
    const { command, fresh } = await this.#relay.take(message);
    if (fresh) {
      const { id, gid, operator, targets } = command;
      const fields = { command: toHex(id), gid: toHex(gid), operator: toHex(operator), targets: targets.length };
      this.#parts.log.info(fields, 'command taken');
      this.#commands.wake();
      this.#parts.onCommand?.();
    }
    const receipts = await this.#relay.receipts(command.id);
    return encodeCommandReceipts(receipts.map((receipt) => receipt.message));
  }

  /** A member that nobody can call brings its receipt. */
  async #submitReceipt(message: Uint8Array): Promise<Uint8Array> {
    await this.#takeReceipt(message);
    this.#commands.wake();
    return nothing;
  }

  async #takeReceipt(message: Uint8Array): Promise<void> {
    if (!(await this.#relay.takeReceipt(message))) return;
    const { commandId, meter, gid } = parseCommandReceipt(message);
    this.#emitter?.event('receipt', {
      gid: toHex(gid),
      id: toHex(commandId),
      meter: toHex(meter),
      message: toBase64Url(message),
    });
    this.#parts.onCommand?.();
  }

  /** A meter in one group gets its list; one in several, the first: the others come with their announcements. */
  async #enrol(message: Uint8Array): Promise<Uint8Array> {
    const { suite, trustedRoots, nowS, store, tdFault, onEnrolled } = this.#parts;
    const { certificate, certificates, td, timeS } = verifyEnrolment({ suite, trustedRoots, nowS: nowS() }, message);
    const { certHash } = certificate;
    const [first, ...others] = this.#groups.filter((group) => group.lists(certHash));
    // Its certificate was renewed while it was away: the list has the new one for it.
    const renewedIn = this.#groups.find(({ membership }) => successorOf(membership.list, certHash));
    if (!first && renewedIn) return renewedIn.membershipBundle;
    if (!first) throw new VerificationError('not-listed', 'no member of any group here');
    const id = `urn:gridring:meter:${certificate.id}`;
    const described = parseJson(td);
    const fault = tdFault(described);
    if (fault !== undefined) throw new MalformedError('td-invalid', fault);
    if ((described as { readonly id?: unknown }).id !== id) {
      throw new VerificationError('td-of-another', `the TD is not that of ${id}`);
    }
    const known = this.#enrolled.get(toHex(certHash));
    // A time that is still to come is from a clock that was wrong.
    const isOlder = known && timeS < known.enrolledS && known.enrolledS <= nowS() + limits.clockSkewS;
    const hasLeft = [first, ...others].some((group) => group.leftSince(certHash, timeS));
    if (hasLeft || isOlder) {
      throw new ConflictError('enrolment-stale', 'a newer enrolment of this meter is known, or it has left since');
    }
    const enrolled = { certHash, id, certificates, td, enrolledS: timeS };
    await store.saveEnrolment(enrolled);
    this.#enrolled.set(toHex(certHash), enrolled);
    onEnrolled(enrolled);
    for (const group of [first, ...others]) await group.enrolled(enrolled);
    return first.membershipBundle;
  }

  /** The group that a message belongs to is the one whose run takes it; to one in another round it is malformed. */
  async #submit(message: Uint8Array): Promise<Uint8Array> {
    let refusal: GridringError = new ConflictError('wrong-round', 'no round is open');
    for (const group of this.#groups) {
      try {
        group.accept(message);
        return nothing;
      } catch (error) {
        const isForAnother = error instanceof ConflictError && error.code === 'wrong-round';
        if (!(isForAnother || error instanceof MalformedError)) throw error;
        refusal = error;
      }
    }
    throw refusal;
  }

  /** Verifies every item before any is kept, keeps all of them, and then signs for them. */
  async #submitReadings(message: Uint8Array): Promise<Uint8Array> {
    const { suite, identity, nowS, store } = this.#parts;
    const membershipFor = (gid: Uint8Array, epoch: number, attempt: number): Iterable<Membership> =>
      this.#groups.find((group) => group.gid === toHex(gid))?.listsReaching({ epoch, attempt }) ?? [];
    const { items, meters } = await verifyUpload({ suite, nowS: nowS(), membershipFor }, message);
    const senders = meters.map(({ certHash }) => certHash);
    const line = this.#lineOf(senders);
    const meter = line?.findLast((certHash) => senders.some((sender) => equalBytes(sender, certHash)));
    if (!line || !meter) throw new MalformedError('upload-mixed', 'an upload is of exactly one meter');
    const { fresh } = await store.accept(items, nowS());
    // Anybody may play an upload again: only what is new is a sign of life.
    if (fresh > 0) for (const group of this.#groups) if (group.lists(meter)) group.heard(meter);
    const custody = { custodian: await store.custodian(), storedThrough: await store.storedThrough(line) };
    return signReceipt(suite, identity, meter, message, custody);
  }

  /** All certificates of the one meter that has, or had, these; undefined where they are of several. */
  #lineOf(meters: readonly Uint8Array[]): readonly Uint8Array[] | undefined {
    const lines = this.#groups.flatMap(({ membership }) => membership.list.entries.map(lineOf));
    const known = lines.find((line) => meters.every((meter) => line.some((certHash) => equalBytes(certHash, meter))));
    return meters.length === 1 ? (known ?? meters) : known;
  }

  /** A member or an operator asks for a new epoch; it follows on its own. */
  async #rekeyRequested(bytes: Uint8Array): Promise<Uint8Array> {
    const message = parseSign1(bytes, limits.memberMessage);
    const request = parseRekeyRequest(message.payload);
    const group = this.group(request.gid);
    const by = this.#verifyRequest(group, message, 'rekeyRequest', request.timeS);
    assertCurrent(group, request.currentEpoch);
    this.#parts.log.info({ gid: group.gid, by: by.id, epoch: request.currentEpoch }, 'new epoch asked for');
    group.requested();
    return nothing;
  }

  /** A member leaves a group, until it enrols again. */
  async #leave(bytes: Uint8Array): Promise<Uint8Array> {
    const message = parseSign1(bytes, limits.memberMessage);
    const request = parseLeaveRequest(message.payload);
    const group = this.group(request.gid);
    const { certHash } = this.#verifyRequest(group, message, 'leave', request.timeS);
    if (!group.lists(certHash)) throw new VerificationError('not-listed', 'only a member can leave');
    assertCurrent(group, request.currentEpoch);
    await group.leave(certHash, request.timeS);
    return nothing;
  }

  /** An operator leaves a member out of every roster, until the authority has decided. */
  async #revoke(bytes: Uint8Array): Promise<Uint8Array> {
    const message = parseSign1(bytes, limits.memberMessage);
    const request = parseRevokeRequest(message.payload);
    const group = this.group(request.gid);
    const by = this.#verifyRequest(group, message, 'revoke', request.timeS);
    if (!findEntry(group.membership.list, by.certHash, 'operator')) {
      throw new VerificationError('not-listed', 'only an operator can revoke');
    }
    if (!group.lists(request.certHash)) throw new ConflictError('member-unknown', 'the list names no such member');
    this.#parts.log.info({ gid: group.gid, by: by.id, certHash: toHex(request.certHash) }, 'member revoked');
    await group.revoke(request.certHash, request.timeS);
    return nothing;
  }

  /** The authority's newer list of a group, whoever brings it. */
  async #updateMembership(bundle: Uint8Array): Promise<Uint8Array> {
    const { payload } = parseSign1(parseMembershipBundle(bundle).listMessage, limits.membership);
    await this.group(parseMembershipList(payload).gid).updateMembership(bundle);
    return nothing;
  }

  /**
   * Who signed a request to a group: a member or an operator of its list, just now.
   * @throws VerificationError; ConflictError `request-stale`
   */
  #verifyRequest(
    { membership }: Coordination,
    message: Sign1,
    type: 'rekeyRequest' | 'leave' | 'revoke',
    timeS: number,
  ): VerifiedCertificate {
    const { suite, nowS } = this.#parts;
    const { list } = membership;
    const entry = list.entries.find(({ certHash }) => equalBytes(certHash.subarray(0, 8), message.kid));
    const role: ListRole = entry && findEntry(list, entry.certHash, 'operator') ? 'operator' : 'member';
    const certificate = certificateOf(membership, entry?.certHash ?? message.kid, role, nowS());
    verifySign1(suite, certificate.verifier, message, contextOf(type, list.gid));
    if (Math.abs(nowS() - timeS) > limits.clockSkewS) throw new ConflictError('request-stale', 'an old request');
    return certificate;
  }

  /** The oldest of what the backend does not have yet, after a position; undefined when it has everything. */
  nextUpload(maxItems?: number, afterPosition?: number): Promise<PreparedUpload | undefined> {
    return packUpload(this.#parts.store, maxItems, afterPosition);
  }

  /**
   * The backend has a record: it says so with its signature, which is passed on. An answer that is none may be anybody's, and
   * the record is to be brought again.
   * @throws MalformedError, VerificationError
   */
  async recorded(agreed: AgreedEpoch, answer: Uint8Array): Promise<void> {
    const { suite, trustedRoots, nowS, store } = this.#parts;
    const { gid, epoch, attempt } = agreed;
    assertEndorses({ suite, trustedRoots, nowS: nowS() }, agreed, answer);
    await store.markReported(gid, epoch, attempt, answer);
    this.#groups.find((each) => each.gid === toHex(gid))?.endorsed(agreed, answer);
  }

  /** Forgets what the backend has signed for. @throws MalformedError, VerificationError */
  async acknowledge(upload: PreparedUpload, receipt: Uint8Array, backend: VerifiedCertificate): Promise<void> {
    const { suite, identity, store, nowS } = this.#parts;
    verifyReceipt(suite, backend, identity.certHash, upload.message, receipt);
    await store.acknowledge(upload.positions);
    this.#delivery = { lastS: nowS() };
  }

  /** @throws as `verifyRenewal`; VerificationError `not-listed`; what the backend throws */
  async #renew(message: Uint8Array): Promise<Uint8Array> {
    const { suite, trustedRoots, nowS, relayRenewal } = this.#parts;
    const { holder } = verifyRenewal({ suite, trustedRoots, nowS: nowS() }, message);
    if (!this.#groups.some((group) => group.lists(holder.certHash))) {
      throw new VerificationError('not-listed', 'no member of any group here');
    }
    await relayRenewal?.(message);
    return nothing;
  }

  /** Commands of a group that are here and go on, the newest first. */
  async keptCommands(gid: Uint8Array): Promise<readonly KeptCommand[]> {
    const { store, nowS } = this.#parts;
    const kept = await store.commands.commands(gid, limits.commandsWaiting);
    return kept.filter(({ expiresS }) => expiresS >= nowS());
  }

  /** Receipts of a command that are here. */
  commandReceipts(id: Uint8Array): Promise<readonly KeptCommandReceipt[]> {
    return this.#relay.receipts(id);
  }

  /** The room for the outbox has become scarce, or is no longer. */
  outboxChanged(): void {
    this.#emitter?.propertyChanged('outbox');
  }

  /** For the outbox's status: why nothing is delivered. */
  deliveryFailed(errorCode: string): void {
    this.#delivery = { ...this.#delivery, errorCode };
  }
}

const nothing = new Uint8Array(0);

/** @throws ConflictError `epoch-stale` */
function assertCurrent({ activeEpoch }: Coordination, epoch: number): void {
  if (epoch !== (activeEpoch?.name.epoch ?? 0)) {
    throw new ConflictError('epoch-stale', 'the request names an epoch that is not the current one');
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new MalformedError('td-invalid', 'the TD is not JSON', cause);
  }
}
