/**
 * Gap reports (protocol §8): a meter says which span of time, or which quantities in it, it could not measure or keep,
 * and why. In clear, so that everybody who holds the chain can tell what is missing from what was taken away.
 */
import type { CborItem } from '../cbor.js';
import { MalformedError } from '../errors.js';
import { arrayOf, nullOr, oneOf, uintOf } from '../fields.js';
import { limits } from '../limits.js';
import type { KeyName } from '../ring/schedule.js';
import type { Suite } from '../suite.js';
import { parseStatement, signStatement, type ChainEntry, type ChainPlace, type EntrySigner } from './chain.js';

/** On the wire by number; a number is never given another meaning. */
const causeNumbers = {
  /** The meter was switched off, or its program was not running. */
  stopped: 1,
  /** There was no epoch key to seal under. */
  'no-key': 2,
  'disk-full': 3,
  /** The device is unplugged, or sends nothing. */
  'source-silent': 4,
  /** What the device sends is damaged. */
  'source-garbled': 5,
  'sensor-broken': 6,
  /** The time was not known. */
  'clock-unset': 7,
  /** The clock was set: the times before and after do not belong to one clock. */
  'clock-set': 8,
} as const;

export type GapCause = keyof typeof causeNumbers;
export const gapCauses = Object.keys(causeNumbers) as readonly GapCause[];

export interface Gap {
  readonly cause: GapCause;
  /**
   * No interval was kept that ended after `sinceS` and not after `untilS`, Unix seconds. Null where the meter did not know
   * the time. `untilS` is below `sinceS` only where the clock was set back.
   */
  readonly sinceS: number | null;
  readonly untilS: number | null;
  /** Names of the quantities that are missing, as readings have them; null: all. */
  readonly quantities: readonly string[] | null;
}

export type GapReport = ChainEntry & Gap & { readonly kind: 'gap' };

const quantityForm = /^[A-Za-z0-9][\w\-:./]{0,31}$/;

/** @throws TypeError for a gap that no receiver takes */
export function makeGapReport(
  suite: Suite,
  meter: EntrySigner,
  epoch: Pick<KeyName, 'gid' | 'epoch' | 'attempt'>,
  place: ChainPlace,
  gap: Gap,
): { readonly message: Uint8Array; readonly hash: Uint8Array } {
  const { cause, sinceS, untilS, quantities } = gap;
  if (!isGap(gap)) throw new TypeError(`no gap that can be reported: ${JSON.stringify(gap)}`);
  return signStatement(suite, meter, epoch, place, 'gap', [causeNumbers[cause], sinceS, untilS, quantities]);
}

/** Parses without verifying. @throws MalformedError */
export function parseGapReport(suite: Suite, bytes: Uint8Array): GapReport {
  const what = 'gap';
  const { entry, content } = parseStatement(suite, bytes, what, 4);
  const [cause, sinceS, untilS, quantities] = content;
  const number = oneOf(cause, what, Object.values(causeNumbers));
  const gap: Gap = {
    cause: gapCauses.find((name) => causeNumbers[name] === number) ?? 'stopped',
    sinceS: nullOr(sinceS, (item) => uintOf(item, what)),
    untilS: nullOr(untilS, (item) => uintOf(item, what)),
    quantities: nullOr(quantities, (item) => arrayOf(item, what).map(nameOf)),
  };
  if (!isGap(gap)) throw malformed();
  return { ...entry, ...gap };
}

function isGap({ cause, sinceS, untilS, quantities }: Gap): boolean {
  const goesBack = sinceS !== null && untilS !== null && untilS < sinceS;
  if (goesBack && cause !== 'clock-set') return false;
  if (quantities === null) return true;
  return quantities.length > 0 && quantities.length <= limits.gapQuantities && quantities.every(isName);
}

const isName = (name: string): boolean => quantityForm.test(name);

function nameOf(item: CborItem): string {
  if (typeof item !== 'string') throw malformed();
  return item;
}

const malformed = (): MalformedError => new MalformedError('message-malformed', 'not a valid gap');
