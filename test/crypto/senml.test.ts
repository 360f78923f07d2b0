import { Decoder } from 'cbor-x';
import { cdeEncodeOptions, decode as cbor2Decode, encode as cbor2Encode } from 'cbor2';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromHex, toHex } from '../../crypto/bytes.js';
import { encode, type CborItem } from '../../crypto/cbor.js';
import { GridringError } from '../../crypto/errors.js';
import { labels, resolvePack, type Label } from '../../crypto/envelope/senml-pack.js';
import {
  decodeSenml,
  encodeSenml,
  intervalEnergyWh,
  toSenmlJson,
  type MeasuredReading,
  type MissingReading,
  type Reading,
} from '../../crypto/envelope/senml.js';

const base = { timeS: 1_779_913_920, intervalS: 60, source: 'replay' } as const;
const measured: MeasuredReading = {
  ...base,
  missing: false,
  energyTotalWh: 602_400 / 3600,
  powerW: 1616,
  energyWh: (1616 * 60) / 3600,
  reactivePowerVar: 156,
  voltageV: 242.65,
  currentA: 6.6,
};
const missing: MissingReading = { ...base, missing: true, timeS: base.timeS + 60, energyTotalWh: 602_400 / 3600 };
const meterId = 'meter-07';

type JsonRecord = Readonly<Record<string, CborItem>>;

/** A pack of our encoding from JSON-labelled records, whatever they hold. */
const packOf = (records: readonly JsonRecord[]): Uint8Array =>
  encode(
    records.map(
      (record) =>
        new Map(
          Object.entries(record).map(([label, value]) => [
            Object.hasOwn(labels, label) ? labels[label as Label] : label,
            value,
          ]),
        ),
    ),
  );
/** The records of one reading, to be tampered with. */
const jsonAll = (readings: readonly Reading[] = [measured]): readonly JsonRecord[] =>
  toSenmlJson({ meterId, readings });
const drop = (record: JsonRecord, label: Label): JsonRecord =>
  Object.fromEntries(Object.entries(record).filter(([name]) => name !== label));
const withChange = (index: number, change: JsonRecord, readings: readonly Reading[] = [measured]): Uint8Array =>
  packOf(jsonAll(readings).map((record, i) => (i === index ? { ...record, ...change } : record)));
const without = (index: number, label: Label): Uint8Array =>
  packOf(jsonAll().map((record, i) => (i === index ? drop(record, label) : record)));
const refusalOf = (bytes: Uint8Array): string => {
  try {
    decodeSenml(bytes);
  } catch (error) {
    if (error instanceof GridringError) return error.code;
    throw error;
  }
  return 'accepted';
};

const anyRegister = fc.integer({ min: 0, max: 2 ** 50 }).map((joules) => joules / 3600);
const anyQuantity = fc.oneof(
  fc.integer({ min: 0, max: 100_000 }),
  fc.double({ min: 0, max: 1e9, noNaN: true }).map((value) => value + 0),
);
const anyReading = fc
  .record({
    intervalS: fc.integer({ min: 1, max: 86_400 }),
    energyTotalWh: anyRegister,
    missing: fc.boolean(),
    powerW: anyQuantity,
    reactivePowerVar: anyQuantity,
    voltageV: anyQuantity,
    currentA: anyQuantity,
  })
  .map(({ intervalS, energyTotalWh, missing: isMissing, powerW, ...rest }) => {
    const common = { source: 'replay', intervalS, energyTotalWh } as const;
    return isMissing
      ? ({ ...common, missing: true } as const)
      : ({ ...common, ...rest, missing: false, powerW, energyWh: intervalEnergyWh(powerW, intervalS) } as const);
  });
const anyReadings = fc
  .array(fc.tuple(anyReading, fc.integer({ min: 1, max: 100_000 })), { minLength: 1, maxLength: 12 })
  .map((entries) => {
    let timeS = base.timeS;
    return entries.map(([reading, stepS]): Reading => ({ ...reading, timeS: (timeS += stepS) }));
  });

describe('SenML of readings', () => {
  it('has the bytes that are written down here', () => {
    const bytes = encodeSenml({ meterId, readings: [measured] });
    expect(toHex(bytes)).toBe(
      '85' + // five records
        'a7' + // power, with the base name and the base time
        '0065706f776572' + // n: "power"
        '016157' + // u: "W"
        '02190650' + // v: 1616
        '051a00093120' + // s: 602400 W·s
        '07183c' + // ut: 60 s
        '21781c75726e3a6772696472696e673a6d657465723a6d657465722d30373a' + // bn
        '221a6a1754c0' + // bt: 1779913920
        'a300687265616374697665016376617202189c' +
        'a30067766f6c7461676501615602fb406e54cccccccccd' +
        'a3006763757272656e7401614102fb401a666666666666' +
        'a20066736f7572636503667265706c6179',
    );
    expect(bytes.length).toBe(144);
  });

  it('says explicitly that a reading is missing, with the register and without values', () => {
    const bytes = encodeSenml({ meterId, readings: [missing] });
    expect(toSenmlJson({ meterId, readings: [missing] })).toEqual([
      { bn: 'urn:gridring:meter:meter-07:', bt: missing.timeS, n: 'power', u: 'W', s: 602_400, ut: 60 },
      { n: 'missing', vb: true },
      { n: 'source', vs: 'replay' },
    ]);
    expect(decodeSenml(bytes)).toEqual({ meterId, readings: [missing] });
    expect(bytes.length).toBeLessThan(90);
  });

  it('serves the same pack as JSON, under the labels of RFC 8428 §5', () => {
    expect(toSenmlJson({ meterId, readings: [measured, missing] })).toEqual([
      { bn: 'urn:gridring:meter:meter-07:', bt: measured.timeS, n: 'power', u: 'W', v: 1616, s: 602_400, ut: 60 },
      { n: 'reactive', u: 'var', v: 156 },
      { n: 'voltage', u: 'V', v: 242.65 },
      { n: 'current', u: 'A', v: 6.6 },
      { n: 'source', vs: 'replay' },
      { n: 'power', u: 'W', s: 602_400, ut: 60, t: 60 },
      { n: 'missing', vb: true, t: 60 },
      { n: 'source', vs: 'replay', t: 60 },
    ]);
  });

  it('gives back every reading exactly, the register to the joule', () => {
    fc.assert(
      fc.property(anyReadings, (readings) => {
        expect(decodeSenml(encodeSenml({ meterId, readings }))).toEqual({ meterId, readings });
      }),
    );
  });

  it('is the deterministic CBOR that two other implementations make and read', () => {
    const cborX = new Decoder({ mapsAsObjects: false });
    // cbor-x makes a bigint of every integer of eight bytes.
    const asNumber = (value: unknown) => (typeof value === 'bigint' ? Number(value) : value);
    fc.assert(
      fc.property(anyReadings, (readings) => {
        const bytes = encodeSenml({ meterId, readings });
        const pack = toSenmlJson({ meterId, readings }).map(
          (record) => new Map(Object.entries(record).map(([label, value]) => [labels[label as Label], value])),
        );
        expect(toHex(cbor2Encode(pack, cdeEncodeOptions))).toBe(toHex(bytes));
        expect(cbor2Decode(bytes, { preferMap: true })).toEqual(pack);
        const read = cborX.decode(bytes) as readonly ReadonlyMap<number, unknown>[];
        expect(read.map((r) => new Map([...r].map(([label, value]) => [label, asNumber(value)])))).toEqual(pack);
      }),
    );
  });

  it('refuses what the meter itself cannot mean: no reading, another id, falling or relative times, half a joule', () => {
    const attempts = [
      { meterId, readings: [] },
      { meterId: 'meter:07', readings: [measured] },
      { meterId: '', readings: [measured] },
      { meterId, readings: [missing, measured] },
      { meterId, readings: [measured, measured] },
      { meterId, readings: [{ ...measured, timeS: 2 ** 28 - 1 }] },
      { meterId, readings: [{ ...measured, energyTotalWh: 0.5 / 3600 }] },
      { meterId, readings: [{ ...measured, energyTotalWh: -1 }] },
    ];
    for (const attempt of attempts) expect(() => encodeSenml(attempt)).toThrow(TypeError);
  });

  it('refuses to encode more readings than one envelope may hold', () => {
    const readings = Array.from({ length: 60 }, (_, i) => ({ ...measured, timeS: base.timeS + 60 * i }));
    expect(() => encodeSenml({ meterId, readings })).toThrow(expect.objectContaining({ code: 'too-large' }));
  });
});

describe('A pack that is not a reading of this schema is refused', () => {
  it.each<[string, Uint8Array]>([
    ['an unknown quantity', withChange(1, { n: 'frequency' })],
    ['a quantity twice', withChange(1, { n: 'voltage', u: 'V' })],
    ['a quantity of another unit', withChange(2, { u: 'mV' })],
    ['a quantity without unit', without(2, 'u')],
    ['a quantity that is a string', packOf(jsonAll().map((r, i) => (i === 0 ? { ...drop(r, 'v'), vs: '1616' } : r)))],
    ['a power without register', without(0, 's')],
    ['a register that is no whole number of joules', withChange(0, { s: 1.5 })],
    ['a register below zero', withChange(0, { s: -1 })],
    ['a power without interval', without(0, 'ut')],
    ['an interval of zero', withChange(0, { ut: 0 })],
    [
      'a reading without power',
      packOf([{ bn: 'urn:gridring:meter:a:', bt: base.timeS, ...jsonAll()[1] }, ...jsonAll().slice(2)]),
    ],
    ['a reading without source', packOf(jsonAll().slice(0, 4))],
    ['a source without a proper name', withChange(4, { vs: 'In vented' })],
    ['a sum of the voltage', withChange(2, { s: 5 })],
    ['a missing reading with a power', withChange(0, { v: 5 }, [missing])],
    ['a missing that is false', withChange(1, { vb: false }, [missing])],
    ['a missing that has a unit', withChange(1, { u: 'W' }, [missing])],
    ['a missing beside values', packOf([...jsonAll(), { n: 'missing', vb: true }])],
    ['a time in fractions of a second', withChange(0, { bt: base.timeS + 0.5 })],
    ['a time relative to now', withChange(0, { bt: 5 })],
    ['a time beyond 32 bits', withChange(0, { bt: 2 ** 32 })],
    ['times that fall', packOf(jsonAll([measured, missing]).map((r) => (r.t === undefined ? r : { ...r, t: -60 })))],
    ['the name of something that is no meter', withChange(0, { bn: 'urn:gridring:gateway:1:' })],
    ['records of two meters', withChange(3, { bn: 'urn:gridring:meter:other:' })],
  ])('%s', (_, bytes) => {
    expect(refusalOf(bytes)).toBe('reading-malformed');
  });

  it.each<[string, Uint8Array]>([
    ['an empty pack', encode([])],
    ['a record that is no map', encode([1])],
    ['a pack that is a map', encode(new Map([[0, 1]]))],
    ['two values in one record', withChange(0, { vs: 'x' })],
    ['a record without value', packOf([{ n: 'urn:gridring:meter:a:power', u: 'W' }])],
    ['a value of another type', withChange(0, { v: 'x' })],
    ['an integer label outside the conclusive table', encode([new Map<number, CborItem>([[0, 'a'], [2, 1], [9, 1]])])], // prettier-ignore
    ['a field under its JSON label', encode([new Map<number | string, CborItem>([[0, 'a'], [2, 1], ['v', 2]])])], // prettier-ignore
    ['a name with a space', withChange(0, { n: 'po wer' })],
    ['records of two versions', withChange(1, { bver: 9 })],
  ])('%s', (_, bytes) => {
    expect(refusalOf(bytes)).toBe('senml-malformed');
  });

  it('and so is a version that asks for a feature which is not understood (RFC 9100)', () => {
    expect(refusalOf(withChange(0, { bver: 26 }))).toBe('senml-version');
    expect(refusalOf(withChange(0, { bver: 1.5 }))).toBe('senml-version');
    expect(refusalOf(withChange(0, { bver: 10 }))).toBe('accepted');
  });

  it('but a field that is not understood is ignored, unless its label ends with "_" (RFC 8428 §4.4)', () => {
    const extended = withChange(2, { quality: 'good', constructor: 1 });
    expect(decodeSenml(extended)).toEqual({ meterId, readings: [measured] });
    expect(refusalOf(withChange(2, { phase_: 1 }))).toBe('senml-must-understand');
  });

  it('a flipped bit anywhere leaves an exact reading or a refusal, never anything else', () => {
    const bytes = encodeSenml({ meterId, readings: [measured, missing] });
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = bytes.map((byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));
      if (refusalOf(flipped) !== 'accepted') continue;
      const { meterId: id, readings } = decodeSenml(flipped);
      expect(toHex(encodeSenml({ meterId: id, readings }))).toBe(toHex(flipped));
    }
  });

  it.each<[string, string]>([
    ['a tag', '81a200616102c1fb3ff0000000000000'],
    ['not a number', '81a200616102f97e00'],
    ['an infinity', '81a200616102f97c00'],
    ['an indefinite length', '9fa20061610201ff'],
    ['a duplicate field', '81a202010202'],
  ])('%s never reaches the schema', (_, hex) => {
    expect(refusalOf(fromHex(hex))).toBe('cbor-malformed');
  });

  it('fields in another order than the deterministic one', () => {
    expect(refusalOf(fromHex('81a20201006161'))).toBe('cbor-not-deterministic');
  });
});

/**
 * Examples of RFC 8428 §5.1.2, §5.1.3, §5.1.4 and §6, from https://www.rfc-editor.org/rfc/rfc8428 and the working
 * group's https://github.com/core-wg/senml-spec (ex3, ex5).
 */
describe('RFC 8428', () => {
  const multipleDatapoints: readonly JsonRecord[] = [
    {
      bn: 'urn:dev:ow:10e2073a0108006:',
      bt: 1.276020076001e9,
      bu: 'A',
      bver: 5,
      n: 'voltage',
      u: 'V',
      v: 120.1,
    },
    { n: 'current', t: -5, v: 1.2 },
    { n: 'current', t: -4, v: 1.3 },
    { n: 'current', t: -3, v: 1.4 },
    { n: 'current', t: -2, v: 1.5 },
    { n: 'current', t: -1, v: 1.6 },
    { n: 'current', v: 1.7 },
  ];
  const multipleDatapointsCbor =
    '87a721781b75726e3a6465763a6f773a3130653230373361303130383030363a22fb41d303a15b00106223614120050067766f6c746167650' +
    '1615602fb405e066666666666a3006763757272656e74062402fb3ff3333333333333a3006763757272656e74062302fb3ff4cccccccccccd' +
    'a3006763757272656e74062202fb3ff6666666666666a3006763757272656e74062102f93e00a3006763757272656e74062002fb3ff999999' +
    '999999aa3006763757272656e74060002fb3ffb333333333333';

  /** Another implementation reads the bytes, for those of the RFC are not in deterministic order. */
  const cborMaps = (bytes: Uint8Array): CborItem => cbor2Decode(bytes, { preferMap: true });
  const resolve = (records: readonly JsonRecord[]) => resolvePack(cborMaps(packOf(records)));

  it('§5.1.2: multiple datapoints resolve to their names, units and times', () => {
    const current = (timeS: number, value: number) => ({
      name: 'urn:dev:ow:10e2073a0108006:current',
      unit: 'A',
      timeS,
      value,
    });
    expect(resolve(multipleDatapoints)).toMatchObject([
      { name: 'urn:dev:ow:10e2073a0108006:voltage', unit: 'V', timeS: 1.276020076001e9, value: 120.1 },
      current(1.276020071001e9, 1.2),
      current(1.276020072001e9, 1.3),
      current(1.276020073001e9, 1.4),
      current(1.276020074001e9, 1.5),
      current(1.276020075001e9, 1.6),
      current(1.276020076001e9, 1.7),
    ]);
  });

  it('§6: the CBOR dump of the same example resolves to the same records', () => {
    expect(resolvePack(cborMaps(fromHex(multipleDatapointsCbor)))).toEqual(resolve(multipleDatapoints));
  });

  it('§6: the dump keeps its fields in another order, so it never gets past the gate of deterministic CBOR', () => {
    expect(refusalOf(fromHex(multipleDatapointsCbor))).toBe('cbor-not-deterministic');
  });

  it('§5.1.3 and §5.1.4: multiple measurements resolve to the resolved data of the RFC', () => {
    const name = 'urn:dev:ow:10e2073a01080063';
    expect(
      resolve([
        { bn: name, bt: 1.320067464e9, bu: '%RH', v: 20 },
        { u: 'lon', v: 24.30621 },
        { u: 'lat', v: 60.07965 },
        { t: 60, v: 20.3 },
        { u: 'lon', t: 60, v: 24.30622 },
        { u: '%EL', t: 150, v: 98 },
      ]),
    ).toMatchObject([
      { name, unit: '%RH', timeS: 1.320067464e9, value: 20 },
      { name, unit: 'lon', timeS: 1.320067464e9, value: 24.30621 },
      { name, unit: 'lat', timeS: 1.320067464e9, value: 60.07965 },
      { name, unit: '%RH', timeS: 1.320067524e9, value: 20.3 },
      { name, unit: 'lon', timeS: 1.320067524e9, value: 24.30622 },
      { name, unit: '%EL', timeS: 1.320067614e9, value: 98 },
    ]);
  });

  it('§5.1.5: strings, booleans and data are values too', () => {
    const data = fromHex('6869');
    const records = resolve([
      { bn: 'urn:dev:ow:10e2073a01080063:', n: 'temp', u: 'Cel', v: 23.1 },
      { n: 'label', vs: 'Machine Room' },
      { n: 'open', vb: false },
      { n: 'nfc-reader', vd: data },
    ]);
    expect(records.map((record) => record.value)).toEqual([23.1, 'Machine Room', false, data]);
  });

  it('§4.5.4: base value and base sum are added, and stand in for what is left out', () => {
    const records = resolve([{ bn: 'a', bv: 10, bs: 100, v: 1, s: 5 }, { v: 2 }, { s: 7 }, { vs: 'x' }]);
    expect(records.map(({ value, sum }) => [value, sum])).toEqual([
      [11, 105],
      [12, 100],
      [10, 107],
      ['x', 100],
    ]);
  });
});
