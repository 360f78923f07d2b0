/** Who is in the groups, who was granted what, and everything at once: as pages, links and exports. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { makeNeighbourhood, type Principal } from '../support/neighbourhood.js';
import { agree } from '../support/ring.js';
import { TestMeter, uploadOf } from './rest-meters.js';
import { expectFits, expectProblem, startBackend, type TestBackend } from './rest-server.js';

const n = makeNeighbourhood(suiteX25519, 3);
const gid = toHex(n.list().gid);

type Item = Readonly<Record<string, unknown>>;
type Page = Readonly<Record<string, readonly Item[]>> & { readonly next?: string | number };

describe('a backend with a group', () => {
  let backend: TestBackend;
  const ids = (principals: readonly Principal[]): readonly string[] =>
    principals.map(({ certHash }) => toHex(certHash));
  const get = async (path: string, as: Principal = n.utility): Promise<Page> =>
    (await backend.call('GET', `/api/v1/${path}`, { as })).body as Page;

  beforeAll(async () => {
    backend = await startBackend(n);
    await backend.call('POST', '/api/v1/memberships', { body: n.bundle(n.list()) });
    const { players, published } = agree(n);
    await backend.call('POST', '/api/v1/epochs', { as: n.gateway, body: published.record });
    for (const player of players) {
      const meter = new TestMeter(n, player, { seed: player.principal.certificate.id });
      await backend.call('POST', '/api/v1/readings', { as: n.gateway, body: uploadOf(meter.measure(3)) });
    }
  });
  afterAll(() => backend.remove());

  it('names its gateways, readers and members as the signed list does', async () => {
    expect(await get('gateways')).toEqual({
      gateways: [
        { id: `urn:gridring:gateway:${n.gateway.certificate.id}`, certHash: toHex(n.gateway.certHash), groups: [gid] },
      ],
    });
    const { readers } = await get('readers');
    const household = readers?.find(({ certHash }) => certHash === toHex(n.household.certHash));
    expect(household?.['meters']).toHaveLength(1);
    expect(readers?.find(({ certHash }) => certHash === toHex(n.utility.certHash))).not.toHaveProperty('meters');
    const { members } = await get(`groups/${gid}/members`);
    const inRing = members?.filter(({ roles }) => (roles as readonly string[]).includes('member'));
    expect(inRing?.map(({ certHash }) => certHash).sort()).toEqual([...ids(n.meters)].sort());
    expectProblem(
      await backend.call('GET', `/api/v1/groups/${'0'.repeat(32)}/members`, { as: n.utility }),
      404,
      'group-unknown',
    );
  });

  it('shows each of what it lists by itself, under what the list calls it, and says what is not there', async () => {
    const [operator, one] = [n.operator, toHex(n.meters[0]!.certHash)];
    const first = async (path: string, field: string): Promise<Item> => (await get(path, operator))[field]?.[0] ?? {};
    await backend.call('POST', '/api/v1/audit/checkpoints', { as: operator });
    const { listHash } = await first(`groups/${gid}/lists`, 'lists');
    const singles = [
      ['groups', 'groups', `groups/${gid}`, 'backend-groups.group'],
      ['policies', 'policies', `groups/${gid}/policy`, 'policies.policy'],
      [`groups/${gid}/epochs`, 'epochs', `groups/${gid}/epochs/1.1`, 'epoch-recorded'],
      ['meters', 'meters', `meters/${one}`, 'meters.meter'],
      [`meters/${one}/chain`, 'entries', `meters/${one}/chain/1`, 'chain.entry'],
      ['gateways', 'gateways', `gateways/${toHex(n.gateway.certHash)}`, 'gateways.gateway'],
      ['audit', 'entries', 'audit/1', 'audit-page.entry'],
      ['audit/checkpoints', 'checkpoints', 'audit/checkpoints/1', 'audit-checkpoint'],
    ] as const;
    for (const [list, field, single, schema] of singles) {
      const shown = await get(single, operator);
      expectFits(schema, shown);
      const listed = (await get(list, operator))[field]?.filter((item) => item['certHash'] === shown['certHash']);
      expect([single, shown]).toEqual([single, listed?.[0]]);
    }
    const bundle = await get(`groups/${gid}/lists/${String(listHash)}`, operator);
    expect(bundle).toEqual(await get(`groups/${gid}/membership`, operator));
    const { readers } = await get(`readers/${toHex(n.household.certHash)}`, operator);
    expect(readers).toMatchObject([{ gid, meters: [one] }]);
    const absent = [
      [`groups/${'0'.repeat(32)}`, 'group-unknown'],
      [`groups/${'0'.repeat(32)}/policy`, 'group-unknown'],
      [`groups/${gid}/lists/${'0'.repeat(64)}`, 'list-unknown'],
      [`groups/${gid}/epochs/1.2`, 'epoch-unknown'],
      ['meters/nobody', 'meter-unknown'],
      [`meters/${one}/chain/999`, 'entry-unknown'],
      [`gateways/${'0'.repeat(64)}`, 'gateway-unknown'],
      [`readers/${'0'.repeat(64)}`, 'reader-unknown'],
      ['audit/999999', 'audit-entry-unknown'],
      ['audit/checkpoints/999', 'audit-checkpoint-unknown'],
    ] as const;
    for (const [path, code] of absent) {
      expectProblem(await backend.call('GET', `/api/v1/${path}`, { as: operator }), 404, code);
    }
    const household = await backend.call('GET', `/api/v1/meters/${toHex(n.meters[1]!.certHash)}`, { as: n.household });
    expectProblem(household, 404, 'meter-unknown');
  });

  it('says which epochs of which meters a reader was granted, and to a household those of its own meter alone', async () => {
    const path = `readers/${toHex(n.utility.certHash)}/grants`;
    const { grants } = await get(path);
    expect(grants?.map(({ meter }) => meter).sort()).toEqual([...ids(n.meters)].sort());
    expect(grants?.[0]).toMatchObject({ gid, epoch: 1, attempt: 1 });
    const own = await get(path, n.household);
    expect(own['grants']).toHaveLength(1);
    // Nor is there a page that others' grants would be on.
    expect(await get(`${path}?limit=2`, n.household)).toEqual(own);
    const pages: unknown[] = [];
    for (let next: string | number | undefined = 0; next !== undefined;) {
      const page: Page = await get(`${path}?limit=1&after=${next}`);
      pages.push(...(page['grants'] ?? []));
      next = page.next;
    }
    expect(pages).toEqual(grants);
  });

  it('leads to the next page in the body and in a Link', async () => {
    const path = '/api/v1/meters?limit=2';
    const { body, headers } = await backend.call('GET', path, { as: n.utility });
    const { next } = body as Page;
    const link = /^<([^>]+)>; rel="next"$/.exec(headers.get('link') ?? '')?.[1] ?? '';
    expect(link).toBe(`${path}&after=${next ?? ''}`);
    const last = await backend.call('GET', link, { as: n.utility });
    expect([(last.body as Page)['meters']?.length, last.headers.has('link')]).toEqual([1, false]);
    const [id] = n.meters.map(({ certificate }) => certificate.id);
    const first = await get(`meters/${id ?? ''}/readings?limit=2`);
    const rest = await get(`meters/${id ?? ''}/readings?limit=2&after=${first.next ?? ''}`);
    expect([first['readings'], rest['readings']].flat()).toEqual(
      (await get(`meters/${id ?? ''}/readings`))['readings'],
    );
    const epochs = await get(`groups/${gid}/epochs?limit=1`);
    expect([epochs['epochs']?.length, epochs.next]).toEqual([1, '1.1']);
    expect(await get(`groups/${gid}/epochs?limit=1&after=1.1`)).toEqual({ epochs: [] });
  });

  it('exports all chains and epochs a line each, resumes where a line says, and logs who took them', async () => {
    const text = async (path: string): Promise<string> =>
      (await backend.request('GET', `/api/v1/exports/${path}`, { as: n.authority })).text();
    const lines = (await text('readings.ndjson')).trimEnd().split('\n');
    const entries = lines.map((line) => JSON.parse(line) as Item);
    expect(entries).toHaveLength(9);
    expect([...new Set(entries.map(({ meter }) => meter))]).toEqual([...ids(n.meters)].sort());
    const { meter, sequence } = entries[3]!;
    expect((await text(`readings.ndjson?after=${String(meter)}.${String(sequence)}`)).trimEnd().split('\n')).toEqual(
      lines.slice(4),
    );
    const csv = (await text('readings.csv')).trimEnd().split('\r\n');
    expect(csv[0]).toBe('meter,kind,sequence,epoch,attempt,receivedAt,message');
    expect(csv.slice(1).map((line) => line.split(',')[6])).toEqual(entries.map(({ message }) => message));
    expect(JSON.parse(await text('epochs.ndjson'))).toMatchObject({ gid, epoch: 1, reason: 'founding' });
    expectProblem(await backend.call('GET', '/api/v1/exports/readings.csv', { as: n.utility }), 403, 'refused');
    const audit = await get('audit?action=export.readings', n.authority);
    expect(audit['entries']).toHaveLength(3);
  });

  it('shows who was in the group before to whom an old list names, or who sees all of it, and to no newcomer', async () => {
    const [before] = (await get(`groups/${gid}/lists`, n.operator))['lists'] ?? [];
    const newcomer = n.certify('meter', 'newcomer');
    const bundle = n.bundle(n.list({ version: 2, add: [newcomer] }), [newcomer]);
    expect((await backend.call('POST', '/api/v1/memberships', { body: bundle })).status).toBe(200);
    const [now] = (await get(`groups/${gid}/lists`, n.operator))['lists'] ?? [];
    const statusOf = async (list: Item | undefined, as: Principal): Promise<number> =>
      (await backend.call('GET', `/api/v1/groups/${gid}/lists/${String(list?.['listHash'])}`, { as })).status;
    for (const as of [n.operator, n.household, n.meters[0]!]) expect(await statusOf(before, as)).toBe(200);
    expect([await statusOf(now, newcomer), await statusOf(before, newcomer)]).toEqual([200, 404]);
  });
});
