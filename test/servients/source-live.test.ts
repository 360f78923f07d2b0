import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync, appendFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it, vi } from 'vitest';
import type { Gap } from '../../crypto/envelope/gap-report.js';
import { toHex } from '../../crypto/bytes.js';
import { decodeSenml, encodeSenml, type Reading } from '../../crypto/envelope/senml.js';
import { ConflictError, UnavailableError } from '../../crypto/errors.js';
import { SourceReader, type SourceReaderParts } from '../../servients/source-reader.js';
import { openSource, parseSource, sharedRecordings, type SourceConfig } from '../../servients/sources/open-source.js';
import { systemClock } from '../../servients/sources/replay-clock.js';
import { isGap, type Observation, type ReadingSource } from '../../servients/sources/source.js';

const fixture = (name: string): Buffer =>
  readFileSync(fileURLToPath(new URL(`../vectors/dsmr-p1/${name}`, import.meta.url)));
const [early, late] = [fixture('v4_2.txt'), fixture('v5.txt')];
const folder = mkdtempSync(join(tmpdir(), 'gridring-p1-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** When the first of the two telegrams was sent. */
const clock = { ...systemClock, nowMs: () => Date.parse('2016-11-13T19:58:00Z') };
const open = (config: SourceConfig | string): Promise<ReadingSource> =>
  openSource(typeof config === 'string' ? parseSource(config) : config, sharedRecordings(), clock, () => undefined);
const registerOf = (item: Observation | undefined): unknown =>
  item && 'registers' in item ? item.registers.find(({ name }) => name === '1-0:1.8.1')?.value : item;
const joules = (kwh: number): number => Math.round(kwh * 3_600_000);

/** Takes so many observations; `between` is done after each. */
async function take(source: ReadingSource, count: number, between?: (taken: number) => unknown) {
  const taken: Observation[] = [];
  const stop = new AbortController();
  for await (const item of source.readings(undefined, stop.signal)) {
    taken.push(item);
    await between?.(taken.length);
    if (taken.length === count) stop.abort();
  }
  return taken;
}

describe('a P1 port', () => {
  it('may be a file of telegrams: read once, from where the meter’s chain has come to', async () => {
    const file = join(folder, 'p1.txt');
    writeFileSync(file, early);
    appendFileSync(file, late.subarray(0, -2));
    const source = await open(`p1:${file}`);
    expect(source.isLive).toBe(false);
    const all: Observation[] = [];
    for await (const item of source.readings(undefined, new AbortController().signal)) all.push(item);
    expect(all.filter((item) => !isGap(item)).map(registerOf)).toEqual([joules(1581.123), joules(4.426)]);
    expect(all.filter(isGap)).toMatchObject([{ cause: 'source-silent' }]);
    const { timeS } = all.at(-1) as Reading;
    for await (const item of source.readings({ timeS, energyTotalWh: null }, new AbortController().signal))
      expect.unreachable(`${JSON.stringify(item)} again`);
  });

  it('over TCP is dialled again when it breaks off, in the midst of a telegram or before the first', async () => {
    const sockets: Socket[] = [];
    const server = createServer((socket) => {
      sockets.push(socket);
      if (sockets.length === 1) socket.end(early.subarray(0, 100));
      else socket.write(sockets.length === 2 ? early : late);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const port = `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const taken = await take(await open(`p1:${port}`), 4, (count) => count === 2 && sockets.at(-1)?.destroy());
    expect(taken.filter((item) => !isGap(item)).map(registerOf)).toEqual([joules(1581.123), joules(4.426)]);
    expect(taken.filter(isGap)).toMatchObject([
      { cause: 'source-silent', sinceS: null },
      { cause: 'source-silent', sinceS: (taken[1] as Reading).timeS },
    ]);
    expect(sockets).toHaveLength(3);
    for (const socket of sockets) socket.destroy();
    server.close();
  });

  const hasSocat = spawnSync('socat', ['-V']).status === 0;
  if (!hasSocat) {
    if (process.env['CI'] === 'true') throw new Error('socat is missing: a serial line cannot be tried');
    console.warn('socat is missing: no serial line is tried');
  }
  it.skipIf(!hasSocat)('may be a serial line, which is unplugged and comes back', async () => {
    const [device, wire] = [join(folder, 'ttyP1'), join(folder, 'wire')];
    const plug = async (): Promise<ChildProcess> => {
      const ends = [device, wire].map((link) => `PTY,link=${link},raw,echo=0`);
      const socat = spawn('socat', ends, { stdio: 'ignore' });
      await vi.waitFor(() => {
        expect(existsSync(device) && existsSync(wire)).toBe(true);
      });
      return socat;
    };
    let line = await plug();
    const send = setInterval(() => {
      if (existsSync(wire)) appendFileSync(wire, sending);
    }, 50);
    let sending = early;
    const source = await open({ kind: 'p1', port: device, intervalS: 60 });
    expect(source.isLive).toBe(true);
    const taken = await take(source, 3, async (count) => {
      if (count > 1) return;
      line.kill();
      await once(line, 'exit');
      sending = late;
      line = await plug();
    });
    clearInterval(send);
    line.kill();
    await once(line, 'exit');
    expect(taken.filter((item) => !isGap(item)).map(registerOf)).toEqual([joules(1581.123), joules(4.426)]);
  });

  it.each(['p1', 'p2:/dev/ttyUSB0', 'p1:'])('is named as kind and place, not as %s', (text) => {
    expect(() => parseSource(text)).toThrow(expect.objectContaining({ code: 'source-unknown' }));
  });

  it('is refused with an address that is none', async () => {
    await expect(open('p1:tcp://nowhere')).rejects.toMatchObject({ code: 'source-port-invalid' });
  });
});

describe('what a live source has lost while it was not taken from', () => {
  const startS = 1_767_225_600;
  const readingAt = (minute: number): Reading => ({
    ...{ timeS: startS + 60 * minute, intervalS: 60, source: 'test', missing: false, quality: [] },
    registers: [{ name: 'r', unit: 'J', value: minute }],
  });

  /** What comes into the chain of a meter that has come to `from`, in minutes. */
  async function chainOf(
    items: readonly Observation[],
    { from = 0, isLive = true, fails = [] as readonly Error[] } = {},
  ): Promise<readonly unknown[]> {
    const chain: unknown[] = [];
    const failures = [...fails];
    const keep = (coveredS: number | null, entry: unknown): Promise<void> => {
      const failure = failures.shift();
      if (failure) return Promise.reject(failure);
      meter.coveredS = coveredS;
      chain.push(entry);
      return Promise.resolve();
    };
    const minutes = (timeS: number | null): number | null => timeS && (timeS - startS) / 60;
    const meter = {
      keyed: true,
      coveredS: startS + 60 * from,
      lastReading: null,
      report: (reading: Reading) => keep(reading.timeS, minutes(reading.timeS)),
      reportGap: ({ cause, sinceS, untilS }: Gap) => keep(untilS, [cause, minutes(sinceS), minutes(untilS)]),
    } as { coveredS: number | null } & SourceReaderParts['meter'];
    const readings = async function* (): AsyncGenerator<Observation> {
      yield* items;
    };
    const source = { name: 'test', isLive, intervalS: 60, readings };
    const ignored = (): void => undefined;
    await new SourceReader({ meter, source, onKept: ignored, warn: ignored }).run(new AbortController().signal);
    return chain;
  }

  it('is reported before the next reading, and nothing where nothing is lost', async () => {
    expect(await chainOf([1, 2, 5, 6].map(readingAt))).toEqual([1, 2, ['stopped', 2, 4], 5, 6]);
    expect(await chainOf([readingAt(90)])).toEqual([['stopped', 0, 89], 90]);
    expect(await chainOf([readingAt(90)], { isLive: false })).toEqual([90]);
  });

  it('has the cause for which nothing could be kept', async () => {
    const full = new UnavailableError('disk-full', 'no room');
    expect(await chainOf([1, 9].map(readingAt), { fails: [full] })).toEqual([1, ['disk-full', 1, 8], 9]);
    const keyless = new ConflictError('not-keyed', 'no key');
    expect(await chainOf([1, 9, 19].map(readingAt), { fails: [keyless] })).toEqual([
      ...[1, ['no-key', 1, 8], 9],
      ...[['stopped', 9, 18], 19],
    ]);
  });

  it('is told apart from what the source itself reports', async () => {
    const gap: Gap = { cause: 'source-silent', sinceS: startS + 300, untilS: startS + 600, quantities: null };
    expect(await chainOf([gap, readingAt(11)])).toEqual([['stopped', 0, 5], ['source-silent', 5, 10], 11]);
  });
});
describe('a source of one’s own', () => {
  const page = readFileSync(fileURLToPath(new URL('../../docs/sources.md', import.meta.url)), 'utf8');
  const write = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };

  it('is a module such as the one in the documentation', async () => {
    const path = write('thermometer.mjs', /```js\n([^]*?)```/.exec(page)![1]!);
    const source = await open({ kind: 'module', path, argument: write('temperature', '21.5\n') });
    const [first] = await take(source, 1);
    const { timeS } = first as Reading;
    expect(timeS).toBe(clock.nowMs() / 1000);
    const sealed = encodeSenml({ meterId: 'meter-01', readings: [first as Reading] });
    expect(decodeSenml(sealed).readings).toEqual([first]);
    expect(first).toMatchObject({ registers: [{ name: 'temperature', unit: 'Cel', value: 21.5 }] });
  });

  it('that cannot be used is refused before the meter starts', async () => {
    for (const text of ['throw new Error("no")', 'export default 7;', 'export default () => ({})']) {
      const path = write(`${toHex(Buffer.from(text)).slice(0, 60)}.mjs`, text);
      await expect(open(`module:${path}`)).rejects.toMatchObject({ code: 'source-module' });
    }
  });
});
