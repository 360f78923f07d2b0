import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fromBase64Url, toHex } from '../../crypto/bytes.js';
import {
  encodeMembershipBundle,
  signMembershipList,
  verifyMembership,
  type MembershipList,
} from '../../crypto/membership.js';
import { limits } from '../../crypto/limits.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { change, changeOf, dayS, delegate } from '../support/delegate.js';
import { makeNeighbourhood, nowS } from '../support/neighbourhood.js';
import { asJson, expectFits, expectProblem, startBackend, type Answer, type TestBackend } from './rest-server.js';

const n = makeNeighbourhood(suiteX25519, 3);
const yearS = 31_536_000;
const path = '/api/v1/memberships';
const gid = toHex(n.gid);

let backend: TestBackend;
beforeEach(async () => {
  backend = await startBackend(n);
});
afterEach(() => backend.remove());

const publish = (body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Answer> =>
  backend.call('POST', path, { body, headers });
const get = (resource: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> =>
  backend.call('GET', `/api/v1/${resource}`, { as: n.utility, headers });

describe('a membership list', () => {
  it('is taken from anybody, as JSON and as bytes, for the authority has signed it; once more does no harm', async () => {
    const bundle = n.bundle(n.list());
    const first = await publish(asJson(bundle));
    expect(first.status).toBe(200);
    expectFits('membership-published', first.body);
    expect(first.body).toEqual({ gid, listVersion: 1, listRevision: 0, listHash: toHex(n.membership().listHash) });
    expect((await publish(bundle)).body).toEqual(first.body);
  });

  it('is given back byte by byte to every certified caller, as JSON and as CBOR, and still verifies', async () => {
    const bundle = n.bundle(n.list());
    await publish(bundle);
    const { body } = await get(`groups/${gid}/membership`);
    expect(fromBase64Url((body as { readonly message: string }).message)).toEqual(bundle);
    const raw = await get(`groups/${gid}/membership`, { accept: 'application/cbor' });
    expect(raw.headers.get('content-type')).toBe('application/cbor');
    const check = { suite: n.suite, trustedRoots: [n.root], nowS };
    expect(verifyMembership(check, raw.body as Uint8Array).list.version).toBe(1);
    expectProblem(await get(`groups/${gid}/membership`, { accept: 'text/html' }), 406, 'not-acceptable');
  });

  it('is not sent again to who names the one that it has, in either form, until there is a newer', async () => {
    await publish(n.bundle(n.list()));
    const etag = (await get(`groups/${gid}/membership`)).headers.get('etag');
    expect(etag).toBe(`W/"${toHex(n.membership().listHash)}"`);
    const again = (headers: Readonly<Record<string, string>> = {}): Promise<Answer> =>
      get(`groups/${gid}/membership`, { 'if-none-match': `"other", ${String(etag)}`, ...headers });
    for (const accept of ['application/json', 'application/cbor']) {
      expect(await again({ accept })).toMatchObject({ status: 304, body: new Uint8Array(0) });
    }
    await publish(n.bundle(n.list({ version: 2 })));
    expect((await again()).status).toBe(200);
  });

  it('leaves its version, hash and time, newest first, when a newer one comes', async () => {
    await publish(n.bundle(n.list()));
    backend.clockS += 60;
    await publish(n.bundle(n.list({ version: 4 })));
    backend.clockS += 60;
    await publish(n.bundle(n.list({ version: 4 })));
    const hashOf = (version: number): string => toHex(n.membership(n.list({ version })).listHash);
    const at = (timeS: number): string => new Date(timeS * 1000).toISOString();
    const { body } = await get(`groups/${gid}/lists`);
    expect(body).toEqual({
      lists: [
        { listVersion: 4, listRevision: 0, listHash: hashOf(4), publishedAt: at(nowS + 60) },
        { listVersion: 1, listRevision: 0, listHash: hashOf(1), publishedAt: at(nowS) },
      ],
    });
  });

  it('that is newer takes the place of the older, and shows in groups and policies', async () => {
    await publish(n.bundle(n.list()));
    await publish(n.bundle(n.list({ version: 2, policy: { epochFloor: 9, profile: 'constrained' } })));
    const groups = await get('groups');
    expectFits('backend-groups', groups.body);
    expect(groups.body).toEqual({ groups: [{ gid, suite: 1, listVersion: 2, listRevision: 0 }] });
    const policies = await get('policies');
    expectFits('policies', policies.body);
    expect(policies.body).toMatchObject({
      policies: [
        {
          gid,
          listVersion: 2,
          epochFloor: 9,
          profile: 'constrained',
          readings: [
            { reader: toHex(n.utility.certHash) },
            { reader: toHex(n.household.certHash), meters: [toHex(n.meters[0]!.certHash)] },
          ],
        },
      ],
    });
  });

  it('that is older than the known one is refused, also after a restart and after the known one has expired', async () => {
    const longLived = { ...n.list(), notAfterS: nowS + 2 * yearS };
    await publish(n.bundle(longLived));
    await publish(n.bundle({ ...n.list({ version: 2 }), notAfterS: nowS + 60 }));
    expectProblem(await publish(n.bundle(longLived)), 409, 'membership-rollback');
    backend.clockS = nowS + 3_600;
    backend = await backend.restart();
    expectProblem(await publish(n.bundle(longLived)), 409, 'membership-rollback');
    expect((await get('groups')).body).toMatchObject({ groups: [{ listVersion: 2 }] });
  });

  it('that shares its version with another is refused', async () => {
    await publish(n.bundle(n.list()));
    expectProblem(await publish(n.bundle(n.list({ policy: { graceS: 1 } }))), 409, 'membership-conflict');
    backend = await backend.restart();
    expectProblem(await publish(n.bundle(n.list({ policy: { graceS: 1 } }))), 409, 'membership-conflict');
  });

  const signedBy = (signer: typeof n.authority, list: MembershipList): Uint8Array =>
    encodeMembershipBundle(signMembershipList(n.suite, signer, list), n.certificates);

  it('that somebody else signed, or that is not valid now, is refused without a reason; the log has the reason', async () => {
    const tampered = Uint8Array.from(n.bundle(n.list()));
    tampered[200] = (tampered[200] ?? 0) ^ 1;
    const attacks: readonly (readonly [string, Uint8Array])[] = [
      ['membership-authority', signedBy(n.gateway, n.list())],
      ['membership-authority', signedBy(n.backend, n.list())],
      ['signature-invalid', signedBy({ ...n.authority, signer: n.gateway.signer }, n.list())],
      ['signature-invalid', tampered],
      ['membership-expired', n.bundle({ ...n.list(), notAfterS: nowS - 3_000 })],
      ['certificate-expired', n.bundle({ ...n.list(), notAfterS: nowS + 9 * yearS })],
    ];
    for (const [code, bundle] of attacks) {
      if (code === 'certificate-expired') backend.clockS = nowS + 4 * yearS;
      expectProblem(await publish(bundle), 403, 'refused');
      expect(backend.logged.at(-1)).toMatchObject({ code });
    }
    backend.clockS = nowS;
    expect((await get('groups')).body).toEqual({ groups: [] });
  });

  it('that a gateway changed under a delegation is taken once a revision, and kept beyond the delegation’s end', async () => {
    const base = delegate(n);
    const [one, two] = [0, 1].map((i) => change(n, base, changeOf([n.meters[i]!])));
    await publish(base);
    expect((await publish(one)).body).toMatchObject({ listVersion: 1 });
    expectProblem(await publish(two), 409, 'membership-conflict');
    expectProblem(await publish(base), 409, 'membership-rollback');
    backend.clockS = nowS + 2 * dayS;
    backend = await backend.restart();
    expectProblem(await publish(two), 403, 'refused');
    expect(backend.logged.at(-1)).toMatchObject({ code: 'delegation-overstepped' });
    expect(
      fromBase64Url(((await get(`groups/${gid}/membership`)).body as { readonly message: string }).message),
    ).toEqual(one);
    expect((await publish(n.bundle(n.list({ version: 2 })))).body).toMatchObject({ listVersion: 2 });
  });

  it('of another root is refused', async () => {
    const foreign = makeNeighbourhood(suiteX25519, 3, 'elsewhere');
    expectProblem(await publish(foreign.bundle(foreign.list())), 403, 'refused');
  });
});

describe('what is no membership list is refused', () => {
  const malformed: readonly (readonly [string, Readonly<Record<string, string>>, unknown, number, string])[] = [
    ['neither JSON nor COSE', { 'content-type': 'text/plain' }, 'hello', 415, 'media-type-unsupported'],
    ['JSON that is broken', {}, '{"message":', 400, 'body-malformed'],
    ['JSON without a message', {}, '{}', 400, 'input-invalid'],
    ['JSON with something beside the message', {}, '{"message":"AAAA","x":1}', 400, 'input-invalid'],
    ['a message that is a number', {}, '{"message":5}', 400, 'input-invalid'],
    ['base64 with padding', {}, '{"message":"AAA="}', 400, 'input-invalid'],
    ['base64url that is not canonical', {}, '{"message":"AAB"}', 400, 'base64url-malformed'],
    ['no CBOR', {}, '{"message":"AAAA"}', 400, 'cbor-malformed'],
    ['a prototype', {}, '{"__proto__":{"message":"AAAA"}}', 400, 'body-malformed'],
  ];
  it(malformed.map(([what]) => what).join(', '), async () => {
    for (const [, headers, body, status, code] of malformed) expectProblem(await publish(body, headers), status, code);
  });

  it('nothing at all', async () => {
    expectProblem(await backend.call('POST', path), 415, 'media-type-unsupported');
  });

  it('more than a body may hold, as bytes and as JSON', async () => {
    const tooLarge = new Uint8Array(limits.requestBody + 1);
    expectProblem(await publish(tooLarge), 413, 'too-large');
    expectProblem(await publish(asJson(tooLarge)), 413, 'too-large');
  });

  it('a field in the query that nobody knows', async () => {
    const answer = await backend.call('POST', `${path}?force=true`, { body: n.bundle(n.list()) });
    expectProblem(answer, 400, 'input-invalid');
  });
});

it('an address may bring only so many lists a minute, for they cost time before they can be refused', async () => {
  const answers: Answer[] = [];
  for (let i = 0; i < 31; i++) answers.push(await publish({ message: 'AAAA' }));
  expect(answers.slice(0, 30).map(({ status }) => status)).toEqual(Array.from({ length: 30 }, () => 400));
  expectProblem(answers[30]!, 429, 'too-many-requests');
  expect(Number(answers[30]!.headers.get('retry-after'))).toBeGreaterThan(0);
  expect((await get('groups')).status).toBe(200);
});

it('a list is on the disk before it is answered', async () => {
  const bundle = n.bundle(n.list());
  await publish(bundle);
  const files = ['backend.db', 'backend.db-wal'].map((name) => readFileSync(join(backend.folder, name)));
  expect(Buffer.concat(files).includes(Buffer.from(n.membership().listHash))).toBe(true);
});

describe('a group', () => {
  it('that nobody has heard of has no list, no epochs and no records', async () => {
    const nobody = '00'.repeat(16);
    expectProblem(await get(`groups/${nobody}/membership`), 404, 'group-unknown');
    expectProblem(await get(`groups/${nobody}/lists`), 404, 'group-unknown');
    expectProblem(await get(`groups/${nobody}/epochs`), 404, 'group-unknown');
    expectProblem(await get(`groups/${nobody}/epochs/1.1/record`), 404, 'epoch-unknown');
  });

  it('is asked for by its id in hex, an epoch by its two numbers', async () => {
    for (const resource of [
      'groups/abc/membership',
      `groups/${'0F'.repeat(16)}/epochs`,
      `groups/${gid}/epochs/1/record`,
      `groups/${gid}/epochs?limit=501`,
    ]) {
      expectProblem(await get(resource), 400, 'input-invalid');
    }
  });
});
