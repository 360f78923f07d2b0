/** Where a gateway finds its members. */
import type { Servient } from '@node-wot/core';
import { describe, expect, it, vi } from 'vitest';
import { UnavailableError } from '../../crypto/errors.js';
import { MemberLinks } from '../../servients/member-links.js';
import { makeUncallableTd } from '../../td/make-td.js';
import { discoveryContext } from '../../crypto/registration.js';

const id = 'urn:gridring:meter:meter-01';
const instance = { id, title: 'meter-01', version: '0.1.0' };
const certHash = new Uint8Array(32).fill(1);

const signed = makeUncallableTd(instance);
const enriched = (td: object) => ({ ...td, '@context': [signed['@context'], discoveryContext].flat(), registration: {} });
const meter = { id, certHash, certificates: [], td: JSON.stringify(signed), enrolledS: 0 };

/** What is consumed where the directory gives this. */
async function consumed(thing: () => Promise<object>): Promise<unknown> {
  const consume = vi.fn<(td: unknown) => Promise<never>>().mockRejectedValue(new UnavailableError('unreachable', ''));
  const servient = { start: async () => ({ consume }) } as unknown as Servient;
  const directory = { thing: thing as () => Promise<WoT.ThingDescription> };
  const links = new MemberLinks(servient, directory, () => [meter], { info: () => undefined, warn: () => undefined });
  await expect(links.invoke(certHash, 'rekey', new Uint8Array(1))).rejects.toThrow();
  return consume.mock.lastCall?.[0];
}

describe('a gateway finds a member', () => {
  it('in the directory, where that has what the member has signed', async () => {
    const found = enriched(signed);
    expect(await consumed(async () => found)).toBe(found);
  });

  it('where the member has signed that it is, if the directory says anything else', async () => {
    const elsewhere = enriched({ ...signed, base: 'coap://192.0.2.66/' });
    expect(await consumed(async () => elsewhere)).toEqual(signed);
  });

  it('while the directory is away', async () => {
    expect(await consumed(() => Promise.reject(new UnavailableError('directory-unreachable', '')))).toEqual(signed);
  });
});
