import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EventReader } from '../event-reader.js';
import { expectProblem } from '../rest-server.js';
import { shows } from './statements.js';
import { lamp, pathOf, type Td, DirectoryUnderTest } from './under-test.js';

interface Told {
  readonly event: string;
  readonly id: string;
  readonly data: Td;
}
const toldIn = (text: string): readonly Told[] =>
  [...text.matchAll(/^event: (.*)\nid: (.*)\ndata: (.*)$/gm)].map(([, event = '', id = '', data = '']) => ({
    event,
    id,
    data: JSON.parse(data) as Td,
  }));

export function eventTests({ open }: DirectoryUnderTest): void {
  describe('notifications', () => {
    // Its own: that it ends is what ends the streams.
    const d = new DirectoryUnderTest(open);
    const readers: EventReader[] = [];
    beforeAll(() => d.start());
    afterAll(async () => {
      await d.backend.remove();
      for (const reader of readers) await reader.rest();
    });

    const follow = async (path: string, lastEventId?: string): Promise<EventReader> => {
      const reader = await d.follow(path, lastEventId === undefined ? {} : { 'last-event-id': lastEventId });
      expect([reader.response.status, reader.response.headers.get('content-type')]).toEqual([200, 'text/event-stream']);
      readers.push(reader);
      return reader;
    };
    const put = (name: string, more: Td = {}): Promise<unknown> => d.put(lamp(name, more));
    const remove = (name: string): Promise<unknown> => d.write('DELETE', pathOf(`urn:example:${name}`));

    it('tell of what is created, updated and deleted, by its id alone', async () => {
      shows('tdd-notification', 'tdd-notification-sse', 'tdd-notification-event-types', 'tdd-notification-data');
      shows('tdd-notification-data-td-id');
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
      shows('tdd-notification-data-create-full', 'tdd-notification-data-update-diff');
      shows('tdd-notification-data-update-id', 'tdd-notification-data-delete-diff');
      const reader = await follow('/events?diff=true');
      await put('b', { description: 'Old' });
      const created = toldIn(await reader.until('thing_created'));
      const context = expect.any(Array) as unknown;
      expect(created[0]?.data).toMatchObject({ ...lamp('b'), '@context': context, registration: {} });
      await put('b', { title: 'Lantern' });
      await remove('b');
      const [, updated, deleted] = toldIn(await reader.until('thing_deleted'));
      expect(updated?.data).toEqual({ id: 'urn:example:b', title: 'Lantern', description: null });
      expect(deleted?.data).toEqual({ id: 'urn:example:b' });
    });

    it('are of one type for who asks for that', async () => {
      shows('tdd-notification-filter-type', 'tdd-notification-data-delete-diff');
      const [created, deleted] = [
        await follow('/events/thing_created'),
        await follow('/events/thing_deleted?diff=true'),
      ];
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
      shows('tdd-notification-event-id');
      const reader = await follow('/events');
      await put('e');
      const [first] = toldIn(await reader.until('thing_created'));
      for (const name of ['f', 'g']) await put(name);
      await remove('e');
      d.backend = await d.backend.restart();
      const again = toldIn(await (await follow('/events', first!.id)).until('directory"}'));
      expect(again.map(({ data }) => data['id']).slice(0, 3)).toEqual([
        'urn:example:f',
        'urn:example:g',
        'urn:example:e',
      ]);
      const removed = await (await follow('/events/thing_deleted', first!.id)).until('urn:example:e');
      expect([toldIn(removed).length, removed.includes('gap')]).toEqual([1, false]);
      expect(await (await follow('/events', 'another-life.5')).until('gap')).toContain('event: gap');
    });

    it('tell of what has expired', async () => {
      shows('tdd-registrationinfo-expiry-purge', 'tdd-notification-event-types');
      const reader = await follow('/events/thing_deleted');
      await put('h', { registration: { ttl: 60 } });
      d.backend.clockS += 60;
      await d.get('/things?limit=1');
      expect(toldIn(await reader.until('urn:example:h'))).toHaveLength(1);
    });

    it('are refused where there are none of that type, or in another form', async () => {
      expectProblem(await d.get('/events/thing_moved'), 400, 'input-invalid');
      expectProblem(await d.get('/events?diff=perhaps'), 400, 'input-invalid');
      expectProblem(await d.get('/events', { accept: 'text/html' }), 406, 'not-acceptable');
    });
  });
}
