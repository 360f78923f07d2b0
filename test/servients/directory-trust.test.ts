/** Ids of devices in the directory: for the devices themselves, in their last word, and for readers who check it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { proofMember } from '../../crypto/registration.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { DirectoryClient, type DirectoryTrust } from '../../servients/directory-client.js';
import { makeNeighbourhood, nowS, type Principal } from '../support/neighbourhood.js';
import {
  audience,
  deviceTd,
  expectProblem,
  signedTd,
  startBackend,
  type Answer,
  type TestBackend,
} from './rest-server.js';

const n = makeNeighbourhood(suiteX25519, 3);
const otherGateway = n.certify('gateway', 'gw-2');
const [meter, neighbour] = n.meters as [Principal, Principal];
const thing = (device: Principal): string => `/things/urn:gridring:meter:${device.certificate.id}`;

type Td = Readonly<Record<string, unknown>>;

let backend: TestBackend;
beforeAll(async () => {
  backend = await startBackend(n);
});
afterAll(() => backend.remove());

const put = (body: unknown, as = n.gateway, device = meter): Promise<Answer> =>
  backend.call('PUT', thing(device), { as, body });
const patch = (body: unknown, as = n.gateway): Promise<Answer> =>
  backend.call('PATCH', thing(meter), { as, body, headers: { 'content-type': 'application/merge-patch+json' } });
const titleOf = async (): Promise<unknown> => ((await backend.call('GET', thing(meter))).body as Td)['title'];
const at = (timeS: number, title: string): Td => signedTd(n, meter, { title }, { timeS });

describe("a device's entry", () => {
  it('is refused without its proof, and says that one is needed', async () => {
    const answer = await put(deviceTd(meter));
    expectProblem(answer, 400, 'td-invalid');
    expect(answer.body).toMatchObject({ validationErrors: [{ field: proofMember }] });
    const shouted = { ...deviceTd(meter), id: 'URN:gridring:meter:meter-01' };
    expectProblem(
      await backend.call('PUT', `/things/${shouted.id}`, { as: n.gateway, body: shouted }),
      400,
      'td-invalid',
    );
  });

  it.each<[string, () => Td, string]>([
    ['forged by a neighbour', () => ({ ...signedTd(n, neighbour), id: deviceTd(meter)['id'] }), 'td-of-another'],
    ['altered on the way', () => ({ ...signedTd(n, meter), base: 'coap://192.0.2.66/' }), 'td-altered'],
    ['signed for another directory', () => signedTd(n, meter, {}, { directory: 'urn:elsewhere' }), 'td-elsewhere'],
    [
      'under another root',
      () => signedTd(makeNeighbourhood(suiteX25519, 3, 'foreign'), meter),
      'certificate-untrusted',
    ],
  ])('is refused when it was %s', async (_, forged, code) => {
    expectProblem(await put(forged()), 403, 'refused');
    expect(backend.logged.at(-1)).toMatchObject({ code });
    expectProblem(await backend.call('GET', thing(meter)), 404, 'td-unknown');
  });

  it('is the last word of the device: an older one does not come back, not even after the entry has gone', async () => {
    expect((await put(at(nowS - 10, 'first'))).status).toBe(201);
    expect((await put(at(nowS - 5, 'second'))).status).toBe(204);
    expectProblem(await put(at(nowS - 10, 'first')), 409, 'td-stale');
    expect((await backend.call('DELETE', thing(meter), { as: n.gateway })).status).toBe(204);
    expectProblem(await put(at(nowS - 10, 'first')), 409, 'td-stale');
    expect((await put(at(nowS - 5, 'second'))).status).toBe(201);
    expect(await titleOf()).toBe('second');
  });

  it('is changed by who brings a newer word, and by nobody else but who brought it', async () => {
    expectProblem(await put(at(nowS - 5, 'second'), otherGateway), 403, 'refused');
    expect((await put(at(nowS - 5, 'second'))).status).toBe(204);
    expect((await put(at(nowS - 4, 'third'), otherGateway)).status).toBe(204);
    expectProblem(await put(at(nowS - 4, 'third')), 403, 'refused');
    expectProblem(await patch({}), 403, 'refused');
  });

  it('is patched under a new signature alone; its time to live needs none', async () => {
    expectProblem(await patch({ title: 'patched' }, otherGateway), 403, 'refused');
    expect(await titleOf()).toBe('third');
    expect((await patch({ registration: { ttl: 600 } }, otherGateway)).status).toBe(204);
    expectProblem(await patch({ [proofMember]: null }, otherGateway), 400, 'td-invalid');
    const { title, [proofMember]: proof } = at(nowS - 3, 'patched');
    expect((await patch({ title, [proofMember]: proof }, otherGateway)).status).toBe(204);
    expectProblem(await patch(at(nowS - 4, 'third'), otherGateway), 409, 'td-stale');
    expect(await titleOf()).toBe('patched');
  });
});

describe('who holds the root', () => {
  const clientWith = (td: Td, more: Partial<DirectoryTrust> = {}): DirectoryClient =>
    new DirectoryClient({
      url: 'http://directory.example',
      fetch: async (address) => Response.json(/\?/.test(address) ? [td, deviceTd(neighbour), signed] : td),
      trust: { suite: n.suite, trustedRoots: [n.root], directory: audience, nowS: () => nowS, ...more },
    });
  const signed = signedTd(n, meter);
  const id = String(signed['id']);

  it('takes what the device has signed, from a real directory too', async () => {
    expect(await clientWith(signed).thing(id)).toEqual(signed);
    const trust = { suite: n.suite, trustedRoots: [n.root], directory: audience, nowS: () => nowS };
    const real = new DirectoryClient({ url: backend.url, trust });
    const ids = (await real.things()).map((td) => td.id);
    expect(ids).toEqual(['urn:gridring:backend:backend-1', 'urn:gridring:backend:backend-1:directory', id]);
  });

  it.each<[string, Td, string]>([
    ['one that nobody signed', deviceTd(meter), 'td-unsigned'],
    ['one that was altered', { ...signed, title: 'x' }, 'td-altered'],
    ['that of a neighbour', signedTd(n, neighbour), 'td-of-another'],
    ['one for another directory', signedTd(n, meter, {}, { directory: 'urn:x' }), 'td-elsewhere'],
  ])('refuses %s, by name', async (_, td, code) => {
    await expect(clientWith(td).thing(id)).rejects.toMatchObject({ name: 'VerificationError', code });
  });

  it('takes nothing older than it has seen: a directory brings no device back to where it was', async () => {
    const [older, newer] = [signedTd(n, meter, {}, { timeS: nowS - 60 }), signedTd(n, meter, { title: 'moved' })];
    const given = [older, newer, newer, older];
    const trust = { suite: n.suite, trustedRoots: [n.root], nowS: () => nowS };
    const client = new DirectoryClient({
      ...{ url: 'http://directory.example', trust },
      fetch: async () => Response.json(given.shift()),
    });
    for (let k = 0; k < 3; k++) await client.thing(id);
    await expect(client.thing(id)).rejects.toMatchObject({ name: 'VerificationError', code: 'td-old' });
  });

  it('finds out of a list what was signed, hears what was not, and takes Things of others as they are', async () => {
    const refused: string[] = [];
    const lamp = { ...deviceTd(meter), id: 'urn:example:lamp' };
    const onRefused = (...[of, { code }]: Parameters<NonNullable<DirectoryTrust['onRefused']>>) =>
      refused.push(`${of} ${code}`);
    expect(await clientWith(lamp, { onRefused }).things()).toEqual([lamp, signed]);
    expect(refused).toEqual([`urn:gridring:meter:${neighbour.certificate.id} td-unsigned`]);
  });
});
