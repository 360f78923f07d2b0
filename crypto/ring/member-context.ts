/** What every step of a member is given and gives back, and the checks that all steps share. */
import { equalBytes } from '../bytes.js';
import { verifySign1, type Sign1 } from '../cose.js';
import { ConflictError, VerificationError } from '../errors.js';
import { limits } from '../limits.js';
import { certificateOf, type Membership } from '../membership.js';
import type { Random, Signer, Suite } from '../suite.js';
import { secretsOf, type MemberState, type Round } from './member-state.js';
import { contextOf, type Announcement, type MessageType } from './messages.js';

export interface MemberContext {
  readonly suite: Suite;
  readonly self: { readonly certHash: Uint8Array; readonly kid: Uint8Array; readonly signer: Signer };
  /** The newest verified list that the member holds. */
  readonly membership: Membership;
  readonly nowS: number;
  readonly random: Random;
}

export interface MemberStep {
  readonly state: MemberState;
  /** COSE bytes to answer with; empty where the protocol has no answer. */
  readonly reply: Uint8Array;
  /** Secrets that the new state no longer holds: overwrite them once it is saved. */
  readonly consumed: readonly Uint8Array[];
}

export const nothing = new Uint8Array(0);

/** Moves to the next round; the secrets of the last one are consumed. */
export function withRound(
  state: MemberState,
  round: Round,
  reply: Uint8Array,
  alsoConsumed: readonly Uint8Array[] = [],
): MemberStep {
  return { state: { ...state, round }, reply, consumed: [...secretsOf(state.round), ...alsoConsumed] };
}

/** @throws VerificationError `not-listed`, `certificate-expired`, `wrong-signer`, `signature-invalid` */
export function verifyFrom(
  { suite, membership, nowS }: MemberContext,
  coordinator: Uint8Array,
  message: Sign1,
  type: MessageType,
  context: Uint8Array,
): void {
  const { kid, verifier } = certificateOf(membership, coordinator, 'coordinator', nowS);
  if (!equalBytes(kid, message.kid)) throw new VerificationError('wrong-signer', `the ${type} names another signer`);
  verifySign1(suite, verifier, message, contextOf(type, context));
}

/** @throws ConflictError `membership-changed` */
export function assertSameList({ membership }: MemberContext, listHash: Uint8Array): void {
  if (!equalBytes(membership.listHash, listHash)) {
    throw new ConflictError('membership-changed', 'the membership list has changed since this attempt began');
  }
}

/** @throws ConflictError `announcement-expired` */
export function assertNotExpired({ expiryS }: Announcement, nowS: number): void {
  if (nowS > expiryS + limits.clockSkewS)
    throw new ConflictError('announcement-expired', 'the announcement has expired');
}

export const startsWith = (id: Uint8Array, reference: Uint8Array): boolean =>
  equalBytes(id.subarray(0, reference.length), reference);

export const wrongRound = (what: string): ConflictError =>
  new ConflictError('wrong-round', `no round is open here that this ${what} belongs to`);
