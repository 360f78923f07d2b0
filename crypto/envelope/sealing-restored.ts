/**
 * The sealing of readings as it may be kept in a backup, and come back from one. The reading key stays out of it, so none
 * is ever used a second time; and the sequence goes on above every one that may have been used since the backup.
 */
import { ConflictError } from '../errors.js';
import type { SealingState } from './sealing.js';

export const sealingWithoutKey = (state: SealingState): SealingState => ({ ...state, key: null });

/** More readings than a meter seals in a second. */
const sequencesPerSecond = 2 ** 20;

/**
 * Goes on at the time of the restoration × 2^20: above every sequence of before, wherever the backup stands behind, as
 * long as fewer than 2^20 readings were sealed in a second of the meter's life. The hash of the last envelope stays, and
 * so the first one after the restoration says which was the last in the backup.
 * @throws ConflictError `clock-behind` where the time is not after that of an earlier restoration
 */
export function restoredSealing(state: SealingState, nowS: number): SealingState {
  const nextSequence = nowS * sequencesPerSecond;
  if (nextSequence <= state.nextSequence) {
    throw new ConflictError('clock-behind', 'the clock stands before an earlier restoration: set it first');
  }
  // A checkpoint speaks of sequences without a hole: the day begins anew.
  return { ...sealingWithoutKey(state), nextSequence, today: null };
}
