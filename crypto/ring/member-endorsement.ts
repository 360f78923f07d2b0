/** The backend's word for an epoch's record, as a member takes it: its key is provisional no longer (protocol §5, §6). */
import { equalBytes } from '../bytes.js';
import { ConflictError } from '../errors.js';
import type { VerifiedEndorsement } from './endorsement.js';
import { nothing, type MemberStep } from './member-context.js';
import type { Attempt, MemberState } from './member-state.js';

/**
 * Clears `provisional` of the active key when it is the one that the backend has verified; the same again changes nothing.
 * @throws ConflictError `wrong-group`; `endorsement-early` when that key is not active here yet; `endorsement-stale` when
 *   another is since; `endorsement-mismatch` when that session ended with another key here than in the record
 */
export function onEndorsement(state: MemberState, endorsement: VerifiedEndorsement): MemberStep {
  const { active } = state;
  if (!equalBytes(endorsement.gid, state.gid)) {
    throw new ConflictError('wrong-group', 'an endorsement of another group');
  }
  const order = active ? compareAttempts(endorsement, active.name) : 1;
  if (!active || order > 0) {
    throw new ConflictError('endorsement-early', 'the epoch of the endorsement is not active here');
  }
  if (order < 0) throw new ConflictError('endorsement-stale', 'a newer epoch than that of the endorsement is active');
  if (!equalBytes(endorsement.th2, active.name.th2)) {
    throw new ConflictError('endorsement-mismatch', 'the backend has verified another key than the one that is active');
  }
  if (!active.provisional) return { state, reply: nothing, consumed: [] };
  return { state: { ...state, active: { ...active, provisional: false } }, reply: nothing, consumed: [] };
}

const compareAttempts = (a: Attempt, b: Attempt): number => a.epoch - b.epoch || a.attempt - b.attempt;
