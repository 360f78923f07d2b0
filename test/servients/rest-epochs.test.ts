import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fromBase64Url, toHex } from '../../crypto/bytes.js';
import { roleBit, type ListEntry } from '../../crypto/membership.js';
import { recordHashOf, verifyEndorsement } from '../../crypto/ring/endorsement.js';
import { verifyProof } from '../../crypto/ring/proof.js';
import { encodeRecord, parseRecord, verifyRecord } from '../../crypto/ring/record.js';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import { change, changeOf, delegate, verified } from '../support/delegate.js';
import { makeNeighbourhood, nowS, type Principal } from '../support/neighbourhood.js';
import { agree, makePlayers } from '../support/ring.js';
import {
  asJson,
  expectFits,
  expectProblem,
  startBackend,
  tokenFor,
  type Answer,
  type TestBackend,
} from './rest-server.js';

const path = '/api/v1/epochs';
const iso = new Date(nowS * 1000).toISOString();

interface Listed {
  readonly keyName: string;
}

describe.each([suiteX25519, suiteP256])('the record of an epoch, suite $name', (suite) => {
  const n = makeNeighbourhood(suite, 3);
  const check = { suite, trustedRoots: [n.root], nowS };
  const gid = toHex(n.gid);
  const founding = agree(n);
  const second = agree(n, { players: founding.players, epoch: 2, reason: 'periodic' });
  const [first, next] = [founding, second].map(({ published }) => published.record) as [Uint8Array, Uint8Array];
  const withoutThird = n.list({ version: 2, without: [n.meters[2]!] });
  /** Epoch 3, without the third meter, under the list that revokes it. */
  const thirdEpoch = (): Uint8Array => {
    const membership = n.membership(withoutThird);
    const players = makePlayers(n, { membership }).slice(0, 2);
    return agree(n, { players, membership, epoch: 3, reason: 'revocation' }).published.record;
  };

  let backend: TestBackend;
  beforeEach(async () => {
    backend = await startBackend(n);
    await publish(n.bundle(n.list()));
  });
  afterEach(() => backend.remove());

  const publish = (bundle: Uint8Array): Promise<Answer> =>
    backend.call('POST', '/api/v1/memberships', { body: bundle });
  const record = (body: unknown, as: Principal | undefined = n.gateway): Promise<Answer> =>
    backend.call('POST', path, { body, as });
  const get = (resource: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> =>
    backend.call('GET', `/api/v1/${resource}`, { as: n.household, headers });

  it('is verified, kept, listed, and given back to whoever wants to verify it again', async () => {
    expect((await record(first)).status).toBe(200);
    expect((await record(asJson(next))).status).toBe(200);

    const { epochs } = (await get(`groups/${gid}/epochs?limit=5`)).body as { readonly epochs: readonly Listed[] };
    for (const listed of epochs) expectFits('epoch-recorded', listed);
    const times = { recordedAt: iso, endorsedAt: iso, provisional: false };
    expect(epochs).toMatchObject([
      { gid, epoch: 2, attempt: 1, members: 3, reason: 'periodic', listVersion: 1, ...times },
      { gid, epoch: 1, attempt: 1, members: 3, reason: 'founding', listVersion: 1, ...times },
    ]);
    expect((await get(`groups/${gid}/epochs?limit=1`)).body).toMatchObject({ epochs: [{ epoch: 2 }] });
    expect((await get('groups')).body).toMatchObject({ groups: [{ epoch: 2, attempt: 1, members: 3 }] });

    const { message } = (await get(`groups/${gid}/epochs/1.1/record`)).body as { readonly message: string };
    const verified = verifyRecord(suite, n.membership(), fromBase64Url(message), nowS);
    expect(toHex(verified.name.th2.subarray(0, 8))).toBe(epochs[1]?.keyName);
    const raw = await get(`groups/${gid}/epochs/2.1/record`, { accept: 'application/cbor' });
    expect(raw.body).toEqual(next);
  });

  it('is answered with the backend’s endorsement, which a member verifies with nothing but the root', async () => {
    const answer = await record(first);
    expect(answer.headers.get('content-type')).toBe('application/cose');
    const endorsement = verifyEndorsement(check, answer.body as Uint8Array);
    expect(endorsement).toMatchObject({ ...founding.published.name, recordHash: recordHashOf(suite, first) });
    expect(endorsement.backend.certHash).toEqual(n.backend.certHash);
    const inJson = (await record(asJson(first))).body as { readonly message: string };
    expect(fromBase64Url(inJson.message)).toEqual(answer.body);
  });

  it('is taken once: the same again is answered with the same endorsement, also after a restart', async () => {
    const answer = await record(first);
    expect((await record(next)).status).toBe(200);
    backend.clockS += 60;
    backend = await backend.restart();
    expect((await record(first)).body).toEqual(answer.body);
    const another = agree(n, { epoch: 1, reason: 'founding' }).published.record;
    expectProblem(await record(another), 409, 'epoch-stale');
  });

  it('may come after those of later epochs, and is listed in its place', async () => {
    expect((await record(next)).status).toBe(200);
    expect((await record(first)).status).toBe(200);
    expect((await get(`groups/${gid}/epochs`)).body).toMatchObject({ epochs: [{ epoch: 2 }, { epoch: 1 }] });
    expect((await get('groups')).body).toMatchObject({ groups: [{ epoch: 2 }] });
  });

  it('is proven by one file, with the list that it rests on and the endorsement', async () => {
    await record(first);
    await publish(n.bundle(withoutThird));
    const answer = await get(`groups/${gid}/epochs/1.1/proof`, { accept: 'application/cbor' });
    const proof = verifyProof(check, answer.body as Uint8Array);
    expect(proof.holders.map(({ certificate }) => certificate.id).sort()).toEqual(['meter-01', 'meter-02', 'meter-03']);
    expect(proof.membership.list.version).toBe(1);
    expectProblem(await get(`groups/${gid}/epochs/2.1/proof`), 404, 'epoch-unknown');
    expectProblem(await get(`groups/${gid}/epochs/1/proof`), 400, 'input-invalid');
  });

  it('is proven to those who stood in its list or see the whole group, and to no other household', async () => {
    await record(first);
    const newcomer = n.certify('reader', 'household-9');
    const auditor = n.certify('reader', 'auditor');
    const { policy, entries, ...list } = n.list({ version: 2 });
    const asReader = ({ certHash }: Principal): ListEntry => ({ certHash, roles: roleBit.reader, hpkeKey: null });
    const readings = [
      ...policy.readings.slice(1),
      { reader: newcomer.certHash, meters: [n.meters[0]!.certHash] },
      { reader: auditor.certHash, meters: null },
    ];
    const later = {
      ...list,
      policy: { ...policy, readings },
      entries: [...entries, asReader(newcomer), asReader(auditor)],
    };
    const proofFor = (as: Principal): Promise<Answer> =>
      backend.call('GET', `/api/v1/groups/${gid}/epochs/1.1/proof`, { as });
    expectProblem(await proofFor(newcomer), 404, 'epoch-unknown');
    await publish(n.bundle(later, [newcomer, auditor]));
    expectProblem(await proofFor(newcomer), 404, 'epoch-unknown');
    for (const caller of [n.household, n.gateway, n.operator, n.meters[0]!, auditor]) {
      expect((await proofFor(caller)).status).toBe(200);
    }
  });

  it('that was tampered with is refused, whichever of its bytes it is', async () => {
    const step = Math.ceil(first.length / 40);
    for (let i = 0; i < first.length; i += step) {
      const tampered = first.map((byte, at) => (at === i ? byte ^ 1 : byte));
      expect((await record(tampered)).status).toBeGreaterThanOrEqual(400);
    }
    const [announcement, roster, tokens] = parseRecord(first);
    const mixed = encodeRecord([announcement, roster, tokens, parseRecord(next)[3]]);
    expectProblem(await record(mixed), 403, 'refused');
    expect((await get(`groups/${gid}/epochs`)).body).toEqual({ epochs: [] });
  });

  it('under a list that is not known here is refused with a code that asks for the list', async () => {
    expectProblem(await record(thirdEpoch()), 409, 'membership-unknown');
    await publish(n.bundle(withoutThird));
    expect((await record(thirdEpoch())).status).toBe(200);
  });

  it('under an older list is taken when it comes late, and refused once an epoch under a newer one is recorded', async () => {
    await publish(n.bundle(withoutThird));
    expect((await record(first)).status).toBe(200);
    expect((await record(thirdEpoch())).status).toBe(200);
    const asBefore = agree(n, { epoch: 4, reason: 'join' }).published.record;
    expectProblem(await record(asBefore), 409, 'membership-rollback');
    backend = await backend.restart();
    expectProblem(await record(asBefore), 409, 'membership-rollback');
  });

  it('may rest on a list that the gateway changed under a delegation, once the backend has it', async () => {
    const base = n.list({ version: 2 });
    const delegated = delegate(n, {}, base);
    const changedList = change(n, delegated, changeOf([n.meters[2]!]));
    const membership = verified(n, changedList);
    const players = makePlayers(n, { membership }).slice(0, 2);
    const { published } = agree(n, { players, membership, epoch: 3, reason: 'revocation' });
    await publish(delegated);
    expectProblem(await record(published.record), 409, 'membership-unknown');
    await publish(changedList);
    expect((await record(published.record)).status).toBe(200);
    const under = { listVersion: 2, listRevision: 1 };
    expect((await get(`groups/${gid}/epochs`)).body).toMatchObject({ epochs: [under] });
    expect((await get(`groups/${gid}/lists`)).body).toMatchObject({ lists: [under, { listVersion: 2 }, {}] });
    backend.clockS += 2 * 86_400;
    backend = await backend.restart();
    const proof = await get(`groups/${gid}/epochs/3.1/proof`, { accept: 'application/cbor' });
    const later = { ...check, nowS: backend.clockS };
    expect(verifyProof(later, proof.body as Uint8Array).membership.list.revision).toBe(1);
  });

  it('is taken from a gateway that a current list names, and from nobody else', async () => {
    expectProblem(await record(first, n.operator), 403, 'refused');
    expectProblem(await record(first, n.meters[0]), 403, 'refused');
    expectProblem(await record(first, n.certify('gateway', 'gw-2')), 403, 'refused');
    expect(backend.logged.at(-1)).toMatchObject({ code: 'not-listed' });
    const withoutGateway = n.list({ version: 2 });
    const entries = withoutGateway.entries.filter(({ certHash }) => certHash !== n.gateway.certHash);
    await publish(n.bundle({ ...withoutGateway, entries }));
    expectProblem(await record(first), 403, 'refused');
  });

  it('needs a token: one that is valid now, and for this backend', async () => {
    const send = (token?: string): Promise<Answer> =>
      backend.call('POST', path, { body: first, ...(token !== undefined && { token }) });
    const missing = await send();
    expectProblem(missing, 401, 'token-missing');
    expect(missing.headers.get('www-authenticate')).toBe(
      'Bearer realm="gridring", DPoP realm="gridring", algs="ES256 EdDSA"',
    );
    expectProblem(await send(await tokenFor(n, n.gateway, { timeS: nowS - 3_600 })), 401, 'token-expired');
    expectProblem(await send(await tokenFor(n, n.gateway, { audience: 'urn:another' })), 401, 'token-invalid');
    const foreign = makeNeighbourhood(suite, 2, 'elsewhere');
    expectProblem(await send(await tokenFor(foreign, foreign.gateway)), 401, 'token-invalid');
  });
});
