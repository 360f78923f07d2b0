import { once } from 'node:events';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { open, until } from './http-raw.js';
import { runThing, type RunningThing } from './http-things.js';

let running: RunningThing;
const sockets: Socket[] = [];

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await running.servient.shutdown();
});

async function subscribe(path: string, lastEventId?: string): Promise<Socket> {
  const socket = await open(running.port);
  sockets.push(socket);
  const resume = lastEventId === undefined ? '' : `Last-Event-ID: ${lastEventId}\r\n`;
  socket.write(`GET /meter-m-1/${path} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n${resume}\r\n`);
  return socket;
}

const emit = (...numbers: readonly number[]): void => {
  for (const n of numbers) running.emitter.event('reading', { n });
};
const dataIn = (stream: string): number[] => [...stream.matchAll(/^data: \{"n":(\d+)\}/gm)].map(([, n]) => Number(n));
const lastIdIn = (stream: string): string => [...stream.matchAll(/^id: (\S+)/gm)].at(-1)?.[1] ?? '';

/** Opens a stream and leaves it as soon as `text` has arrived. */
async function readUntil(path: string, text: string, lastEventId?: string): Promise<string> {
  const socket = await subscribe(path, lastEventId);
  const stream = await until(socket, text);
  socket.destroy();
  return stream;
}

describe('server-sent events', () => {
  it('say when to come back, carry ids, and arrive in order', async () => {
    running = await runThing();
    const socket = await subscribe('events/reading');
    const opening = await until(socket, '\n\n');
    expect(opening).toMatch(/^HTTP\/1\.1 200/);
    expect(opening).toMatch(/content-type: text\/event-stream/i);
    expect(opening).toContain('retry: 2000\n\n');
    emit(1, 2, 3);
    const stream = await until(socket, '{"n":3}\n\n');
    expect(dataIn(stream)).toEqual([1, 2, 3]);
    expect(new Set(stream.match(/^id: \S+/gm)).size).toBe(3);
  });

  it('that were missed are replayed after Last-Event-ID, each exactly once', async () => {
    running = await runThing();
    const first = await subscribe('events/reading');
    await until(first, 'retry');
    emit(1, 2);
    const seen = await until(first, '{"n":2}\n\n');
    first.destroy();
    emit(3, 4);
    await sleep(20);
    const second = await subscribe('events/reading', lastIdIn(seen));
    const replayed = await until(second, '{"n":4}\n\n');
    emit(5);
    expect(dataIn(replayed + (await until(second, '{"n":5}\n\n')))).toEqual([3, 4, 5]);
    expect(replayed).not.toContain('gap');
  });

  it('that came before the first one are not lost: the opening already carries an id', async () => {
    running = await runThing();
    const opening = await readUntil('events/reading', 'id: ');
    emit(1);
    expect(dataIn(await readUntil('events/reading', '{"n":1}', lastIdIn(opening)))).toEqual([1]);
  });

  it('announce a gap with its length when the ring no longer holds what was missed', async () => {
    running = await runThing({ streams: { replayEvents: 3 } });
    const opening = await readUntil('events/reading', 'id: ');
    emit(1, 2, 3, 4, 5);
    const stream = await readUntil('events/reading', '{"n":5}', lastIdIn(opening));
    expect(stream).toContain('event: gap\ndata: {"missed":2}\n\n');
    expect(dataIn(stream)).toEqual([3, 4, 5]);
  });

  it('hold no more bytes for replay than allowed', async () => {
    running = await runThing({ streams: { replayBytes: 80 } });
    const opening = await readUntil('events/reading', 'id: ');
    emit(1, 2, 3, 4, 5);
    expect(dataIn(await readUntil('events/reading', '{"n":5}', lastIdIn(opening))).length).toBeLessThan(4);
  });

  it.each(['from-another-life.7', 'x', '%00', '.', '9'.repeat(400)])(
    'replay what is held, after a gap, to a reader with the unknown id %s',
    async (id) => {
      running = await runThing();
      emit(1);
      await sleep(20);
      const stream = await readUntil('events/reading', '{"n":1}', id);
      expect(stream).toContain('event: gap\ndata: {}\n\n');
    },
  );

  it('of a property begin with its value, and a change that happens meanwhile is not lost', async () => {
    running = await runThing();
    running.status = 7;
    const socket = await subscribe('properties/keyStatus');
    running.emitter.propertyChanged('keyStatus');
    running.status = 8;
    running.emitter.propertyChanged('keyStatus');
    const stream = await until(socket, '{"n":8}');
    expect(dataIn(stream).at(-1)).toBe(8);
    expect(dataIn(await readUntil('properties/keyStatus', '{"n":'))).toEqual([8]);
  });

  it('keep silent connections alive with comments', async () => {
    running = await runThing({ streams: { heartbeatMs: 20 } });
    expect(await readUntil('events/reading', '\n:\n\n')).toContain('retry');
  });

  it('a reader that does not read is cut off, and the others go on', async () => {
    const refusals: string[] = [];
    running = await runThing({
      streams: { backlogBytes: 100_000, replayBytes: 50_000 },
      observer: { request: () => undefined, refused: (code) => refusals.push(code) },
    });
    const stalled = await subscribe('events/reading');
    await until(stalled, 'retry');
    stalled.pause();
    const lively = await subscribe('events/reading');
    await until(lively, 'retry');
    let arrived = '';
    lively.on('data', (chunk: Buffer) => (arrived = arrived.slice(-100_000) + chunk.toString()));
    expect(running.server.openStreams).toBe(2);
    const bulk = 'x'.repeat(40_000);
    for (let i = 0; running.server.openStreams === 2; i++) {
      expect(i).toBeLessThan(2_000);
      running.emitter.event('reading', { n: i, bulk });
      await sleep(0);
    }
    expect(running.server.openStreams).toBe(1);
    expect(refusals).toEqual(['slow-reader']);
    running.emitter.event('reading', { n: 424242 });
    while (!arrived.includes('424242')) await sleep(1);
  });

  it('are refused above the cap on streams, in all and per address, until one closes', async () => {
    running = await runThing({ streams: { streams: 3, streamsPerAddress: 2 } });
    const first = await subscribe('events/reading');
    await until(first, 'retry');
    await until(await subscribe('properties/keyStatus'), 'retry');
    const refused = await until(await subscribe('events/reading'), '}');
    expect(refused).toMatch(/^HTTP\/1\.1 429/);
    expect(refused).toContain('"code":"too-many-streams"');
    first.destroy();
    while (running.server.openStreams === 2) await sleep(1);
    await until(await subscribe('events/reading'), 'retry');
  });

  it('end when their Thing does', async () => {
    running = await runThing();
    const socket = await subscribe('events/reading');
    await until(socket, 'retry');
    socket.resume();
    await Promise.all([once(socket, 'end'), running.thing.destroy()]);
  });

  it('do not keep the server from stopping, read or not, nor do idle connections', async () => {
    running = await runThing();
    const idle = await open(running.port);
    sockets.push(idle);
    idle.write('GET /meter-m-1 HTTP/1.1\r\nHost: a\r\n\r\n');
    await until(idle, '\r\n\r\n');
    await open(running.port).then((silent) => sockets.push(silent));
    const read = await subscribe('events/reading');
    await until(read, 'retry');
    const stalled = await subscribe('events/reading');
    await until(stalled, 'retry');
    stalled.pause();
    running.emitter.event('reading', { n: 1, bulk: 'x'.repeat(900_000) });
    await running.server.stop();
    expect(running.server.openStreams).toBe(0);
  });

  it('500 streams opened and closed leave none behind', async () => {
    running = await runThing({ limits: { requestsPerMinute: 100_000 } });
    for (let i = 0; i < 25; i++) {
      const opened = await Promise.all(Array.from({ length: 20 }, () => subscribe('events/reading')));
      for (const socket of opened) socket.destroy();
      sockets.length = 0;
    }
    while (running.server.openStreams > 0) await sleep(1);
    emit(1);
    expect(dataIn(await readUntil('events/reading', 'id: '))).toEqual([]);
  });
});
