/**
 * A real gateway and real meters on real databases in one folder, by a clock that costs no time. Any of them can be made
 * to crash at a write, before or after it reaches the disk, and be started again from there.
 */
import { join } from 'node:path';
import { toHex } from '../../crypto/bytes.js';
import { UnavailableError } from '../../crypto/errors.js';
import { decodeMemberState, type EpochKey, type MemberState } from '../../crypto/ring/member-state.js';
import type { Closable } from '../../servients/stores/sqlite/database.js';
import { openGatewayStore } from '../../servients/stores/sqlite/gateway-store.js';
import { openMeterStore } from '../../servients/stores/sqlite/meter-store.js';
import { makeThing, makeUncallableTd } from '../../td/make-td.js';
import { validateTd } from '../../td/validate-td.js';
import type { ActionHandler } from '../../things/behaviour.js';
import type { EpochOutcome } from '../../things/coordination.js';
import { Gateway } from '../../things/gateway.js';
import { Meter } from '../../things/meter.js';
import type { GatewayStore, MeterStore } from '../../things/stores.js';
import { withForms } from '../td/with-forms.js';
import { at } from './forge.js';
import { nowS, seededRandom, type Neighbourhood, type Principal } from './neighbourhood.js';
import { VirtualClock } from './virtual-clock.js';

/** Which write of a process, counted from its start, ends it. */
export interface CrashPoint {
  readonly write: number;
  readonly when: 'before' | 'after';
}

/** The process is gone; nothing of it answers any more. */
export class Crash extends Error {}

/** A database as one process has it. */
interface Disk<Store> {
  readonly store: Store;
  readonly close: () => void;
  /** Names of the writes so far. */
  readonly writes: readonly string[];
  readonly crashed: () => boolean;
}

function diskOf<Store extends Closable>(real: Store, point: CrashPoint | undefined): Disk<Store> {
  const writes: string[] = [];
  let crashed = false;
  const crash = (): never => {
    crashed = true;
    throw new Crash('the process was killed');
  };
  const store = new Proxy(real, {
    get(target, name) {
      const method: unknown = Reflect.get(target, name);
      if (typeof method !== 'function') return method;
      return async (...args: readonly unknown[]): Promise<unknown> => {
        if (crashed) throw new Crash('the process is gone');
        const isWrite = /^(save|accept|acknowledge|hold|mark)/.test(String(name));
        if (isWrite) writes.push(String(name));
        const isLast = isWrite && writes.length === point?.write;
        if (isLast && point.when === 'before') crash();
        const result: unknown = await Reflect.apply(method, target, args);
        if (isLast) crash();
        return result;
      };
    },
  });
  return {
    store,
    writes,
    crashed: () => crashed,
    close: () => {
      real.close();
    },
  };
}

export type Who = 'gateway' | number;

const silent = { info: () => undefined, warn: () => undefined };

export class Town {
  readonly clock = new VirtualClock(nowS);
  readonly #n: Neighbourhood;
  readonly #folder: string;
  readonly #bundles: readonly Uint8Array[];
  readonly #onReply: (meter: number, action: string, message: Uint8Array, reply: Uint8Array) => void;
  readonly #meters = new Map<number, Meter>();
  readonly #meterDisks = new Map<number, Disk<MeterStore & Closable>>();
  readonly #opened: (() => void)[] = [];
  #gateway: Gateway | undefined;
  #gatewayDisk: Disk<GatewayStore & Closable> | undefined;
  readonly #asleep = new Set<number>();
  #starts = 0;

  /** `onReply` sees what meters answer to their gateway before it does. */
  constructor(
    n: Neighbourhood,
    folder: string,
    options: {
      readonly bundles?: readonly Uint8Array[];
      readonly onReply?: (meter: number, action: string, message: Uint8Array, reply: Uint8Array) => void;
    } = {},
  ) {
    this.#n = n;
    this.#folder = folder;
    this.#bundles = options.bundles ?? [n.bundle(n.list())];
    this.#onReply = options.onReply ?? (() => undefined);
  }

  get gateway(): Gateway {
    if (!this.#gateway) throw new Error('the gateway was not started');
    return this.#gateway;
  }

  meter(i: number): Meter {
    const meter = this.#meters.get(i);
    if (!meter) throw new Error(`meter ${i} was not started`);
    return meter;
  }

  #diskOf(who: Who): Disk<unknown> | undefined {
    return who === 'gateway' ? this.#gatewayDisk : this.#meterDisks.get(who);
  }

  /** Of the process since it was started last. */
  writesOf(who: Who): readonly string[] {
    return this.#diskOf(who)?.writes ?? [];
  }

  hasCrashed(who: Who): boolean {
    return this.#diskOf(who)?.crashed() ?? false;
  }

  /** Starts a process from what is on its disk, beside what a crash may have left of it. */
  async start(who: Who, point?: CrashPoint): Promise<void> {
    this.#starts += 1;
    if (who === 'gateway') await this.#startGateway(point);
    else await this.#startMeter(who, point);
  }

  async startAll(but?: Who): Promise<void> {
    for (const who of ['gateway', ...this.#n.meters.keys()] as const) if (who !== but) await this.start(who);
  }

  /** A restart leaves the old connection behind, as it was; this closes all. */
  close(): void {
    for (const close of this.#opened) close();
  }

  async #startGateway(point: CrashPoint | undefined): Promise<void> {
    const disk = diskOf(openGatewayStore(join(this.#folder, 'gateway.db')), point);
    this.#gatewayDisk = disk;
    this.#opened.push(disk.close);
    const { clock } = this;
    this.#gateway = await Gateway.load(
      {
        ...this.#partsOf(this.#n.gateway),
        store: disk.store,
        members: { invoke: (member, action, message) => this.#call(member, action, message) },
        nowMs: () => clock.nowMs,
        sleep: clock.sleep,
        windowMs: 0,
        roundDeadlineMs: 10_000,
        sleeperDeadlineMs: 10_000,
        maxAttempts: 3,
        settled: () => true,
        tdFault: (td) => (validateTd(td).valid ? undefined : 'not a TD'),
        onEnrolled: () => undefined,
        onAgreement: () => undefined,
        onEpoch: () => undefined,
        onFailed: () => undefined,
        onMembership: () => undefined,
      },
      this.#bundles,
    );
  }

  async #startMeter(i: number, point: CrashPoint | undefined): Promise<void> {
    const disk = diskOf(openMeterStore(join(this.#folder, `meter-${i}.db`)), point);
    this.#meterDisks.set(i, disk);
    this.#opened.push(disk.close);
    const meter = await Meter.load({
      ...this.#partsOf(at(this.#n.meters, i)),
      store: disk.store,
      readingIntervalS: 60,
      sourceName: 'replay',
    });
    this.#meters.set(i, meter);
  }

  #partsOf({ certificate, certHash, kid, signer }: Principal) {
    return {
      suite: this.#n.suite,
      identity: {
        id: certificate.id,
        certHash,
        kid,
        signer,
        certificates: [certificate.der, at(this.#n.certificates, 0)],
      },
      trustedRoots: [this.#n.root],
      nowS: () => this.clock.nowS,
      random: seededRandom(`${certificate.id}/${this.#starts}`),
      log: silent,
      version: '0.0.0',
    };
  }

  async #call(member: Uint8Array, action: string, message: Uint8Array): Promise<Uint8Array> {
    const i = this.#n.meters.findIndex(({ certHash }) => toHex(certHash) === toHex(member));
    if (this.#asleep.has(i)) throw new UnavailableError('unreachable', 'the meter sleeps');
    try {
      const reply = await handlerOf(this.meter(i).actions[action]).invoke(message);
      this.#onReply(i, action, message, reply);
      return reply;
    } catch (error) {
      if (error instanceof Crash) throw new UnavailableError('unreachable', 'the meter is gone');
      throw error;
    }
  }

  async enrol(i: number): Promise<void> {
    const { id } = at(this.#n.meters, i).certificate;
    const td = this.#asleep.has(i) ? uncallableTdOf(id) : tdOf(id);
    const bundle = await handlerOf(this.gateway.actions['enrol']).invoke(this.meter(i).enrolment(td));
    await this.meter(i).groups.updateMembership(bundle);
  }

  /** From now on the meter does not answer when it is called; its next enrolment says so. */
  letSleep(i: number): void {
    this.#asleep.add(i);
  }

  /** What a meter brings by itself. */
  async submit(action: string, message: Uint8Array): Promise<void> {
    await handlerOf(this.gateway.actions[action]).invoke(message);
  }

  /** Agrees on the next epoch of a group. @returns the outcome, once nothing of it is under way */
  rekey(gid = this.#n.gid): Promise<EpochOutcome> {
    return this.clock.until(this.gateway.group(gid).rekey('request'));
  }

  /** Reads until a meter has measured so often, one minute after the other. */
  async measure(i: number, count: number): Promise<void> {
    const meter = this.meter(i);
    while (meter.readings < count) {
      const timeS = (meter.lastReading?.timeS ?? nowS) + 60;
      await meter.report({ timeS, intervalS: 60, energyTotalWh: 0, source: 'replay', missing: true });
    }
  }

  /** Delivers all that a meter has. */
  async upload(i: number): Promise<void> {
    const meter = this.meter(i);
    for (let upload = await meter.nextUpload(); upload; upload = await meter.nextUpload()) {
      this.#onReply(i, 'submitReadings', upload.message, upload.message);
      const receipt = await handlerOf(this.gateway.actions['submitReadings']).invoke(upload.message);
      await meter.acknowledge(upload, receipt);
    }
  }

  /** What is on a meter's disk of a group. */
  async memberState(i: number, gid = this.#n.gid): Promise<MemberState> {
    const bytes = await this.#meterDisks.get(i)?.store.loadMember(gid);
    if (!bytes) throw new Error('no state');
    return decodeMemberState(bytes);
  }

  async activeKey(i: number, gid = this.#n.gid): Promise<EpochKey> {
    const { active } = await this.memberState(i, gid);
    if (!active) throw new Error('no active key');
    return active;
  }

  /** Everything that waits at the gateway, in order. */
  async delivered(): Promise<readonly Uint8Array[]> {
    const items = (await this.#gatewayDisk?.store.pending(10_000, 1e9)) ?? [];
    return items.filter(({ kind }) => kind === 'reading').map(({ message }) => message);
  }
}

function handlerOf(action: ActionHandler | undefined): Extract<ActionHandler, { readonly kind: 'message' }> {
  if (action?.kind !== 'message') throw new Error('no message action of that name');
  return action;
}

const instanceOf = (id: string) => ({ id: `urn:gridring:meter:${id}`, title: id, version: '0.0.0' });

const uncallableTdOf = (id: string): string => JSON.stringify(makeUncallableTd(instanceOf(id)));

const tds = new Map<string, string>();

function tdOf(id: string): string {
  const known = tds.get(id);
  if (known !== undefined) return known;
  const init = makeThing('meter', instanceOf(id));
  const td = JSON.stringify(withForms(init, `coap://192.0.2.1/${id}/`));
  tds.set(id, td);
  return td;
}
