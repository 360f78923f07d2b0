import { toHex } from '../../crypto/bytes.js';
import type { EpochRow } from '../../things/stores.js';

export const isoTime = (timeS: number): string => new Date(timeS * 1000).toISOString();

/** As td/schemas/epoch-recorded.schema.json describes it. */
export const epochJson = ({
  gid,
  epoch,
  attempt,
  th2,
  listHash,
  listVersion,
  listRevision,
  members,
  reason,
  recordedS,
}: EpochRow): object => ({
  gid: toHex(gid),
  epoch,
  attempt,
  keyName: toHex(th2.subarray(0, 8)),
  members,
  listHash: toHex(listHash),
  listVersion,
  listRevision,
  reason,
  recordedAt: isoTime(recordedS),
  // Only what verifies is recorded, and endorsed in the same transaction: nothing here is provisional.
  endorsedAt: isoTime(recordedS),
  provisional: false,
});
