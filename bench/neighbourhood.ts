/** Meters as Things on CoAP ports of their own, each with its own store, in one process. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Servient } from '@node-wot/core';
import { toHex } from '../crypto/bytes.js';
import { CertificateCache } from '../crypto/certificate/cache.js';
import { decodeMemberState } from '../crypto/ring/member-state.js';
import { CoapClientFactory } from '../servients/bindings/coap-client.js';
import { CoapServer } from '../servients/bindings/coap-server.js';
import { invokeMessage } from '../servients/consume.js';
import { exposeThing } from '../servients/expose.js';
import { noImpairment, type Impairment } from '../servients/sim/impairment.js';
import { startSimulator } from '../servients/sim/simulator.js';
import { openMeterStore } from '../servients/stores/sqlite/meter-store.js';
import { makeThing } from '../td/make-td.js';
import type { Members } from '../things/epoch-run.js';
import { Meter } from '../things/meter.js';
import type { Identity } from '../things/parts.js';
import type { MeterStore } from '../things/stores.js';
import { nowS, random, type Deployment } from './deployment.js';
import { MemoryMeterStore } from './memory-store.js';

export type StoreKind = 'memory' | 'sqlite';

/** A link to each meter that is late by 50 ms and loses 5 % of the datagrams, in each direction; or none that does. */
export type Network = 'loopback' | 'impaired';

const impairment: Impairment = { ...noImpairment, lossRate: 0.05, delayMs: { min: 50, max: 50 } };
/** Each meter's link has random numbers of its own from it. */
const seed = 'benchmark';

export interface Neighbourhood {
  /** The gateway's way to the meters. */
  readonly members: Members;
  /** Each meter's introduction to its gateway, with its TD. */
  readonly enrolments: readonly Uint8Array[];
  /** Where a gateway may keep its store, beside those of the meters. */
  readonly gatewayStorePath: string;
  /** Of the meters' CoAP servers, in their order. */
  readonly ports: readonly number[];
  /** The group key that is active at a meter, from its store; undefined where none is. */
  readonly keyOf: (meter: Identity) => Promise<Uint8Array | undefined>;
  close(): Promise<void>;
}

const version = 'benchmark';
const silentLog = { info: () => undefined, warn: () => undefined };

/** Starts every meter on a free port of the loopback interface, and gives each the membership list. */
export async function startNeighbourhood(
  deployment: Deployment,
  { store: storeKind, network }: { readonly store: StoreKind; readonly network: Network },
): Promise<Neighbourhood> {
  const folder = mkdtempSync(join(tmpdir(), 'gridring-bench-'));
  const gateway = new Servient();
  gateway.addClientFactory(new CoapClientFactory());
  const closers: (() => unknown)[] = [
    () => gateway.shutdown(),
    () => {
      rmSync(folder, { recursive: true });
    },
  ];
  const close = async (): Promise<void> => {
    for (const end of closers) await end();
  };
  const things = new Map<string, WoT.ConsumedThing>();
  const ports: number[] = [];
  const enrolments: Uint8Array[] = [];
  const stores = new Map<string, MeterStore>();
  try {
    const wot = await gateway.start();
    for (const identity of deployment.meters) {
      const { store, closeStore } = openStore(storeKind, join(folder, `${identity.id}.db`));
      closers.unshift(closeStore);
      stores.set(identity.id, store);
      const servient = new Servient();
      const server = new CoapServer({ port: 0, address: '127.0.0.1' });
      servient.addServer(server);
      closers.unshift(() => servient.shutdown());
      const { meter, td } = await startMeter(deployment, identity, store, servient);
      enrolments.push(meter.enrolment(JSON.stringify(td)));
      const port = server.getPort();
      ports.push(port);
      const reached = network === 'impaired' ? await behindBadNetwork(td, port, identity.id, closers) : td;
      things.set(toHex(identity.certHash), await wot.consume(reached));
    }
  } catch (error) {
    await close();
    throw error;
  }
  const members: Members = {
    invoke: (member, action, message) => {
      const thing = things.get(toHex(member));
      if (!thing) throw new TypeError('a member that was not started');
      return invokeMessage(thing, action, message);
    },
  };
  const keyOf = async ({ id }: Identity): Promise<Uint8Array | undefined> => {
    const state = await stores.get(id)?.loadMember(deployment.gid);
    return state && decodeMemberState(state).active?.groupKey;
  };
  return {
    members,
    enrolments,
    gatewayStorePath: join(folder, 'gateway.db'),
    ports,
    keyOf,
    close,
  };
}

/** @returns the TD with the simulator's port in the place of the meter's */
async function behindBadNetwork(
  td: WoT.ThingDescription,
  port: number,
  id: string,
  closers: (() => unknown)[],
): Promise<WoT.ThingDescription> {
  const address = '127.0.0.1';
  const link = { protocol: 'udp', listen: { address, port: 0 }, target: { address, port } } as const;
  const simulator = await startSimulator({ links: [link], impairment, seed: `${seed} ${id}` });
  closers.unshift(() => simulator.close());
  const listening = simulator.links[0]?.listen.port ?? port;
  return JSON.parse(JSON.stringify(td).replaceAll(`:${port}/`, `:${listening}/`)) as WoT.ThingDescription;
}

function openStore(kind: StoreKind, path: string): { readonly store: MeterStore; readonly closeStore: () => void } {
  if (kind === 'memory') return { store: new MemoryMeterStore(), closeStore: () => undefined };
  const store = openMeterStore(path);
  return {
    store,
    closeStore: () => {
      store.close();
    },
  };
}

async function startMeter(
  { suite, root, membershipBundle }: Deployment,
  identity: Identity,
  store: MeterStore,
  servient: Servient,
): Promise<{ readonly meter: Meter; readonly td: WoT.ThingDescription }> {
  const meter = await Meter.load({
    suite,
    identity,
    trustedRoots: [root],
    // Of its own, as on a device of its own.
    certificateCache: new CertificateCache(),
    store,
    nowS,
    random,
    log: silentLog,
    version,
    readingIntervalS: 60,
    sourceName: 'none',
  });
  await meter.groups.updateMembership(membershipBundle);
  const instance = { id: `urn:gridring:meter:${identity.id}`, title: identity.id, version };
  const thing = await exposeThing(servient, makeThing('meter', instance), meter);
  return { meter, td: thing.getThingDescription() };
}
