import { describe, expect, it } from 'vitest';
import { encode } from '../../crypto/cbor.js';
import { firstPreviousHash, type ChainPlace } from '../../crypto/envelope/chain.js';
import { dayOf, makeCheckpoint } from '../../crypto/envelope/checkpoint.js';
import { parseEntry, verifyEntry, type Entry } from '../../crypto/envelope/entry.js';
import { gapCauses, makeGapReport, type Gap } from '../../crypto/envelope/gap-report.js';
import {
  decodeSealingState,
  encodeSealingState,
  newSealingState,
  seal,
  sealGap,
  type SealingState,
  type SealingStep,
} from '../../crypto/envelope/sealing.js';
import type { Reading } from '../../crypto/envelope/senml.js';
import { limits } from '../../crypto/limits.js';
import { sign1 } from '../../crypto/cose.js';
import { certificateOf } from '../../crypto/membership.js';
import type { KeyName } from '../../crypto/ring/schedule.js';
import { at, flipped, neighbourhoodOf, payloadOf, refusal, suites } from '../support/forge.js';
import { nowS, seededRandom, type Principal } from '../support/neighbourhood.js';

describe.each(suites)('the chain of a meter, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 3);
  const membership = n.membership();
  const [meter, otherMeter] = n.meters as readonly [Principal, Principal];
  const random = seededRandom('chain');
  const name: KeyName = { gid: n.gid, epoch: 3, attempt: 2, th2: random(32) };
  const certificate = certificateOf(membership, meter.certHash, 'member', nowS);
  const start: ChainPlace = { sequence: 1, previousHash: firstPreviousHash };
  const gap: Gap = { cause: 'source-silent', sinceS: nowS, untilS: nowS + 300, quantities: null };
  const report = (change: Partial<Gap> = {}) => makeGapReport(suite, meter, name, start, { ...gap, ...change });
  const context = { suite, self: { ...meter, id: 'meter-1' }, membership, activeKey: name, random };
  const readingAt = (timeS: number): Reading => ({
    ...{ timeS, intervalS: 60, energyTotalWh: 0, source: 'replay', missing: true },
  });
  const midnightS = (dayOf(nowS) + 1) * 86_400;

  type Step = (state: SealingState) => SealingStep;
  const reads =
    (timeS: number): Step =>
    (state) =>
      seal(context, state, readingAt(timeS));
  const reports =
    (change: Partial<Gap>): Step =>
    (state) =>
      sealGap(context, state, { ...gap, ...change });
  function play(steps: readonly Step[], from = newSealingState): { state: SealingState; entries: readonly Entry[] } {
    let state = from;
    const entries: Entry[] = [];
    for (const step of steps) {
      const { state: next, items } = step(state);
      state = decodeSealingState(encodeSealingState(next));
      for (const { kind, message } of items)
        if (kind !== 'grant') entries.push(verifyEntry(suite, certificate, message));
    }
    return { state, entries };
  }

  it('has readings, gap reports and checkpoints in one row: each holds the hash of the one before, of whatever kind', () => {
    const { entries } = play([
      reads(midnightS - 60),
      reports({ sinceS: midnightS - 60, untilS: midnightS }),
      reads(midnightS + 60),
      reports({ untilS: midnightS + 120, quantities: ['1-0:1.8.1'] }),
    ]);
    expect(entries.map(({ kind }) => kind)).toEqual(['reading', 'gap', 'checkpoint', 'reading', 'gap']);
    expect(entries.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4, 5]);
    for (const [i, { previousHash }] of entries.entries()) {
      expect(previousHash).toEqual(entries[i - 1]?.hash ?? firstPreviousHash);
    }
  });

  it('says in a checkpoint what a day has brought, when the next begins', () => {
    const minutes = [-120, -60, 0, 60, 86_400, 86_460];
    const { entries, state } = play(minutes.map((offsetS) => reads(midnightS + offsetS)));
    const checkpoints = entries.filter((entry) => entry.kind === 'checkpoint');
    const today = dayOf(nowS);
    expect(checkpoints).toMatchObject([
      { sequence: 4, day: today, first: 1, readings: 3 },
      { sequence: 7, day: today + 1, first: 5, readings: 2 },
    ]);
    expect(state).toMatchObject({ readings: 6, nextSequence: 9, coveredS: midnightS + 86_460 });
    expect(state.today).toEqual({ day: today + 2, first: 8, readings: 1 });
  });

  it('goes on from a state of the version before, in which everything was a reading', () => {
    const { state } = play([reads(midnightS - 60), reads(midnightS)]);
    const { nextSequence, previousHash, lastReading } = state;
    const before = encode([1, null, nextSequence, previousHash, [lastReading?.timeS ?? 0, 0]]);
    const { entries } = play([reads(midnightS + 60)], decodeSealingState(before));
    expect(entries.map(({ kind, sequence }) => [kind, sequence])).toEqual([
      ['checkpoint', 3],
      ['reading', 4],
    ]);
    expect(entries[0]).toMatchObject({ first: 1, readings: 2, day: dayOf(nowS), previousHash });
    expect(refusal(() => decodeSealingState(encode([3, null, 1, previousHash, null])))).toBe('state-version');
  });

  describe('a gap report', () => {
    it('says its cause, its span and what is missing', () => {
      for (const cause of gapCauses) {
        const given: Gap = { cause, sinceS: null, untilS: nowS, quantities: ['power', '1-0:2.8.1'] };
        const { message, hash } = report(given);
        expect(verifyEntry(suite, certificate, message)).toMatchObject({ kind: 'gap', ...given, hash });
        expect(message.length).toBeLessThan(limits.statement);
      }
    });

    it('leaves it to the readings to account for the time when only some quantities are missing', () => {
      const { state } = play([reads(nowS), reports({ untilS: nowS + 600, quantities: ['power'] })]);
      expect(state.coveredS).toBe(nowS);
      expect(play([reports({ untilS: nowS + 600 })], state).state.coveredS).toBe(nowS + 600);
    });

    it('ends before it begins only where the clock was set', () => {
      expect(() => report({ untilS: nowS - 1 })).toThrow(TypeError);
      expect(parseEntry(suite, report({ untilS: nowS - 1, cause: 'clock-set' }).message)).toMatchObject({
        kind: 'gap',
      });
      const header = [n.gid, 3, 2, meter.certHash, 1, firstPreviousHash];
      const forged = (...content: Parameters<typeof encode>[0][]) =>
        sign1(suite, meter.signer, meter.kid, { type: 'gap', context: n.gid }, encode(['gap', ...header, ...content]));
      expect(parseEntry(suite, forged(4, nowS, nowS, null))).toMatchObject({ kind: 'gap' });
      const malformed = [
        [4, nowS, nowS - 1, null],
        [99, nowS, nowS, null],
        [4, nowS, nowS, []],
        [4, nowS, nowS, ['a b']],
        [4, nowS, nowS, Array.from({ length: limits.gapQuantities + 1 }, () => 'a')],
        [4, nowS, nowS],
      ];
      for (const content of malformed)
        expect(refusal(() => parseEntry(suite, forged(...content)))).toBe('message-malformed');
    });

    it('of another meter, or with any bit changed, is refused', () => {
      const { message } = report();
      const other = certificateOf(membership, otherMeter.certHash, 'member', nowS);
      expect(refusal(() => verifyEntry(suite, other, message))).toBe('wrong-signer');
      for (let bit = 0; bit < message.length * 8; bit += 5) {
        expect(refusal(() => verifyEntry(suite, certificate, flipped(message, bit)))).toMatch(/./);
      }
    });
  });

  it('has no entry that passes for one of another kind: the kind is signed', () => {
    const { message: checkpoint } = makeCheckpoint(suite, meter, name, start, { day: 1, first: 1, readings: 0 });
    const { items } = seal(context, newSealingState, readingAt(nowS));
    const kinds = [at(items, items.length - 1).message, report().message, checkpoint];
    expect(kinds.map((message) => parseEntry(suite, message).kind)).toEqual(['reading', 'gap', 'checkpoint']);
    for (const message of kinds) {
      for (const type of ['reading', 'gap', 'checkpoint', 'grant'] as const) {
        const signed = sign1(suite, meter.signer, meter.kid, { type, context: n.gid }, payloadOf(message));
        if (type === parseEntry(suite, message).kind) verifyEntry(suite, certificate, signed);
        else expect(refusal(() => verifyEntry(suite, certificate, signed))).toBe('signature-invalid');
      }
    }
  });

  it('refuses a checkpoint that counts more readings than there were entries', () => {
    const place = { sequence: 10, previousHash: firstPreviousHash };
    const make = (readings: number) =>
      makeCheckpoint(suite, meter, name, place, { day: 1, first: 4, readings }).message;
    expect(parseEntry(suite, make(6))).toMatchObject({ readings: 6 });
    expect(refusal(() => parseEntry(suite, make(7)))).toBe('message-malformed');
  });
});
