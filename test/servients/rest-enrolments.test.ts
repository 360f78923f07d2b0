/** Enrolments over the API: a code lets one device ask once, and nobody but the CA's holder answers. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sha256 } from '@noble/hashes/sha2.js';
import { toBase64Url, toHex, utf8 } from '../../crypto/bytes.js';
import { makeRequest } from '../../crypto/certificate/request.js';
import { generateSigner } from '../../crypto/keys.js';
import { signRenewal } from '../../crypto/renewal.js';
import { suiteX25519 as suite } from '../../crypto/suite-node.js';
import { at } from '../support/forge.js';
import { makeNeighbourhood, seededRandom, type Principal } from '../support/neighbourhood.js';
import { expectFits, expectProblem, startBackend, type TestBackend } from './rest-server.js';

const n = makeNeighbourhood(suite, 3);
const device = 'urn:gridring:meter:kitchen';
const path = `/api/v1/enrolments/${encodeURIComponent(device)}`;
const code = 'ABCDEFGHJKMNPQRSTVWX';
const requestOf = (seed: string, id = 'kitchen'): string =>
  toBase64Url(makeRequest(suite, generateSigner(suite, seededRandom(seed)).signer, { role: 'meter', id }));
const csr = requestOf('kitchen');

let backend: TestBackend;
beforeAll(async () => {
  backend = await startBackend(n);
  await backend.call('POST', '/api/v1/memberships', { body: n.bundle(n.list(), []) });
});
afterAll(() => backend.remove());

const inS = (seconds: number): string => new Date((backend.clockS + seconds) * 1_000).toISOString();
const invite = (as = n.authority, expiresAt = inS(3_600)) =>
  backend.call('PUT', `${path}/invitation`, { as, body: { codeHash: toHex(sha256(utf8(code))), expiresAt } });
const ask = (body: object) =>
  backend.call('POST', '/api/v1/enrolments/requests', { body: { device, code, request: csr, ...body } });
const answer = (chain: readonly Uint8Array[], kind = 'invitation', as = n.authority) =>
  backend.call('PUT', `${path}/${kind}/certificates`, { as, body: { certificates: chain.map(toBase64Url) } });
const listed = async () => (await backend.call('GET', '/api/v1/enrolments', { as: n.authority })).body;
/** What the CA would sign for a key that is made from the seed. */
const chainFor = (seed: string, id = 'kitchen'): readonly Uint8Array[] => [
  n.certify('meter', id, { seed }).certificate.der,
  at(n.certificates, 0),
];

describe('an invitation', () => {
  it('is made by whoever may manage enrolments, for some days at most', async () => {
    expectProblem(await invite(n.utility), 403, 'refused');
    expectProblem(await backend.call('GET', '/api/v1/enrolments', { as: n.gateway }), 403, 'refused');
    expectProblem(await invite(n.authority, inS(8 * 86_400)), 400, 'invitation-time');
    expect((await invite()).status).toBe(204);
    expect(await listed()).toMatchObject({ enrolments: [{ device, kind: 'invitation', state: 'invited' }] });
  });

  it('tells who has no code, or another’s, nothing', async () => {
    const wrong = [
      { code: 'ABCDEFGHJKMNPQRSTVWZ' },
      { device: 'urn:gridring:meter:cellar' },
      { request: requestOf('k', 'cellar') },
    ];
    const answers = await Promise.all(wrong.map(ask));
    for (const refused of answers) expectProblem(refused, 403, 'refused');
    const texts = answers.map(({ body }) => (body as { readonly detail: string }).detail);
    expect(new Set(texts).size).toBe(1);
  });

  it('lets the device ask once, and again with the same request; a stolen code comes too late', async () => {
    const first = await ask({});
    expect([first.status, first.body]).toEqual([200, { state: 'waiting' }]);
    expectFits('enrolment.answer', first.body);
    expect((await ask({})).body).toEqual({ state: 'waiting' });
    expectProblem(await ask({ request: requestOf('thief') }), 403, 'refused');
    const page = await listed();
    expectFits('enrolment.page', page);
    expect(page).toMatchObject({ enrolments: [{ state: 'waiting', request: csr }] });
  });

  it('is answered by the CA’s holder with a certificate for that key and name, and with no other', async () => {
    expectProblem(await answer(chainFor('thief')), 403, 'refused');
    expectProblem(await answer(chainFor('kitchen', 'cellar')), 403, 'refused');
    expectProblem(await answer(chainFor('kitchen'), 'invitation', n.utility), 403, 'refused');
    expectProblem(await answer(chainFor('kitchen'), 'renewal'), 404, 'enrolment-unknown');
    const chain = chainFor('kitchen');
    expect((await answer(chain)).status).toBe(204);
    expect((await ask({})).body).toEqual({ state: 'issued', certificates: chain.map(toBase64Url) });
  });

  it('ends, and can be withdrawn', async () => {
    await invite();
    backend.clockS += 3_601;
    expectProblem(await ask({}), 403, 'refused');
    await invite();
    expect((await backend.call('DELETE', `${path}/invitation`, { as: n.authority })).status).toBe(204);
    expectProblem(await backend.call('DELETE', `${path}/invitation`, { as: n.authority }), 404, 'enrolment-unknown');
    expectProblem(await ask({}), 403, 'refused');
  });
});

describe('a renewal', () => {
  const meter = at(n.meters, 0);
  const renew = (message: Uint8Array, as = n.gateway) =>
    backend.call('POST', '/api/v1/enrolments/renewals', { as, body: { message: toBase64Url(message) } });
  const signed = (by: Principal, seed = 'new key', change: { readonly id?: string; readonly timeS?: number } = {}) => {
    const { role, id } = by.certificate;
    const { signer } = generateSigner(suite, seededRandom(seed));
    const request = makeRequest(suite, signer, { role, id: change.id ?? id });
    const certificates = [by.certificate.der, at(n.certificates, 0)];
    return signRenewal(suite, by, { certificates, request, timeS: change.timeS ?? backend.clockS });
  };

  it('is asked for by the holder of a certificate that a list names, for its own name, just now', async () => {
    expect((await renew(signed(meter))).body).toEqual({ state: 'waiting' });
    expect((await renew(signed(n.gateway))).body).toEqual({ state: 'waiting' });
    const stranger = n.certify('meter', meter.certificate.id, { seed: 'stranger' });
    expectProblem(await renew(signed(stranger)), 403, 'refused');
    expectProblem(await renew(signed(meter, 'k', { id: 'meter-02' })), 403, 'refused');
    const forged = { ...meter, signer: stranger.signer };
    expectProblem(await renew(signed(forged)), 403, 'refused');
    const stale = await renew(signed(meter, 'k', { timeS: backend.clockS - 301 }));
    expectProblem(stale, 409, 'enrolment-stale');
    const body = { message: toBase64Url(signed(meter)) };
    expectProblem(await backend.call('POST', '/api/v1/enrolments/renewals', { body }), 401, 'token-missing');
    const { enrolments } = (await listed()) as { readonly enrolments: readonly object[] };
    expectFits('enrolment.page', { enrolments });
    expect(enrolments).toContainEqual(expect.objectContaining({ kind: 'renewal', replaces: toHex(meter.certHash) }));
  });

  it('is answered for that key and name, and stays answered however often the holder asks', async () => {
    const { id } = meter.certificate;
    const put = (seed: string, name = id) => {
      const path = `/api/v1/enrolments/urn:gridring:meter:${id}/renewal/certificates`;
      return backend.call('PUT', path, {
        as: n.authority,
        body: { certificates: chainFor(seed, name).map(toBase64Url) },
      });
    };
    expectProblem(await put('another key'), 403, 'refused');
    expectProblem(await put('new key', 'meter-02'), 403, 'refused');
    expect((await put('new key')).status).toBe(204);
    expect((await renew(signed(meter))).body).toMatchObject({ state: 'issued' });
    expect((await renew(signed(meter, 'a newer key'))).body).toEqual({ state: 'waiting' });
  });
});

describe('the backend’s own certificate', () => {
  const give = (certificates: readonly string[], as = n.authority) =>
    backend.call('PUT', '/api/v1/identity/certificates', { as, body: { certificates } });
  const taken = async (): Promise<number> => {
    const { body } = await backend.call('GET', '/api/v1/audit?limit=500', { as: n.authority });
    return JSON.stringify(body).split('"backend.certificate"').length - 1;
  };

  it('is taken from whoever manages enrolments, for its own key and name; the one that it has changes nothing', async () => {
    const { body } = await backend.call('GET', '/api/v1/identity');
    const { certificates } = body as { readonly certificates: readonly string[] };
    expectProblem(await give(certificates, n.gateway), 403, 'refused');
    expectProblem(await give(chainFor('kitchen').map(toBase64Url)), 403, 'refused');
    const before = await taken();
    expect((await give(certificates)).status).toBe(204);
    expect(await taken()).toBe(before);
    expect((await give([...certificates, toBase64Url(at(n.certificates, 0))])).status).toBe(204);
    expect(await taken()).toBe(before + 1);
  });
});
