/** A demonstration's deployment whose processes a scenario starts, kills, and looks into. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeMemberState } from '../crypto/ring/member-state.js';
import { suiteX25519 } from '../crypto/suite-node.js';
import { parseSign1 } from '../crypto/cose.js';
import { limits } from '../crypto/limits.js';
import { parseMembershipBundle, parseMembershipList } from '../crypto/membership.js';
import { Cast } from '../servients/demo/cast.js';
import { KeyWatch } from '../servients/demo/faults.js';
import { provisionDemo, type DemoPlan, type Deployment } from '../servients/demo/provision.js';
import { BackendClient } from '../servients/backend-client.js';
import { readReaderFile } from '../servients/reader-file.js';
import { Reader } from '../servients/reader.js';
import type { MeterSummary } from '../servients/meter-process.js';
import { makeLog } from '../servients/runtime.js';
import { openGatewayStore } from '../servients/stores/sqlite/gateway-store.js';
import { openMeterStore } from '../servients/stores/sqlite/meter-store.js';
import { require } from './scenario.js';

export class Town {
  readonly keys = new KeyWatch();
  readonly deployment: Deployment;
  readonly cast: Cast;
  readonly #plan: DemoPlan;
  readonly #gid: Uint8Array;
  readonly #closing = new AbortController();

  constructor(plan: DemoPlan) {
    this.#plan = plan;
    this.deployment = provisionDemo(plan);
    const { listMessage } = parseMembershipBundle(new Uint8Array(readFileSync(this.deployment.membership)));
    this.#gid = parseMembershipList(parseSign1(listMessage, limits.membership).payload).gid;
    const runtime = { log: makeLog('silent'), emit: () => undefined, version: '' };
    this.cast = new Cast(plan, this.deployment, runtime, this.#closing.signal, (event) => {
      this.keys.hear(event);
    });
  }

  /** Shortens what a demonstration is patient about. */
  configureGateway(group: object): void {
    this.#configure('gateway', (config) => ({ group: { ...(config['group'] as object), ...group } }));
  }

  configureBackend(change: object): void {
    this.#configure('backend', () => change);
  }

  #configure(role: 'backend' | 'gateway', change: (config: Readonly<Record<string, unknown>>) => object): void {
    const file = this.deployment.configs[role];
    const config = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
    writeFileSync(file, JSON.stringify({ ...config, ...change(config) }));
  }

  async start(): Promise<void> {
    if (this.#plan.network) await this.cast.start('sim');
    await this.cast.start('backend');
    const client = new BackendClient({ suite: suiteX25519, trustedRoots: [], url: this.deployment.backendUrl });
    await client.publishMembership(new Uint8Array(readFileSync(this.deployment.membership)));
    await Promise.all([this.cast.start('gateway'), this.cast.start('meter')]);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.cast.endAll();
  }

  /** Waits until all meters are keyed by the newest epoch. @returns how long that took, in milliseconds */
  async settled(withinMs: number): Promise<number> {
    const started = performance.now();
    const settled = await this.keys.settled(this.#plan.meters, withinMs);
    const { newest, keyed } = this.keys;
    const state = `${keyed} of ${this.#plan.meters} meters are keyed by epoch ${String(newest?.['epoch'])}`;
    require(settled, `after ${withinMs / 1_000} s ${state}, and the gateway agreed on no newer one`);
    return performance.now() - started;
  }

  /**
   * The highest attempts that the gateway has announced and the meters have answered, from their databases; of a role
   * whose process does not run.
   */
  async highWaterMarks(role: 'gateway' | 'meter'): Promise<ReadonlyMap<string, number>> {
    if (role === 'gateway') {
      const store = openGatewayStore(join(this.#plan.folder, 'gateway/data/gateway.db'));
      const announced = await store.loadAnnounced(this.#gid);
      store.close();
      return new Map([[role, markOf(announced)]]);
    }
    const marks = new Map<string, number>();
    for (const id of this.deployment.meterIds) {
      const store = openMeterStore(join(this.#plan.folder, 'meters', id, 'data/meter.db'));
      const state = await store.loadMember(this.#gid);
      marks.set(id, markOf(state && decodeMemberState(state).highWater));
      store.close();
    }
    return marks;
  }

  /**
   * Ends meters and gateway, and opens every reading of every meter: those that they do not have any more are at the
   * backend, each once, following the one before. @returns how many. @throws Error
   */
  async expectAllDelivered(): Promise<number> {
    const meters = ((await this.cast.end('meter'))?.['meters'] ?? []) as readonly MeterSummary[];
    const gateway = await this.cast.end('gateway');
    require(meters.length === this.#plan.meters, 'the meters did not end in order');
    const sent = meters.reduce((sum, { readings }) => sum + readings, 0);
    const kept = meters.reduce(
      (sum, { pendingReadings }) => sum + pendingReadings,
      Number(gateway?.['pendingReadings']),
    );
    const stored = await this.#expectUnbroken();
    require(sent - stored <= kept, `${sent} readings were taken, ${stored} are stored and ${kept} kept: some are lost`);
    return stored;
  }

  async #expectUnbroken(): Promise<number> {
    const reader = new Reader(readReaderFile(this.deployment.readers.utility));
    let readings = 0;
    for (const id of this.deployment.meterIds) {
      const { opened, closed, breaks } = await reader.read(id, { after: 0 });
      require(closed === 0, `${closed} readings of ${id} cannot be opened`);
      require(breaks === 0, `${id}: ${breaks} entries do not follow the one before`);
      readings += opened.length;
    }
    return readings;
  }
}

const markOf = (mark: { readonly epoch: number; readonly attempt: number } | undefined): number =>
  mark ? mark.epoch * 256 + mark.attempt : 0;

/** What all scenarios' deployments have in common. */
export const townPlan = (folder: string, seed: string, port: number): DemoPlan => ({
  ...{ folder, seed, port, suite: suiteX25519, profile: 'full', meters: 3, speed: 600, sleepy: 0 },
});
