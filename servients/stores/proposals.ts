/** Proposals as both databases keep them. */
import { LimitError } from '../../crypto/errors.js';
import type { KeptProposal } from '../../things/proposal-store.js';

/** @throws LimitError `proposals-waiting` */
export function assertRoomForProposal(waiting: number, most: number): void {
  if (waiting < most) return;
  throw new LimitError('proposals-waiting', `${most} proposals of the group wait for the authority`);
}

export const keptProposal = ({ id, gid, message, ...times }: KeptProposal): KeptProposal => ({
  ...times,
  id: new Uint8Array(id),
  gid: new Uint8Array(gid),
  message: new Uint8Array(message),
});
