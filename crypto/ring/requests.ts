/** What members and operators ask of a coordinator beside a new epoch (protocol §7): to leave, and to leave another out. */
import { decodeStrict, encode } from '../cbor.js';
import { arrayOf, bytesOf, uintOf } from '../fields.js';
import { limits } from '../limits.js';

/** A member's own: type `leave`, context gid. */
export interface LeaveRequest {
  readonly gid: Uint8Array;
  /** The epoch that it leaves; 0 where there is none. */
  readonly currentEpoch: number;
  readonly timeS: number;
}

export const encodeLeaveRequest = ({ gid, currentEpoch, timeS }: LeaveRequest): Uint8Array =>
  encode([gid, currentEpoch, timeS]);

/** @throws MalformedError */
export function parseLeaveRequest(payload: Uint8Array): LeaveRequest {
  const what = 'request to leave';
  const [gid, currentEpoch, timeS] = arrayOf(decodeStrict(payload, limits.memberMessage), what, 3);
  return { gid: bytesOf(gid, what, 16), currentEpoch: uintOf(currentEpoch, what), timeS: uintOf(timeS, what) };
}

/** An operator's: type `revoke`, context gid. */
export interface RevokeRequest {
  readonly gid: Uint8Array;
  /** Of the member that is to be left out of every roster from now on. */
  readonly certHash: Uint8Array;
  readonly timeS: number;
}

export const encodeRevokeRequest = ({ gid, certHash, timeS }: RevokeRequest): Uint8Array =>
  encode([gid, certHash, timeS]);

/** @throws MalformedError */
export function parseRevokeRequest(payload: Uint8Array): RevokeRequest {
  const what = 'request to revoke';
  const [gid, certHash, timeS] = arrayOf(decodeStrict(payload, limits.memberMessage), what, 3);
  return { gid: bytesOf(gid, what, 16), certHash: bytesOf(certHash, what, 32), timeS: uintOf(timeS, what) };
}
