/** Bundles are not signed as a whole: whoever carries one may leave out certificates. Real members, databases, virtual time. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { equalBytes } from '../../crypto/bytes.js';
import { encodeMembershipBundle, parseMembershipBundle } from '../../crypto/membership.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { Backend } from '../../things/backend.js';
import { openBackendStore } from '../../servients/stores/sqlite/backend-store.js';
import { delegate } from '../support/delegate.js';
import { at, neighbourhoodOf } from '../support/forge.js';
import { nowS, type Principal } from '../support/neighbourhood.js';
import { invoke, Village } from '../support/village.js';

const n = neighbourhoodOf(suiteX25519, 4);
const everybody = [n.gateway, n.operator, n.utility, n.household, ...n.meters];

/** The bundle without certificates of entries, but for these. */
function stripped(bundle: Uint8Array, ...kept: readonly Principal[]): Uint8Array {
  const { listMessage, certificates, delegated } = parseMembershipBundle(bundle);
  const isLeft = (der: Uint8Array): boolean =>
    !everybody.some((one) => !kept.includes(one) && equalBytes(one.certificate.der, der));
  return encodeMembershipBundle(listMessage, certificates.filter(isLeft), delegated);
}

const full = n.bundle(n.list());
let village: Village;
afterEach(() => village.close());

async function founded(): Promise<void> {
  village = await Village.build(n);
  await village.enrolAll();
  await village.epochsAgreed(1);
}

describe('a list that is known already, with certificates left out', () => {
  it('takes none away from members: they go on under the copy that they have', async () => {
    await founded();
    for (const { meter } of village.residents) await invoke(meter, 'updateMembership', stripped(full));
    village.gateway.group(n.gid).requested();
    expect(await village.epochsAgreed(2)).toMatchObject({ members: 4, confirmed: 4 });
  });

  it('takes none away from a gateway, whatever the authority has delegated beside it', async () => {
    await founded();
    await invoke(village.gateway, 'updateMembership', delegate(n));
    await invoke(village.gateway, 'updateMembership', stripped(delegate(n)));
    village.gateway.group(n.gid).requested();
    expect(await village.epochsAgreed(2)).toMatchObject({ members: 4, confirmed: 4 });
  });

  it('takes none away from the backend', async () => {
    await founded();
    const folder = mkdtempSync(join(tmpdir(), 'gridring-backend-'));
    const store = openBackendStore(join(folder, 'backend.sqlite'));
    const backend = await Backend.load({
      suite: n.suite,
      identity: { id: 'backend-1', ...n.backend, certificates: [n.backend.certificate.der] },
      trustedRoots: [n.root],
      nowS: () => nowS,
      log: { info: () => undefined, warn: () => undefined },
      version: '0.1.0',
      store: store.backend,
      events: store.events,
      onEpochRecorded: () => undefined,
    });
    for (const bundle of [stripped(full, n.gateway), full, stripped(full)]) await backend.publishMembership(bundle);
    expect(at(backend.memberships, 0).certificates).not.toContain(undefined);
    store.close();
    rmSync(folder, { recursive: true });
  });
});

describe('a newer list, with certificates left out', () => {
  const next = n.bundle(n.list({ version: 2 }));

  it('is made whole at gateway and members by the copy that has them', async () => {
    await founded();
    await invoke(village.gateway, 'updateMembership', stripped(next, n.gateway));
    for (const { meter } of village.residents) await invoke(meter, 'updateMembership', stripped(next, n.gateway));
    await invoke(village.gateway, 'updateMembership', next);
    village.gateway.group(n.gid).requested();
    for (const { meter } of village.residents) await invoke(meter, 'updateMembership', next);
    expect(await village.epochsAgreed(2)).toMatchObject({ members: 4, confirmed: 4 });
    await village.stopGateway();
    await village.startGateway();
    expect(await village.epochsAgreed(3)).toMatchObject({ members: 4, confirmed: 4 });
  });

  it('without the coordinator’s is asked for again: an announcement under it names a list that is not known', async () => {
    await founded();
    for (const { meter } of village.residents) await invoke(meter, 'updateMembership', stripped(next));
    await invoke(village.gateway, 'updateMembership', next);
    village.gateway.group(n.gid).requested();
    expect(await village.epochsAgreed(2)).toMatchObject({ members: 4, confirmed: 4 });
  });
});

describe('a delegation', () => {
  it('is not displaced by one that ends sooner, nor by one of another gateway', async () => {
    await founded();
    const other = n.certify('gateway', 'gw-2', { seed: 'gw-2' });
    await invoke(village.gateway, 'updateMembership', delegate(n));
    await invoke(village.gateway, 'updateMembership', delegate(n, { mayRemove: false, notAfterS: nowS + 3_600 }));
    await invoke(village.gateway, 'updateMembership', delegate(n, { gateway: other.certHash, notAfterS: nowS + 9e5 }));
    expect(village.gateway.group(n.gid).membership.delegation).toMatchObject({
      mayRemove: true,
      gateway: n.gateway.certHash,
    });
    await village.revoke(3);
    expect(village.gateway.group(n.gid).membership.list).toMatchObject({ revision: 1 });
  });
});
