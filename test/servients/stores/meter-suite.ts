import { describe, expect, it } from 'vitest';
import type { MeterStore } from '../../../things/stores.js';
import { placesOf, type StoreFactory } from './factory.js';
import { describeOutbox } from './outbox-suite.js';
import { bytes, nowS } from './samples.js';

export function describeMeterStore(name: string, factory: StoreFactory<MeterStore>): void {
  describe(name, () => {
    const places = placesOf(factory);

    it('knows nothing at first', async () => {
      const store = await places.store();
      expect(await store.loadMember(bytes(16))).toBeUndefined();
      expect(await store.loadMembership(bytes(16))).toBeUndefined();
      expect(await store.loadSealing()).toBeUndefined();
      expect(await store.groups()).toEqual([]);
    });

    it('keeps the newest member state of each group over a restart', async () => {
      const place = await places.place();
      const [a, b] = [Uint8Array.of(1, 1), Uint8Array.of(2, 2)];
      const [stateA, stateB] = [bytes(3_000), bytes(500)];
      const first = await place.open();
      await first.store.saveMember(b, stateB);
      await first.store.saveMember(a, bytes(9_000));
      await first.store.saveMember(a, stateA);
      await first.close();
      const { store } = await place.open();
      expect(await store.loadMember(a)).toEqual(stateA);
      expect(await store.loadMember(b)).toEqual(stateB);
      expect(await store.groups()).toEqual([a, b]);
    });

    it('keeps an empty state apart from none', async () => {
      const store = await places.store();
      await store.saveMember(bytes(16), bytes(10));
      await store.saveMember(Uint8Array.of(1), new Uint8Array(0));
      expect(await store.loadMember(Uint8Array.of(1))).toEqual(new Uint8Array(0));
    });

    it('saves a membership list together with the member state that goes with it', async () => {
      const place = await places.place();
      const [gid, bundle, state] = [bytes(16), bytes(2_000), bytes(300)];
      const first = await place.open();
      await first.store.saveMembership(gid, bytes(100), bytes(100));
      await first.store.saveMembership(gid, bundle, state);
      await first.close();
      const { store } = await place.open();
      expect(await store.loadMembership(gid)).toEqual(bundle);
      expect(await store.loadMember(gid)).toEqual(state);
    });

    it('saves the state of the sealing together with what was sealed and granted', async () => {
      const place = await places.place();
      const [grant, reading, state] = [bytes(200), bytes(300), bytes(100)];
      const first = await place.open();
      await first.store.saveSealing(bytes(100), [{ kind: 'grant', message: grant }], nowS);
      await first.store.saveSealing(state, [{ kind: 'reading', message: reading }], nowS);
      await first.close();
      const { store } = await place.open();
      expect(await store.loadSealing()).toEqual(state);
      const pending = await store.pending(10, 10_000);
      expect(pending).toEqual([
        { position: expect.any(Number) as number, kind: 'grant', message: grant },
        { position: expect.any(Number) as number, kind: 'reading', message: reading },
      ]);
    });

    it('refuses as store-closed what comes after the end', async () => {
      const place = await places.place();
      const opened = await place.open();
      const { store } = opened;
      await opened.close();
      await expect(store.loadSealing()).rejects.toMatchObject({ code: 'store-closed' });
      await expect(store.saveMember(bytes(16), bytes(1))).rejects.toMatchObject({ code: 'store-closed' });
    });
  });

  describeOutbox(name, factory, (store, messages, addedS) =>
    store.saveSealing(
      bytes(10),
      messages.map((message) => ({ kind: 'reading', message })),
      addedS,
    ),
  );
}
