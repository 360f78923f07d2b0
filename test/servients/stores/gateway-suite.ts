import { describe, expect, it } from 'vitest';
import type { AgreedEpoch, EnrolledMeter, GatewayStore } from '../../../things/stores.js';
import { describeAccept } from './accept-suite.js';
import { placesOf, type StoreFactory } from './factory.js';
import { describeOutbox } from './outbox-suite.js';
import { bytes, grant, nowS, reading, readings } from './samples.js';

const enrolled = (id: string): EnrolledMeter => ({
  certHash: bytes(32),
  id: `urn:gridring:meter:${id}`,
  certificates: [bytes(500), bytes(700)],
  td: JSON.stringify({ title: id }),
  enrolledS: nowS,
});

const authority = (version: number) => ({ version, revision: 0 });

const agreed = (gid: Uint8Array, epoch: number, attempt: number): AgreedEpoch => ({
  gid,
  epoch,
  attempt,
  listHash: bytes(32),
  record: bytes(100),
  agreedS: nowS,
  endorsement: null,
});

const acknowledgeAll = async (store: GatewayStore): Promise<void> => {
  const pending = await store.pending(10_000, 10_000_000);
  await store.acknowledge(pending.map(({ position }) => position));
};

export function describeGatewayStore(name: string, factory: StoreFactory<GatewayStore>): void {
  describe(name, () => {
    const places = placesOf(factory);

    it('keeps enrolments over a restart, a newer one in the place of the older', async () => {
      const place = await places.place();
      const [a, b] = [enrolled('a'), enrolled('b')];
      const first = await place.open();
      await first.store.saveEnrolment(b);
      await first.store.saveEnrolment({ ...enrolled('a'), certificates: [bytes(10)] });
      await first.store.saveEnrolment(a);
      await first.close();
      const { store } = await place.open();
      expect(await store.enrolments()).toEqual([a, b]);
    });

    it('never goes back to an older membership list', async () => {
      const store = await places.store();
      const [gid, newer] = [bytes(16), bytes(1_000)];
      expect(await store.loadMembership(gid)).toBeUndefined();
      await store.saveMembership(gid, { version: 1, revision: 9 }, bytes(32), bytes(10));
      await store.saveMembership(gid, { version: 3, revision: 0 }, bytes(32), bytes(10));
      await store.saveMembership(gid, { version: 3, revision: 2 }, bytes(32), newer);
      await store.saveMembership(gid, { version: 3, revision: 1 }, bytes(32), bytes(10));
      await store.saveMembership(gid, { version: 2, revision: 8 }, bytes(32), bytes(10));
      expect(await store.loadMembership(gid)).toEqual(newer);
    });

    it('keeps the highest (epoch, attempt) that was announced, over a restart', async () => {
      const place = await places.place();
      const gid = bytes(16);
      const first = await place.open();
      expect(await first.store.loadAnnounced(gid)).toBeUndefined();
      await first.store.saveAnnounced(gid, 7, 200);
      await first.store.saveAnnounced(gid, 8, 1);
      await first.store.saveAnnounced(gid, 8, 0);
      await first.store.saveAnnounced(gid, 7, 255);
      await first.close();
      const { store } = await place.open();
      expect(await store.loadAnnounced(gid)).toEqual({ epoch: 8, attempt: 1 });
    });

    it('keeps the lists before the newest, each with the last epoch that was agreed under it', async () => {
      const store = await places.store();
      const [gid, first, second] = [bytes(16), bytes(10), bytes(20)];
      const [hash, otherHash] = [bytes(32), bytes(32)];
      await store.saveMembership(gid, authority(1), hash, first);
      await store.saveRecord({ ...agreed(gid, 4, 2), listHash: hash });
      await store.saveMembership(gid, authority(2), otherHash, second);
      await store.saveMembership(gid, authority(2), otherHash, second);
      expect(await store.lists(gid)).toEqual([
        { bundle: second, lastEpoch: null },
        { bundle: first, lastEpoch: { epoch: 4, attempt: 2 } },
      ]);
      for (let version = 3; version < 30; version++)
        await store.saveMembership(gid, authority(version), bytes(32), bytes(10));
      expect(await store.lists(gid)).toHaveLength(16);
    });

    it('announces by compare-and-swap: of two that want one attempt, one is told that it came too late', async () => {
      const store = await places.store();
      const gid = bytes(16);
      expect(await Promise.all([store.saveAnnounced(gid, 3, 1), store.saveAnnounced(gid, 3, 1)])).toEqual([
        true,
        false,
      ]);
      expect(await store.saveAnnounced(gid, 2, 200)).toBe(false);
      expect(await store.saveAnnounced(gid, 3, 2)).toBe(true);
    });

    it('gives the records that the backend lacks, in order, and the newest of a group also afterwards', async () => {
      const store = await places.store();
      const gid = bytes(16);
      const [first, second, third] = [agreed(gid, 1, 0), agreed(gid, 1, 4), agreed(gid, 2, 0)];
      for (const each of [third, first, second]) await store.saveRecord(each);
      expect(await store.unreportedRecords()).toEqual([first, second, third]);
      const endorsement = bytes(300);
      await store.markReported(gid, 1, 4, bytes(300));
      await store.markReported(gid, 2, 0, endorsement);
      expect(await store.unreportedRecords()).toEqual([first]);
      await store.markReported(gid, 1, 0, bytes(300));
      expect(await store.unreportedRecords()).toEqual([]);
      expect(await store.latestRecord(gid)).toEqual({ ...third, endorsement });
      expect(await store.latestRecord(bytes(16))).toBeUndefined();
    });

    it('keeps a reported record reported when it is saved again, and one that was refused for good out of the way', async () => {
      const store = await places.store();
      const gid = bytes(16);
      const [first, second] = [agreed(gid, 1, 0), agreed(gid, 2, 0)];
      await store.saveRecord(first);
      await store.markReported(gid, 1, 0, bytes(300));
      await store.saveRecord(first);
      await store.saveRecord(second);
      await store.setRecordAside(gid, 2, 0, 'refused');
      expect(await store.unreportedRecords()).toEqual([]);
      expect(await store.latestRecord(gid)).toEqual(second);
    });

    it('keeps who has departed until it enrols again, and who was revoked for good', async () => {
      const store = await places.store();
      const gid = bytes(16);
      const [left, revoked] = [enrolled('left'), enrolled('revoked')];
      await store.saveDeparture({ gid, certHash: left.certHash, kind: 'left', signedS: nowS + 5 });
      const out = { gid, certHash: revoked.certHash, kind: 'revoked', signedS: nowS + 5 } as const;
      await store.saveDeparture(out);
      await store.saveDeparture({ ...out, kind: 'left', signedS: nowS + 6 });
      await store.saveEnrolment(left);
      expect(await store.departures(gid)).toHaveLength(2);
      for (const meter of [left, revoked]) await store.saveEnrolment({ ...meter, enrolledS: nowS + 9 });
      expect(await store.departures(gid)).toEqual([out]);
      await store.forgetDeparture(gid, revoked.certHash);
      expect(await store.departures(gid)).toEqual([]);
    });

    it('keeps the state of the quarantine', async () => {
      const store = await places.store();
      const [gid, state] = [bytes(16), bytes(60)];
      expect(await store.loadQuarantine(gid)).toBeUndefined();
      await store.saveQuarantine(gid, bytes(60));
      await store.saveQuarantine(gid, state);
      expect(await store.loadQuarantine(gid)).toEqual(state);
    });

    it('passes over what it forwarded and the backend acknowledged, when a receipt was lost', async () => {
      const store = await places.store();
      const [meter, reader] = [bytes(32), bytes(32)];
      const upload = [grant(meter, reader, 1), ...readings(meter, 1, 3)];
      await store.accept(upload, nowS);
      await acknowledgeAll(store);
      expect(await store.accept(upload, nowS)).toEqual({ fresh: 0 });
      expect(await store.outboxStatus()).toEqual({ depth: 0, bytes: 0, oldestS: null });
      const forged = { ...reading(meter, 2), hash: bytes(32) };
      await expect(store.accept([forged], nowS)).rejects.toMatchObject({ code: 'sequence-conflict' });
    });

    it('passes over a repeat from long ago, and still takes a reading from before that it never had', async () => {
      const store = await places.store();
      const meter = bytes(32);
      await store.accept([...readings(meter, 1, 9), ...readings(meter, 11, 1_200)], nowS);
      expect(await store.accept(readings(meter, 5, 12), nowS)).toEqual({ fresh: 1 });
      expect(await store.accept(readings(meter, 1, 1_201), nowS)).toEqual({ fresh: 1 });
    });

    it('forwards grants and readings in the order of the upload', async () => {
      const store = await places.store();
      const [a, b] = [bytes(32), bytes(32)];
      const upload = [reading(a, 1), grant(a, b, 1), reading(a, 2), reading(b, 7), grant(b, a, 1), reading(a, 3)];
      await store.accept(upload, nowS);
      const pending = await store.pending(10, 10_000);
      expect(pending.map(({ kind, message }) => ({ kind, message }))).toEqual(
        upload.map(({ kind, message }) => ({ kind, message })),
      );
    });
  });

  describeOutbox(name, factory, (store, messages, addedS) => {
    const meter = bytes(32);
    return store.accept(
      messages.map((message, i) => ({ ...reading(meter, i), message })),
      addedS,
    );
  });

  describeAccept(name, factory, async (store) => (await store.pending(100, 100_000)).map(({ message }) => message));
}
