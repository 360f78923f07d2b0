import { equalBytes } from '../../crypto/bytes.js';
import type { Claim, KeptAnswer } from '../../things/idempotency-store.js';

/** Without a status: it is being done. */
export interface IdempotencyRow extends Omit<KeptAnswer, 'status' | 'body'> {
  readonly requestHash: Uint8Array;
  readonly status: number | null;
  readonly body: Uint8Array | null;
}

/** What a key that somebody has claimed means for the same or another request. */
export function claimOf({ requestHash, status, body, ...rest }: IdempotencyRow, asked: Uint8Array): Claim {
  if (!equalBytes(requestHash, asked)) return { kind: 'other' };
  if (status === null || body === null) return { kind: 'under-way' };
  return { kind: 'done', answer: { ...rest, status, body } };
}
