/** Where a gateway finds its members. */
import { describe, expect, it, vi } from 'vitest';
import { UnavailableError } from '../../crypto/errors.js';
import { enrolledTd, MemberLinks } from '../../servients/member-links.js';
import { makeUncallableTd } from '../../td/make-td.js';

const id = 'urn:gridring:meter:meter-01';
const certHash = new Uint8Array(32).fill(1);
const signed = makeUncallableTd({ id, title: 'meter-01', version: '0.1.0' });
const meter = { id, certHash, certificates: [], td: JSON.stringify(signed), enrolledS: 0 };

describe('a gateway finds a member', () => {
  it('that has enrolled, and looks again for one that is silent', async () => {
    const thing = vi.fn<(id: string) => Promise<never>>().mockRejectedValue(new UnavailableError('unreachable', ''));
    const forget = vi.fn<(id: string) => void>();
    const links = new MemberLinks({ thing, forget }, () => [meter]);
    await expect(links.invoke(certHash, 'rekey', new Uint8Array(1))).rejects.toMatchObject({ code: 'unreachable' });
    expect([thing.mock.calls, forget.mock.calls]).toEqual([[[id]], [[id]]]);
    const other = links.invoke(new Uint8Array(32), 'rekey', new Uint8Array(1));
    await expect(other).rejects.toMatchObject({ code: 'not-enrolled' });
  });

  it('where it has signed that it is', () => {
    expect([enrolledTd([meter], id), enrolledTd([meter], 'urn:example:other')]).toEqual([signed, undefined]);
  });
});
