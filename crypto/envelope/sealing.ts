/**
 * A meter's chain as pure steps (protocol §8): one random reading key per epoch, and whenever the policy's readers change;
 * a sequence that never resets; each entry holds the hash of the one before; a checkpoint whenever a day is over.
 */
import { equalBytes } from '../bytes.js';
import { decodeStrict, encode, type CborItem } from '../cbor.js';
import { MalformedError } from '../errors.js';
import { arrayOf, bytesOf, nullOr, uintOf } from '../fields.js';
import { limits } from '../limits.js';
import type { Membership } from '../membership.js';
import type { KeyName } from '../ring/schedule.js';
import type { Random, Signer, Suite } from '../suite.js';
import { firstPreviousHash, type ChainPlace, type EntryKind } from './chain.js';
import { dayOf, makeCheckpoint, type DayTotal } from './checkpoint.js';
import { makeGapReport, type Gap } from './gap-report.js';
import { makeGrant } from './grant.js';
import { sealReading } from './reading.js';
import { encodeSenml, joulesPerWh, toJoules, type Reading } from './senml.js';

export interface SealingState {
  /** The reading key in use, the epoch and the list that it was granted under. */
  readonly key: { readonly name: KeyName; readonly listHash: Uint8Array; readonly readingKey: Uint8Array } | null;
  readonly nextSequence: number;
  readonly previousHash: Uint8Array;
  /** Its register where it has the one of intervals. */
  readonly lastReading: { readonly timeS: number; readonly energyTotalWh: number | null } | null;
  /** Until when readings and gap reports account for the time, Unix seconds: where the source goes on. */
  readonly coveredS: number | null;
  /** How many readings there ever were. */
  readonly readings: number;
  /** What the next checkpoint will say. */
  readonly today: DayTotal | null;
}

export const newSealingState: SealingState = {
  key: null,
  nextSequence: 1,
  previousHash: firstPreviousHash,
  lastReading: null,
  coveredS: null,
  readings: 0,
  today: null,
};

export interface SealingContext {
  readonly suite: Suite;
  readonly self: {
    readonly id: string;
    readonly certHash: Uint8Array;
    readonly kid: Uint8Array;
    readonly signer: Signer;
  };
  readonly membership: Membership;
  /** Name of the active epoch key. */
  readonly activeKey: KeyName;
  readonly random: Random;
}

export interface SealingItem {
  readonly kind: 'grant' | EntryKind;
  readonly message: Uint8Array;
}

export interface SealingStep {
  readonly state: SealingState;
  /** To be kept together with the state, then sent in this order. */
  readonly items: readonly SealingItem[];
  readonly consumed: readonly Uint8Array[];
}

/** Seals one reading; where the epoch or the list is new, a fresh key and its grants come first. */
export function seal(context: SealingContext, state: SealingState, reading: Reading): SealingStep {
  const { suite, self } = context;
  const opened = closeDay(context, state, reading.timeS);
  const fresh = isCurrent(context, state) ? null : freshKey(context);
  const key = fresh?.key ?? state.key;
  if (!key) throw new TypeError('a key that is current exists');
  const plaintext = encodeSenml({ meterId: self.id, readings: [reading] });
  const { envelope, hash } = sealReading(suite, self, key, placeOf(opened.state), plaintext);
  const { timeS } = reading;
  const energyTotalWh = 'registers' in reading ? null : reading.energyTotalWh;
  const next = follow(opened.state, hash);
  return {
    state: {
      ...{ ...next, key, lastReading: { timeS, energyTotalWh }, coveredS: timeS, readings: state.readings + 1 },
      today: { ...opened.today, readings: opened.today.readings + 1 },
    },
    items: [
      ...opened.items,
      ...(fresh?.grants ?? []).map((message) => ({ kind: 'grant', message }) as const),
      { kind: 'reading', message: envelope },
    ],
    consumed: fresh && state.key ? [state.key.readingKey] : [],
  };
}

/** Reports a gap. A gap of some quantities only leaves it to their readings to account for the time. */
export function sealGap(context: SealingContext, state: SealingState, gap: Gap): SealingStep {
  const { suite, self, activeKey } = context;
  const opened = closeDay(context, state, gap.untilS ?? gap.sinceS);
  const { message, hash } = makeGapReport(suite, self, activeKey, placeOf(opened.state), gap);
  const coveredS = gap.quantities === null ? (gap.untilS ?? state.coveredS) : state.coveredS;
  return {
    state: { ...follow(opened.state, hash), coveredS, today: opened.today },
    items: [...opened.items, { kind: 'gap', message }],
    consumed: [],
  };
}

interface OpenDay {
  readonly state: SealingState;
  readonly today: DayTotal;
  readonly items: readonly SealingItem[];
}

/** A checkpoint where the day of the entries before is another than that of the next one, which ends at `timeS`. */
function closeDay({ suite, self, activeKey }: SealingContext, state: SealingState, timeS: number | null): OpenDay {
  const { today } = state;
  const day = timeS === null ? (today?.day ?? 0) : dayOf(timeS);
  if (!today) return { state, today: { day, first: state.nextSequence, readings: 0 }, items: [] };
  if (today.day === day) return { state, today, items: [] };
  const { message, hash } = makeCheckpoint(suite, self, activeKey, placeOf(state), today);
  const next = follow(state, hash);
  return {
    state: next,
    today: { day, first: next.nextSequence, readings: 0 },
    items: [{ kind: 'checkpoint', message }],
  };
}

const placeOf = ({ nextSequence: sequence, previousHash }: SealingState): ChainPlace => ({ sequence, previousHash });

const follow = (state: SealingState, previousHash: Uint8Array): SealingState => ({
  ...state,
  nextSequence: state.nextSequence + 1,
  previousHash,
});

function isCurrent({ activeKey, membership }: SealingContext, { key }: SealingState): boolean {
  return key !== null && equalBytes(key.name.th2, activeKey.th2) && equalBytes(key.listHash, membership.listHash);
}

function freshKey({ suite, self, membership, activeKey: name, random }: SealingContext) {
  const readingKey = random(suite.aeadKeyBytes);
  const grants = readersOf(membership, self.certHash).map((reader) =>
    makeGrant(suite, { name, meter: self, reader, readingKey }, random),
  );
  return { key: { name, listHash: membership.listHash, readingKey }, grants };
}

/** Who may read a meter's readings: readers of the signed policy whose key stands in the list. */
export function readersOf(
  { list }: Membership,
  meter: Uint8Array,
): readonly { readonly certHash: Uint8Array; readonly hpkeKey: Uint8Array }[] {
  return list.policy.readings
    .filter(({ meters }) => meters === null || meters.some((certHash) => equalBytes(certHash, meter)))
    .flatMap(({ reader }) => {
      const entry = list.entries.find(({ certHash }) => equalBytes(certHash, reader));
      return entry?.hpkeKey ? [{ certHash: entry.certHash, hpkeKey: entry.hpkeKey }] : [];
    });
}

const formatVersion = 2;

export const encodeSealingState = (state: SealingState): Uint8Array => {
  const { key, nextSequence, previousHash, lastReading, coveredS, readings, today } = state;
  return encode([
    formatVersion,
    key && [key.name.gid, key.name.epoch, key.name.attempt, key.name.th2, key.listHash, key.readingKey],
    nextSequence,
    previousHash,
    lastReading && [lastReading.timeS, lastReading.energyTotalWh === null ? null : toJoules(lastReading.energyTotalWh)],
    coveredS,
    readings,
    today && [today.day, today.first, today.readings],
  ]);
};

const what = 'stored sealing state';

/** @throws MalformedError when the bytes are not a state of this version or the one before */
export function decodeSealingState(bytes: Uint8Array): SealingState {
  const [version, ...items] = arrayOf(decodeStrict(bytes, limits.envelope), what);
  if (version !== 1 && version !== formatVersion) {
    throw new MalformedError('state-version', 'sealing state of another version');
  }
  const [key, nextSequence, previousHash, last, ...rest] = arrayOf(items, what, version === 1 ? 4 : 7);
  const common = {
    key: nullOr(key, keyOf),
    nextSequence: uintOf(nextSequence, what, Number.MAX_SAFE_INTEGER, 1),
    previousHash: bytesOf(previousHash, what, 32),
    lastReading: nullOr(last, lastReadingOf),
  };
  return { ...common, ...(version === 1 ? countsOfFirstVersion(common) : countsOf(rest)) };
}

type Counts = Pick<SealingState, 'coveredS' | 'readings' | 'today'>;

/** Everything was a reading then, and nothing was counted. */
function countsOfFirstVersion({ lastReading, nextSequence }: Omit<SealingState, keyof Counts>): Counts {
  const readings = nextSequence - 1;
  if (!lastReading) return { coveredS: null, readings, today: null };
  const { timeS } = lastReading;
  return { coveredS: timeS, readings, today: { day: dayOf(timeS), first: 1, readings } };
}

function countsOf([coveredS, readings, today]: readonly CborItem[]): Counts {
  return {
    coveredS: nullOr(coveredS, (item) => uintOf(item, what)),
    readings: uintOf(readings, what, Number.MAX_SAFE_INTEGER),
    today: nullOr(today, (item) => {
      const [day, first, ofDay] = arrayOf(item, what, 3);
      return {
        day: uintOf(day, what),
        first: uintOf(first, what, Number.MAX_SAFE_INTEGER, 1),
        readings: uintOf(ofDay, what, Number.MAX_SAFE_INTEGER),
      };
    }),
  };
}

function keyOf(item: CborItem | undefined): SealingState['key'] {
  const [gid, epoch, attempt, th2, listHash, readingKey] = arrayOf(item, what, 6);
  return {
    name: {
      gid: bytesOf(gid, what, 16),
      epoch: uintOf(epoch, what),
      attempt: uintOf(attempt, what),
      th2: bytesOf(th2, what, 32),
    },
    listHash: bytesOf(listHash, what, 32),
    readingKey: bytesOf(readingKey, what, 16, 32),
  };
}

function lastReadingOf(item: CborItem | undefined): SealingState['lastReading'] {
  const [timeS, joules] = arrayOf(item, what, 2);
  return {
    timeS: uintOf(timeS, what),
    energyTotalWh: nullOr(joules, (item) => uintOf(item, what, Number.MAX_SAFE_INTEGER) / joulesPerWh),
  };
}
