/** One meter in two groups of one gateway: metering, under whose policy readings are sealed, and diagnostics. */
import { afterEach, describe, expect, it } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { parseReading } from '../../crypto/envelope/reading.js';
import { roleBit, type MembershipList } from '../../crypto/membership.js';
import { announce } from '../../crypto/ring/coordinator.js';
import { encodeMemberState } from '../../crypto/ring/member-state.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { openMeterStore } from '../../servients/stores/sqlite/meter-store.js';
import { Meter } from '../../things/meter.js';
import { RoundFollower } from '../../things/round-follower.js';
import type { MeterStore } from '../../things/stores.js';
import { makeTemporaryFolder, removeFolder } from '../servients/stores/sqlite-places.js';
import { at, neighbourhoodOf } from '../support/forge.js';
import { nowS, seededRandom } from '../support/neighbourhood.js';
import { Town } from '../support/town.js';

const n = neighbourhoodOf(suiteX25519, 3);
const metering = n.list();
/** Its gid is the lower one, so that not the order decides where readings go. */
const diagnostics: MembershipList = {
  ...n.list({ policy: { readings: [] } }),
  gid: metering.gid.map((byte, i) => (i === 0 ? 0 : byte)),
};

let folder: string;
let town: Town | undefined;
afterEach(() => {
  town?.close();
  removeFolder(folder);
});

async function makeTown(...lists: readonly MembershipList[]): Promise<Town> {
  folder = makeTemporaryFolder();
  town = new Town(n, folder, { bundles: lists.map((list) => n.bundle(list)) });
  await town.startAll();
  for (const i of n.meters.keys()) await town.enrol(i);
  return town;
}

const everybody = [0, 1, 2] as const;

describe('a meter in two groups', () => {
  it('has a key of each, and each has epochs of its own', async () => {
    const town = await makeTown(metering, diagnostics);
    await Promise.all([town.rekey(metering.gid), town.rekey(diagnostics.gid)]);
    await town.rekey(metering.gid);
    for (const i of everybody) {
      const [first, second] = [await town.activeKey(i, metering.gid), await town.activeKey(i, diagnostics.gid)];
      expect([first.name.epoch, second.name.epoch]).toEqual([2, 1]);
      expect(first.groupKey).not.toEqual(second.groupKey);
      expect(first.groupKey).toEqual((await town.activeKey(0, metering.gid)).groupKey);
      expect(second.groupKey).toEqual((await town.activeKey(0, diagnostics.gid)).groupKey);
      for (const { gid } of [metering, diagnostics]) {
        expect(encodeMemberState(await town.memberState(i, gid)).length).toBeLessThan(1_500);
      }
    }
    await town.start(0);
    expect(town.meter(0).groups.states.map(({ active }) => active?.name.epoch)).toEqual([1, 2]);
  });

  it('seals its readings in the group whose policy says who reads them, and waits for the key of that one', async () => {
    const town = await makeTown(diagnostics, metering);
    await town.rekey(diagnostics.gid);
    expect(town.meter(0).keyed).toBe(false);
    await expect(town.measure(0, 1)).rejects.toMatchObject({ code: 'not-keyed' });
    await town.rekey(metering.gid);
    await town.measure(0, 1);
    await town.upload(0);
    expect((await town.delivered()).map((message) => parseReading(n.suite, message).gid)).toEqual([metering.gid]);
  });

  it('seals them in the one with the lowest gid when two policies say so', async () => {
    const alsoRead = { ...diagnostics, policy: metering.policy };
    const town = await makeTown(metering, alsoRead);
    await Promise.all([town.rekey(metering.gid), town.rekey(alsoRead.gid)]);
    await town.measure(1, 1);
    await town.upload(1);
    expect((await town.delivered()).map((message) => parseReading(n.suite, message).gid)).toEqual([alsoRead.gid]);
  });

  it('is left out of one without a word about the other', async () => {
    const without = { ...diagnostics, entries: diagnostics.entries.filter(({ roles }) => roles !== roleBit.member) };
    const others = n.meters.slice(1).map(({ certHash }) => ({ certHash, roles: roleBit.member, hpkeKey: null }));
    const smaller = { ...without, entries: [...without.entries, ...others] };
    const town = await makeTown(metering, smaller);
    await Promise.all([town.rekey(metering.gid), town.rekey(smaller.gid)]);
    expect(town.meter(0).groups.states.map(({ gid }) => toHex(gid))).toEqual([toHex(metering.gid)]);
    expect(town.meter(1).groups.states).toHaveLength(2);
  });

  it('that cannot be called takes one step in each at a waking, though they are in different rounds', async () => {
    const town = await makeTown(metering, diagnostics);
    const follower = new RoundFollower(town.meter(2), { info: () => undefined, warn: () => undefined });
    await town.meter(2).groups.updateMembership(n.bundle(diagnostics));
    town.letSleep(2);
    await town.enrol(2);
    // No time passes but what the rounds take.
    const rekeyed = [town.gateway.group(metering.gid).rekey('founding')];
    let wakings = 0;
    for (; town.meter(2).groups.states.filter(({ active }) => active).length < 2 && wakings < 8; wakings++) {
      if (wakings === 1) rekeyed.push(town.gateway.group(diagnostics.gid).rekey('founding'));
      await new Promise(setImmediate);
      const shown: unknown = JSON.parse(JSON.stringify(await town.gateway.properties['round']!()));
      for (const { action, message } of (await follower.follow(shown)).submissions) await town.submit(action, message);
    }
    await town.clock.until(Promise.all(rekeyed));
    expect(wakings).toBe(5);
    const keys = await Promise.all([0, 2].map((i) => town.activeKey(i, diagnostics.gid)));
    expect(at(keys, 0).groupKey).toEqual(at(keys, 1).groupKey);
  });
});

describe('a group that waits for its disk', () => {
  it('keeps neither the rounds of another nor the readings waiting', async () => {
    const town = await makeTown(metering, diagnostics);
    await town.rekey(metering.gid);
    await town.rekey(diagnostics.gid);
    const store = openMeterStore(`${folder}/meter-0.db`);
    let release = (): void => undefined;
    const slow = new Promise<void>((resolve) => (release = resolve));
    const stalled: MeterStore = new Proxy(store, {
      get: (target, name) => {
        const method: unknown = Reflect.get(target, name);
        if (typeof method !== 'function') return method;
        return async (...args: readonly unknown[]): Promise<unknown> => {
          if (name === 'saveMember' && toHex(args[0] as Uint8Array) === toHex(diagnostics.gid)) await slow;
          return Reflect.apply(method, target, args) as unknown;
        };
      },
    });
    const { certificate, certHash, kid, signer } = at(n.meters, 0);
    const meter = await Meter.load({
      suite: n.suite,
      identity: { id: certificate.id, certHash, kid, signer, certificates: [certificate.der] },
      trustedRoots: [n.root],
      nowS: () => nowS,
      random: seededRandom('slow'),
      log: { info: () => undefined, warn: () => undefined },
      version: '0.0.0',
      store: stalled,
      readingIntervalS: 60,
      sourceName: 'replay',
    });
    const shareOf = (list: MembershipList): Promise<Uint8Array> => {
      const plan = { epoch: 9, attempt: 1, reason: 'periodic', expiryS: nowS + 60 } as const;
      return meter.groups.take(
        'announcement',
        announce(n.coordinatorContext(n.membership(list)), plan).announcementMessage,
      );
    };
    const events: string[] = [];
    const waiting = shareOf(diagnostics).then(() => events.push('diagnostics'));
    await shareOf(metering).then(() => events.push('metering'));
    await meter.report({ timeS: nowS, intervalS: 60, energyTotalWh: 0, source: 'replay', missing: true });
    events.push('reading');
    release();
    await waiting;
    expect(events).toEqual(['metering', 'reading', 'diagnostics']);
    store.close();
  });
});
