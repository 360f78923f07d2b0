import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromBase64Url, toHex } from '../../crypto/bytes.js';
import { parseSign1, verifySign1 } from '../../crypto/cose.js';
import { GridringError } from '../../crypto/errors.js';
import { limits } from '../../crypto/limits.js';
import { contextOf } from '../../crypto/ring/messages.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { EpochLog } from '../../servients/epoch-log.js';
import { readabilityOf } from '../../servients/key-holders.js';
import { epochLines, readabilityJson, readabilityLines } from '../../servients/cli/epoch-text.js';
import { at } from '../support/forge.js';
import { makeNeighbourhood, nowS, type Principal } from '../support/neighbourhood.js';
import { agree, makePlayers } from '../support/ring.js';
import { audience, issuingOf, startBackend, type TestBackend } from './rest-server.js';

/**
 * A year in a community of four: all four found it (list 1, epoch 1); the fourth is removed (list 2, epochs 2 and 3, the
 * third asleep in epoch 3); a fifth joins (list 3, epoch 4).
 */
const n = makeNeighbourhood(suiteX25519, 4);
const gid = toHex(n.gid);
const fourth = at(n.meters, 3);
const fifth = n.certify('meter', 'meter-05', { seed: 'fifth' });
const later = { ...n, meters: [...n.meters.slice(0, 3), fifth] };
const lists = [
  n.list(),
  n.list({ version: 2, without: [fourth] }),
  n.list({ version: 3, without: [fourth], add: [fifth] }),
] as const;

const check = async (attempt: Promise<unknown>): Promise<string> => {
  try {
    await attempt;
  } catch (error) {
    if (error instanceof GridringError) return error.code;
    throw error;
  }
  return 'accepted';
};

let backend: TestBackend;
let log: EpochLog;
beforeAll(async () => {
  backend = await startBackend(n);
  const record = async (of: typeof n, listIndex: 0 | 1 | 2, epoch: number, members: readonly Principal[]) => {
    const membership = n.membership(lists[listIndex], [fifth]);
    const players = makePlayers(of, { membership }).filter(({ principal }) => members.includes(principal));
    const reason = (['founding', 'revocation', 'join'] as const)[listIndex];
    const { published } = agree(n, { membership, players, epoch, reason });
    const answer = await backend.call('POST', '/api/v1/epochs', { as: n.gateway, body: published.record });
    expect(answer.status).toBe(200);
  };
  const publish = (listIndex: 0 | 1 | 2): Promise<unknown> =>
    backend.call('POST', '/api/v1/memberships', { body: n.bundle(lists[listIndex], [fifth]) });
  await publish(0);
  await record(n, 0, 1, n.meters);
  backend.clockS += 20;
  await publish(1);
  backend.clockS += 7;
  await record(n, 1, 2, n.meters.slice(0, 3));
  await record(n, 1, 3, n.meters.slice(0, 2));
  await publish(2);
  await record(later, 2, 4, later.meters);
  log = new EpochLog(keysOf(n.utility), () => backend.clockS);
});
afterAll(() => backend.remove());

const keysOf = (principal: Principal & Pick<typeof n.utility, 'hpkeKey'>) => ({
  suite: n.suite,
  ...principal,
  certificates: [principal.certificate.der, issuingOf(n).der],
  root: n.root,
  backend: { url: backend.url, audience },
});
const asked = (meter: string, epoch?: string) => readabilityOf(log, gid, meter, epoch);

describe('can a meter read an epoch?', () => {
  it('yes, if it signed the confirmation of that key', async () => {
    for (const [meter, epoch] of [['meter-04', '1'], ['meter-01', '3'], ['meter-05', '4'], ['meter-05']] as const) {
      const { holder, proof } = await asked(meter, epoch);
      expect(holder?.certificate.id).toBe(meter);
      const message = parseSign1(holder!.confirmation, limits.memberMessage);
      verifySign1(n.suite, holder!.certificate.verifier, message, contextOf('confirmation', proof.record.name.th2));
    }
  });

  it('no, if it was removed before; and it is told by which list, and how long that took', async () => {
    const answer = await asked('meter-04', '2');
    expect(answer).toMatchObject({ holder: undefined, listed: false, removal: { tookS: 7 } });
    expect(answer.removal).toMatchObject({ list: { listVersion: 2 }, firstEpoch: { epoch: 2 } });
    expect(readabilityLines('meter-04', answer).join('\n')).toMatch(
      /^no: meter-04 does not hold the key of epoch 2.*list 2, published .* removed it; epoch 2, .* first without it: 7 s$/s,
    );
    expect(readabilityJson(answer)).toMatchObject({ canRead: false, tookS: 7, firstEpochWithout: 2 });
  });

  it('no, if it joined later', async () => {
    for (const epoch of ['1', '3']) {
      expect(await asked('meter-05', epoch)).toMatchObject({ holder: undefined, listed: false, removal: undefined });
    }
  });

  it('no, if it was listed and asleep', async () => {
    const answer = await asked('meter-03', '3.1');
    expect(answer).toMatchObject({ holder: undefined, listed: true, removal: undefined });
    expect(readabilityLines('meter-03', answer).join('\n')).toContain('list 2 names it, but it took no part');
  });

  it('by URN and by certificate too; and of a meter that no list ever named nothing is said', async () => {
    expect((await asked('urn:gridring:meter:meter-04', '1')).holder).toBeDefined();
    expect((await asked(toHex(fourth.certHash), '1')).holder).toBeDefined();
    expect(await check(asked('meter-06', '1'))).toBe('meter-unknown');
    expect(await check(asked('gw-1', '1'))).toBe('meter-unknown');
    expect(await check(asked('meter-01', '9'))).toBe('epoch-unknown');
  });

  it('yes for an epoch before its removal, and the removal is told beside it', async () => {
    const answer = await asked('meter-04', '1');
    expect(answer.removal).toMatchObject({ list: { listVersion: 2 }, tookS: 7 });
    const { confirmation, ...json } = readabilityJson(answer) as { readonly confirmation: string };
    expect(fromBase64Url(confirmation)).toEqual(answer.holder?.confirmation);
    expect(json).toMatchObject({ canRead: true, epoch: 1, endorsedBy: 'urn:gridring:backend:backend-1' });
  });
});

describe('the log of epochs', () => {
  it('lists them, the newest first, and finds one by number, by number and attempt, or the newest', async () => {
    expect(await log.onlyGroup()).toBe(gid);
    expect((await log.epochs(gid)).map(({ epoch, listVersion }) => [epoch, listVersion])).toEqual([
      [4, 3],
      [3, 2],
      [2, 2],
      [1, 1],
    ]);
    expect(await log.find(gid)).toMatchObject({ epoch: 4, reason: 'join', provisional: false });
    expect(await log.find(gid, '2.1')).toMatchObject({ epoch: 2 });
    expect(await check(log.find(gid, '2.2'))).toBe('epoch-unknown');
  });

  it('shows an epoch as its proof shows it', async () => {
    const listed = await log.find(gid, '2');
    const text = epochLines(await log.proof(listed), listed.recordedAt).join('\n');
    expect(text).toContain(`epoch 2, attempt 1, of group ${gid}`);
    expect(text).toMatch(/reason +revocation\n/);
    expect(text).toMatch(/announced by +urn:gridring:gateway:gw-1\n/);
    expect(text).toMatch(/state +endorsed by urn:gridring:backend:backend-1\n/);
    expect(text).toMatch(/members +3, in ring order: meter-0[123], meter-0[123], meter-0[123]$/);
    expect(text).toContain(new Date((nowS + 27) * 1000).toISOString());
  });

  it('believes no backend that answers with the proof of another epoch or under another root', async () => {
    const listed = await log.find(gid, '2');
    const elsewhere = makeNeighbourhood(suiteX25519, 2, 'elsewhere');
    const misled = new EpochLog({ ...keysOf(n.utility), root: elsewhere.root }, () => backend.clockS);
    expect(await check(misled.proof(listed))).toBe('certificate-untrusted');
    expect(await check(log.proof({ ...listed, epoch: 7 }))).toBe('epoch-unknown');
  });
});
