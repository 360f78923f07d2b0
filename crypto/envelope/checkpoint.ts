/**
 * Checkpoints (protocol §8): once a day a meter says how far its chain has come. Whoever keeps one can tell later, and
 * without anybody's help, whether the chain that the backend shows is the one that the meter made: the checkpoint holds
 * the hash of the entry before it, and through it of all entries up to the first.
 */
import { MalformedError } from '../errors.js';
import { uintOf } from '../fields.js';
import type { KeyName } from '../ring/schedule.js';
import type { Suite } from '../suite.js';
import { parseStatement, signStatement, type ChainEntry, type ChainPlace, type EntrySigner } from './chain.js';

export interface DayTotal {
  /** Days since 1970-01-01, UTC. An interval that ends at midnight belongs to the day before. */
  readonly day: number;
  /** Sequence of the first entry after the checkpoint before; 1 in the first. */
  readonly first: number;
  /** How many of the entries from `first` to the one before the checkpoint are readings. */
  readonly readings: number;
}

export type Checkpoint = ChainEntry & DayTotal & { readonly kind: 'checkpoint' };

const daySeconds = 86_400;

/** The day to which an interval belongs that ends then. */
export const dayOf = (timeS: number): number => Math.floor((timeS - 1) / daySeconds);

export const makeCheckpoint = (
  suite: Suite,
  meter: EntrySigner,
  epoch: Pick<KeyName, 'gid' | 'epoch' | 'attempt'>,
  place: ChainPlace,
  { day, first, readings }: DayTotal,
): { readonly message: Uint8Array; readonly hash: Uint8Array } =>
  signStatement(suite, meter, epoch, place, 'checkpoint', [day, first, readings]);

/** Parses without verifying. @throws MalformedError */
export function parseCheckpoint(suite: Suite, bytes: Uint8Array): Checkpoint {
  const what = 'checkpoint';
  const { entry, content } = parseStatement(suite, bytes, what, 3);
  const [day, first, readings] = content;
  const checkpoint = {
    ...entry,
    day: uintOf(day, what),
    first: uintOf(first, what, Number.MAX_SAFE_INTEGER, 1),
    readings: uintOf(readings, what, Number.MAX_SAFE_INTEGER),
  };
  if (checkpoint.readings > checkpoint.sequence - checkpoint.first) {
    throw new MalformedError('message-malformed', 'a checkpoint that counts more readings than there are entries');
  }
  return checkpoint;
}
