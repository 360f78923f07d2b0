import { describe, expect, it } from 'vitest';
import type { BackendStore, EpochRow } from '../../../things/stores.js';
import { describeAccept } from './accept-suite.js';
import { placesOf, type StoreFactory } from './factory.js';
import { bytes, gid as sampleGid, grant, nowS, reading, readings } from './samples.js';

const epochRow = (gid: Uint8Array, epoch: number, attempt: number): EpochRow => ({
  gid,
  epoch,
  attempt,
  th2: bytes(32),
  listHash: bytes(32),
  members: 5,
  reason: 'periodic',
  recordedS: nowS,
});

const authority = (version: number) => ({ version, revision: 0 });

export function describeBackendStore(name: string, factory: StoreFactory<BackendStore>): void {
  describe(name, () => {
    const places = placesOf(factory);

    it('takes a membership list only if it is newer than all of its group', async () => {
      const store = await places.store();
      const [gid, hash1, hash3, newest] = [bytes(16), bytes(32), bytes(32), bytes(1_000)];
      expect(await store.saveMembership(gid, authority(1), hash1, bytes(10))).toBe(true);
      expect(await store.saveMembership(gid, authority(3), hash3, newest)).toBe(true);
      expect(await store.saveMembership(gid, authority(2), bytes(32), bytes(10))).toBe(false);
      expect(await store.saveMembership(gid, authority(3), bytes(32), bytes(10))).toBe(false);
      expect(await store.saveMembership(gid, authority(1), hash1, bytes(10))).toBe(false);
      expect(await store.loadMembership(gid)).toEqual(newest);
    });

    it('orders lists by version and then by revision', async () => {
      const store = await places.store();
      const [gid, hash, newest] = [bytes(16), bytes(32), bytes(1_000)];
      expect(await store.saveMembership(gid, { version: 1, revision: 7 }, bytes(32), bytes(10))).toBe(true);
      expect(await store.saveMembership(gid, { version: 2, revision: 0 }, bytes(32), bytes(10))).toBe(true);
      expect(await store.saveMembership(gid, { version: 2, revision: 2 }, hash, newest)).toBe(true);
      expect(await store.saveMembership(gid, { version: 2, revision: 1 }, bytes(32), bytes(10))).toBe(false);
      expect(await store.saveMembership(gid, { version: 2, revision: 2 }, bytes(32), bytes(10))).toBe(false);
      expect(await store.saveMembership(gid, { version: 2, revision: 2 }, hash, newest)).toBe(true);
      expect(await store.loadMembership(gid)).toEqual(newest);
    });

    it('says of the newest list, published again, that it is the newest', async () => {
      const store = await places.store();
      const [gid, hash, bundle] = [bytes(16), bytes(32), bytes(100)];
      await store.saveMembership(gid, authority(4), hash, bundle);
      expect(await store.saveMembership(gid, authority(4), hash, bundle)).toBe(true);
    });

    it('finds superseded lists by their hash, and every group', async () => {
      const place = await places.place();
      const [a, b] = [Uint8Array.of(1), Uint8Array.of(2)];
      const [hash, bundle] = [bytes(32), bytes(500)];
      const first = await place.open();
      await first.store.saveMembership(b, authority(1), hash, bundle);
      await first.store.saveMembership(b, authority(2), bytes(32), bytes(10));
      await first.store.saveMembership(a, authority(1), bytes(32), bytes(10));
      await first.close();
      const { store } = await place.open();
      expect(await store.membershipByHash(hash)).toEqual(bundle);
      expect(await store.membershipByHash(bytes(32))).toBeUndefined();
      expect(await store.groups()).toEqual([a, b]);
    });

    it('advances epochs by compare-and-swap, and knows a record that comes again', async () => {
      const store = await places.store();
      const gid = bytes(16);
      const [low, high] = [epochRow(gid, 4, 2), epochRow(gid, 5, 0)];
      const record = bytes(9_000);
      expect(await store.saveEpoch(low, bytes(10))).toBe('stored');
      expect(await store.saveEpoch(high, record)).toBe('stored');
      expect(await store.saveEpoch(high, record)).toBe('known');
      expect(await store.saveEpoch(low, bytes(10))).toBe('known');
      expect(await store.loadRecord(gid, 5, 0)).toEqual(record);
      expect(await store.loadRecord(gid, 6, 0)).toBeUndefined();
      for (const stale of [epochRow(gid, 5, 0), epochRow(gid, 4, 2), epochRow(gid, 4, 3), epochRow(gid, 1, 0)]) {
        await expect(store.saveEpoch(stale, bytes(10))).rejects.toMatchObject({ code: 'epoch-stale' });
      }
      expect(await store.saveEpoch(epochRow(bytes(16), 1, 0), bytes(10))).toBe('stored');
    });

    it('lets one of two different records for one epoch win', async () => {
      const place = await places.place();
      const [one, two] = [(await place.open()).store, (await place.open()).store];
      const gid = bytes(16);
      const outcomes = await Promise.allSettled([one, two].map((s) => s.saveEpoch(epochRow(gid, 1, 0), bytes(10))));
      expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    });

    it('lists epochs, the newest first', async () => {
      const store = await places.store();
      const gid = bytes(16);
      const rows = [epochRow(gid, 1, 0), epochRow(gid, 1, 1), epochRow(gid, 2, 0)];
      for (const row of rows) await store.saveEpoch(row, bytes(10));
      expect(await store.epochs(gid, 10)).toEqual(rows.toReversed());
      expect(await store.epochs(gid, 2)).toEqual(rows.toReversed().slice(0, 2));
    });

    it('gives readings page by page, ascending, and the last ones', async () => {
      const store = await places.store();
      const meter = bytes(32);
      const items = readings(meter, 1, 10);
      await store.accept([...items.slice(5), ...items.slice(0, 5), reading(bytes(32), 4)], nowS);
      const sequences = async (page: ReturnType<BackendStore['readings']>): Promise<readonly number[]> =>
        (await page).map(({ sequence }) => sequence);
      expect(await sequences(store.readings(meter, 0, 3))).toEqual([1, 2, 3]);
      expect(await sequences(store.readings(meter, 3, 100))).toEqual([4, 5, 6, 7, 8, 9, 10]);
      expect(await sequences(store.lastReadings(meter, 3))).toEqual([8, 9, 10]);
      expect(await sequences(store.lastReadings(bytes(32), 3))).toEqual([]);
      const [first] = await store.readings(meter, 0, 1);
      const { sequence, epoch, attempt, message } = reading(meter, 1);
      expect(first).toEqual({
        meter,
        sequence,
        epoch,
        attempt,
        receivedS: nowS,
        message: items[0]?.message ?? message,
      });
    });

    it('counts the readings of each meter, and gives the last sequence', async () => {
      const store = await places.store();
      const [a, b] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
      await store.accept([...readings(b, 5, 9), reading(b, 2), reading(a, 1), grant(bytes(32), a, 1)], nowS);
      await store.accept(readings(b, 5, 10), nowS);
      expect(await store.readingCounts()).toEqual([
        { meter: a, count: 1, lastSequence: 1 },
        { meter: b, count: 7, lastSequence: 10 },
      ]);
    });

    it('gives the grants of a meter to one reader, the newest last', async () => {
      const store = await places.store();
      const [meter, reader, other] = [bytes(32), bytes(32), bytes(32)];
      const [first, second] = [grant(meter, reader, 9), grant(meter, reader, 1)];
      await store.accept([first, grant(meter, other, 1), grant(other, reader, 1)], nowS);
      await store.accept([second], nowS);
      expect(await store.grants(meter, reader)).toEqual([first.message, second.message]);
      expect(first.gid).toEqual(sampleGid);
    });
  });

  describeAccept(name, factory, async (store, meter) =>
    (await store.readings(meter, -1, 1_000)).map(({ message }) => message),
  );
}
