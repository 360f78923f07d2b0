import { describe, expect, it } from 'vitest';
import type { IdempotencyStore, KeptAnswer } from '../../../things/idempotency-store.js';
import { placesOf, type StoreFactory } from './factory.js';
import { bytes, nowS } from './samples.js';

const answer: KeptAnswer = { status: 201, contentType: 'application/json', location: '/things/1', body: bytes(40) };

export function describeIdempotencyStore(name: string, factory: StoreFactory<IdempotencyStore>): void {
  describe(name, () => {
    const places = placesOf(factory);
    const [asked, otherwise] = [bytes(32), bytes(32)];
    const claim = (store: IdempotencyStore, id: Uint8Array, request = asked, timeS = nowS) =>
      store.claim(id, request, timeS, timeS - 60);

    it('gives what was answered first to whoever repeats the request, over a restart', async () => {
      const place = await places.place();
      const first = await place.open();
      const id = bytes(32);
      expect(await claim(first.store, id)).toEqual({ kind: 'claimed' });
      expect(await claim(first.store, id)).toEqual({ kind: 'under-way' });
      await first.store.keepAnswer(id, answer);
      await first.close();
      const { store } = await place.open();
      expect(await claim(store, id)).toEqual({ kind: 'done', answer });
      expect(await claim(store, id, otherwise)).toEqual({ kind: 'other' });
      await store.release(id);
      expect(await claim(store, id, asked, nowS + 3_600)).toEqual({ kind: 'done', answer });
    });

    it('lets one of many at a time do it', async () => {
      const store = await places.store();
      const id = bytes(32);
      const claims = await Promise.all(Array.from({ length: 8 }, () => claim(store, id)));
      expect(claims.map(({ kind }) => kind).sort()).toEqual(['claimed', ...Array<string>(7).fill('under-way')]);
    });

    it('lets it be sent again after a refusal, and after whoever was at it is gone', async () => {
      const store = await places.store();
      const id = bytes(32);
      await claim(store, id);
      await store.release(id);
      expect(await claim(store, id, otherwise)).toEqual({ kind: 'claimed' });
      expect(await claim(store, id, otherwise, nowS + 60)).toEqual({ kind: 'under-way' });
      expect(await claim(store, id, asked, nowS + 61)).toEqual({ kind: 'other' });
      expect(await claim(store, id, otherwise, nowS + 61)).toEqual({ kind: 'claimed' });
      expect(await claim(store, id, otherwise, nowS + 62)).toEqual({ kind: 'under-way' });
    });

    it('forgets what is old, and nothing else', async () => {
      const store = await places.store();
      const [old, fresh] = [bytes(32), bytes(32)];
      for (const [id, timeS] of [
        [old, nowS - 10],
        [fresh, nowS],
      ] as const) {
        await claim(store, id, asked, timeS);
        await store.keepAnswer(id, answer);
      }
      await store.purgeIdempotency(nowS);
      expect(await claim(store, old, otherwise)).toEqual({ kind: 'claimed' });
      expect(await claim(store, fresh)).toEqual({ kind: 'done', answer });
    });
  });
}
