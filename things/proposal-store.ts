/** What a backend keeps of proposals of operators, for the authority to take up. */

export interface KeptProposal {
  /** H(proposal, payload). */
  readonly id: Uint8Array;
  readonly gid: Uint8Array;
  readonly takenS: number;
  readonly expiresS: number;
  readonly message: Uint8Array;
}

export interface ProposalStore {
  /**
   * Keeps a proposal, once; those that ended before `forgetBeforeS` are forgotten.
   * @returns whether it is new
   * @throws LimitError `proposals-waiting` when so many of the group wait at `takenS`
   */
  saveProposal(
    proposal: KeptProposal,
    limits: { readonly waiting: number; readonly forgetBeforeS: number },
  ): Promise<boolean>;
  proposal(id: Uint8Array): Promise<KeptProposal | undefined>;
  /** Of a group, ascending by id, after `afterId`; at first after an empty one. */
  proposals(gid: Uint8Array, afterId: Uint8Array, limit: number): Promise<readonly KeptProposal[]>;
}
