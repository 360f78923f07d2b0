import { describe, expect, it } from 'vitest';
import type { BackendEvents, BackendStore, EpochRow, ListRow } from '../../../things/stores.js';
import { placesOf, type StoreFactory } from './factory.js';
import { bytes, nowS } from './samples.js';

export interface StoreWithEvents {
  readonly backend: BackendStore;
  readonly events: BackendEvents;
}

const list = (version: number): ListRow => ({ version, revision: 0, listHash: bytes(32), publishedS: nowS });
const epochUnder = (gid: Uint8Array, { version, revision, listHash }: ListRow, epoch: number): EpochRow => ({
  gid,
  epoch,
  attempt: 1,
  th2: bytes(32),
  listHash,
  listVersion: version,
  listRevision: revision,
  members: 3,
  reason: 'founding',
  recordedS: nowS,
});
const endorsed = { record: bytes(10), endorsement: bytes(10) };

export function describeEvents(name: string, factory: StoreFactory<StoreWithEvents>): void {
  describe(`${name} tells what happened`, () => {
    const places = placesOf(factory);

    it('to each list and epoch that it took, once and in order, and to nothing that it refused', async () => {
      const { backend, events } = await places.store();
      expect(await events.positions()).toEqual({ epochs: 0, lists: 0 });
      const gid = bytes(16);
      const [first, second] = [list(1), list(2)];
      for (const row of [first, first, second, first]) await backend.saveMembership(gid, row, bytes(10));
      const [one, two] = [epochUnder(gid, first, 1), epochUnder(gid, second, 2)];
      for (const row of [one, one, two]) await backend.saveEpoch(row, endorsed);
      await expect(backend.saveEpoch(epochUnder(gid, first, 3), endorsed)).rejects.toThrow();
      expect(await events.positions()).toEqual({ epochs: 2, lists: 2 });
      expect(await events.listsAfter(0, 9)).toEqual([
        { ...first, gid, position: 1 },
        { ...second, gid, position: 2 },
      ]);
      expect(await events.epochsAfter(0, 1)).toEqual([{ ...one, position: 1 }]);
      expect(await events.epochsAfter(1, 9)).toEqual([{ ...two, position: 2 }]);
      expect(await events.epochsAfter(2, 9)).toEqual([]);
    });

    it('under numbers of this database, over a restart too', async () => {
      const place = await places.place();
      const before = await place.open();
      const { life } = before.store.events;
      await before.store.backend.saveMembership(bytes(16), list(1), bytes(10));
      await before.close();
      const { events } = (await place.open()).store;
      expect([events.life, await events.positions()]).toEqual([life, { epochs: 0, lists: 1 }]);
      expect((await places.store()).events.life).not.toBe(life);
    });

    it('without a gap or a repeat where many write at once, and wakes who waits', async () => {
      const place = await places.place();
      const [one, two] = [(await place.open()).store, (await place.open()).store];
      const woken = new Promise<void>((resolve) => {
        one.events.onWake(resolve);
      });
      const groups = Array.from({ length: 12 }, () => bytes(16));
      await Promise.all(groups.map((gid, i) => (i % 2 ? one : two).backend.saveMembership(gid, list(1), bytes(10))));
      await woken;
      const told = await two.events.listsAfter(0, 99);
      expect(told.map(({ position }) => position)).toEqual(groups.map((_, i) => i + 1));
      expect(new Set(told.map(({ gid }) => gid.join())).size).toBe(groups.length);
    });
  });
}
