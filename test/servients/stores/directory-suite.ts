import { describe, expect, it } from 'vitest';
import type { DirectoryEntry, DirectoryStore } from '../../../things/stores.js';
import { placesOf, type StoreFactory } from './factory.js';
import { nowS } from './samples.js';

const entry = (id: string, ttlS: number | null = null): Omit<DirectoryEntry, 'createdS'> => ({
  id,
  td: JSON.stringify({ id, title: 'Zähler' }),
  modifiedS: nowS,
  ttlS,
  owner: 'urn:gridring:meter:1',
});

export function describeDirectoryStore(name: string, factory: StoreFactory<DirectoryStore>): void {
  describe(name, () => {
    const places = placesOf(factory);

    it('creates an entry, then replaces it and keeps its time of creation, over a restart', async () => {
      const place = await places.place();
      const first = await place.open();
      expect(await first.store.putEntry(entry('urn:a'))).toBe('created');
      const changed = { ...entry('urn:a', 60), td: '{}', modifiedS: nowS + 5 };
      expect(await first.store.putEntry(changed)).toBe('replaced');
      await first.close();
      const { store } = await place.open();
      expect(await store.entry('urn:a')).toEqual({ ...changed, createdS: nowS });
    });

    it('leaves an entry to its owner until it has expired', async () => {
      const store = await places.store();
      const other = (modifiedS: number) => ({ ...entry('urn:a'), modifiedS, owner: 'urn:gridring:gateway:1' });
      const lasting = { ...entry('urn:b'), owner: 'urn:gridring:gateway:1' };
      await store.putEntry(entry('urn:a', 60));
      await store.putEntry(entry('urn:b'));
      expect(await store.putEntry({ ...lasting, modifiedS: nowS + 900 })).toBe('of-another');
      expect(await store.putEntry(other(nowS + 59))).toBe('of-another');
      expect(await store.entry('urn:a')).toMatchObject({ owner: entry('urn:a').owner });
      expect(await store.putEntry(other(nowS + 60))).toBe('replaced');
    });

    it('has another revision after every change, and after nothing else', async () => {
      const store = await places.store();
      const revisions = [await store.revision()];
      const change = async (work: () => Promise<unknown>): Promise<void> => {
        await work();
        revisions.push(await store.revision());
      };
      await change(() => store.putEntry(entry('urn:a', 60)));
      await change(() => store.putEntry(entry('urn:a', 70)));
      await change(() => store.purgeExpired(nowS + 70));
      await change(() => store.putEntry(entry('urn:b')));
      await change(() => store.deleteEntry('urn:b'));
      expect(new Set(revisions).size).toBe(revisions.length);
      await store.deleteEntry('urn:b');
      await store.purgeExpired(nowS + 900);
      expect(await store.revision()).toBe(revisions.at(-1));
    });

    it('deletes an entry once', async () => {
      const store = await places.store();
      await store.putEntry(entry('urn:a'));
      expect(await store.deleteEntry('urn:a')).toBe(true);
      expect(await store.deleteEntry('urn:a')).toBe(false);
      expect(await store.entry('urn:a')).toBeUndefined();
    });

    it('lists pages in the order of the ids, with the total', async () => {
      const store = await places.store();
      for (const id of ['urn:c', 'urn:a', 'urn:d', 'urn:b']) await store.putEntry(entry(id));
      const { entries, total } = await store.listEntries(1, 2);
      expect(entries.map(({ id }) => id)).toEqual(['urn:b', 'urn:c']);
      expect(total).toBe(4);
      expect(await store.listEntries(9, 2)).toEqual({ entries: [], total: 4 });
    });

    it('purges what has outlived its ttl and nothing else', async () => {
      const store = await places.store();
      await store.putEntry(entry('urn:z', 60));
      await store.putEntry(entry('urn:b', 59));
      await store.putEntry(entry('urn:c', 61));
      await store.putEntry(entry('urn:d'));
      expect(await store.purgeExpired(nowS + 60)).toEqual(['urn:b', 'urn:z']);
      expect((await store.listEntries(0, 10)).entries.map(({ id }) => id)).toEqual(['urn:c', 'urn:d']);
    });
  });
}
