/**
 * What an operator proposes to the membership authority: to take a member out, or to let a reader read meters, or no longer.
 * Signed by the operator's key, so that whoever signs the next list need believe no server that brings it. It changes
 * nothing by itself.
 */
import { compareBytes, equalBytes } from './bytes.js';
import { decodeStrict, encode } from './cbor.js';
import { parseSign1, sign1, verifySign1, type Sign1 } from './cose.js';
import { ConflictError, MalformedError, VerificationError } from './errors.js';
import { arrayOf, bytesOf, nullOr, oneOf, uintOf } from './fields.js';
import { hash } from './hash.js';
import { limits } from './limits.js';
import {
  assertListValid,
  certificateOf,
  findEntry,
  successorOf,
  type AuthorityList,
  type Membership,
} from './membership.js';
import type { Signer, Suite } from './suite.js';

export type ProposalKind = 'revoke' | 'grant' | 'withdraw';
const kinds: readonly ProposalKind[] = ['revoke', 'grant', 'withdraw'];

export interface ProposalTerms {
  readonly gid: Uint8Array;
  readonly kind: ProposalKind;
  /** certHash of the member that goes, or of the reader. */
  readonly subject: Uint8Array;
  /** certHashes that the reader is to read or no longer to read, ascending; null: all of the group, or where one goes. */
  readonly meters: readonly Uint8Array[] | null;
  readonly madeS: number;
  readonly expiresS: number;
}

export interface Proposal extends ProposalTerms {
  /** certHash. */
  readonly operator: Uint8Array;
  /** H(proposal, payload). */
  readonly id: Uint8Array;
}

const context = (gid: Uint8Array) => ({ type: 'proposal', context: gid });

export function makeProposal(
  suite: Suite,
  operator: { readonly certHash: Uint8Array; readonly kid: Uint8Array; readonly signer: Signer },
  { gid, kind, subject, meters, madeS, expiresS }: ProposalTerms,
): Uint8Array {
  const sorted = meters && [...meters].sort(compareBytes);
  const payload = encode([gid, operator.certHash, kinds.indexOf(kind), subject, sorted, madeS, expiresS]);
  return sign1(suite, operator.signer, operator.kid, context(gid), payload);
}

/** Parses without verifying. @throws MalformedError */
export const parseProposal = (suite: Suite, bytes: Uint8Array): Proposal =>
  proposalIn(suite, parseSign1(bytes, limits.proposal));

function proposalIn(suite: Suite, { payload }: Sign1): Proposal {
  const what = 'proposal';
  const [gid, operator, code, subject, meters, madeS, expiresS] = arrayOf(
    decodeStrict(payload, limits.proposal),
    what,
    7,
  );
  const kind = kinds[oneOf(code, what, [0, 1, 2])] ?? 'revoke';
  const named = nullOr(meters, (items) => arrayOf(items, what).map((each) => bytesOf(each, what, 32)));
  if (named && (kind === 'revoke' || named.length === 0 || !isAscending(named))) {
    throw new MalformedError('message-malformed', 'the meters of a proposal: ascending, none twice, and of a reader');
  }
  return {
    gid: bytesOf(gid, what, 16),
    operator: bytesOf(operator, what, 32),
    kind,
    subject: bytesOf(subject, what, 32),
    meters: named,
    madeS: uintOf(madeS, what),
    expiresS: uintOf(expiresS, what),
    id: hash(suite, 'proposal', payload),
  };
}

const isAscending = (names: readonly Uint8Array[]): boolean =>
  names.every((name, i) => i === 0 || compareBytes(names[i - 1] ?? name, name) < 0);

export interface ProposalCheck {
  readonly suite: Suite;
  /** The newest list that is known. */
  readonly membership: Membership;
  readonly nowS: number;
}

/**
 * That an operator of the list signed it, that it is in time, and that the list names those of whom it speaks.
 * @returns it with the certificates that they have now
 * @throws MalformedError; ConflictError `wrong-group`, `proposal-expired`, `proposal-early`, `target-unknown`;
 * VerificationError `membership-expired`, `not-listed`, `certificate-expired`, `wrong-signer`, `signature-invalid`
 */
export function verifyProposal({ suite, membership, nowS }: ProposalCheck, bytes: Uint8Array): Proposal {
  const message = parseSign1(bytes, limits.proposal);
  const proposal = proposalIn(suite, message);
  const { list } = membership;
  if (!equalBytes(proposal.gid, list.gid)) throw new ConflictError('wrong-group', 'a proposal for another group');
  assertListValid(list, nowS);
  const operator = certificateOf(membership, proposal.operator, 'operator', nowS);
  if (!equalBytes(operator.kid, message.kid)) throw new VerificationError('wrong-signer', 'signed by somebody else');
  verifySign1(suite, operator.verifier, message, context(list.gid));
  assertInTime(proposal, nowS);
  const now = asOf(list, proposal);
  const known = findEntry(list, now.subject, now.kind === 'revoke' ? 'member' : 'reader');
  if (!known || !(now.meters ?? []).every((meter) => findEntry(list, meter, 'member'))) {
    throw new ConflictError('target-unknown', 'the proposal names somebody whom the list does not name so');
  }
  return now;
}

/** It means its holders, whose certificates may have been renewed since: nobody slips away from it so. */
export function asOf(list: AuthorityList, proposal: Proposal): Proposal {
  const now = (certHash: Uint8Array): Uint8Array => successorOf(list, certHash)?.certHash ?? certHash;
  const { subject, meters } = proposal;
  return { ...proposal, subject: now(subject), meters: meters && meters.map(now).sort(compareBytes) };
}

function assertInTime({ madeS, expiresS }: Proposal, nowS: number): void {
  if (expiresS < madeS || expiresS - madeS > limits.proposalS) {
    throw new MalformedError('message-malformed', 'a proposal that ends before it begins, or lasts too long');
  }
  if (madeS > nowS + limits.clockSkewS) throw new ConflictError('proposal-early', 'a proposal that is still to come');
  if (nowS > expiresS) throw new ConflictError('proposal-expired', 'the proposal has expired');
}
