import { describe, expect, it } from 'vitest';
import { ConflictError } from '../../../crypto/errors.js';
import type { EndpointContent, EndpointStore } from '../../../things/endpoint-store.js';
import { placesOf, type StoreFactory } from './factory.js';
import { nowS } from './samples.js';

const content = (more: Partial<EndpointContent> = {}): EndpointContent => ({
  ...{ givenBase: null, sourceBase: 'coap://192.0.2.1', lifetimeS: 60, updatedS: nowS },
  ...{ attributes: '[["et","lamp"]]', links: '</licht>;rt="é"', owner: '192.0.2.1', things: '[]' },
  ...more,
});
const put = (store: EndpointStore, name: string, more: Partial<EndpointContent> = {}, sector = '') =>
  store.putEndpoint({ name, sector, owner: '192.0.2.1', newId: `id-${name}${sector}` }, () => content(more));

export function describeEndpointStore(name: string, factory: StoreFactory<EndpointStore>): void {
  describe(name, () => {
    const places = placesOf(factory);

    it('keeps an endpoint over a restart, and its id when it registers again', async () => {
      const place = await places.place();
      const first = await place.open();
      const registered = await put(first.store, 'node');
      expect(registered).toEqual({ ...content(), id: 'id-node', name: 'node', sector: '', revision: 1 });
      const again = await first.store.putEndpoint(
        { name: 'node', sector: '', owner: 'x', newId: 'other' },
        (known) => ({ ...known!, givenBase: 'coap://node.example', lifetimeS: 4_294_967_295 }),
      );
      await first.close();
      const { store } = await place.open();
      expect(again).toEqual({
        ...registered,
        ...{ givenBase: 'coap://node.example', lifetimeS: 4_294_967_295, revision: 2 },
      });
      expect(await store.endpoint('id-node')).toEqual(again);
      expect(await store.endpointNamed('node', '')).toEqual(again);
      expect(await store.endpointNamed('node', 'cellar')).toBeUndefined();
    });

    it('lists endpoints by name and sector, and tells a registration how many there are', async () => {
      const store = await places.store();
      await put(store, 'b');
      await put(store, 'b', { owner: '192.0.2.9' }, 'cellar');
      await put(store, 'B');
      await put(store, 'a');
      expect((await store.endpoints()).map(({ name: ep, sector }) => ep + sector)).toEqual(['B', 'a', 'b', 'bcellar']);
      let told: unknown;
      await store.putEndpoint({ name: 'c', sector: '', owner: '192.0.2.1', newId: 'c' }, (_known, counts) => {
        told = { ...counts };
        return content();
      });
      expect(told).toEqual({ all: 4, ofOwner: 3 });
    });

    it('changes nothing where a step throws, and nothing that is not there', async () => {
      const store = await places.store();
      await put(store, 'node');
      const before = [await store.endpoints(), await store.endpointPosition()];
      const refuse = (): never => {
        throw new ConflictError('test', 'no');
      };
      const key = { name: 'node', sector: '', owner: '', newId: 'x' };
      await expect(store.putEndpoint(key, refuse)).rejects.toThrow('no');
      await expect(store.updateEndpoint('id-node', refuse)).rejects.toThrow('no');
      await expect(store.deleteEndpoint('id-node', refuse)).rejects.toThrow('no');
      expect(await store.updateEndpoint('nothing', refuse)).toBeUndefined();
      expect(await store.deleteEndpoint('nothing', refuse)).toBe(false);
      expect([await store.endpoints(), await store.endpointPosition()]).toEqual(before);
    });

    it('removes what was removed or has outlived its lifetime, each time at another position', async () => {
      const store = await places.store();
      for (const [ep, lifetimeS] of [
        ['a', 60],
        ['b', 61],
        ['c', 59],
        ['d', 90],
      ] as const)
        await put(store, ep, { lifetimeS });
      await store.updateEndpoint('id-d', (known) => ({ ...known, updatedS: nowS + 10 }));
      const positions = [await store.endpointPosition()];
      expect(await store.purgeEndpoints(nowS + 60)).toEqual(['id-a', 'id-c']);
      positions.push(await store.endpointPosition());
      expect(await store.purgeEndpoints(nowS + 60)).toEqual([]);
      expect(await store.deleteEndpoint('id-b', () => undefined)).toBe(true);
      positions.push(await store.endpointPosition());
      expect((await store.endpoints()).map(({ name: ep }) => ep)).toEqual(['d']);
      expect(positions).toEqual([...new Set(positions)].sort((a, b) => a - b));
    });
  });
}
