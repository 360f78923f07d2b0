/** Whom the next key would leave out, as a gateway shows it before anybody asks for one. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { leftBehind, membersOf } from '../../servients/lifecycle/community.js';
import type { SeenGroup } from '../../servients/lifecycle/gateway-view.js';
import { at } from '../support/forge.js';
import { makeNeighbourhood } from '../support/neighbourhood.js';
import { Village } from '../support/village.js';

const n = makeNeighbourhood(suiteX25519, 5);
let village: Village;
beforeAll(async () => {
  village = await Village.build(n, { asleep: [3] });
  await village.enrol(0, 1, 2, 3);
  await village.epochsAgreed(1);
});
afterAll(() => village.close());

const seen = async (): Promise<SeenGroup> => {
  const { groups } = (await village.gateway.properties['groups']!()) as { readonly groups: readonly SeenGroup[] };
  return at(groups, 0);
};
const left = async (): Promise<readonly string[]> => {
  const { members, gid } = await seen();
  const of = { gid, membership: n.membership(), epoch: undefined, seen: new Map(members.map((m) => [m.certHash, m])) };
  return leftBehind(membersOf(of)).map(({ id, why }) => `${id} ${why.replace(/\d{4}-\S+Z/, 'TIME')}`);
};

describe('the next key would leave out', () => {
  it('who has never enrolled, and who sleeps only once it was not heard of for too long', async () => {
    expect(await left()).toEqual(['meter-05 has never enrolled at this gateway']);
    await village.pass(600_000);
    expect(await left()).toEqual(['meter-04 silent since TIME', 'meter-05 has never enrolled at this gateway']);
    await village.enrol(3);
    expect(await left()).toEqual(['meter-05 has never enrolled at this gateway']);
  });

  it('whom an operator has revoked', async () => {
    await village.revoke(0);
    expect((await left())[0]).toBe('meter-01 revoked by an operator');
  });
});
