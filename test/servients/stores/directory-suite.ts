import { describe, expect, it } from 'vitest';
import { ConflictError } from '../../../crypto/errors.js';
import type { DirectoryEntry, DirectoryStore, EntryContent } from '../../../things/stores.js';
import { placesOf, type StoreFactory } from './factory.js';
import { nowS } from './samples.js';

const content = (title: string, more: Partial<EntryContent> = {}): EntryContent => ({
  td: JSON.stringify({ title }),
  modifiedS: nowS,
  ttlS: null,
  expiresS: null,
  owner: 'urn:gridring:meter:1',
  ...more,
});
const put = (store: DirectoryStore, id: string, more: Partial<EntryContent> = {}) =>
  store.changeEntry(id, () => content('Zähler', more));
const everything = (): void => undefined;

export function describeDirectoryStore(name: string, factory: StoreFactory<DirectoryStore>): void {
  describe(name, () => {
    const places = placesOf(factory);

    it('creates an entry, then replaces it and keeps its time of creation, over a restart', async () => {
      const place = await places.place();
      const first = await place.open();
      expect(await put(first.store, 'urn:a')).toBe('created');
      const changed = content('x', { ttlS: 60, modifiedS: nowS + 5 });
      expect(await first.store.changeEntry('urn:a', () => changed)).toBe('replaced');
      await first.close();
      const { store } = await place.open();
      expect(await store.entry('urn:a')).toEqual({ ...changed, id: 'urn:a', createdS: nowS, revision: 2 });
    });

    it('shows a change the entry that it changes, and changes nothing where it throws', async () => {
      const store = await places.store();
      await put(store, 'urn:a');
      const before = [await store.entry('urn:a'), await store.position()];
      const refuse = (known: DirectoryEntry | undefined): never => {
        throw new ConflictError('test', known?.td ?? 'none');
      };
      await expect(store.changeEntry('urn:a', refuse)).rejects.toThrow('Zähler');
      await expect(store.changeEntry('urn:b', refuse)).rejects.toThrow('none');
      await expect(store.deleteEntry('urn:a', refuse)).rejects.toThrow('Zähler');
      expect([await store.entry('urn:a'), await store.position()]).toEqual(before);
    });

    it('remembers when the last description was signed, also of an entry that is gone, over a restart', async () => {
      const place = await places.place();
      const first = await place.open();
      const seen: (number | null)[] = [];
      const putSigned = (store: DirectoryStore, id: string, serial?: number) =>
        store.changeEntry(id, (__, last) => {
          seen.push(last);
          return { ...content('x'), ...(serial !== undefined && { serial }) };
        });
      await putSigned(first.store, 'urn:a', nowS);
      await putSigned(first.store, 'urn:b');
      await first.store.deleteEntry('urn:a', everything);
      await first.close();
      const { store } = await place.open();
      for (const id of ['urn:a', 'urn:a', 'urn:b']) await putSigned(store, id, nowS + 1);
      expect(seen).toEqual([null, null, nowS, nowS + 1, null]);
    });

    it('tells of every change in the order of the positions, with what an update changed', async () => {
      const store = await places.store();
      const start = await store.position();
      await put(store, 'urn:a', { ttlS: 60 });
      await store.changeEntry('urn:a', () => content('Lampe', { expiresS: nowS + 30 }));
      await store.changeEntry('urn:a', () => content('x'.repeat(9_000)));
      await put(store, 'urn:b', { ttlS: 70 });
      await store.purgeExpired(nowS + 70);
      await store.deleteEntry('urn:a', everything);
      const events = await store.eventsAfter(start, 10);
      expect(events.map(({ position, kind, id }) => [position - start, kind, id])).toEqual([
        [1, 'created', 'urn:a'],
        [2, 'updated', 'urn:a'],
        [3, 'updated', 'urn:a'],
        [4, 'created', 'urn:b'],
        [5, 'deleted', 'urn:b'],
        [6, 'deleted', 'urn:a'],
      ]);
      const change = {
        title: 'Lampe',
        registration: { ttl: null, expires: new Date((nowS + 30) * 1000).toISOString() },
      };
      expect(events.map((event) => event.change && (JSON.parse(event.change) as unknown))).toEqual([
        null,
        change,
        null,
        null,
        null,
        null,
      ]);
      expect(await store.eventsAfter(start + 3, 1)).toMatchObject([{ position: start + 4 }]);
    });

    it('is at another position after every change, and after nothing else', async () => {
      const store = await places.store();
      const positions = [await store.position()];
      const change = async (work: () => Promise<unknown>): Promise<void> => {
        await work();
        positions.push(await store.position());
      };
      await change(() => put(store, 'urn:a', { ttlS: 60 }));
      await change(() => put(store, 'urn:a', { ttlS: 70 }));
      await change(() => store.purgeExpired(nowS + 70));
      await change(() => put(store, 'urn:b'));
      await change(() => store.deleteEntry('urn:b', everything));
      expect(positions).toEqual([...new Set(positions)].sort((a, b) => a - b));
      await store.deleteEntry('urn:b', everything);
      await store.purgeExpired(nowS + 900);
      expect(await store.position()).toBe(positions.at(-1));
    });

    it('deletes an entry once', async () => {
      const store = await places.store();
      await put(store, 'urn:a');
      expect(await store.deleteEntry('urn:a', everything)).toBe(true);
      expect(await store.deleteEntry('urn:a', everything)).toBe(false);
      expect(await store.entry('urn:a')).toBeUndefined();
    });

    it('lists pages in the order of the ids, with the total', async () => {
      const store = await places.store();
      for (const id of ['urn:c', 'urn:a', 'urn:d', 'urn:b']) await put(store, id);
      const { entries, total } = await store.listEntries(1, 2);
      expect(entries.map(({ id }) => id)).toEqual(['urn:b', 'urn:c']);
      expect(total).toBe(4);
      expect(await store.listEntries(9, 2)).toEqual({ entries: [], total: 4 });
      const some = await store.listEntries(0, 1, ['urn:d', 'urn:x', 'urn:b']);
      expect([some.total, some.entries.map(({ id }) => id)]).toEqual([2, ['urn:b']]);
      expect(await store.listEntries(0, 9, [])).toEqual({ entries: [], total: 0 });
      const after = async (...asked: Parameters<DirectoryStore['entriesAfter']>) =>
        (await store.entriesAfter(...asked)).map((entry) => entry.id);
      expect(await after('', 2)).toEqual(['urn:a', 'urn:b']);
      expect(await after('urn:bb', 9)).toEqual(['urn:c', 'urn:d']);
      expect(await after('urn:a', 1, ['urn:a', 'urn:d', 'urn:c'])).toEqual(['urn:c']);
      expect((await store.listEntries(1, 9, ['urn:d', 'urn:x', 'urn:b'])).entries).toMatchObject([{ id: 'urn:d' }]);
    });

    it('purges what has outlived its ttl and nothing else', async () => {
      const store = await places.store();
      await put(store, 'urn:z', { ttlS: 60 });
      await put(store, 'urn:b', { ttlS: 59 });
      await put(store, 'urn:c', { ttlS: 61 });
      await put(store, 'urn:d');
      await put(store, 'urn:e', { expiresS: nowS + 60 });
      expect(await store.purgeExpired(nowS + 60)).toEqual(['urn:b', 'urn:e', 'urn:z']);
      expect((await store.listEntries(0, 10)).entries.map(({ id }) => id)).toEqual(['urn:c', 'urn:d']);
    });
  });
}
