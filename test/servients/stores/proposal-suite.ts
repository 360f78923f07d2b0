import { describe, expect, it } from 'vitest';
import type { KeptProposal, ProposalStore } from '../../../things/proposal-store.js';
import { placesOf, type StoreFactory } from './factory.js';
import { bytes, nowS } from './samples.js';

const [gid, message] = [bytes(16), bytes(200)];
const made = (id: number, more: Partial<KeptProposal> = {}): KeptProposal => ({
  ...{ id: new Uint8Array(32).fill(id), gid, takenS: nowS, expiresS: nowS + 60, message },
  ...more,
});
const bounds = { waiting: 2, forgetBeforeS: nowS - 100 };

export function describeProposalStore(name: string, factory: StoreFactory<ProposalStore>): void {
  describe(name, () => {
    const places = placesOf(factory);

    it('keeps a proposal once, and shows those of a group page by page, over a restart', async () => {
      const place = await places.place();
      const first = await place.open();
      const [a, b, other] = [made(1), made(2), made(3, { gid: new Uint8Array(16) })];
      for (const each of [b, other, a]) expect(await first.store.saveProposal(each, bounds)).toBe(true);
      expect(await first.store.saveProposal({ ...a, takenS: nowS + 1 }, bounds)).toBe(false);
      await first.close();
      const { store } = await place.open();
      expect(await store.proposal(a.id)).toEqual(a);
      expect(await store.proposal(new Uint8Array(32))).toBeUndefined();
      expect(await store.proposals(gid, new Uint8Array(0), 1)).toEqual([a]);
      expect(await store.proposals(gid, a.id, 10)).toEqual([b]);
    });

    it('takes no more than may wait, and forgets what ended long ago', async () => {
      const store = await places.store();
      await store.saveProposal(made(1, { expiresS: nowS - 200 }), bounds);
      await store.saveProposal(made(2), bounds);
      expect(await store.proposals(gid, new Uint8Array(0), 10)).toEqual([made(2)]);
      await store.saveProposal(made(3), bounds);
      await expect(store.saveProposal(made(4), bounds)).rejects.toMatchObject({ code: 'proposals-waiting' });
      const later = made(5, { takenS: nowS + 61, expiresS: nowS + 99 });
      expect(await store.saveProposal(later, { ...bounds, forgetBeforeS: 0 })).toBe(true);
    });
  });
}
