/** When a live gateway rekeys, what stops it, and how it goes on: real members and databases, virtual time. */
import { afterEach, describe, expect, it } from 'vitest';
import { fromBase64Url } from '../../crypto/bytes.js';
import { UnavailableError } from '../../crypto/errors.js';
import { unchangedList, type Policy } from '../../crypto/membership.js';
import { verifyVerdict } from '../../crypto/ring/blame.js';
import {
  encodeAnnouncement,
  encodeConfirmation,
  parseAnnouncement,
  parseConfirmation,
  parseRosterBundle,
} from '../../crypto/ring/messages.js';
import { openRoster } from '../../crypto/ring/roster.js';
import { announcementId } from '../../crypto/ring/schedule.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { delegate } from '../support/delegate.js';
import { at, flipped, neighbourhoodOf, payloadOf, resignToken, signAs } from '../support/forge.js';
import { nowS } from '../support/neighbourhood.js';
import { invoke, opens, sealTo, sleeperDeadlineMs, Village, type VillagePlan } from '../support/village.js';

const n = neighbourhoodOf(suiteX25519, 4);
const listWith = (policy: Partial<Policy>) => n.list({ policy });

let village: Village;
afterEach(() => village.close());

async function founded(plan?: VillagePlan): Promise<Village> {
  village = await Village.build(n, plan);
  await village.enrolAll();
  await village.epochsAgreed(1);
  return village;
}

const unreachable = async (): Promise<never> => {
  throw new UnavailableError('unreachable', 'away');
};

describe('a rekey', () => {
  it('comes by itself when the interval of the policy is over, again and again', async () => {
    const { clock } = await founded({ lists: [listWith({ rekeyIntervalS: 300 })] });
    const startedS = clock.nowS;
    expect(await village.epochsAgreed(3)).toMatchObject({ epoch: 3, members: 4 });
    expect(clock.nowS - startedS).toBe(600);
  });

  it('of joins and leaves within one window is one', async () => {
    village = await Village.build(n);
    await village.enrol(0, 1, 2);
    await village.epochsAgreed(1);
    await Promise.all([village.leave(0, 1), village.enrol(3)]);
    expect(await village.epochsAgreed(2)).toMatchObject({ epoch: 2, members: 3 });
    await village.pass(60_000);
    expect(village.epochs).toHaveLength(2);
  });

  it('leaves no gap in the readings: what was sealed before and after arrives, and follows', async () => {
    await founded();
    for (const cause of [() => village.leave(3, 1), () => village.enrol(3), () => village.revoke(3)]) {
      await village.read(0);
      await village.pass(1_000);
      const before = village.epochs.length;
      await cause();
      await village.read(0);
      await village.epochsAgreed(before + 1);
      await village.read(0);
    }
    const items = await village.store.pending(1_000, 1_000_000);
    expect(items.filter(({ kind }) => kind === 'reading')).toHaveLength(9);
    expect(at(village.residents, 0).meter.readings).toBe(9);
  });

  it('that fails is tried again for ever, the old key stays, and the status says so', async () => {
    await founded();
    const old = await village.key(0);
    village.network = (to, _action, message, deliver) => (to > 1 ? unreachable() : deliver(message));
    await village.leave(3, 1);
    await village.until(() => village.failures[2]);
    expect(new Set(village.failures)).toEqual(new Set(['roster-minority']));
    expect(await village.property('keyStatus')).toMatchObject({ epoch: 1, lastErrorCode: 'roster-minority' });
    expect((await village.key(0)).groupPublicKey).toEqual(old.groupPublicKey);
    village.network = (_to, _action, message, deliver) => deliver(message);
    expect(await village.epochsAgreed(2)).toMatchObject({ members: 3 });
    expect(await village.property('keyStatus')).not.toHaveProperty('failures');
  });

  it('that fails uses up attempts and no epochs, so that members that were away for days can follow', async () => {
    await founded();
    village.network = unreachable;
    await village.leave(3, 1);
    await village.until(() => village.failures[19]);
    village.network = (_to, _action, message, deliver) => deliver(message);
    const { epoch, attempt } = await village.epochsAgreed(2);
    expect(epoch).toBe(2);
    expect(attempt).toBeGreaterThan(60);
  });

  it('announces nothing under a list that has ended', async () => {
    await founded({ lists: [{ ...n.list(), notAfterS: nowS + 3_600 }] });
    await village.pass(2 * 3_600_000);
    village.gateway.group(n.gid).requested();
    await village.until(() => village.failures[0]);
    expect(village.failures).toContain('membership-expired');
    expect(await village.store.loadAnnounced(n.gid)).toEqual({ epoch: 1, attempt: 1 });
  });

  it('whose members refuse the confirmations, for a false MAC that only they can see, has failed, and says so', async () => {
    await founded();
    const old = await village.key(0);
    const insider = at(n.meters, 3);
    village.network = async (to, action, message, deliver) => {
      const reply = await deliver(message);
      if (action !== 'confirm' || to !== 3) return reply;
      const { th2, mac, ...rest } = parseConfirmation(payloadOf(reply));
      return signAs(n.suite, insider, 'confirmation', th2, encodeConfirmation({ ...rest, th2, mac: flipped(mac) }));
    };
    await village.leave(2, 1);
    await village.until(() => village.failures[2]);
    expect(new Set(village.failures)).toEqual(new Set(['activation-refused']));
    expect(await village.property('keyStatus')).toMatchObject({ failures: 3, lastErrorCode: 'activation-refused' });
    expect((await village.key(0)).groupPublicKey).toEqual(old.groupPublicKey);
    village.network = (_to, _action, message, deliver) => deliver(message);
    await village.until(() => village.epochs[1]);
    expect((await village.key(0)).groupPublicKey).not.toEqual(old.groupPublicKey);
  });

  it('that a revocation overtakes is stopped, and the next one is without the member', async () => {
    await founded();
    village.network = async (to, action, message, deliver) => {
      if (action === 'agree' && to === 0 && village.epochs.length === 1) await village.revoke(3);
      return deliver(message);
    };
    village.gateway.group(n.gid).requested();
    const next = await village.epochsAgreed(2);
    expect(next).toMatchObject({ epoch: 2, attempt: 2, members: 3 });
    expect(opens(n, await village.state(3), sealTo(n, await village.key(0)))).toBe(false);
  });

  it('that is urgent does not wait for a member that was silent the last time, though its upload is played again', async () => {
    await founded();
    await village.read(3);
    await at(village.residents, 3).meter.report({
      ...{ timeS: village.clock.nowS, intervalS: 60, energyTotalWh: 50, source: 'replay', missing: true },
    });
    const old = (await at(village.residents, 3).meter.nextUpload())!;
    await village.deliver(3);
    village.network = (to, _action, message, deliver) => (to === 3 ? unreachable() : deliver(message));
    village.gateway.group(n.gid).requested();
    await village.epochsAgreed(2);
    const startedMs = village.clock.nowMs;
    village.gateway.group(n.gid).requested();
    await village.epochsAgreed(3);
    expect(village.clock.nowMs - startedMs).toBeLessThan(1_000);
    village.network = (_to, _action, message, deliver) => deliver(message);
    await invoke(village.gateway, 'submitReadings', old.message);
    await village.pass(10_000);
    expect(village.epochs).toHaveLength(3);
    await village.deliver(3);
    await village.read(3);
    expect(await village.epochsAgreed(4)).toMatchObject({ members: 4 });
  });
});

describe('two groups of one gateway', () => {
  const gid = new Uint8Array(16).fill(7);
  const other = unchangedList({ ...n.list({ policy: { readings: [] } }), gid });

  it('have epochs of their own, and a member that leaves one stays in the other', async () => {
    village = await Village.build(n, { lists: [n.list(), other] });
    await village.enrolAll();
    await village.epochsAgreed(2);
    const before = await village.key(0, gid);
    await village.leave(3, 1);
    expect(await village.epochsAgreed(3)).toMatchObject({ epoch: 2, members: 3 });
    await village.pass(60_000);
    expect(await village.key(0, gid)).toEqual(before);
    expect((await village.key(3, gid)).roster).toHaveLength(4);
    expect((await village.key(0)).groupKey).not.toEqual((await village.key(0, gid)).groupKey);
  });
});

describe('the backend’s word', () => {
  it('ends what is provisional at gateway and members, and is shown to who missed it', async () => {
    await founded({ lists: [listWith({ profile: 'constrained' })] });
    expect(await village.property('keyStatus')).toMatchObject({ provisional: true });
    await village.endorse();
    await village.pass(1_000);
    expect(await village.property('keyStatus')).toMatchObject({ provisional: false });
    for (const i of [0, 1, 2, 3]) expect((await village.key(i)).provisional).toBe(false);
    expect(await village.property('round')).toHaveProperty('endorsement');
    await village.stopGateway();
    await village.startGateway();
    expect(await village.property('keyStatus')).toMatchObject({ epoch: 1, state: 'active', provisional: false });
    expect(await village.property('round')).toMatchObject({ type: 'confirmations', epoch: 1 });
  });
});

describe('a member that cannot be called', () => {
  it('takes part when it wakes, and the others wait for it', async () => {
    village = await Village.build(n, { asleep: [3] });
    await village.enrolAll();
    for (let i = 0; i < 4; i++) {
      await village.pass(sleeperDeadlineMs / 2);
      await village.wake(3);
    }
    expect(village.epochs).toMatchObject([{ members: 4 }]);
    expect((await village.key(3)).groupKey).toEqual((await village.key(0)).groupKey);
    expect(village.calls.filter((call) => call.endsWith(' 3'))).toEqual([]);
  });

  it('is not waited for once it was not heard of for long, and is let in when it comes back', async () => {
    village = await Village.build(n, { asleep: [3] });
    await village.enrol(3);
    await village.pass(3 * sleeperDeadlineMs);
    const startedMs = village.clock.nowMs;
    await village.enrol(0, 1, 2);
    expect(await village.epochsAgreed(1)).toMatchObject({ members: 3 });
    expect(village.clock.nowMs - startedMs).toBeLessThan(sleeperDeadlineMs);
  });
});

describe('a liar', () => {
  it('is convicted by a verdict that anyone verifies, and left out until there is a newer list', async () => {
    village = await Village.build(n);
    let annId: Uint8Array = new Uint8Array(0);
    village.network = async (to, action, message, deliver) => {
      const reply = await deliver(message);
      if (action === 'rekey') annId = announcementId(n.suite, payloadOf(message));
      if (to !== 3 || action !== 'agree') return reply;
      const check = { suite: n.suite, membership: n.membership(), nowS };
      const ring = openRoster(check, annId, parseRosterBundle(payloadOf(message)).entries);
      return resignToken(n, ring, at(n.meters, 3), reply, ({ opening }) => ({ opening: flipped(opening) }));
    };
    await village.enrolAll();
    expect(await village.epochsAgreed(1)).toMatchObject({ attempt: 2, members: 3 });
    expect(await village.shown(3)).toMatchObject({ active: false, leftOut: 'convicted' });
    expect(village.changes).toContain('convicted meter-04');
    const { verdicts } = (await village.gateway.properties['verdicts']!()) as {
      readonly verdicts: readonly { readonly message: string }[];
    };
    const verdict = verifyVerdict(n.suite, n.membership(), fromBase64Url(at(verdicts, 0).message), village.clock.nowS);
    expect(verdict.accused).toMatchObject([{ certHash: at(n.meters, 3).certHash, accusation: 'commitment' }]);
    village.network = (_to, _action, message, deliver) => deliver(message);
    await village.updateMembership(n.list({ version: 2 }));
    expect(await village.epochsAgreed(2)).toMatchObject({ members: 4 });
  });
});

describe('a delegation', () => {
  it('lets the gateway take a revoked member off the list, so that the others stop using its key', async () => {
    await founded();
    await invoke(village.gateway, 'updateMembership', delegate(n));
    await village.revoke(3);
    expect(await village.epochsAgreed(2)).toMatchObject({ members: 3, confirmed: 3 });
    expect(village.gateway.group(n.gid).membership.list).toMatchObject({ version: 1, revision: 1 });
    expect(village.changes).toEqual(expect.arrayContaining(['revoked meter-04', 'removed meter-04']));
    await village.pass(60_000);
    expect((await village.key(3)).receiveOnly).toBe(true);
    await village.stopGateway();
    await village.startGateway();
    expect(village.gateway.group(n.gid).membership.list).toMatchObject({ revision: 1 });
  });
});

describe('a malicious gateway', () => {
  it('that plays everything again later, in another order, changes nothing at any member', async () => {
    await founded();
    const heard: (() => Promise<unknown>)[] = [];
    village.network = (_to, _action, message, deliver) => {
      heard.push(() => deliver(message).catch(() => undefined));
      return deliver(message);
    };
    village.gateway.group(n.gid).requested();
    await village.epochsAgreed(2);
    village.gateway.group(n.gid).requested();
    await village.epochsAgreed(3);
    const before = await Promise.all([0, 1, 2, 3].map((i) => village.key(i)));
    for (const again of heard.reverse()) await again();
    expect(await Promise.all([0, 1, 2, 3].map((i) => village.key(i)))).toEqual(before);
  });

  it('that announces one attempt differently to two halves gets no epoch, and both keep the old key', async () => {
    await founded();
    const old = await village.key(0);
    village.network = (to, action, message, deliver) => {
      if (to < 2 || action !== 'rekey') return deliver(message);
      const announcement = parseAnnouncement(payloadOf(message));
      const twin = encodeAnnouncement({ ...announcement, nonce: flipped(announcement.nonce) });
      return deliver(signAs(n.suite, n.gateway, 'announcement', n.gid, twin));
    };
    village.gateway.group(n.gid).requested();
    expect(await village.until(() => village.failures[0])).toBe('roster-minority');
    for (const i of [0, 1, 2, 3]) expect((await village.key(i)).groupKey).toEqual(old.groupKey);
    village.network = (_to, _action, message, deliver) => deliver(message);
    expect(await village.epochsAgreed(2)).toMatchObject({ members: 4 });
  });

  it('that gives only some the end of an epoch gives the others no other key', async () => {
    await founded();
    village.network = (to, action, message, deliver) =>
      action === 'activate' && to > 1 ? unreachable() : deliver(message);
    village.gateway.group(n.gid).requested();
    expect(await village.epochsAgreed(2)).toMatchObject({ members: 4, confirmed: 2 });
    await village.wake(2);
    expect((await village.key(2)).groupKey).toEqual((await village.key(0)).groupKey);
    expect((await village.state(3)).round.kind).toBe('confirmed');
  });

  it('that keeps a new list from the members agrees on nothing under the old one', async () => {
    await founded();
    village.network = (to, action, message, deliver) =>
      action === 'updateMembership' ? unreachable() : deliver(message);
    await village.updateMembership(n.list({ version: 2, without: [n.meters[3]!] }));
    expect(await village.until(() => village.failures[0])).toBe('roster-minority');
    expect(village.epochs).toHaveLength(1);
  });
});
