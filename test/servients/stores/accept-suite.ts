import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { equalBytes } from '../../../crypto/bytes.js';
import { ConflictError } from '../../../crypto/errors.js';
import type { StoredItem } from '../../../things/stores.js';
import { placesOf, type StoreFactory } from './factory.js';
import { bytes, grant, nowS, reading, readings, type Reading } from './samples.js';

export interface Accepting {
  accept(items: readonly StoredItem[], nowS: number): Promise<{ readonly fresh: number }>;
}

/** What a gateway and a backend have in common; `taken` gives the messages of all that they took. */
export function describeAccept<Store extends Accepting>(
  name: string,
  factory: StoreFactory<Store>,
  taken: (store: Store, meter: Uint8Array) => Promise<readonly Uint8Array[]>,
): void {
  describe(`${name} accepts items`, () => {
    const places = placesOf(factory);

    it('takes each reading once, and passes over a repeat', async () => {
      const store = await places.store();
      const meter = bytes(32);
      const items = readings(meter, 1, 5);
      expect(await store.accept(items.slice(0, 3), nowS)).toEqual({ fresh: 3 });
      expect(await store.accept(items, nowS)).toEqual({ fresh: 2 });
      expect(await store.accept(items, nowS)).toEqual({ fresh: 0 });
      expect(await taken(store, meter)).toEqual(items.map(({ message }) => message));
    });

    it('passes over repeats within one upload', async () => {
      const store = await places.store();
      const [one, two] = readings(bytes(32), 1, 2);
      if (one === undefined || two === undefined) throw new Error('two readings');
      expect(await store.accept([one, one, two, one, two], nowS)).toEqual({ fresh: 2 });
    });

    it('keeps meters apart', async () => {
      const store = await places.store();
      const [a, b] = [bytes(32), bytes(32)];
      const mixed = [reading(a, 1), reading(b, 1), reading(a, 2), reading(b, 2)];
      expect(await store.accept(mixed, nowS)).toEqual({ fresh: 4 });
      expect(await store.accept([reading(b, 3)], nowS)).toEqual({ fresh: 1 });
    });

    it('refuses another content for a known sequence as sequence-conflict', async () => {
      const store = await places.store();
      const meter = bytes(32);
      await store.accept(readings(meter, 1, 3), nowS);
      const forged = { ...reading(meter, 2), hash: bytes(32) };
      await expect(store.accept([forged], nowS)).rejects.toMatchObject({ code: 'sequence-conflict' });
      await expect(store.accept([reading(meter, 1), forged], nowS)).rejects.toThrow(ConflictError);
    });

    it('refuses a reading that does not continue the stored one before it as chain-broken', async () => {
      const store = await places.store();
      const meter = bytes(32);
      await store.accept(readings(meter, 1, 3), nowS);
      const unchained = { ...reading(meter, 4), previousHash: bytes(32) };
      await expect(store.accept([unchained], nowS)).rejects.toMatchObject({ code: 'chain-broken' });
      const within = [reading(meter, 4), { ...reading(meter, 5), previousHash: bytes(32) }];
      await expect(store.accept(within, nowS)).rejects.toMatchObject({ code: 'chain-broken' });
    });

    it('refuses a late reading that the stored one after it does not continue', async () => {
      const store = await places.store();
      const meter = bytes(32);
      await store.accept([reading(meter, 1), reading(meter, 3)], nowS);
      const other = { ...reading(meter, 2), hash: bytes(32) };
      await expect(store.accept([other], nowS)).rejects.toMatchObject({ code: 'chain-broken' });
      expect(await store.accept([reading(meter, 2)], nowS)).toEqual({ fresh: 1 });
    });

    it('takes nothing of an upload in which one item is refused', async () => {
      const store = await places.store();
      const meter = bytes(32);
      const reader = bytes(32);
      await store.accept([reading(meter, 1)], nowS);
      const before = await taken(store, meter);
      const upload = [grant(meter, reader, 1), reading(meter, 2), { ...reading(meter, 1), hash: bytes(32) }];
      await expect(store.accept(upload, nowS)).rejects.toThrow(ConflictError);
      expect(await taken(store, meter)).toEqual(before);
      expect(await store.accept(upload.slice(0, 2), nowS)).toEqual({ fresh: 2 });
    });

    it('takes a grant once for each meter, epoch, attempt, reader and key', async () => {
      const store = await places.store();
      const [meter, reader, keyHash] = [bytes(32), bytes(32), bytes(32)];
      const first = grant(meter, reader, 1, keyHash);
      const others = [
        { ...first, epoch: 2 },
        { ...first, attempt: 1 },
        { ...first, reader: bytes(32) },
        { ...first, meter: bytes(32) },
        { ...first, keyHash: bytes(32) },
        { ...first, gid: bytes(16) },
      ];
      expect(await store.accept([first, first], nowS)).toEqual({ fresh: 1 });
      expect(await store.accept([{ ...first, message: bytes(100) }], nowS)).toEqual({ fresh: 0 });
      expect(await store.accept(others, nowS)).toEqual({ fresh: others.length });
    });

    it('takes the same items once when two uploads of them race, on one or on two connections', async () => {
      const place = await places.place();
      const [one, two] = [(await place.open()).store, (await place.open()).store];
      const items = readings(bytes(32), 1, 20);
      const outcomes = await Promise.all([one, two, one, two].map((store) => store.accept(items, nowS)));
      expect(outcomes.map(({ fresh }) => fresh).sort((a, b) => a - b)).toEqual([0, 0, 0, 20]);
    });

    it('knows after a restart what it has taken', async () => {
      const place = await places.place();
      const meter = bytes(32);
      const first = await place.open();
      await first.store.accept([...readings(meter, 1, 3), grant(meter, meter, 1, meter)], nowS);
      await first.close();
      const { store } = await place.open();
      expect(await store.accept([...readings(meter, 1, 4), grant(meter, meter, 1, meter)], nowS)).toEqual({ fresh: 1 });
      const forged = { ...reading(meter, 2), hash: bytes(32) };
      await expect(store.accept([forged], nowS)).rejects.toMatchObject({ code: 'sequence-conflict' });
    });

    it('takes exactly what chains, in whatever order, gaps and repeats it comes', async () => {
      const store = await places.store();
      const item = fc.record({ sequence: fc.integer({ min: 0, max: 9 }), variant: fc.constantFrom(0, 0, 0, 1) });
      const uploads = fc.array(fc.array(item, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 5 });
      await fc.assert(
        fc.asyncProperty(uploads, async (property) => {
          const meter = bytes(32);
          const model = new Map<number, Reading>();
          for (const upload of property) {
            const items = upload.map(({ sequence, variant }) => reading(meter, sequence, variant, 10));
            const expected = acceptInModel(model, items);
            const outcome = await store.accept(items, nowS).catch((error: unknown) => {
              expect(error).toBeInstanceOf(ConflictError);
              return undefined;
            });
            expect(outcome?.fresh).toBe(expected);
          }
        }),
        { numRuns: 40 },
      );
    });
  });
}

/** The rule of the interface, item by item. @returns how many were new, or undefined when the upload is refused */
function acceptInModel(model: Map<number, Reading>, items: readonly Reading[]): number | undefined {
  const next = new Map(model);
  for (const item of items) {
    const same = next.get(item.sequence);
    if (same !== undefined && !equalBytes(same.hash, item.hash)) return undefined;
    const before = next.get(item.sequence - 1);
    if (before !== undefined && !equalBytes(before.hash, item.previousHash)) return undefined;
    const after = next.get(item.sequence + 1);
    if (after !== undefined && !equalBytes(after.previousHash, item.hash)) return undefined;
    next.set(item.sequence, item);
  }
  const fresh = next.size - model.size;
  for (const [sequence, item] of next) model.set(sequence, item);
  return fresh;
}
