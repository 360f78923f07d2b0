/** Lists that have ended, at a gateway that starts again: an older one does not come back. Real members, virtual time. */
import { afterEach, describe, expect, it } from 'vitest';
import { limits } from '../../crypto/limits.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { dayS, delegate } from '../support/delegate.js';
import { at, neighbourhoodOf } from '../support/forge.js';
import { nowS } from '../support/neighbourhood.js';
import { invoke, Village } from '../support/village.js';

const n = neighbourhoodOf(suiteX25519, 4);
const removed = at(n.meters, 3);
let village: Village;
afterEach(() => village.close());

async function restart(): Promise<void> {
  await village.stopGateway();
  await village.startGateway();
}

describe('a gateway that starts again when its newest list has ended', () => {
  it('keeps to it, and does not go back to the one of its configuration, which is valid still', async () => {
    village = await Village.build(n);
    await village.enrolAll();
    await village.epochsAgreed(1);
    const short = { ...n.list({ version: 2, without: [removed] }), notAfterS: nowS + dayS };
    await village.updateMembership(short);
    await village.epochsAgreed(2);
    await village.pass((dayS + limits.clockSkewS + 60) * 1_000);
    await restart();
    const before = village.epochs.length;
    expect(village.gateway.group(n.gid).membership.list).toMatchObject({ version: 2 });
    await village.pass(30_000);
    expect(village.epochs).toHaveLength(before);
    await village.updateMembership(n.list({ version: 3, without: [removed] }));
    expect(await village.epochsAgreed(before + 1)).toMatchObject({ members: 3, confirmed: 3 });
  });

  it('lets nobody back in whom it took off the list under a delegation that has ended', async () => {
    village = await Village.build(n);
    await invoke(village.gateway, 'updateMembership', delegate(n));
    await village.enrolAll();
    await village.epochsAgreed(1);
    await village.revoke(3);
    await village.epochsAgreed(2);
    await village.pass((dayS + limits.clockSkewS + 60) * 1_000);
    await restart();
    expect(village.gateway.group(n.gid).membership.list).toMatchObject({ version: 1, revision: 1 });
    expect(village.gateway.group(n.gid).lists(removed.certHash)).toBe(false);
  });
});
