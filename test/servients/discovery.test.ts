/** Things by way of a directory that changes, goes away and comes back. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { discover, type Discovery } from '../../servients/discovery.js';
import { lamp, type Td } from './directory/under-test.js';

type Stream = ReadableStreamDefaultController<Uint8Array>;

/** What a directory answers, by id; it is away while there is none. */
class FakeDirectory {
  tds: Readonly<Record<string, Td>> | undefined = {};
  readonly asked: string[] = [];
  stream: Stream | undefined;
  lastEventId: string | null = null;

  readonly fetch = async (address: string, init?: RequestInit): Promise<Response> => {
    const path = decodeURIComponent(address.replace('http://directory.example', ''));
    this.asked.push(path);
    if (!this.tds) throw new TypeError('fetch failed');
    if (path === '/events') {
      this.lastEventId = new Headers(init?.headers).get('last-event-id');
      const start = (stream: Stream): void => {
        this.stream = stream;
        init?.signal?.addEventListener('abort', () => {
          stream.error(new Error('aborted'));
        });
      };
      return new Response(new ReadableStream({ start }));
    }
    if (path.startsWith('/things?')) return Response.json(Object.values(this.tds));
    const td = this.tds[path.replace('/things/', '')];
    return td ? Response.json(td) : Response.json({ code: 'td-unknown' }, { status: 404 });
  };

  async tell(event: string, id: string, name: string): Promise<void> {
    const frame = `event: ${event}\nid: ${id}\ndata: {"id":"urn:example:${name}"}\n\n`;
    // In two pieces: frames end where they end.
    for (const part of [frame.slice(0, 9), frame.slice(9)]) this.stream?.enqueue(new TextEncoder().encode(part));
    await vi.advanceTimersByTimeAsync(1);
  }

  async goAway(): Promise<void> {
    this.tds = undefined;
    this.stream?.error(new TypeError('terminated'));
    await vi.advanceTimersByTimeAsync(1);
  }

  put(...names: readonly string[]): void {
    this.tds = Object.fromEntries(names.map((name) => [`urn:example:${name}`, lamp(name)]));
  }
}

const [a, b] = ['urn:example:a', 'urn:example:b'];
let directory: FakeDirectory;
let things: Discovery;
let own: Td | undefined;
let changed: string[];
let troubles: [unknown, string | undefined][];
const consume = vi.fn(async (td: WoT.ThingDescription) => ({ td }) as unknown as WoT.ConsumedThing);

const lookUps = (): readonly string[] => directory.asked.filter((path) => path !== '/events');
const begin = async (): Promise<void> => {
  things = discover({
    directory: 'http://directory.example',
    fetch: directory.fetch,
    wot: { consume },
    own: () => own as WoT.ThingDescription | undefined,
    onChange: (id) => changed.push(id),
    onTrouble: (error, id) => troubles.push([error, id]),
  });
  await vi.advanceTimersByTimeAsync(1);
};

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
  consume.mockClear();
  directory = new FakeDirectory();
  directory.put('a', 'b');
  [own, changed, troubles] = [undefined, [], []];
  await begin();
});
afterEach(() => {
  things.close();
  vi.useRealTimers();
});

describe('a Thing that is discovered', () => {
  it('is looked up and consumed once, however often and however many ask for it', async () => {
    const [one, other] = await Promise.all([things.thing(a), things.thing(a)]);
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect([other, await things.thing(a)]).toEqual([one, one]);
    expect([lookUps(), consume.mock.calls.length]).toEqual([[`/things/${a}`], 1]);
  });

  it('is consumed again when the directory tells that it has changed, and only if it has', async () => {
    const before = await things.thing(a);
    await directory.tell('thing_updated', 'x.1', 'a');
    expect(await things.thing(a)).toBe(before);
    directory.tds = { [a]: { ...lamp('a'), title: 'Lantern' } };
    await directory.tell('thing_updated', 'x.2', 'a');
    expect(await things.describe(a)).toMatchObject({ title: 'Lantern' });
    expect(await things.thing(a)).not.toBe(before);
    expect([changed, lookUps().length, consume.mock.calls.length]).toEqual([[a, a], 3, 2]);
  });

  it('is no more when it was removed', async () => {
    await things.thing(a);
    directory.put('b');
    await directory.tell('thing_deleted', 'x.1', 'a');
    await expect(things.thing(a)).rejects.toMatchObject({ status: 404 });
    expect(await things.find(() => true)).toMatchObject([{ id: b }]);
  });

  it('stays known while the directory is away, which says for how long it has been', async () => {
    const before = await things.thing(a);
    expect([things.ageMs(a), things.ageMs(b)]).toEqual([0, undefined]);
    await directory.goAway();
    await vi.advanceTimersByTimeAsync(90_000);
    expect(await things.thing(a)).toBe(before);
    expect(things.ageMs(a)).toBeGreaterThanOrEqual(90_000);
    await expect(things.thing(b)).rejects.toMatchObject({ code: 'directory-unreachable' });
    const tries = directory.asked.filter((path) => path === '/events').length;
    expect([tries > 4, tries < 60]).toEqual([true, true]);
  });

  it('is current again when the directory is back, which is told what was heard last and tells what was missed', async () => {
    await directory.tell('thing_updated', 'x.7', 'b');
    const before = await things.thing(a);
    await directory.goAway();
    await vi.advanceTimersByTimeAsync(10_000);
    directory.put('a', 'b');
    await vi.advanceTimersByTimeAsync(40_000);
    expect([directory.lastEventId, things.ageMs(a)]).toEqual(['x.7', 0]);
    directory.tds = { [a]: { ...lamp('a'), title: 'Lantern' } };
    await directory.tell('gap', 'x.9', '');
    expect(await things.thing(a)).not.toBe(before);
  });

  it('is asked for anew when it did not answer, and where the directory gives no notifications every minute', async () => {
    await things.thing(a);
    things.forget(a);
    await things.thing(a);
    expect(lookUps()).toHaveLength(2);
    things.close();
    await vi.advanceTimersByTimeAsync(61_000);
    await things.thing(a);
    expect([lookUps().length, consume.mock.calls.length]).toEqual([3, 1]);
  });

  it('is what it has said itself, where the directory says something else or is away', async () => {
    own = { ...lamp('a'), title: 'Signed' };
    expect(await things.describe(a)).toEqual(own);
    await directory.goAway();
    things.forget(a);
    expect(await things.describe(a)).toEqual(own);
    expect(troubles).toMatchObject([
      [{ code: 'td-differs' }, a],
      [{ message: 'terminated' }, undefined],
      [{ code: 'directory-unreachable' }, a],
    ]);
  });
});

describe('a list of Things', () => {
  it('is read once, until something changes, and again when that is told', async () => {
    const lamps = () => things.find(({ title }) => title === 'Lamp');
    expect(await lamps()).toMatchObject([{ id: a }, { id: b }]);
    await lamps();
    await directory.tell('thing_created', 'x.1', 'c');
    directory.put('a', 'b', 'c');
    expect(await lamps()).toHaveLength(3);
    expect(lookUps()).toHaveLength(2);
    await directory.goAway();
    await vi.advanceTimersByTimeAsync(90_000);
    expect(await lamps()).toHaveLength(3);
  });
});
