/** A real gateway and real meters in memory, with a bad network and clocks that are off between them; time is virtual. */
import { join } from 'node:path';
import { MemoryMeterStore } from '../../bench/memory-store.js';
import { toHex } from '../../crypto/bytes.js';
import { CertificateCache } from '../../crypto/certificate/cache.js';
import { GridringError } from '../../crypto/errors.js';
import { decodeMemberState, memberRef, type EpochKey } from '../../crypto/ring/member-state.js';
import { verifyRecord } from '../../crypto/ring/record.js';
import { configSchema, type GatewayConfig } from '../../servients/config.js';
import type { Impairment } from '../../servients/sim/impairment.js';
import { openGatewayStore } from '../../servients/stores/sqlite/gateway-store.js';
import { makeThing } from '../../td/make-td.js';
import { validateTd } from '../../td/validate-td.js';
import { makeTemporaryFolder, removeFolder } from '../servients/stores/sqlite-places.js';
import { withForms } from '../td/with-forms.js';
import type { EpochOutcome } from '../../things/coordination.js';
import { Gateway } from '../../things/gateway.js';
import { Meter } from '../../things/meter.js';
import { at } from './forge.js';
import { nowS, seededRandom, type Neighbourhood, type Principal } from './neighbourhood.js';
import { VirtualClock } from './virtual-clock.js';
import { VirtualLink, type NetworkCounts } from './virtual-network.js';

export interface ImpairedPlan {
  readonly n: Neighbourhood;
  readonly impairment: Impairment;
  readonly seed: string;
  /** Of each meter's clock, by position; 0 where there is none. */
  readonly clockErrorsS?: readonly number[];
  /** Instead of the configuration's defaults. */
  readonly group?: Partial<GatewayConfig['group']>;
}

export interface Impaired {
  /** What the gateway reports; or the code of its error. */
  readonly outcome: EpochOutcome | string;
  readonly tookS: number;
  /** Active keys of the meters, by position. */
  readonly keys: readonly (EpochKey | null)[];
  /** Code of the refusal of each meter's enrolment, by position. */
  readonly refusals: readonly (string | undefined)[];
  /** `memberRef` of each in the roster of the newest record, sorted; none when there is no record. */
  readonly roster: readonly string[];
  readonly network: NetworkCounts;
}

/** The `group` part of a gateway's configuration as it ships. */
export const groupDefaults = ((): GatewayConfig['group'] => {
  const { properties } = configSchema('gateway') as {
    readonly properties: {
      readonly group: { readonly properties: Readonly<Record<string, { readonly default: number }>> };
    };
  };
  const defaults = Object.entries(properties.group.properties).map(([name, field]) => [name, field.default]);
  return Object.fromEntries(defaults) as GatewayConfig['group'];
})();

/** One for all: parsing certificates is not what these tests are about. */
const certificateCache = new CertificateCache();

const silent = { info: () => undefined, warn: () => undefined };

const partsOf = (n: Neighbourhood, { certificate, certHash, kid, signer }: Principal, seed: string) => ({
  suite: n.suite,
  identity: { id: certificate.id, certHash, kid, signer, certificates: [certificate.der, at(n.certificates, 0)] },
  trustedRoots: [n.root],
  certificateCache,
  random: seededRandom(`${seed}/${certificate.id}`),
  log: silent,
  version: '0.0.0',
});

/** Enrols all meters over a network without faults, founds the group over the bad one, and lets an hour pass. */
export async function foundImpaired({
  n,
  impairment,
  seed,
  clockErrorsS = [],
  group,
}: ImpairedPlan): Promise<Impaired> {
  const clock = new VirtualClock(nowS);
  const stores = n.meters.map(() => new MemoryMeterStore());
  const meters = await Promise.all(
    n.meters.map((principal, i) =>
      Meter.load({
        ...partsOf(n, principal, seed),
        nowS: () => clock.nowS + (clockErrorsS[i] ?? 0),
        store: at(stores, i),
        readingIntervalS: 60,
        sourceName: 'replay',
      }),
    ),
  );
  const links = new Map(
    n.meters.map(({ certHash }, i) => [
      toHex(certHash),
      new VirtualLink(clock, impairment, `${seed}/${String(i)}`, async (action, body) => {
        const handler = at(meters, i).actions[action];
        if (handler?.kind !== 'message') throw new Error(`no action ${action}`);
        return handler.invoke(body);
      }),
    ]),
  );
  const folder = makeTemporaryFolder();
  const store = openGatewayStore(join(folder, 'gateway.sqlite'));
  try {
    const gateway = await Gateway.load(
      {
        ...partsOf(n, n.gateway, seed),
        nowS: () => clock.nowS,
        nowMs: () => clock.nowMs,
        sleep: clock.sleep,
        store,
        members: { invoke: (member, action, message) => links.get(toHex(member))!.invoke(action, message) },
        ...groupDefaults,
        ...group,
        settled: () => true,
        tdFault: (td) => (validateTd(td).valid ? undefined : 'not a TD'),
        onEnrolled: () => undefined,
        onAgreement: () => undefined,
        onEpoch: () => undefined,
        onFailed: () => undefined,
        onMembership: () => undefined,
      },
      [n.bundle(n.list())],
    );
    const refusals = await Promise.all(meters.map((meter, i) => enrol(gateway, meter, at(n.meters, i))));
    const outcome = await clock.until(
      gateway
        .group(n.gid)
        .rekey('founding')
        .catch((error: unknown) => {
          if (error instanceof GridringError) return error.code;
          throw error;
        }),
    );
    const tookS = clock.nowS - nowS;
    await clock.until(clock.sleep(3_600_000));
    const record = (await store.latestRecord(n.gid))?.record;
    const roster = record ? verifyRecord(n.suite, n.membership(), record, nowS).roster.map(refOf).sort() : [];
    return { outcome, tookS, refusals, roster, keys: await Promise.all(stores.map(keyIn(n))), network: total(links) };
  } finally {
    store.close();
    removeFolder(folder);
  }
}

const refOf = (certHash: Uint8Array): string => toHex(memberRef(certHash));

async function enrol(gateway: Gateway, meter: Meter, { certificate: { id } }: Principal): Promise<string | undefined> {
  const init = makeThing('meter', { id: `urn:gridring:meter:${id}`, title: id, version: '0.0.0' });
  const td = JSON.stringify(withForms(init, `coap://192.0.2.1/${id}/`));
  try {
    const { enrol } = gateway.actions;
    if (enrol?.kind !== 'message') throw new Error('no action enrol');
    await meter.groups.updateMembership(await enrol.invoke(meter.enrolment(td)));
    return undefined;
  } catch (error) {
    if (error instanceof GridringError) return error.code;
    throw error;
  }
}

const keyIn =
  ({ gid }: Neighbourhood) =>
  async (store: MemoryMeterStore): Promise<EpochKey | null> => {
    const state = await store.loadMember(gid);
    return state ? decodeMemberState(state).active : null;
  };

function total(links: ReadonlyMap<string, VirtualLink>): NetworkCounts {
  const sum: NetworkCounts = { datagrams: 0, lost: 0, retransmissions: 0, timeouts: 0 };
  for (const { counts } of links.values()) {
    for (const name of Object.keys(sum) as (keyof NetworkCounts)[]) sum[name] += counts[name];
  }
  return sum;
}
