import { equalBytes } from '../../../crypto/bytes.js';
import { openBackendStore } from '../../../servients/stores/sqlite/backend-store.js';
import { openGatewayStore } from '../../../servients/stores/sqlite/gateway-store.js';
import { openMeterStore } from '../../../servients/stores/sqlite/meter-store.js';
import { nowS, readings, type Reading } from './samples.js';

/** Fills a store with the readings of one meter, `itemsPerCommit` in one transaction. */
export interface Writer {
  /** Adds the items after the first `count`. */
  write(count: number): Promise<unknown>;
  /** How many items there are. @throws Error when what is there does not fit together */
  count(): Promise<number>;
  close(): void;
}

export type WriterRole = 'meter' | 'gateway' | 'backend';

export const itemsPerCommit = 7;
const meter = new Uint8Array(32).fill(9);
const itemsAfter = (count: number): readonly Reading[] => readings(meter, count + 1, count + itemsPerCommit);

/** Longer than a page, so that half of it can be written. */
const sealingState = (count: number): Uint8Array =>
  new Uint8Array(Uint32Array.from({ length: 2_000 }, () => count).buffer);

export const openWriter: Readonly<Record<WriterRole, (path: string) => Writer>> = {
  meter: (path) => {
    const store = openMeterStore(path);
    return {
      write: (count) => store.saveSealing(sealingState(count + itemsPerCommit), itemsAfter(count), nowS),
      count: async () => {
        const { depth } = await store.outboxStatus();
        const pending = await store.pending(100_000, 100_000_000);
        const sealing = (await store.loadSealing()) ?? sealingState(0);
        if (!equalBytes(sealing, sealingState(pending.length)))
          throw new Error('not the state that goes with the items');
        if (depth !== pending.length) throw new Error(`${pending.length} items, counted as ${depth}`);
        return depth;
      },
      close: () => {
        store.close();
      },
    };
  },
  gateway: (path) => {
    const store = openGatewayStore(path);
    return {
      write: (count) => store.accept(itemsAfter(count), nowS),
      count: async () => {
        const { depth } = await store.outboxStatus();
        const { fresh } = await store.accept(readings(meter, 1, depth), nowS);
        if (fresh > 0) throw new Error(`${fresh} items of the outbox were not remembered as accepted`);
        return depth;
      },
      close: () => {
        store.close();
      },
    };
  },
  backend: (path) => {
    const opened = openBackendStore(path);
    const { backend } = opened;
    return {
      write: (count) => backend.accept(itemsAfter(count), nowS),
      count: async () => {
        const stored = (await backend.entries(meter, 0, 100_000)).length;
        const counted = (await backend.readingCounts())[0]?.count ?? 0;
        if (counted !== stored) throw new Error(`${stored} readings, counted as ${counted}`);
        return stored;
      },
      close: () => {
        opened.close();
      },
    };
  },
};
