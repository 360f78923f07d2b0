import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { makeNeighbourhood } from '../support/neighbourhood.js';
import { readEvents, type EventReader } from './event-reader.js';
import { expectProblem, startBackend, type TestBackend } from './rest-server.js';

const n = makeNeighbourhood(suiteX25519, 2);
const lamp = (name: string, more: object = {}): object => ({
  '@context': 'https://www.w3.org/2022/wot/td/v1.1',
  id: `urn:example:${name}`,
  title: 'Lamp',
  securityDefinitions: { nosec_sc: { scheme: 'nosec' } },
  security: 'nosec_sc',
  ...more,
});

let backend: TestBackend;
const readers: EventReader[] = [];
beforeAll(async () => {
  backend = await startBackend(n);
});
afterAll(async () => {
  await backend.remove();
  for (const reader of readers) await reader.rest();
});

const follow = async (path: string, lastEventId?: string): Promise<EventReader> => {
  const headers = { accept: 'text/event-stream', ...(lastEventId !== undefined && { 'last-event-id': lastEventId }) };
  const reader = readEvents(await backend.request('GET', path, { headers }));
  expect([reader.response.status, reader.response.headers.get('content-type')]).toEqual([200, 'text/event-stream']);
  readers.push(reader);
  return reader;
};
const put = (name: string, more: object = {}): Promise<unknown> =>
  backend.call('PUT', `/things/urn:example:${name}`, { as: n.gateway, body: lamp(name, more) });
const remove = (name: string): Promise<unknown> =>
  backend.call('DELETE', `/things/urn:example:${name}`, { as: n.gateway });

interface Told {
  readonly event: string;
  readonly id: string;
  readonly data: unknown;
}
const toldIn = (text: string): readonly Told[] =>
  [...text.matchAll(/^event: (.*)\nid: (.*)\ndata: (.*)$/gm)].map(([, event = '', id = '', data = '']) => ({
    event,
    id,
    data: JSON.parse(data) as unknown,
  }));

describe('notifications of the directory', () => {
  it('tell of what is created, updated and deleted, by its id alone', async () => {
    const reader = await follow('/events');
    await put('a');
    await put('a', { title: 'Lantern' });
    await remove('a');
    const told = toldIn(await reader.until('thing_deleted'));
    expect(told.map(({ event, data }) => [event, data])).toEqual([
      ['thing_created', { id: 'urn:example:a' }],
      ['thing_updated', { id: 'urn:example:a' }],
      ['thing_deleted', { id: 'urn:example:a' }],
    ]);
  });

  it('tell what has changed, for who asks: the whole TD, a merge patch with the id, and nothing of what is gone', async () => {
    const reader = await follow('/events?diff=true');
    await put('b', { description: 'Old' });
    const created = toldIn(await reader.until('thing_created'));
    expect(created[0]?.data).toMatchObject({
      ...lamp('b'),
      '@context': expect.any(Array) as unknown,
      registration: {},
    });
    await put('b', { title: 'Lantern' });
    await remove('b');
    const [, updated, deleted] = toldIn(await reader.until('thing_deleted'));
    expect(updated?.data).toEqual({ id: 'urn:example:b', title: 'Lantern', description: null });
    expect(deleted?.data).toEqual({ id: 'urn:example:b' });
  });

  it('are of one type for who asks for that', async () => {
    const [created, deleted] = [await follow('/events/thing_created'), await follow('/events/thing_deleted?diff=true')];
    for (const name of ['c', 'd']) {
      await put(name);
      await put(name, { title: 'x' });
      await remove(name);
    }
    expect(toldIn(await created.until('urn:example:d')).map(({ event }) => event)).toEqual([
      'thing_created',
      'thing_created',
    ]);
    expect(toldIn(await deleted.until('urn:example:d'))).toMatchObject([
      { event: 'thing_deleted', data: { id: 'urn:example:c' } },
      { event: 'thing_deleted', data: { id: 'urn:example:d' } },
    ]);
  });

  it('are given again to who comes back, at any stream, also after a restart, and nothing is missed', async () => {
    const reader = await follow('/events');
    await put('e');
    const [first] = toldIn(await reader.until('thing_created'));
    for (const name of ['f', 'g']) await put(name);
    await remove('e');
    backend = await backend.restart();
    const again = toldIn(await (await follow('/events', first!.id)).until('directory"}'));
    expect(again.map(({ data }) => (data as { readonly id: string }).id).slice(0, 3)).toEqual([
      'urn:example:f',
      'urn:example:g',
      'urn:example:e',
    ]);
    const removed = await (await follow('/events/thing_deleted', first!.id)).until('urn:example:e');
    expect([toldIn(removed).length, removed.includes('gap')]).toEqual([1, false]);
    expect(await (await follow('/events', 'another-life.5')).until('gap')).toContain('event: gap');
  });

  it('tell of what has expired', async () => {
    const reader = await follow('/events/thing_deleted');
    await put('h', { registration: { ttl: 60 } });
    backend.clockS += 60;
    await backend.call('GET', '/things?limit=1');
    expect(toldIn(await reader.until('urn:example:h'))).toHaveLength(1);
  });

  it('are refused where there are none of that type, or in another form', async () => {
    expectProblem(await backend.call('GET', '/events/thing_moved'), 400, 'input-invalid');
    expectProblem(await backend.call('GET', '/events?diff=perhaps'), 400, 'input-invalid');
    expectProblem(await backend.call('GET', '/events', { headers: { accept: 'text/html' } }), 406, 'not-acceptable');
    expect((await backend.call('HEAD', '/events')).status).toBe(200);
  });
});
