/**
 * A real gateway and real meters in one process, each with its database on disk; only the network between them and the
 * time are a test's. The gateway keeps its groups keyed as it does in its own process.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { equalBytes, toHex } from '../../crypto/bytes.js';
import { CertificateCache } from '../../crypto/certificate/cache.js';
import { hpkeOpen, hpkeSeal, deriveKeyPair } from '../../crypto/hpke.js';
import { GridringError, UnavailableError } from '../../crypto/errors.js';
import type { MembershipList } from '../../crypto/membership.js';
import { encodeLeaveRequest, encodeRevokeRequest } from '../../crypto/ring/requests.js';
import { encodeEndorsementBundle, signEndorsement } from '../../crypto/ring/endorsement.js';
import { verifyRecord } from '../../crypto/ring/record.js';
import { decodeMemberState, type EpochKey, type MemberState } from '../../crypto/ring/member-state.js';
import type { Closable } from '../../servients/stores/sqlite/database.js';
import { openGatewayStore } from '../../servients/stores/sqlite/gateway-store.js';
import { openMeterStore } from '../../servients/stores/sqlite/meter-store.js';
import type { EpochOutcome } from '../../things/coordination.js';
import type { MemberAction } from '../../things/epoch-run.js';
import { Gateway } from '../../things/gateway.js';
import { Meter } from '../../things/meter.js';
import { RoundFollower } from '../../things/round-follower.js';
import type { GatewayStore, MeterStore } from '../../things/stores.js';
import { at, signAs } from './forge.js';
import { nowS, seededRandom, type Neighbourhood, type Principal } from './neighbourhood.js';
import { VirtualClock } from './virtual-clock.js';

export interface Resident {
  readonly principal: Principal;
  readonly store: MeterStore & Closable;
  readonly meter: Meter;
  readonly follower: RoundFollower;
  /** Cannot be called; it comes by itself. */
  readonly asleep: boolean;
  /** Under which it was known before. */
  readonly former?: readonly Uint8Array[];
}

export interface VillagePlan {
  /** One list for each group; the first is that of `n`. */
  readonly lists?: readonly MembershipList[];
  /** Meters beyond those of `n`. */
  readonly more?: readonly Principal[];
  /** Positions of those that cannot be called. */
  readonly asleep?: readonly number[];
}

/** What the network does with a call to a member; `deliver` gives the member's own answer. */
type Network = (
  to: number,
  action: MemberAction,
  message: Uint8Array,
  deliver: (message: Uint8Array) => Promise<Uint8Array>,
) => Promise<Uint8Array>;

const honest: Network = (_to, _action, message, deliver) => deliver(message);
export const windowMs = 2_000;
export const sleeperDeadlineMs = 120_000;
/** Parsing the same certificates again is what would cost most; all villages are of one suite. */
const certificateCache = new CertificateCache();
const issuingOf = (n: Neighbourhood): Uint8Array => at(n.certificates, 0);

export class Village {
  readonly n: Neighbourhood;
  readonly clock = new VirtualClock(nowS);
  readonly residents: Resident[];
  readonly epochs: EpochOutcome[] = [];
  readonly failures: string[] = [];
  /** `change meter` of every event `memberChanged`. */
  readonly changes: string[] = [];
  /** `action meter` of every call. */
  readonly calls: string[] = [];
  network = honest;
  /** Seconds by which all clocks are behind, once they were set right. */
  setBack = 0;
  /** Seconds by which one clock is ahead of the others, by the certificate's id. */
  readonly ahead = new Map<string, number>();
  /** Quota of the gateway's database from its next start on. */
  gatewayBytes: number | undefined;
  gateway!: Gateway;
  store!: GatewayStore & Closable;
  readonly #folder: string;
  readonly #bundles: readonly Uint8Array[];
  #running = new AbortController();
  #kept: Promise<void> = Promise.resolve();

  private constructor(n: Neighbourhood, folder: string, residents: Resident[], bundles: readonly Uint8Array[]) {
    this.n = n;
    this.#folder = folder;
    this.residents = residents;
    this.#bundles = bundles;
  }

  static async build(n: Neighbourhood, plan: VillagePlan = {}): Promise<Village> {
    const { lists = [n.list()], more = [], asleep = [] } = plan;
    const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'gridring-village-'));
    const residents: Resident[] = [];
    const village = new Village(
      n,
      folder,
      residents,
      lists.map((list) => n.bundle(list, more)),
    );
    for (const [i, principal] of [...n.meters, ...more].entries()) {
      const store = openMeterStore(join(folder, `meter-${String(i)}.sqlite`));
      residents.push({ ...(await village.#loaded(principal, store)), asleep: asleep.includes(i) });
    }
    await village.startGateway();
    return village;
  }

  async #loaded(principal: Principal, store: MeterStore & Closable): Promise<Omit<Resident, 'asleep'>> {
    const parts = {
      ...{ ...this.#partsOf(principal), store, readingIntervalS: 60, sourceName: 'replay' },
      interval: { takes: (intervalS: number) => intervalS % 60 === 0, set: () => undefined },
    };
    const meter = await Meter.load(parts);
    return { principal, store, meter, follower: new RoundFollower(meter, parts.log) };
  }

  /** A meter takes another certificate, and goes on with what is on its disk. */
  async takeCertificate(i: number, renewed: Principal): Promise<void> {
    const { principal, store, asleep, former = [] } = at(this.residents, i);
    this.residents[i] = {
      ...(await this.#loaded(renewed, store)),
      ...{ asleep, former: [...former, principal.certHash] },
    };
  }

  #partsOf({ certificate, certHash, kid, signer }: Principal) {
    return {
      suite: this.n.suite,
      identity: { id: certificate.id, certHash, kid, signer, certificates: [certificate.der, issuingOf(this.n)] },
      trustedRoots: [this.n.root],
      certificateCache,
      nowS: () => this.nowS(certificate.id),
      random: seededRandom(`${certificate.id}/${String(this.clock.nowMs)}`),
      log: { info: () => undefined, warn: () => undefined },
      version: '0.1.0',
    };
  }

  /** What a member's clock shows. */
  nowS(id: string): number {
    return this.clock.nowS - this.setBack + (this.ahead.get(id) ?? 0);
  }

  async startGateway(bundles = this.#bundles): Promise<void> {
    const { clock } = this;
    const quota = this.gatewayBytes === undefined ? {} : { maxBytes: this.gatewayBytes };
    this.store = openGatewayStore(join(this.#folder, 'gateway.sqlite'), quota);
    this.gateway = await Gateway.load(
      {
        ...this.#partsOf(this.n.gateway),
        store: this.store,
        members: { invoke: (member, action, message) => this.#call(member, action, message) },
        nowMs: () => clock.nowMs,
        sleep: clock.sleep,
        windowMs,
        roundDeadlineMs: 5_000,
        sleeperDeadlineMs,
        maxAttempts: 3,
        settled: () => true,
        tdFault: () => undefined,
        onEnrolled: () => undefined,
        onAgreement: () => undefined,
        onEpoch: (outcome) => this.epochs.push(outcome),
        onFailed: ({ code }) => this.failures.push(code),
        onMembership: () => undefined,
      },
      bundles,
    );
    this.gateway.attach({
      propertyChanged: () => undefined,
      event: (name, data) => {
        const { change, id } = data as { readonly change: string; readonly id: string };
        if (name === 'memberChanged') this.changes.push(`${change} ${id.replace('urn:gridring:meter:', '')}`);
      },
    });
    this.#running = new AbortController();
    this.#kept = this.gateway.keepKeyed(this.#running.signal);
  }

  /** As a process that is killed would: nothing is finished. */
  async stopGateway(): Promise<void> {
    this.#running.abort();
    this.gateway.stop();
    await this.clock.until(this.#kept);
    this.store.close();
  }

  /** The gateway dies and its disk with it; it is started again on an empty one. */
  async loseGateway(): Promise<void> {
    await this.stopGateway();
    for (const end of ['', '-wal', '-shm']) rmSync(join(this.#folder, `gateway.sqlite${end}`), { force: true });
    await this.startGateway();
  }

  async close(): Promise<void> {
    await this.stopGateway();
    for (const { store } of this.residents) store.close();
    rmSync(this.#folder, { recursive: true });
  }

  #call(member: Uint8Array, action: MemberAction, message: Uint8Array): Promise<Uint8Array> {
    const i = this.residents.findIndex(({ principal, former = [] }) =>
      [principal.certHash, ...former].some((certHash) => equalBytes(certHash, member)),
    );
    const { meter, asleep } = at(this.residents, i);
    if (asleep) throw new UnavailableError('form-missing', 'it cannot be called');
    this.calls.push(`${action} ${String(i)}`);
    return this.network(i, action, message, async (bytes) => invoke(meter, action, bytes));
  }

  async enrol(...who: readonly number[]): Promise<void> {
    for (const i of who) {
      const { meter, principal, asleep } = at(this.residents, i);
      const { id } = principal.certificate;
      const forms = [{ href: `coap://127.0.0.1/${id}/actions/rekey`, contentType: 'application/cose' }];
      const td = { id: `urn:gridring:meter:${id}`, actions: asleep ? {} : { rekey: { forms } } };
      const bundle = await invoke(this.gateway, 'enrol', meter.enrolment(JSON.stringify(td)));
      await invoke(meter, 'updateMembership', bundle);
    }
  }

  async enrolAll(): Promise<void> {
    await this.enrol(...this.n.meters.keys());
  }

  /** Lets time pass until so many epochs in all were agreed. */
  epochsAgreed(count: number): Promise<EpochOutcome> {
    return this.until(() => this.epochs[count - 1]);
  }

  /** Lets time pass until there is something. */
  until<T>(look: () => T | undefined): Promise<T> {
    const looking = async (): Promise<T> => {
      for (let looks = 0; looks < 20_000; looks++) {
        const found = look();
        if (found !== undefined) return found;
        await this.clock.sleep(50);
      }
      const { epochs, failures, changes } = this;
      throw new Error(`it does not come: ${JSON.stringify({ epochs, failures, changes })}`);
    };
    return this.clock.until(looking());
  }

  /** Lets so much time pass. */
  pass(ms: number): Promise<void> {
    return this.clock.until(this.clock.sleep(ms));
  }

  async state(i: number, gid = this.n.gid): Promise<MemberState> {
    const bytes = await at(this.residents, i).store.loadMember(gid);
    if (!bytes) throw new Error(`meter ${i} is in no group`);
    return decodeMemberState(bytes);
  }

  async key(i: number, gid = this.n.gid): Promise<EpochKey> {
    const { active } = await this.state(i, gid);
    if (!active) throw new Error(`meter ${i} has no active key`);
    return active;
  }

  /** A meter that cannot be called does one step with what the gateway shows. */
  async wake(i: number): Promise<void> {
    const { submissions } = await at(this.residents, i).follower.follow(await this.gateway.properties['round']!());
    for (const { action, message } of submissions) await invoke(this.gateway, action, message);
  }

  /** A meter seals one more reading, and delivers all that it has. */
  async read(i: number): Promise<void> {
    const { meter, principal } = at(this.residents, i);
    const energyTotalWh = 10 * (meter.lastSequence + 1);
    const timeS = this.nowS(principal.certificate.id);
    await meter.report({ timeS, intervalS: 60, energyTotalWh, source: 'replay', missing: true });
    await this.deliver(i);
  }

  async deliver(i: number): Promise<void> {
    const { meter } = at(this.residents, i);
    for (let upload = await meter.nextUpload(); upload; upload = await meter.nextUpload()) {
      await meter.acknowledge(upload, await invoke(this.gateway, 'submitReadings', upload.message));
    }
  }

  async leave(i: number, currentEpoch: number, timeS = this.clock.nowS): Promise<void> {
    const payload = encodeLeaveRequest({ gid: this.n.gid, currentEpoch, timeS });
    await invoke(
      this.gateway,
      'leave',
      signAs(this.n.suite, at(this.residents, i).principal, 'leave', this.n.gid, payload),
    );
  }

  async revoke(i: number, by: Principal = this.n.operator): Promise<void> {
    const { certHash } = at(this.residents, i).principal;
    const payload = encodeRevokeRequest({ gid: this.n.gid, certHash, timeS: this.clock.nowS });
    await invoke(this.gateway, 'revoke', signAs(this.n.suite, by, 'revoke', this.n.gid, payload));
  }

  updateMembership(list: MembershipList, extra: readonly Principal[] = []): Promise<Uint8Array> {
    return invoke(this.gateway, 'updateMembership', this.n.bundle(list, extra));
  }

  /** The backend verifies the newest record and gives its word for it, as the gateway brings it. */
  async endorse(): Promise<void> {
    const { suite, backend } = this.n;
    for (const agreed of await this.store.unreportedRecords()) {
      const { name } = verifyRecord(suite, this.gateway.group(agreed.gid).membership, agreed.record, this.clock.nowS);
      const certificates = [backend.certificate.der, issuingOf(this.n)];
      const endorsement = signEndorsement(suite, backend, name, agreed.record);
      await this.gateway.recorded(agreed, encodeEndorsementBundle(endorsement, certificates));
    }
  }

  /** What `groups` shows of a meter. */
  async shown(i: number): Promise<Record<string, unknown>> {
    const value = await this.gateway.properties['groups']!();
    const { groups } = value as {
      readonly groups: readonly { readonly members: readonly Record<string, unknown>[] }[];
    };
    const certHash = toHex(at(this.residents, i).principal.certHash);
    return at(groups, 0).members.find((member) => member['certHash'] === certHash) ?? {};
  }

  async property(name: string): Promise<Record<string, unknown>> {
    const { groups } = (await this.gateway.properties[name]!()) as { readonly groups: readonly object[] };
    return at(groups, 0) as Record<string, unknown>;
  }
}

export async function invoke(
  thing: Pick<Gateway | Meter, 'actions'>,
  name: string,
  message: Uint8Array,
): Promise<Uint8Array> {
  const action = thing.actions[name];
  if (action?.kind !== 'message') throw new Error(`${name} is no message action`);
  return action.invoke(message);
}

/** The code of a refusal that comes late. @throws Error when nothing was refused */
export async function refusalOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (error instanceof GridringError) return error.code;
    throw error;
  }
  throw new Error('was accepted');
}

export interface Ciphertext {
  readonly enc: Uint8Array;
  readonly ciphertext: Uint8Array;
}

const secret = new TextEncoder().encode('for the group alone');
const none = new Uint8Array(0);

/** Something sealed to the group's public key of an epoch, as anyone may. */
export const sealTo = ({ suite }: Neighbourhood, { groupPublicKey }: EpochKey): Ciphertext =>
  hpkeSeal(suite, groupPublicKey, none, none, secret, seededRandom('ciphertext'));

/** Whether any key that a meter has on its disk opens it. */
export function opens({ suite }: Neighbourhood, { active, previous }: MemberState, sealed: Ciphertext): boolean {
  return [active, previous?.key].some((key) => {
    if (!key) return false;
    try {
      hpkeOpen(suite, deriveKeyPair(suite, key.groupSeed).key, sealed.enc, none, none, sealed.ciphertext);
      return true;
    } catch (error) {
      if (error instanceof GridringError) return false;
      throw error;
    }
  });
}
