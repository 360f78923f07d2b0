/**
 * A member's state as it may be kept in a backup, and come back from one: no key, no round. What stays keeps it from going
 * back: the highest attempt that it answered, the newest list, the session that it aborted.
 */
import type { MemberState } from './member-state.js';

export const memberWithoutKeys = (state: MemberState): MemberState => ({
  ...state,
  round: { kind: 'idle' },
  active: null,
  previous: null,
});
