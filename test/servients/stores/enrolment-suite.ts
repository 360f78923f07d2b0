import { describe, expect, it } from 'vitest';
import type { Enrolment, EnrolmentStore } from '../../../things/enrolment-store.js';
import { placesOf, type StoreFactory } from './factory.js';
import { bytes, nowS } from './samples.js';

const invited = (name: string, more: Partial<Enrolment> = {}): Enrolment => ({
  ...{
    device: `urn:gridring:meter:${name}`,
    kind: 'invitation',
    proof: bytes(32),
    createdS: nowS,
    expiresS: nowS + 60,
  },
  ...{ request: null, certificates: null },
  ...more,
});

export function describeEnrolmentStore(name: string, factory: StoreFactory<EnrolmentStore>): void {
  describe(name, () => {
    const places = placesOf(factory);

    it('keeps who was invited, who asked and what they were given, over a restart', async () => {
      const place = await places.place();
      const first = await place.open();
      const [a, b] = [invited('a'), invited('b', { kind: 'renewal', request: bytes(99) })];
      await first.store.putEnrolment(b);
      await first.store.putEnrolment(invited('a'));
      await first.store.putEnrolment(a);
      const [request, certificates] = [bytes(200), [bytes(300), bytes(400)]];
      expect(await first.store.fileRequest({ ...a, expiresS: nowS + 600 }, request)).toBe(true);
      expect(await first.store.fileCertificates({ ...a, expiresS: nowS + 700 }, request, certificates)).toBe(true);
      await first.close();
      const { store } = await place.open();
      expect(await store.enrolment(a.device, 'invitation')).toEqual({
        ...a,
        request,
        certificates,
        expiresS: nowS + 700,
      });
      expect((await store.enrolments('', 10)).map(({ device }) => device)).toEqual([a.device, b.device]);
      expect(await store.enrolments(a.device, 10)).toEqual([b]);
      expect(await store.enrolment(a.device, 'renewal')).toBeUndefined();
    });

    it('keeps one request for a proof, of many at a time the first', async () => {
      const store = await places.store();
      const a = invited('a');
      await store.putEnrolment(a);
      const requests = [1, 2, 3].map(() => bytes(200));
      const kept = await Promise.all(requests.map((request) => store.fileRequest(a, request)));
      expect(kept.filter(Boolean)).toHaveLength(1);
      const request = requests[kept.indexOf(true)]!;
      expect(await store.fileRequest({ ...a, expiresS: nowS + 9_999 }, request)).toBe(true);
      expect(await store.enrolment(a.device, 'invitation')).toMatchObject({ request, expiresS: a.expiresS });
      expect(await store.fileRequest({ ...a, proof: bytes(32) }, request)).toBe(false);
    });

    it('gives certificates to the request that they were made for, and to no other', async () => {
      const store = await places.store();
      const a = invited('a', { request: bytes(200) });
      await store.putEnrolment(a);
      expect(await store.fileCertificates(a, bytes(200), [bytes(300)])).toBe(false);
      expect((await store.enrolment(a.device, 'invitation'))?.certificates).toBeNull();
    });

    it('forgets what is withdrawn, and what has expired', async () => {
      const store = await places.store();
      const [a, b] = [invited('a'), invited('b', { expiresS: nowS + 600 })];
      for (const each of [a, b]) await store.putEnrolment(each);
      await store.purgeEnrolments(nowS + 61);
      expect(await store.enrolments('', 10)).toEqual([b]);
      expect(await store.removeEnrolment(b.device, 'invitation')).toBe(true);
      expect(await store.removeEnrolment(b.device, 'invitation')).toBe(false);
    });
  });
}
