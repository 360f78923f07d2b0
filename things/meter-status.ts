/** What a meter shows of its groups: values of `keyStatus`, as its schema describes them. No key is ever in them. */
import { toHex } from '../crypto/bytes.js';
import type { MemberState } from '../crypto/ring/member-state.js';

export const isoTime = (timeS: number): string => new Date(timeS * 1000).toISOString();

const roundNames = {
  idle: 'none',
  shared: 'shared',
  tokenSent: 'tokenSent',
  aborted: 'none',
  revealed: 'none',
  confirmed: 'pending',
} as const;

/** An open round is shown before the key it will replace. */
export function keyStatusOf({ gid, round, active, highWater }: MemberState): object {
  if (round.kind === 'idle' && active) {
    const { epoch, attempt, th2 } = active.name;
    return {
      gid: toHex(gid),
      epoch,
      attempt,
      state: 'active',
      keyName: toHex(th2.subarray(0, 8)),
      members: active.roster.length,
      since: isoTime(active.sinceS),
      provisional: active.provisional,
      receiveOnly: active.receiveOnly,
    };
  }
  const members = 'ring' in round ? round.ring.members.length : round.kind === 'confirmed' ? round.roster.length : 0;
  return { gid: toHex(gid), ...highWater, state: roundNames[round.kind], members };
}
