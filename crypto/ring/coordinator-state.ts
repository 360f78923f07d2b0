/** What a coordinator knows of one attempt: one type per state, and what all its steps share. */
import { equalBytes } from '../bytes.js';
import { sign1, verifySign1, type Sign1 } from '../cose.js';
import { ConflictError, VerificationError } from '../errors.js';
import { certificateOf, type Membership } from '../membership.js';
import type { Random, Signer, Suite } from '../suite.js';
import {
  contextOf,
  type Announcement,
  type ConfirmationEntry,
  type MessageType,
  type RosterEntry,
  type TokenEntry,
} from './messages.js';
import { ringIndexOf, type Ring, type RingMember } from './roster.js';
import type { KeyName } from './schedule.js';
import type { TokenFault } from './token-fault.js';

export interface CoordinatorContext {
  readonly suite: Suite;
  readonly self: { readonly certHash: Uint8Array; readonly kid: Uint8Array; readonly signer: Signer };
  readonly membership: Membership;
  readonly nowS: number;
  readonly random: Random;
}

interface Announced {
  readonly announcement: Announcement;
  readonly annId: Uint8Array;
  readonly announcementMessage: Uint8Array;
}

/** Shares by index of the membership list. */
export interface CollectingShares extends Announced {
  readonly kind: 'shares';
  readonly shares: ReadonlyMap<number, RosterEntry>;
}

export interface InSession extends Announced {
  readonly ring: Ring;
  readonly rosterMessage: Uint8Array;
}

/** Tokens by position in the ring. */
export interface CollectingTokens extends InSession {
  readonly kind: 'tokens';
  readonly tokens: ReadonlyMap<number, TokenEntry & { readonly signature: Uint8Array }>;
}

export interface CollectingConfirmations extends InSession {
  readonly kind: 'confirmations';
  readonly tokensMessage: Uint8Array;
  /** The bundle with all signatures, for the record. */
  readonly signedTokensMessage: Uint8Array;
  /** In ring order, with their signatures. */
  readonly tokens: readonly TokenEntry[];
  readonly th2: Uint8Array;
  readonly confirmations: ReadonlyMap<number, ConfirmationEntry>;
}

/** The tokens or the group keys do not fit, or a member says so: this attempt is over, but for who is to blame. */
export interface Inconsistent extends InSession {
  readonly kind: 'inconsistent';
  readonly signedTokensMessage: Uint8Array;
  readonly tokens: readonly TokenEntry[];
  readonly th2: Uint8Array;
  readonly fault: Fault;
  /** By position in the ring, each signed under th1. */
  readonly reveals: ReadonlyMap<number, { readonly secret: Uint8Array; readonly message: Uint8Array }>;
  /** Positions of who says that the tokens do not fit, without proof. */
  readonly aborted: ReadonlySet<number>;
  /** Positions of who has confirmed the tokens; where keys differ, of the majority that has the same. */
  readonly confirmed: ReadonlySet<number>;
}

/** `key`: the confirmations show different group keys. `abort`: nothing shows it but a member's word. */
export type Fault = TokenFault | { readonly reason: 'key' | 'abort'; readonly accused: null };

export interface Published extends InSession {
  readonly kind: 'published';
  readonly tokensMessage: Uint8Array;
  readonly confirmationsMessage: Uint8Array;
  readonly name: KeyName;
  readonly record: Uint8Array;
}

export type CoordinatorState = CollectingShares | CollectingTokens | CollectingConfirmations | Inconsistent | Published;

export const announced = ({ announcement, annId, announcementMessage }: Announced): Announced => ({
  announcement,
  annId,
  announcementMessage,
});

/** Who of the roster signed it. @throws VerificationError, ConflictError `wrong-round` */
export function verifyInSession(
  { suite, membership, nowS }: CoordinatorContext,
  { ring }: InSession,
  message: Sign1,
  sessionRef: Uint8Array,
  type: MessageType,
  context: Uint8Array,
): number {
  if (!equalBytes(sessionRef, ring.sid.subarray(0, 8))) throw wrongRound(type);
  const signer: RingMember | undefined = ring.members.find(({ certificate }) =>
    equalBytes(certificate.kid, message.kid),
  );
  if (!signer) throw new VerificationError('not-listed', `a ${type} of nobody in the roster`);
  const { verifier } = certificateOf(membership, signer.certHash, 'member', nowS);
  verifySign1(suite, verifier, message, contextOf(type, context));
  return ringIndexOf(ring, signer.certHash);
}

export function inOrder<T>({ members }: Ring, byIndex: ReadonlyMap<number, T>): readonly T[] {
  return members.flatMap((_, i) => {
    const entry = byIndex.get(i);
    return entry === undefined ? [] : [entry];
  });
}

export const signed = (
  { suite, self }: CoordinatorContext,
  type: MessageType,
  context: Uint8Array,
  payload: Uint8Array,
) => sign1(suite, self.signer, self.kid, contextOf(type, context), payload);

export const wrongRound = (what: string): ConflictError =>
  new ConflictError('wrong-round', `this ${what} belongs to no open round`);
