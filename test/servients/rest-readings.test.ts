import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { fromBase64Url, toHex } from '../../crypto/bytes.js';
import { openGrant, verifyGrant } from '../../crypto/envelope/grant.js';
import { openReading, verifyReading, verifyReceipt } from '../../crypto/envelope/reading.js';
import { decodeSenml } from '../../crypto/envelope/senml.js';
import { limits } from '../../crypto/limits.js';
import { certificateOf } from '../../crypto/membership.js';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import { verifyChain, parseCertificate } from '../../crypto/certificate.js';
import { makeNeighbourhood, nowS, type Principal, type Reader } from '../support/neighbourhood.js';
import { agree, makePlayers } from '../support/ring.js';
import { reading, TestMeter, uploadOf } from './rest-meters.js';
import { asJson, expectProblem, startBackend, type Answer, type TestBackend } from './rest-server.js';

interface ReadingItem {
  readonly sequence: number;
  readonly epoch: number;
  readonly message: string;
}
interface MeterItem {
  readonly id: string;
  readonly certHash: string;
  readonly count: number;
  readonly lastSequence: number;
}

describe.each([suiteX25519, suiteP256])('sealed readings, suite $name', (suite) => {
  const n = makeNeighbourhood(suite, 3);
  const founding = agree(n);
  const [first, second, third] = n.meters as [Principal, Principal, Principal];
  const meterOf = (i: number, seed = 'meter'): TestMeter => new TestMeter(n, founding.players[i]!, { seed });

  let backend: TestBackend;
  beforeEach(async () => {
    backend = await startBackend(n);
    await backend.call('POST', '/api/v1/memberships', { body: n.bundle(n.list()) });
    await backend.call('POST', '/api/v1/epochs', { body: founding.published.record, as: n.gateway });
  });
  afterEach(() => backend.remove());

  const upload = (body: unknown, as: Principal = n.gateway): Promise<Answer> =>
    backend.call('POST', '/api/v1/readings', { body, as });
  const get = (resource: string, as: Principal = n.utility): Promise<Answer> =>
    backend.call('GET', `/api/v1/${resource}`, { as });
  const readingsOf = async (meter: string, query = '', as?: Principal): Promise<readonly ReadingItem[]> =>
    ((await get(`meters/${meter}/readings${query}`, as)).body as { readonly readings: readonly ReadingItem[] })
      .readings;
  const metersOf = async (as?: Principal): Promise<readonly MeterItem[]> =>
    ((await get('meters', as)).body as { readonly meters: readonly MeterItem[] }).meters;

  async function openAll(meter: Principal, reader: Reader, as: Principal = reader): Promise<readonly unknown[]> {
    const certificate = certificateOf(n.membership(), meter.certHash, 'member', nowS);
    const { body } = await get(`meters/${meter.certificate.id}/grants`, as);
    const { grants } = body as { readonly grants: readonly { readonly message: string }[] };
    const key = openGrant(suite, reader, verifyGrant(suite, certificate, fromBase64Url(grants[0]!.message)));
    return (await readingsOf(meter.certificate.id, '', as)).flatMap(({ message }) => {
      const sealed = verifyReading(suite, certificate, fromBase64Url(message));
      return decodeSenml(openReading(suite, key, sealed)).readings;
    });
  }

  async function expectReceipt(message: Uint8Array, receipt: Uint8Array): Promise<void> {
    const { body } = await backend.call('GET', '/api/v1/identity');
    const { certificates } = body as { readonly certificates: readonly string[] };
    const [leaf, ...above] = certificates.map((der) => parseCertificate(suite, fromBase64Url(der)));
    const certificate = verifyChain(suite, leaf!, above, [n.root], nowS, 'backend');
    verifyReceipt(suite, certificate, n.gateway.certHash, message, receipt);
  }

  it('are given up when the policy says so, and said to have been: they are not lost', async () => {
    const meter = meterOf(0);
    await upload(uploadOf(meter.measure(2)));
    const before = await readingsOf(first.certificate.id);
    const weekS = 7 * 86_400;
    const { folder } = backend;
    await backend.close();
    backend = await startBackend(n, { retention: { readingsDays: 7 } }, folder, nowS + 3 * weekS);
    await vi.waitFor(async () => {
      expect(await readingsOf(first.certificate.id)).toEqual([]);
    });
    const { body } = await get(`meters/${first.certificate.id}/dropped`);
    const certificate = certificateOf(n.membership(), first.certHash, 'member', nowS);
    const sealed = before.map(({ message }) => verifyReading(suite, certificate, fromBase64Url(message)));
    const [previousHash, hash] = [toHex(sealed[0]!.previousHash), toHex(sealed[1]!.hash)];
    expect(body).toEqual({ dropped: [{ first: 1, last: 2, previousHash, hash }] });
    expect((await metersOf()).find(({ id }) => id.endsWith(first.certificate.id))).toMatchObject({
      count: 0,
      lastSequence: 2,
    });
    expectProblem(await get(`meters/${second.certificate.id}/dropped`, n.household), 404, 'meter-unknown');
    await upload(uploadOf(meter.measure(1)));
    expect((await readingsOf(first.certificate.id)).map(({ sequence }) => sequence)).toEqual([3]);
  });

  it('are taken with their grants, receipted by the backend’s certificate, and opened by the reader', async () => {
    const message = uploadOf(meterOf(0).measure(3), meterOf(1).measure(2));
    const { status, body, headers } = await upload(message);
    expect([status, headers.get('content-type')]).toEqual([200, 'application/cose']);
    await expectReceipt(message, body as Uint8Array);
    expect(await openAll(first, n.utility)).toEqual([reading(1), reading(2), reading(3)]);
    expect(await openAll(second, n.utility)).toEqual([reading(1), reading(2)]);
    expect(await openAll(first, n.household)).toEqual([reading(1), reading(2), reading(3)]);
  });

  it('may come again, as JSON too: each is kept once, and receipted again', async () => {
    const meter = meterOf(0);
    const message = uploadOf(meter.measure(3));
    expect((await upload(message)).status).toBe(200);
    const again = await upload(asJson(message));
    expect(again.status).toBe(200);
    await expectReceipt(message, fromBase64Url((again.body as { readonly message: string }).message));
    expect((await upload(uploadOf(meter.measure(2)))).status).toBe(200);
    const [listed] = (await metersOf()).filter(({ certHash }) => certHash === toHex(first.certHash));
    expect(listed).toEqual({
      id: 'urn:gridring:meter:meter-01',
      certHash: toHex(first.certHash),
      count: 5,
      lastSequence: 5,
    });
  });

  it('come in pages, after a sequence or the last ones, by any name of the meter', async () => {
    await upload(uploadOf(meterOf(0).measure(5)));
    const sequences = async (query: string, name = 'meter-01'): Promise<readonly number[]> =>
      (await readingsOf(name, query)).map(({ sequence }) => sequence);
    expect(await sequences('')).toEqual([1, 2, 3, 4, 5]);
    expect(await sequences('?after=2&limit=2')).toEqual([3, 4]);
    expect(await sequences('?after=5')).toEqual([]);
    expect(await sequences('?last=2', encodeURIComponent('urn:gridring:meter:meter-01'))).toEqual([4, 5]);
    expect(await sequences('?last=1', toHex(first.certHash))).toEqual([5]);
    expect((await readingsOf('meter-01', '?last=1'))[0]).toMatchObject({
      epoch: 1,
      receivedAt: '2026-01-01T00:00:00.000Z',
    });
  });

  it('are not given for a query that makes no sense', async () => {
    for (const query of ['limit=0', 'limit=501', 'last=x', 'after=-1', 'after=1&after=2', 'last=1&after=1', 'from=1']) {
      expectProblem(await get(`meters/meter-01/readings?${query}`), 400, 'input-invalid');
    }
  });

  describe('are taken only as they were sealed', () => {
    it('a second reading of one sequence is a conflict, and nothing of that upload is kept', async () => {
      await upload(uploadOf(meterOf(0).measure(2)));
      const cloned = meterOf(0, 'restored from a backup');
      expectProblem(await upload(uploadOf(meterOf(1).measure(1), cloned.measure(3))), 409, 'sequence-conflict');
      expect((await metersOf()).map(({ count }) => count).sort()).toEqual([0, 0, 2]);
    });

    it('one that does not continue the chain is refused', async () => {
      const meter = meterOf(0);
      const before = meter.measure(1);
      const dropped = meterOf(0, 'another life');
      dropped.measure(1);
      await upload(uploadOf(before));
      expectProblem(await upload(uploadOf(dropped.measure(1))), 409, 'chain-broken');
    });

    it('an altered one, one of somebody else, and one in another’s name are refused', async () => {
      const { grants, readings } = meterOf(0).measure(1);
      const altered = readings.map((message) =>
        message.map((byte, i) => (i === message.length - 70 ? byte ^ 1 : byte)),
      );
      expectProblem(await upload(uploadOf({ grants, readings: altered })), 403, 'refused');
      const stranger = n.certify('meter', 'meter-99');
      const outsider = { ...founding.players[0]!, principal: stranger };
      expectProblem(await upload(uploadOf(new TestMeter(n, outsider).measure(1))), 403, 'refused');
      const forged = { ...founding.players[0]!, principal: { ...first, signer: second.signer } };
      expectProblem(await upload(uploadOf(new TestMeter(n, forged).measure(1))), 403, 'refused');
      expect((await metersOf()).every(({ count }) => count === 0)).toBe(true);
    });

    it('a grant to somebody whom the signed policy does not name is refused', async () => {
      const policy = { readings: [{ reader: n.household.certHash, meters: null }] };
      const membership = n.membership(n.list({ policy }));
      const generous = new TestMeter(n, founding.players[1]!, { membership });
      expectProblem(await upload(uploadOf(generous.measure(1))), 403, 'refused');
      expect(backend.logged.at(-1)).toMatchObject({ code: 'reader-not-granted' });
    });

    it('more than an upload may hold is refused', async () => {
      expectProblem(await upload(new Uint8Array(limits.readingsBatch + 1)), 413, 'too-large');
      expectProblem(await upload(asJson(new Uint8Array(limits.readingsBatch + 1))), 400, 'input-invalid');
    });

    it('nobody but a listed gateway uploads, and the body of anybody else is not even read', async () => {
      const message = uploadOf(meterOf(0).measure(1));
      for (const stranger of [first, n.utility, n.operator, n.certify('gateway', 'gw-2')]) {
        expectProblem(await upload(message, stranger), 403, 'refused');
      }
      expectProblem(await upload('{"message":', n.utility), 403, 'refused');
      expectProblem(await backend.call('POST', '/api/v1/readings', { body: message }), 401, 'token-missing');
    });
  });

  // None of the rest depends on the suite.
  if (suite !== suiteX25519) return;

  describe('are given only to those whom the signed policy lets read', () => {
    beforeEach(() => upload(uploadOf(meterOf(0).measure(1), meterOf(1).measure(1))));

    it('a household sees its own meter, and of another not even that it exists', async () => {
      expect((await metersOf(n.household)).map(({ id }) => id)).toEqual(['urn:gridring:meter:meter-01']);
      expect(await readingsOf('meter-01', '', n.household)).toHaveLength(1);
      for (const resource of ['readings', 'readings?last=1', 'grants']) {
        const [others, nobodys] = await Promise.all(
          ['meter-02', 'meter-77'].map((name) => get(`meters/${name}/${resource}`, n.household)),
        );
        expectProblem(others!, 404, 'meter-unknown');
        expect({ ...(others!.body as object), requestId: '' }).toEqual({ ...(nobodys!.body as object), requestId: '' });
      }
      expectProblem(await get(`meters/${toHex(second.certHash)}/readings`, n.household), 404, 'meter-unknown');
    });

    it('each reader gets its own grants; operator and gateway see ciphertext, and have no grants', async () => {
      for (const reader of [n.utility, n.household]) expect(await openAll(first, reader)).toEqual([reading(1)]);
      await expect(openAll(first, n.household, n.utility)).rejects.toMatchObject({ code: 'grant-not-mine' });
      for (const other of [n.operator, n.gateway]) {
        expect(await readingsOf('meter-02', '', other)).toHaveLength(1);
        expect((await get('meters/meter-02/grants', other)).body).toEqual({ grants: [] });
      }
    });

    it('meters are given page by page, each once, with no more counted than the page has', async () => {
      const listed = await metersOf();
      const paged: MeterItem[] = [];
      for (let after = ''; ;) {
        const { body } = await get(`meters?limit=1${after === '' ? '' : `&after=${after}`}`);
        const { meters, next } = body as { readonly meters: readonly MeterItem[]; readonly next?: string };
        expect(meters).toHaveLength(1);
        paged.push(...meters);
        if (next === undefined) break;
        after = next;
      }
      const byHash = (a: MeterItem, b: MeterItem): number => (a.certHash < b.certHash ? -1 : 1);
      expect(paged).toEqual([...listed].sort(byHash));
      expectProblem(await get('meters?after=x'), 400, 'input-invalid');
      expectProblem(await get('meters?limit=501'), 400, 'input-invalid');
    });

    it('pages give every meter once while others are added between them', async () => {
      const there = (await metersOf()).map(({ certHash }) => certHash);
      const added: Principal[] = [];
      const paged: string[] = [];
      for (let after: string | undefined = ''; after !== undefined;) {
        const { body } = await get(`meters?limit=1${after === '' ? '' : `&after=${after}`}`);
        const page = body as { readonly meters: readonly MeterItem[]; readonly next?: string };
        paged.push(...page.meters.map(({ certHash }) => certHash));
        after = page.next;
        if (added.length === 3) continue;
        added.push(n.certify('meter', `new-${added.length}`));
        const published = n.bundle(n.list({ version: 1 + added.length, add: added }), added);
        expect((await backend.call('POST', '/api/v1/memberships', { body: published })).status).toBe(200);
        expect(await metersOf()).toHaveLength(there.length + added.length);
      }
      expect(paged).toEqual([...new Set(paged)].sort());
      expect(paged).toEqual(expect.arrayContaining(there));
    });

    it('a meter, an unlisted reader and a reader of another list are refused, and so is nobody', async () => {
      for (const stranger of [second, n.authority, n.certify('reader', 'curious')]) {
        for (const resource of ['meters', 'meters/meter-01/readings', 'meters/meter-01/grants']) {
          expectProblem(await get(resource, stranger), 403, 'refused');
        }
      }
      expectProblem(await backend.call('GET', '/api/v1/meters'), 401, 'token-missing');
    });

    it('a reader that was revoked reads nothing more, with the token that it still has', async () => {
      expect(await metersOf(n.household)).toHaveLength(1);
      const list = n.list({ version: 2 });
      const entries = list.entries.filter(({ certHash }) => certHash !== n.household.certHash);
      await backend.call('POST', '/api/v1/memberships', { body: n.bundle({ ...list, entries }) });
      expectProblem(await get('meters', n.household), 403, 'refused');
    });

    it('nobody reads under a list whose time is over', async () => {
      backend.clockS = nowS + 31_536_000 - 60;
      const list = { ...n.list({ version: 2 }), notAfterS: backend.clockS + 10 };
      await backend.call('POST', '/api/v1/memberships', { body: n.bundle(list) });
      expect(await metersOf()).toHaveLength(3);
      backend.clockS += 320;
      const health = await backend.call('GET', '/health');
      expect(health.body).toMatchObject({
        status: 'degraded',
        checks: [{ ok: true }, { name: 'membership', ok: false }],
      });
      expectProblem(await get('meters'), 403, 'refused');
    });
  });

  describe('of a meter that is no longer on the list', () => {
    const membership = n.membership(n.list({ version: 2, without: [third] }));
    const remaining = makePlayers(n, { membership }).slice(0, 2);
    const revocation = agree(n, { players: remaining, membership, epoch: 2, reason: 'revocation' });

    beforeEach(async () => {
      await upload(uploadOf(meterOf(2).measure(2)));
      await backend.call('POST', '/api/v1/memberships', { body: n.bundle(n.list({ version: 2, without: [third] })) });
      await backend.call('POST', '/api/v1/epochs', { body: revocation.published.record, as: n.gateway });
    });

    it.each(['at once', 'after a restart'])(
      'are still read, and what it sealed before is still taken: %s',
      async (when) => {
        if (when === 'after a restart') backend = await backend.restart();
        const late = meterOf(2);
        late.measure(2);
        expect((await upload(uploadOf(late.measure(1)))).status).toBe(200);
        expect(await openAll(third, n.utility)).toEqual([reading(1), reading(2), reading(3)]);
        expect((await metersOf()).map(({ id }) => id)).toContain('urn:gridring:meter:meter-03');
      },
    );

    it.each(['at once', 'after a restart'])(
      'are refused when it claims an epoch that began without it: %s',
      async (when) => {
        if (when === 'after a restart') backend = await backend.restart();
        const insider = { ...revocation.players[0]!, principal: third };
        expectProblem(await upload(uploadOf(new TestMeter(n, insider).measure(1))), 403, 'refused');
      },
    );
  });
});
