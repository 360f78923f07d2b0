/** Operators' proposals at a backend: verified by the newest list, kept, and shown with what has become of them. */
import { equalBytes } from '../crypto/bytes.js';
import { ConflictError } from '../crypto/errors.js';
import { limits } from '../crypto/limits.js';
import { findEntry, readableBy, type AuthorityList, type Membership } from '../crypto/membership.js';
import { asOf, parseProposal, verifyProposal, type Proposal } from '../crypto/proposal.js';
import type { Parts } from './parts.js';
import type { KeptProposal, ProposalStore } from './proposal-store.js';

export interface ProposalParts extends Pick<Parts, 'suite' | 'nowS'> {
  readonly store: ProposalStore;
  /** The newest of a group; undefined: no such group here. */
  readonly membershipOf: (gid: Uint8Array) => Membership | undefined;
}

/** For so long after its end a proposal is kept. */
const keptS = 90 * 86_400;

export type ProposalState = 'open' | 'done' | 'expired';

export class Proposals {
  readonly #parts: ProposalParts;

  constructor(parts: ProposalParts) {
    this.#parts = parts;
  }

  /**
   * Takes a proposal for a group, once.
   * @returns what is kept of it, and whether it is so only now
   * @throws MalformedError; VerificationError and ConflictError as `verifyProposal`; LimitError `proposals-waiting`
   */
  async take(
    group: Uint8Array,
    message: Uint8Array,
  ): Promise<{ readonly kept: KeptProposal; readonly fresh: boolean }> {
    const { suite, store, nowS, membershipOf } = this.#parts;
    const { gid, id } = parseProposal(suite, message);
    if (!equalBytes(gid, group)) throw new ConflictError('wrong-group', 'the proposal is for another group');
    const known = await store.proposal(id);
    if (known) return { kept: known, fresh: false };
    const membership = membershipOf(gid);
    if (!membership) throw new ConflictError('wrong-group', 'a proposal for a group that is not known here');
    const { expiresS } = verifyProposal({ suite, membership, nowS: nowS() }, message);
    const kept: KeptProposal = { id, gid, takenS: nowS(), expiresS, message };
    const bounds = { waiting: limits.proposalsWaiting, forgetBeforeS: Math.max(0, nowS() - keptS) };
    return { kept, fresh: await store.saveProposal(kept, bounds) };
  }

  one(id: Uint8Array): Promise<KeptProposal | undefined> {
    return this.#parts.store.proposal(id);
  }

  of(gid: Uint8Array, afterId: Uint8Array, limit: number): Promise<readonly KeptProposal[]> {
    return this.#parts.store.proposals(gid, afterId, limit);
  }

  /** What it says, and whether the newest list does what it asks for. */
  shown({ message }: KeptProposal): { readonly proposal: Proposal; readonly state: ProposalState } {
    const { suite, nowS, membershipOf } = this.#parts;
    const proposal = parseProposal(suite, message);
    const membership = membershipOf(proposal.gid);
    if (membership && isDone(membership.list, asOf(membership.list, proposal))) return { proposal, state: 'done' };
    return { proposal, state: nowS() > proposal.expiresS ? 'expired' : 'open' };
  }
}

function isDone(list: AuthorityList, { kind, subject, meters }: Proposal): boolean {
  if (kind === 'revoke') return !findEntry(list, subject, 'member');
  const readable = readableBy(list, subject);
  const reads = (meter: Uint8Array): boolean => readable?.some((each) => equalBytes(each, meter)) ?? true;
  if (kind === 'grant') return meters ? meters.every(reads) : readable === null;
  return meters ? !meters.some(reads) : readable?.length === 0;
}
