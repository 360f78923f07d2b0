import { afterEach } from 'vitest';
import type { StoreOptions } from '../../../servients/stores/sqlite/database.js';

/** A place for one database, empty at first. Opened twice, it gives two stores on the same data. */
export interface Place<Store> {
  open(options?: StoreOptions): Promise<Opened<Store>>;
  remove(): Promise<void>;
}

interface Opened<Store> {
  readonly store: Store;
  close(): Promise<void>;
}

export type StoreFactory<Store> = () => Promise<Place<Store>>;

/** Opens stores for a test, and closes and removes all of them after it. */
export function placesOf<Store>(factory: StoreFactory<Store>): {
  place(): Promise<Place<Store>>;
  store(options?: StoreOptions): Promise<Store>;
} {
  const opened: Opened<Store>[] = [];
  const places: Place<Store>[] = [];
  afterEach(async () => {
    for (const store of opened.splice(0)) await store.close();
    for (const place of places.splice(0)) await place.remove();
  });
  const place = async (): Promise<Place<Store>> => {
    const made = await factory();
    const tracked: Place<Store> = {
      open: async (options) => {
        const store = await made.open(options);
        opened.push(store);
        return store;
      },
      remove: () => made.remove(),
    };
    places.push(tracked);
    return tracked;
  };
  return { place, store: async (options) => (await (await place()).open(options)).store };
}
