/** A meter keeps what its gateway has signed for until the backend has it, and follows only a gateway that the authority names. */
import { afterEach, describe, expect, it } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { parseReading } from '../../crypto/envelope/reading.js';
import { signHome, type Home } from '../../crypto/home.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import type { Outbox } from '../../things/stores.js';
import { at, neighbourhoodOf } from '../support/forge.js';
import type { Principal } from '../support/neighbourhood.js';
import { invoke, refusalOf, Village } from '../support/village.js';

const n = neighbourhoodOf(suiteX25519, 4);

let village: Village;
afterEach(() => village.close());

async function founded(): Promise<void> {
  village = await Village.build(n);
  await village.enrolAll();
  await village.epochsAgreed(1);
}

const messagesIn = async (outbox: Outbox): Promise<readonly string[]> =>
  (await outbox.pending(1_000, 1e7)).map(({ message }) => toHex(message));

/** The backend takes what the gateway has, but for the newest so many items. */
async function store(allBut = 0): Promise<void> {
  const items = await village.store.pending(1_000, 1e7);
  await village.store.acknowledge(items.slice(0, items.length - allBut).map(({ position }) => position));
}

const held = (i: number): Promise<number> => at(village.residents, i).store.heldCount();

describe('what a gateway has signed for', () => {
  it('stays with the meter until the gateway says that the backend has it', async () => {
    await founded();
    for (let k = 0; k < 3; k++) await village.read(0);
    const ofThree = await held(0);
    expect(ofThree).toBeGreaterThanOrEqual(3);
    await store();
    await village.read(0);
    expect(await held(0)).toBe(1);
    await store(1);
    await village.read(0);
    expect(await held(0)).toBe(2);
  });

  it('and the backend refused is kept by the meter with all that follows', async () => {
    await founded();
    await village.read(0);
    await store();
    for (let k = 0; k < 3; k++) await village.read(0);
    const [first] = await village.store.pending(1, 1e6);
    await village.store.setAside(first!.position, 'chain-broken');
    await store();
    await village.read(0);
    expect(await held(0)).toBe(4);
  });

  it('is sent again, grants and all, to a gateway that has lost its disk', async () => {
    await founded();
    for (const i of [0, 1]) for (let k = 0; k < 5; k++) await village.read(i);
    const lost = await messagesIn(village.store);
    await village.loseGateway();
    expect(await messagesIn(village.store)).toEqual([]);
    await village.enrolAll();
    for (const i of [0, 1]) await village.read(i);
    expect(await messagesIn(village.store)).toEqual(expect.arrayContaining([...lost]));
    for (const i of [0, 1]) {
      const own = (await village.store.pending(1_000, 1e7)).flatMap(({ kind, message }) => {
        const reading = kind === 'reading' ? parseReading(n.suite, message) : undefined;
        return reading && toHex(reading.meter) === toHex(at(n.meters, i).certHash) ? [reading.sequence] : [];
      });
      expect(own).toHaveLength(6);
      expect(new Set(own)).toEqual(new Set([1, 2, 3, 4, 5, 6]));
    }
  });

  it('and the backend had before the gateway was lost is not sent again', async () => {
    await founded();
    for (let k = 0; k < 3; k++) await village.read(0);
    await store();
    await village.read(0);
    await village.loseGateway();
    await village.enrolAll();
    await village.read(0);
    expect(await messagesIn(village.store)).toHaveLength(2);
  });
});

describe('a word where the gateway is', () => {
  const home = (change: Partial<Home> = {}): Home => ({
    ...{ gid: n.gid, tdUrls: ['coap://192.0.2.7/.well-known/wot'], timeS: village.clock.nowS },
    ...change,
  });
  const say = async (by: Pick<Principal, 'kid' | 'signer'>, what: Home): Promise<readonly string[]> => {
    const { meter } = at(village.residents, 0);
    await invoke(meter, 'rehome', signHome(n.suite, by, what));
    return meter.homeUrls;
  };

  it('is taken from a coordinator of the newest list, and kept over a restart', async () => {
    await founded();
    expect(await say(n.gateway, home())).toEqual(['coap://192.0.2.7/.well-known/wot']);
    expect(await at(village.residents, 0).store.loadHome()).toBeDefined();
  });

  it('is taken from nobody else: a member, an operator, a stranger, a gateway that was removed', async () => {
    await founded();
    const stranger = n.certify('gateway', 'gw-9', { seed: 'stranger' });
    for (const by of [at(n.meters, 1), n.operator, stranger]) {
      expect(await refusalOf(say(by, home()))).toBe('not-listed');
    }
    expect(await refusalOf(say({ kid: n.gateway.kid, signer: stranger.signer }, home()))).toBe('signature-invalid');
    const successor = n.certify('gateway', 'gw-1', { seed: 'successor' });
    const bundle = n.bundle(n.listUnder(successor, 2), [successor]);
    await invoke(at(village.residents, 0).meter, 'updateMembership', bundle);
    expect(await refusalOf(say(n.gateway, home()))).toBe('not-listed');
    expect(await say(successor, home({ tdUrls: ['coap://192.0.2.8/.well-known/wot'] }))).toHaveLength(1);
  });

  it('is refused when it is older than the one that is known, of the future, of another group, or of no address', async () => {
    await founded();
    await say(n.gateway, home());
    expect(await refusalOf(say(n.gateway, home({ timeS: village.clock.nowS - 1 })))).toBe('home-stale');
    expect(await refusalOf(say(n.gateway, home({ timeS: village.clock.nowS + 301 })))).toBe('home-stale');
    expect(await refusalOf(say(n.gateway, home({ gid: new Uint8Array(16) })))).toBe('not-listed');
    for (const tdUrls of [[], ['file:///etc/passwd'], ['nonsense']]) {
      expect(await refusalOf(say(n.gateway, home({ tdUrls })))).toMatch(/malformed/);
    }
  });
});
