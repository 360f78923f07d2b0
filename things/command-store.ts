/** What a gateway and a backend keep of operators' commands: what waits for which member, and the receipts that came. */

export interface NewCommand {
  /** H(command, payload). */
  readonly id: Uint8Array;
  readonly gid: Uint8Array;
  /** certHash. */
  readonly operator: Uint8Array;
  readonly sequence: number;
  readonly expiresS: number;
  readonly takenS: number;
  /** certHashes. */
  readonly targets: readonly Uint8Array[];
  readonly message: Uint8Array;
}

export interface KeptCommand extends NewCommand {
  /** Ascending in the order of the commits, from 1. */
  readonly position: number;
}

export interface NewCommandReceipt {
  readonly id: Uint8Array;
  /** certHash. */
  readonly meter: Uint8Array;
  readonly receivedS: number;
  readonly message: Uint8Array;
}

export interface KeptCommandReceipt extends NewCommandReceipt {
  readonly gid: Uint8Array;
  /** Ascending in the order of the commits, from 1. */
  readonly position: number;
}

/** A command that members have not answered. */
export interface WaitingCommand extends Pick<NewCommand, 'id' | 'gid' | 'message'> {
  /** certHashes of those. */
  readonly targets: readonly Uint8Array[];
}

export interface CommandPositions {
  readonly commands: number;
  readonly receipts: number;
}

export interface CommandStore {
  /**
   * Keeps a command, once. Those that ended before `forgetBeforeS` are forgotten, with their receipts.
   * @returns whether it is new
   * @throws ConflictError `command-conflict` when another of the operator's has this number; LimitError
   * `commands-waiting` when so many of the group wait at `takenS`
   */
  saveCommand(
    command: NewCommand,
    limits: { readonly waiting: number; readonly forgetBeforeS: number },
  ): Promise<boolean>;
  command(id: Uint8Array): Promise<KeptCommand | undefined>;
  /** Of a group, the newest first, below `beforePosition`. */
  commands(gid: Uint8Array, limit: number, beforePosition?: number): Promise<readonly KeptCommand[]>;
  /** Those that end at `nowS` or later, of all groups, the oldest first. */
  waitingCommands(nowS: number): Promise<readonly WaitingCommand[]>;

  /** The first of each member counts; of a command that is not here nothing is kept. @returns whether it is new */
  saveCommandReceipt(receipt: NewCommandReceipt): Promise<boolean>;
  /** In the order in which they came. */
  commandReceipts(id: Uint8Array): Promise<readonly KeptCommandReceipt[]>;

  /** Of the newest; 0 where there was none. */
  commandPositions(): Promise<CommandPositions>;
  /** Ascending, at most `limit` after the position. */
  commandsAfter(position: number, limit: number): Promise<readonly KeptCommand[]>;
  commandReceiptsAfter(position: number, limit: number): Promise<readonly KeptCommandReceipt[]>;
}
