/** The models let a member crash between any two steps: what it has answered is on disk by then, and the ephemeral never. */
import { beforeEach, describe, expect, it } from 'vitest';
import type { CollectingShares } from '../../crypto/ring/coordinator-state.js';
import { announce, closeShares, onShare, onToken } from '../../crypto/ring/coordinator.js';
import { decodeMemberState, type MemberState } from '../../crypto/ring/member-state.js';
import { onAnnouncement, onRoster } from '../../crypto/ring/member.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { Meter } from '../../things/meter.js';
import type { MeterStore } from '../../things/stores.js';
import { placesOf } from '../servients/stores/factory.js';
import { sqliteMeterStores } from '../servients/stores/sqlite-places.js';
import { at, flipped, neighbourhoodOf, replaced, signTokens, tokenEntries, unsigned } from '../support/forge.js';
import { nowS, seededRandom } from '../support/neighbourhood.js';
import { makePlayers, play } from '../support/ring.js';

const n = neighbourhoodOf(suiteX25519, 3);
const coordinator = n.coordinatorContext();
const self = at(n.meters, 0);

const meterOn = (store: MeterStore): Promise<Meter> =>
  Meter.load({
    suite: n.suite,
    identity: { ...self, id: self.certificate.id, certificates: [self.certificate.der, at(n.certificates, 0)] },
    trustedRoots: [n.root],
    nowS: () => nowS,
    random: seededRandom('persistence'),
    log: { info: () => undefined, warn: () => undefined },
    version: '0.1.0',
    store,
    readingIntervalS: 60,
    sourceName: 'replay',
  });

async function answer(meter: Meter, name: string, message: Uint8Array): Promise<Uint8Array> {
  const action = meter.actions[name];
  if (action?.kind !== 'message') throw new Error(`${name} is no message action`);
  return action.invoke(message);
}

describe('a meter on a real store', () => {
  const places = placesOf(sqliteMeterStores);
  let meter: Meter;
  let stored: () => Promise<MemberState>;
  let stop: () => Promise<void>;
  let restarted: () => Promise<Meter>;
  let collecting: CollectingShares;

  beforeEach(async () => {
    const place = await places.place();
    const [own, other] = [await place.open(), await place.open()];
    meter = await meterOn(own.store);
    await meter.groups.updateMembership(n.bundle(n.list()));
    stored = async () => decodeMemberState((await other.store.loadMember(n.gid))!);
    stop = () => own.close();
    restarted = async () => meterOn((await place.open()).store);
    collecting = announce(coordinator, { epoch: 3, attempt: 2, reason: 'founding', expiryS: nowS + 120 });
  });

  /** The other two play in memory. @returns what the coordinator has when this meter has sent its token */
  async function throughItsToken() {
    const others = makePlayers(n).slice(1);
    const shares = [await answer(meter, 'rekey', collecting.announcementMessage)];
    for (const player of others) shares.push(play(player, onAnnouncement, collecting.announcementMessage));
    const roster = closeShares(
      coordinator,
      shares.reduce((state, share) => onShare(coordinator, state, share), collecting),
    );
    const tokens = [await answer(meter, 'agree', roster.rosterMessage)];
    for (const player of others) tokens.push(play(player, onRoster, roster.rosterMessage));
    let state: ReturnType<typeof onToken> = roster;
    for (const token of tokens) if (state.kind === 'tokens') state = onToken(coordinator, state, token);
    if (state.kind !== 'confirmations') throw new Error(`an honest ring ended in ${state.kind}`);
    return state;
  }

  it('has its high water mark on disk when its share leaves, and neither then nor with its token an ephemeral', async () => {
    await answer(meter, 'rekey', collecting.announcementMessage);
    const expected = {
      highWater: { epoch: 3, attempt: 2 },
      newestList: { version: 1, revision: 0 },
      round: { kind: 'idle' },
      active: null,
    };
    expect(await stored()).toMatchObject(expected);
    await throughItsToken();
    expect(await stored()).toMatchObject(expected);
  });

  it('has what it confirmed on disk when its confirmation leaves', async () => {
    const { tokensMessage } = await throughItsToken();
    const confirmationReply = await answer(meter, 'confirm', tokensMessage);
    expect((await stored()).round).toMatchObject({ kind: 'confirmed', confirmationReply });
  });

  it('has the tombstone on disk when its abort leaves', async () => {
    const confirming = await throughItsToken();
    const entries = replaced(unsigned(tokenEntries(confirming)), 1, (e) => ({ ...e, token: flipped(e.token) }));
    await answer(meter, 'confirm', signTokens(n, confirming.ring, entries));
    expect(await stored()).toMatchObject({ tombstone: confirming.ring.sid, round: { kind: 'idle' } });
  });

  it('answers nothing that it cannot keep', async () => {
    await stop();
    await expect(answer(meter, 'rekey', collecting.announcementMessage)).rejects.toMatchObject({
      code: 'store-closed',
    });
    expect((await stored()).highWater).toEqual({ epoch: 0, attempt: 0 });
    const again = await restarted();
    expect((await answer(again, 'rekey', collecting.announcementMessage)).length).toBeGreaterThan(0);
  });
});
