/**
 * What a gateway and a backend do with operators' commands alike: they check who commands, keep what waits for whom, and
 * keep the receipts that the members sign. They can read neither.
 */
import { equalBytes, toHex } from '../crypto/bytes.js';
import {
  isCommandOver,
  parseCommand,
  parseCommandReceipt,
  verifyCommand,
  verifyCommandReceipt,
} from '../crypto/envelope/command.js';
import { ConflictError, GridringError, NotFoundError, VerificationError } from '../crypto/errors.js';
import { limits } from '../crypto/limits.js';
import { findEntry, type Membership } from '../crypto/membership.js';
import type { CommandStore, KeptCommand, KeptCommandReceipt } from './command-store.js';
import type { Parts } from './parts.js';

export interface CommandRelayParts extends Pick<Parts, 'suite' | 'nowS'> {
  readonly store: CommandStore;
  /** Of a group: the newest list first, then those before it that a member may have been in. Empty: no such group here. */
  readonly membershipsOf: (gid: Uint8Array) => readonly Membership[];
}

/** For so long after its end a command and its receipts are kept. */
const keptS = 90 * 86_400;

export class CommandRelay {
  readonly #parts: CommandRelayParts;

  constructor(parts: CommandRelayParts) {
    this.#parts = parts;
  }

  /**
   * Takes an operator's command, once.
   * @returns what is kept of it, and whether it is so only now
   * @throws MalformedError; VerificationError as `verifyCommand`; ConflictError `wrong-group`, `command-early`,
   * `command-expired`, `target-unknown`, `command-conflict`; LimitError `commands-waiting`
   */
  async take(message: Uint8Array): Promise<{ readonly command: KeptCommand; readonly fresh: boolean }> {
    const { suite, store, nowS, membershipsOf } = this.#parts;
    const { name } = parseCommand(suite, message);
    const [membership] = membershipsOf(name.gid);
    if (!membership) throw new ConflictError('wrong-group', 'a command to a group that is not known here');
    const { id, operator, sequence, expiresS, targets } = verifyCommand({ suite, membership, nowS: nowS() }, message);
    const known = await store.command(id);
    if (known) return { command: known, fresh: false };
    if (isCommandOver({ name, operator, sequence, expiresS, targets }, nowS())) {
      throw new ConflictError('command-expired', 'the command has expired');
    }
    if (!targets.every((target) => findEntry(membership.list, target, 'member'))) {
      throw new ConflictError('target-unknown', 'the command names somebody who is no member of the group');
    }
    const row = { id, gid: name.gid, operator, sequence, expiresS, takenS: nowS(), targets, message };
    const bounds = { waiting: limits.commandsWaiting, forgetBeforeS: Math.max(0, nowS() - keptS) };
    const fresh = await store.saveCommand(row, bounds);
    return { command: await this.known(id), fresh };
  }

  /**
   * Takes a member's receipt of a command that is known here; the first of each member counts.
   * @returns whether it is new
   * @throws MalformedError; VerificationError as `verifyCommandReceipt`; ConflictError `receipt-mismatch`; NotFoundError
   * `command-unknown`
   */
  async takeReceipt(message: Uint8Array): Promise<boolean> {
    const { store, nowS } = this.#parts;
    const { commandId: id, meter } = parseCommandReceipt(message);
    const { message: commandMessage, gid } = await this.known(id);
    this.#verifyReceipt(gid, commandMessage, message);
    return store.saveCommandReceipt({ id, meter, receivedS: nowS(), message });
  }

  /** Under the list in force, or one before it: who has left may have answered before. */
  #verifyReceipt(gid: Uint8Array, commandMessage: Uint8Array, message: Uint8Array): void {
    const { suite, nowS, membershipsOf } = this.#parts;
    const command = parseCommand(suite, commandMessage);
    let refusal: GridringError = new VerificationError('not-listed', 'a receipt of nobody in the lists');
    for (const membership of membershipsOf(gid)) {
      try {
        verifyCommandReceipt({ suite, membership, nowS: nowS() }, command, message);
        return;
      } catch (error) {
        if (!(error instanceof GridringError)) throw error;
        refusal = error;
      }
    }
    throw refusal;
  }

  /** @throws NotFoundError `command-unknown` */
  async known(id: Uint8Array): Promise<KeptCommand> {
    const command = await this.#parts.store.command(id);
    if (!command) throw new NotFoundError('command-unknown', `no command ${toHex(id)} here`);
    return command;
  }

  receipts(id: Uint8Array): Promise<readonly KeptCommandReceipt[]> {
    return this.#parts.store.commandReceipts(id);
  }
}

export const isTarget = (targets: readonly Uint8Array[], member: Uint8Array): boolean =>
  targets.some((target) => equalBytes(target, member));
