/** Members that nobody can call: they wake up now and then, read what the gateway shows, and submit one step. */
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { toBase64Url, toHex } from '../../crypto/bytes.js';
import { announce } from '../../crypto/ring/coordinator.js';
import type { Published } from '../../crypto/ring/coordinator-state.js';
import { encodeEndorsementBundle, signEndorsement } from '../../crypto/ring/endorsement.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { EpochRun } from '../../things/epoch-run.js';
import { Meter } from '../../things/meter.js';
import { nextLookS, RoundFollower, type Followed } from '../../things/round-follower.js';
import { parseRounds, roundTypes } from '../../things/round.js';
import { placesOf } from '../servients/stores/factory.js';
import { sqliteMeterStores } from '../servients/stores/sqlite-places.js';
import { at, neighbourhoodOf, refusal } from '../support/forge.js';
import { nowS, seededRandom } from '../support/neighbourhood.js';

const n = neighbourhoodOf(suiteX25519, 4);
const bundle = n.bundle(n.list());
const constrained = n.list({ version: 2, policy: { profile: 'constrained' } });
const constrainedBundle = n.bundle(constrained);

/** Minutes pass between wakings; nobody waits for them here. */
let clockS = nowS;

const places = placesOf(sqliteMeterStores);

interface Home {
  readonly meter: Meter;
  readonly follower: RoundFollower;
  readonly log: string[];
}

async function makeHome(i: number, store?: Awaited<ReturnType<typeof openPlace>>): Promise<Home> {
  const { certificate, certHash, kid, signer } = at(n.meters, i);
  const log: string[] = [];
  const note = (fields: object): void => void log.push(String((fields as { code?: unknown }).code));
  const meter = await Meter.load({
    suite: n.suite,
    identity: { id: certificate.id, certHash, kid, signer, certificates: [certificate.der, at(n.certificates, 0)] },
    trustedRoots: [n.root],
    nowS: () => clockS,
    random: seededRandom(`${certificate.id}/${clockS}`),
    log: { info: note, warn: note },
    version: '0.1.0',
    store: (store ?? (await openPlace())).store,
    readingIntervalS: 60,
    sourceName: 'replay',
  });
  return { meter, follower: new RoundFollower(meter, { info: note, warn: note }), log };
}

async function openPlace() {
  const place = await places.place();
  return { place, ...(await place.open()) };
}

const makeHomes = async (): Promise<readonly Home[]> => {
  clockS = nowS;
  const homes = await Promise.all(n.meters.map((_, i) => makeHome(i)));
  for (const { meter } of homes) await meter.groups.updateMembership(bundle);
  return homes;
};

/** The gateway's side: what it runs, and what it shows of it. */
class Board {
  run!: EpochRun;
  endorsement: Uint8Array | undefined;

  /** All but the callable are waited for, however long they take. */
  announce(
    homes: readonly Home[],
    callable: readonly Home[],
    epoch = 1,
    membershipBundle = bundle,
  ): Promise<Published | undefined> {
    const membership = membershipBundle === bundle ? n.membership() : n.membership(constrained);
    const homeOf = new Map(n.meters.map(({ certHash }, i) => [toHex(certHash), homes[i]]));
    this.endorsement = undefined;
    this.run = new EpochRun(
      {
        context: () => ({ ...n.coordinatorContext(membership), nowS: clockS }),
        membershipBundle,
        members: {
          invoke: (member, action, message) => {
            const handler = homeOf.get(toHex(member))?.meter.actions[action];
            if (handler?.kind !== 'message') throw new Error(`no ${action}`);
            return handler.invoke(message);
          },
        },
        reach: (member) => (callable.includes(homeOf.get(toHex(member))!) ? 'callable' : 'awaited'),
        roundDeadlineMs: 1_000,
        sleeperDeadlineMs: 1_000_000,
        sleep: (_ms, signal) => once(signal, 'abort').then(() => undefined),
        onMemberFailed: () => undefined,
        onProgress: () => undefined,
      },
      { epoch, attempt: 1, reason: 'founding', expiryS: clockS + 1_800 },
    );
    return this.run.run().catch(() => undefined);
  }

  shown(membershipBundle?: Uint8Array): unknown {
    const { state, currentMessage } = this.run;
    const { gid, epoch, attempt } = state.announcement;
    const types = { shares: 0, tokens: 1, confirmations: 2, inconsistent: 2, published: 3 } as const;
    const entry = {
      gid: toHex(gid),
      epoch,
      attempt,
      type: roundTypes[types[state.kind]],
      message: toBase64Url(currentMessage),
      ...(this.endorsement && { endorsement: toBase64Url(this.endorsement) }),
      ...(membershipBundle && { membership: toBase64Url(membershipBundle) }),
    };
    return JSON.parse(JSON.stringify({ groups: [entry] }));
  }

  /** One waking: reads, does one step, submits. */
  async wake({ follower }: Home, membershipBundle?: Uint8Array): Promise<Followed> {
    const followed = await follower.follow(this.shown(membershipBundle));
    for (const { message } of followed.submissions) this.run.accept(message);
    await othersDone();
    clockS += 60;
    return followed;
  }
}

/** Who is called answers in some turns of the event loop. */
const othersDone = (): Promise<void> => new Promise((resolve) => void setTimeout(resolve, 20));

const keyOf = async ({ meter }: Home): Promise<Record<string, unknown>> => {
  const { groups } = (await meter.properties['keyStatus']!()) as { readonly groups: Record<string, unknown>[] };
  return at(groups, 0);
};

describe('a member that cannot be called', () => {
  it('is keyed with the others after four wakings, minutes apart, one step each', async () => {
    const homes = await makeHomes();
    const board = new Board();
    const running = board.announce(homes, homes.slice(0, 2));
    const sleepers = homes.slice(2);
    for (const action of ['submitPublicKey', 'submitToken', 'submitConfirmation']) {
      for (const sleeper of sleepers) {
        const { submissions } = await board.wake(sleeper);
        expect(submissions.map((submission) => submission.action)).toEqual([action]);
        expect((await keyOf(sleeper))['state']).not.toBe('active');
      }
    }
    await running;
    expect(clockS - nowS).toBeGreaterThan(300);
    for (const sleeper of sleepers) expect(await board.wake(sleeper)).toEqual({ submissions: [], missed: false });
    const keys = await Promise.all(sleepers.map(keyOf));
    expect(keys).toMatchObject([{ state: 'active', members: 4 }, { keyName: at(keys, 0)['keyName'] }]);
    expect(sleepers.flatMap(({ log }) => log.filter((code) => code !== 'undefined'))).toEqual([]);
  });

  it('answers what it is shown twice with the same bytes, so that a submission that was lost is made again', async () => {
    const homes = await makeHomes();
    const board = new Board();
    void board.announce(homes, []);
    const sleeper = at(homes, 0);
    const first = await sleeper.follower.follow(board.shown());
    expect(first.submissions).toHaveLength(1);
    expect(await sleeper.follower.follow(board.shown())).toEqual(first);
    board.run.stop();
  });

  it('that was told of no list takes the one that is shown, and is in the round at the same waking', async () => {
    const place = await openPlace();
    clockS = nowS;
    const stranger = await makeHome(3, place);
    const homes = [...(await makeHomes()).slice(0, 3), stranger];
    const board = new Board();
    void board.announce(homes, homes.slice(0, 3));
    const { submissions } = await board.wake(stranger, bundle);
    expect(submissions.map(({ action }) => action)).toEqual(['submitPublicKey']);
    board.run.stop();
  });

  it('that restarts between two wakings has lost the attempt, and is in the next one', async () => {
    const place = await openPlace();
    const homes = [...(await makeHomes())];
    const before = await makeHome(3, place);
    await before.meter.groups.updateMembership(bundle);
    homes[3] = before;
    const board = new Board();
    void board.announce(homes, homes.slice(0, 3));
    await board.wake(before);
    await othersDone();
    homes[3] = await makeHome(3, { ...place, store: (await place.place.open()).store });
    expect((await board.wake(at(homes, 3))).submissions).toEqual([]);
    expect(at(homes, 3).log).toContain('wrong-round');
    board.run.stop();
    const running = board.announce(homes, homes.slice(0, 3), 2);
    for (let i = 0; i < 3; i++) await board.wake(at(homes, 3));
    await running;
    await board.wake(at(homes, 3));
    expect(await keyOf(at(homes, 3))).toMatchObject({ state: 'active', epoch: 2 });
  });

  it('that slept through an epoch says so, of the first, the second and the fourth in a row, and once of each', async () => {
    const homes = await makeHomes();
    const sleeper = at(homes, 3);
    const told: boolean[] = [];
    for (const epoch of [1, 2, 3, 4, 5]) {
      const shown = { groups: [published(epoch)] };
      told.push((await sleeper.follower.follow(shown)).missed);
      expect((await sleeper.follower.follow(shown)).missed).toBe(false);
    }
    expect(told).toEqual([true, true, false, true, false]);
  });

  it('finds the backend’s word for the epoch beside the confirmations', async () => {
    const homes = await makeHomes();
    for (const { meter } of homes) await meter.groups.updateMembership(constrainedBundle);
    const board = new Board();
    const running = board.announce(homes, homes.slice(0, 3), 1, constrainedBundle);
    const sleeper = at(homes, 3);
    for (let i = 0; i < 3; i++) await board.wake(sleeper);
    const end = await running;
    await board.wake(sleeper);
    expect(await keyOf(sleeper)).toMatchObject({ state: 'active', provisional: true });
    expect(sleeper.meter.groups.waitingSinceS).toBeDefined();
    board.endorsement = endorse(end!);
    await board.wake(sleeper);
    expect(await keyOf(sleeper)).toMatchObject({ state: 'active', provisional: false });
    expect(sleeper.meter.groups.waitingSinceS).toBeUndefined();
  });
});

describe('a member that can be called', () => {
  it('and whose confirmations were lost asks for them, and is keyed', async () => {
    const homes = await makeHomes();
    const board = new Board();
    await board.announce(homes, homes);
    const [lost] = homes as readonly [Home];
    expect(await keyOf(lost)).toMatchObject({ state: 'pending' });
    expect(lost.meter.groups.waitingSinceS).toBe(nowS);
    expect(await board.wake(lost)).toEqual({ submissions: [], missed: false });
    expect(await keyOf(lost)).toMatchObject({ state: 'active' });
    expect(lost.meter.groups.waitingSinceS).toBeUndefined();
  });

  it('asks for a list that was named to it, and for a minute only, since anybody can name one', async () => {
    const homes = await makeHomes();
    const board = new Board();
    await board.announce(homes, homes);
    for (const home of homes) await board.wake(home);
    const { groups } = at(homes, 0).meter;
    const plan = { epoch: 2, attempt: 1, reason: 'periodic', expiryS: clockS + 600 } as const;
    const { announcementMessage } = announce(n.coordinatorContext(n.membership(constrained)), plan);
    await expect(groups.take('announcement', announcementMessage)).rejects.toMatchObject({
      code: 'membership-unknown',
    });
    expect(groups.waitingSinceS).toBe(clockS);
    clockS += 60;
    expect(groups.waitingSinceS).toBeUndefined();
    await expect(groups.take('announcement', announcementMessage)).rejects.toThrow();
    await groups.updateMembership(constrainedBundle);
    expect(groups.waitingSinceS).toBeUndefined();
  });

  it('takes a list that it refused while its clock was wrong, once the clock is right', async () => {
    const homes = await makeHomes();
    const { meter, follower } = at(homes, 3);
    const shown = { groups: [{ ...published(1), membership: toBase64Url(constrainedBundle) }] };
    clockS = 0;
    await follower.follow(shown);
    clockS = nowS;
    await follower.follow(shown);
    expect(at(meter.groups.states, 0).newestList).toMatchObject({ version: 2 });
  });

  it('and was removed says nothing of the epochs that go by without it', async () => {
    const homes = await makeHomes();
    const { meter, follower } = at(homes, 3);
    await meter.groups.updateMembership(n.bundle(n.list({ version: 2, without: [at(n.meters, 3)] })));
    expect(await follower.follow({ groups: [published(1)] })).toEqual({ submissions: [], missed: false });
  });
});

describe('what a gateway shows', () => {
  it.each([
    ['nothing', undefined],
    ['no list', { groups: 7 }],
    ['a hole', { groups: [null] }],
    ['a round of an unknown type', { groups: [{ ...published(1), type: 'reveal' }] }],
    ['a group without an id', { groups: [{ ...published(1), gid: '00' }] }],
    ['an epoch that is no number', { groups: [{ ...published(1), epoch: '1' }] }],
    ['bytes that are not base64url', { groups: [{ ...published(1), message: '?' }] }],
    ['more groups than there are', { groups: Array.from({ length: 65 }, () => published(1)) }],
  ])('is refused as a whole when it is %s', (_, shown) => {
    expect(refusal(() => parseRounds(shown))).toBe('round-malformed');
  });

  it('is looked at by a meter that can be called only when it waits in vain, less often each time, and now and then', () => {
    expect(nextLookS(1_000, 0, 0)).toBe(1_005);
    expect([1, 2, 3, 4, 5].map((looks) => nextLookS(1_000, 2_000, looks))).toEqual([2_010, 2_020, 2_040, 2_060, 2_060]);
    expect(nextLookS(undefined, 2_000, 3)).toBe(2_900);
  });
});

const endorse = ({ name, record }: Published): Uint8Array =>
  encodeEndorsementBundle(signEndorsement(n.suite, n.backend, name, record), [
    n.backend.certificate.der,
    at(n.certificates, 0),
  ]);

/** As a gateway shows an epoch of which this member has nothing. */
const published = (epoch: number): object => ({
  gid: toHex(n.gid),
  epoch,
  attempt: 1,
  type: 'confirmations',
  message: toBase64Url(Uint8Array.of(1)),
});
