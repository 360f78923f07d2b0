import { describe, expect, it } from 'vitest';
import type { Outbox } from '../../../things/stores.js';
import { placesOf, type StoreFactory } from './factory.js';
import { bytes, nowS } from './samples.js';

/** `add` puts readings with these messages into the outbox, as one transaction. */
export function describeOutbox<Store extends Outbox>(
  name: string,
  factory: StoreFactory<Store>,
  add: (store: Store, messages: readonly Uint8Array[], nowS: number) => Promise<unknown>,
): void {
  describe(`the outbox of ${name}`, () => {
    const places = placesOf(factory);

    it('gives items in the order in which they were added', async () => {
      const store = await places.store();
      const messages = [bytes(30), bytes(10), bytes(20)];
      await add(store, messages.slice(0, 2), nowS);
      await add(store, messages.slice(2), nowS);
      const pending = await store.pending(10, 1_000);
      expect(pending.map(({ message }) => message)).toEqual(messages);
      const positions = pending.map(({ position }) => position);
      expect(positions).toEqual([...new Set(positions)].sort((a, b) => a - b));
    });

    it('gives no more items and bytes than were asked for, but always the first item', async () => {
      const store = await places.store();
      await add(store, [bytes(100), bytes(100), bytes(100), bytes(100)], nowS);
      expect(await store.pending(3, 10_000)).toHaveLength(3);
      expect(await store.pending(10, 299)).toHaveLength(2);
      expect(await store.pending(10, 300)).toHaveLength(3);
      expect(await store.pending(10, 1)).toHaveLength(1);
      expect(await store.pending(0, 1_000)).toEqual([]);
    });

    it('gives the first item that is left even if it alone is over the bytes', async () => {
      const store = await places.store();
      await add(store, [bytes(10), bytes(4_000), bytes(10)], nowS);
      const [first] = await store.pending(1, 1_000);
      await store.acknowledge([first?.position ?? 0]);
      const [next, ...rest] = await store.pending(10, 1_000);
      expect(next?.message).toHaveLength(4_000);
      expect(rest).toEqual([]);
    });

    it('forgets what was acknowledged, once, in whatever order', async () => {
      const store = await places.store();
      const messages = [bytes(10), bytes(10), bytes(10)];
      await add(store, messages, nowS);
      const positions = (await store.pending(3, 1_000)).map(({ position }) => position);
      const acknowledged = [positions[2] ?? 0, positions[0] ?? 0];
      await store.acknowledge(acknowledged);
      await store.acknowledge([...acknowledged, 999_999]);
      expect((await store.pending(3, 1_000)).map(({ message }) => message)).toEqual([messages[1]]);
      expect((await store.outboxStatus()).depth).toBe(1);
    });

    it('never uses a position again, also after a restart with an empty outbox', async () => {
      const place = await places.place();
      const first = await place.open();
      await add(first.store, [bytes(10), bytes(10)], nowS);
      const used = (await first.store.pending(2, 100)).map(({ position }) => position);
      await first.store.acknowledge(used);
      await first.close();
      const { store } = await place.open();
      await add(store, [bytes(10)], nowS);
      const [again] = await store.pending(1, 100);
      expect(again?.position).toBeGreaterThan(Math.max(...used));
    });

    it('tells its depth, its bytes, and when its oldest item was added', async () => {
      const store = await places.store();
      expect(await store.outboxStatus()).toEqual({ depth: 0, bytes: 0, oldestS: null });
      await add(store, [bytes(10)], nowS);
      await add(store, [bytes(20), bytes(30)], nowS + 60);
      expect(await store.outboxStatus()).toEqual({ depth: 3, bytes: 60, oldestS: nowS });
      const [first] = await store.pending(1, 100);
      await store.acknowledge([first?.position ?? 0]);
      expect(await store.outboxStatus()).toEqual({ depth: 2, bytes: 50, oldestS: nowS + 60 });
    });

    it('gives what comes after a position', async () => {
      const store = await places.store();
      await add(store, [bytes(100), bytes(100), bytes(500)], nowS);
      const [first, second] = await store.pending(3, 1_000);
      const after = await store.pending(3, 1, second?.position);
      expect(after.map(({ message }) => message.length)).toEqual([500]);
      expect(await store.pending(3, 1_000, first?.position)).toHaveLength(2);
    });

    it('sets an item aside, out of the way of the others, and puts it back in its place', async () => {
      const place = await places.place();
      const first = await place.open();
      const messages = [bytes(10), bytes(20), bytes(30)];
      await add(first.store, messages, nowS);
      const [, second] = await first.store.pending(3, 1_000);
      await first.store.setAside(second!.position, 'sequence-conflict');
      await first.store.setAside(second!.position, 'twice');
      await first.close();
      const { store } = await place.open();
      expect((await store.pending(3, 1_000)).map(({ message }) => message.length)).toEqual([10, 30]);
      expect(await store.outboxStatus()).toEqual({ depth: 2, bytes: 40, oldestS: nowS });
      expect(await store.setAsideStatus()).toEqual({ count: 1, lastCode: 'sequence-conflict' });
      await store.putBack();
      expect((await store.pending(3, 1_000)).map(({ message }) => message)).toEqual(messages);
      expect(await store.outboxStatus()).toEqual({ depth: 3, bytes: 60, oldestS: nowS });
      expect(await store.setAsideStatus()).toEqual({ count: 0, lastCode: null });
    });
  });
}
