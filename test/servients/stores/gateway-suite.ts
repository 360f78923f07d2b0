import { describe, expect, it } from 'vitest';
import type { EnrolledMeter, GatewayStore } from '../../../things/stores.js';
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
      await store.saveMembership(gid, { version: 1, revision: 9 }, bytes(10));
      await store.saveMembership(gid, { version: 3, revision: 0 }, bytes(10));
      await store.saveMembership(gid, { version: 3, revision: 2 }, newer);
      await store.saveMembership(gid, { version: 3, revision: 1 }, bytes(10));
      await store.saveMembership(gid, { version: 2, revision: 8 }, bytes(10));
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

    it('gives the records that the backend lacks, in order, and the newest of a group also afterwards', async () => {
      const store = await places.store();
      const gid = bytes(16);
      const [first, second, third] = [bytes(100), bytes(200), bytes(300)];
      await store.saveRecord(gid, 2, 0, third);
      await store.saveRecord(gid, 1, 0, first);
      await store.saveRecord(gid, 1, 4, second);
      const unreported = await store.unreportedRecords();
      expect(unreported).toEqual([
        { gid, epoch: 1, attempt: 0, record: first },
        { gid, epoch: 1, attempt: 4, record: second },
        { gid, epoch: 2, attempt: 0, record: third },
      ]);
      for (const { epoch, attempt } of unreported.slice(1)) await store.markReported(gid, epoch, attempt);
      expect(await store.unreportedRecords()).toEqual([{ gid, epoch: 1, attempt: 0, record: first }]);
      await store.markReported(gid, 1, 0);
      expect(await store.unreportedRecords()).toEqual([]);
      expect(await store.latestRecord(gid)).toEqual(third);
      expect(await store.latestRecord(bytes(16))).toBeUndefined();
    });

    it('keeps a reported record reported when it is saved again', async () => {
      const store = await places.store();
      const [gid, record] = [bytes(16), bytes(100)];
      await store.saveRecord(gid, 1, 0, record);
      await store.markReported(gid, 1, 0);
      await store.saveRecord(gid, 1, 0, record);
      expect(await store.unreportedRecords()).toEqual([]);
    });

    it('passes over what it forwarded and the backend acknowledged, when a receipt was lost', async () => {
      const store = await places.store();
      const [meter, reader] = [bytes(32), bytes(32)];
      const upload = [grant(meter, reader, 1), ...readings(meter, 1, 3)];
      await store.accept(upload, nowS);
      await acknowledgeAll(store);
      expect(await store.accept(upload, nowS)).toEqual({ fresh: 0 });
      expect(await store.outboxStatus()).toEqual({ depth: 0, oldestS: null });
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
