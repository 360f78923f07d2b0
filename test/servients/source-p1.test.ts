import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Gap } from '../../crypto/envelope/gap-report.js';
import type { RegisterReading } from '../../crypto/envelope/senml-registers.js';
import { decodeSenml, encodeSenml } from '../../crypto/envelope/senml.js';
import { limits } from '../../crypto/limits.js';
import { P1Intake, type Moment } from '../../servients/sources/p1-intake.js';
import { readingOf } from '../../servients/sources/p1-registers.js';
import { TelegramSplitter, type P1Item, type Telegram } from '../../servients/sources/p1-telegram.js';
import { isGap, type Observation } from '../../servients/sources/source.js';

const folder = fileURLToPath(new URL('../vectors/dsmr-p1/', import.meta.url));
const names = readdirSync(folder).filter((name) => name.endsWith('.txt'));
const fixture = (name: string): Buffer => readFileSync(`${folder}${name}`);
const split = (...chunks: readonly Uint8Array[]): readonly P1Item[] => {
  const splitter = new TelegramSplitter();
  return chunks.flatMap((chunk) => splitter.push(chunk));
};
const only = (items: readonly P1Item[]): Telegram => {
  expect(items.map(({ kind }) => kind)).toEqual(['telegram']);
  return items[0] as Telegram;
};
const receivedS = 1_767_225_600;
const read = (name: string, zoneMinutes = 60): RegisterReading =>
  readingOf(only(split(fixture(name))), 60, { zoneMinutes, receivedS })!;
const valueOf = ({ registers }: RegisterReading, name: string) => registers.find((register) => register.name === name);
const utcS = (text: string): number => Date.parse(text) / 1000;

describe('a telegram', () => {
  it.each(names)('of a real meter is read, and its registers survive the seal: %s', (name) => {
    const reading = read(name);
    const bytes = encodeSenml({ meterId: 'meter-01', readings: [reading] });
    expect(decodeSenml(bytes)).toEqual({ meterId: 'meter-01', readings: [reading] });
    expect(bytes.length).toBeLessThan(limits.envelope / 2);
    for (const { value } of reading.registers) expect(Number.isNaN(value)).toBe(false);
  });

  it('keeps energy in whole joules, cumulative, and every quantity in its unit', () => {
    const reading = read('v5.txt');
    expect(reading).toMatchObject({ timeS: utcS('2017-01-02T18:20:02Z'), source: 'p1', quality: [] });
    expect(valueOf(reading, '1-0:1.8.1')).toEqual({ name: '1-0:1.8.1', unit: 'J', value: 4_426 * 3_600 });
    expect(valueOf(reading, '1-0:1.7.0')).toMatchObject({ unit: 'W', value: 244 });
    expect(valueOf(reading, '1-0:32.7.0')).toMatchObject({ unit: 'V', value: 230 });
    expect(valueOf(reading, '1-0:31.7.0')).toMatchObject({ unit: 'A', value: 0.48 });
    expect(valueOf(reading, '0-0:96.7.21')).toMatchObject({ unit: 'count', value: 13 });
    expect(valueOf(reading, '0-0:96.14.0')).toMatchObject({ unit: null, value: '0002' });
    expect(valueOf(read('v5_eon_hu.txt'), '1-0:3.8.0')).toMatchObject({ unit: 'vars', value: 123 * 3_600 });
    expect(valueOf(read('sagemcom_t210_d_r.txt'), '1-0:1.8.0')).toMatchObject({ unit: 'J', value: 6_545_766 * 3_600 });
    expect(valueOf(read('unpadded_crc.txt'), '0-1:24.2.1')).toMatchObject({ unit: 'J', value: 240_860_000_000 });
  });

  it('tells summer from winter time, in whatever zone, and when an attached meter was read', () => {
    expect(read('fluvius_v171.txt').timeS).toBe(utcS('2020-05-12T11:54:09Z'));
    expect(read('iskra_ie.txt', 0).timeS).toBe(utcS('2023-02-02T12:27:47Z'));
    expect(valueOf(read('v5.txt'), '0-1:24.2.1')).toEqual({
      ...{ name: '0-1:24.2.1', unit: 'm3', value: 0.107, timeS: utcS('2017-01-02T15:10:05Z') },
    });
    expect(valueOf(read('v2_2.txt'), '0-1:24.2.1')).toEqual({
      ...{ name: '0-1:24.2.1', unit: 'm3', value: 1.001, timeS: utcS('2016-11-07T18:00:00Z') },
    });
  });

  it('says what is less than sure: without checksum, without a clock, a time without its season', () => {
    expect(read('v3.txt')).toMatchObject({ timeS: receivedS, quality: ['unchecked', 'received-time', 'local-time'] });
    expect(read('v4_2.txt').quality).toEqual([]);
  });

  it('shows no register that it does not have: absent is not 0', () => {
    const reading = read('v5_two_mbus.txt');
    expect(valueOf(reading, '0-1:24.2.1')).toBeUndefined();
    expect(valueOf(reading, '0-2:24.2.1')).toMatchObject({ value: 246.138 });
    expect(valueOf(reading, '1-0:15.8.0')).toBeUndefined();
    expect(valueOf(reading, '0-1:96.1.0')).toBeUndefined();
  });
});

describe('a stream of bytes', () => {
  const [a, b] = [fixture('v5.txt'), fixture('v4_2.txt')];

  it('is cut into the same telegrams wherever its chunks end', () => {
    const whole = Buffer.concat([Buffer.from('\x00noise/'), a, b, fixture('v3.txt'), a]);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 40 }), (lengths) => {
        const chunks: Buffer[] = [];
        for (let at = 0, i = 0; at < whole.length; i++) {
          const length = lengths[i % lengths.length]!;
          chunks.push(whole.subarray(at, at + length));
          at += length;
        }
        expect(split(...chunks).filter(({ kind }) => kind === 'telegram')).toHaveLength(4);
      }),
      { numRuns: 30 },
    );
  });

  it('gives no telegram of which any byte has changed, and goes on with the next', () => {
    for (let at = 1; at < a.length - 2; at += 5) {
      const damaged = Buffer.from(a);
      damaged[at] = damaged[at]! ^ 0x04;
      const telegrams = split(damaged, b, b).filter((item) => item.kind === 'telegram');
      expect(telegrams.length).toBeGreaterThan(0);
      expect(telegrams.every(({ objects }) => objects.get('1-3:0.2.8')?.[0] === '42')).toBe(true);
    }
  });

  it('may break off in the midst of a telegram, and is garbled there', () => {
    expect(split(a.subarray(0, 300), a).map(({ kind }) => kind)).toEqual(['garbled', 'telegram']);
    expect(split(a.subarray(300), a).map(({ kind }) => kind)).toEqual(['telegram']);
  });

  it('that has lost its checksum on the way is not taken for that of an old meter', () => {
    const cut = Buffer.concat([a.subarray(0, a.lastIndexOf('!') + 1), Buffer.from('\r\n')]);
    expect(split(cut).map(({ kind }) => kind)).toEqual(['garbled']);
  });

  it('without an end does not fill the memory', () => {
    const splitter = new TelegramSplitter();
    const flood = Buffer.from(`/XXX5\r\n${'1-0:1.8.0(000001.000*kWh)\r\n'.repeat(40)}`);
    let garbled = 0;
    for (let i = 0; i < 40; i++) garbled += splitter.push(flood).length;
    expect(garbled).toBeGreaterThan(0);
    expect(split(Buffer.alloc(100_000, 0x2f))).not.toContainEqual(expect.objectContaining({ kind: 'telegram' }));
  });
});

describe('what is lost between two readings', () => {
  const sample = only(split(fixture('v5.txt')));
  const startS = utcS('2026-03-01T00:00:00Z');
  const stamp = (timeS: number): string =>
    `${new Date((timeS + 3_600) * 1000).toISOString().replace(/\D/g, '').slice(2, 14)}W`;
  const telegramAt = (timeS: number): Telegram => ({
    ...sample,
    objects: new Map([...sample.objects, ['0-0:1.0.0', [stamp(timeS)]]]),
  });
  const at = (offsetS: number): Moment => ({ nowS: startS + offsetS, upS: 1_000 + offsetS });
  const intakeAt = (coveredS: number | null = null): P1Intake =>
    new P1Intake({ intervalS: 60, zoneMinutes: 60, isLive: true }, coveredS, 1_000);
  const seen = (observations: readonly Observation[]) =>
    observations.map((item) =>
      isGap(item) ? [item.cause, item.sinceS! - startS, item.untilS! - startS] : item.timeS - startS,
    );
  /** A telegram every ten seconds. */
  const run = (intake: P1Intake, fromS: number, toS: number): readonly Observation[] => {
    const found: Observation[] = [];
    for (let offsetS = fromS; offsetS <= toS; offsetS += 10) {
      found.push(...intake.take(telegramAt(startS + offsetS), at(offsetS)));
    }
    return found;
  };
  const garbled: P1Item = { kind: 'garbled' };

  it('is nothing while telegrams come: the first of each interval is a reading', () => {
    expect(seen(run(intakeAt(), 5, 185))).toEqual([5, 65, 125, 185]);
    expect(seen(run(intakeAt(startS + 65), 75, 125))).toEqual([125]);
  });

  it('is a gap with its cause when telegrams come damaged for longer than an interval', () => {
    const intake = intakeAt();
    run(intake, 0, 60);
    for (let offsetS = 70; offsetS < 300; offsetS += 10) expect(intake.take(garbled, at(offsetS))).toEqual([]);
    expect(seen(run(intake, 300, 370))).toEqual([['source-garbled', 60, 240], 300, 360]);
    expect(intake.take(garbled, at(380))).toEqual([]);
    expect(seen(run(intake, 390, 430))).toEqual([420]);
  });

  it('is a gap when the device is unplugged, told once an hour while that lasts', () => {
    const intake = intakeAt();
    run(intake, 0, 60);
    intake.lost();
    const told = Array.from({ length: 8_000 }, (_, i) => intake.tick(at(61 + i))).flat();
    expect(seen(told)).toEqual([
      ['source-silent', 60, 3_660],
      ['source-silent', 3_660, 7_260],
    ]);
    expect(seen(run(intake, 9_000, 9_000))).toEqual([['source-silent', 7_260, 8_940], 9_000]);
  });

  it('is left to the meter to explain after a start: it may have been off', () => {
    expect(seen(run(intakeAt(startS - 10_000), 0, 0))).toEqual([0]);
  });

  it('is told apart from a clock that was set, forward and back', () => {
    const intake = intakeAt();
    run(intake, 0, 60);
    expect(seen(intake.take(telegramAt(startS + 7_200), at(70)))).toEqual([['clock-set', 60, 7_140], 7_200]);
    const back = intake.take(telegramAt(startS + 600), at(80)) as readonly [Gap, RegisterReading];
    expect(seen(back)).toEqual([['clock-set', 7_200, 540], 600]);
    expect(seen(intake.take(telegramAt(startS + 590), at(90)))).toEqual([]);
  });

  it('has the clock as its cause while the device and the meter do not know the time', () => {
    const old = only(split(fixture('v3.txt')));
    const intake = intakeAt(startS - 600);
    expect(intake.take(old, { nowS: 4, upS: 1_004 })).toEqual([]);
    expect(seen(intake.take(old, at(60)))).toEqual([['clock-unset', -600, 0], 60]);
  });
});
