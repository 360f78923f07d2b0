/** Where a gateway finds its members. */
import type { Servient } from '@node-wot/core';
import { expect, it, vi } from 'vitest';
import { UnavailableError } from '../../crypto/errors.js';
import { MemberLinks } from '../../servients/member-links.js';
import { makeUncallableTd } from '../../td/make-td.js';

const id = 'urn:gridring:meter:meter-01';
const instance = { id, title: 'meter-01', version: '0.1.0' };
const certHash = new Uint8Array(32).fill(1);

it('is what they have signed, whatever the directory of the backend says', async () => {
  const consume = vi.fn<(td: unknown) => Promise<never>>().mockRejectedValue(new UnavailableError('unreachable', ''));
  const requestThingDescription = vi.fn();
  const servient = { start: async () => ({ consume, requestThingDescription }) } as unknown as Servient;
  const signed = makeUncallableTd(instance, 'coap://192.0.2.1/gateway');
  const meter = { id, certHash, certificates: [], td: JSON.stringify(signed), enrolledS: 0 };
  const fetched = vi.spyOn(globalThis, 'fetch').mockRejectedValue(new Error('no network'));
  const links = new MemberLinks(servient, () => [meter]);
  await expect(links.invoke(certHash, 'rekey', new Uint8Array(1))).rejects.toThrow();
  await expect(links.invoke(certHash, 'rekey', new Uint8Array(1))).rejects.toThrow();
  expect(consume).toHaveBeenCalledTimes(2);
  expect(consume).toHaveBeenLastCalledWith(expect.objectContaining({ id, links: signed['links'] as unknown }));
  expect(fetched).not.toHaveBeenCalled();
});
