/** A meter's action `control`: commands of operators, each done once, and on disk with what it changed before it is answered. */
import { equalBytes, toHex } from '../crypto/bytes.js';
import { parseCommand } from '../crypto/envelope/command.js';
import {
  decodeObeyingState,
  encodeObeyingState,
  newObeyingState,
  obey,
  type ObeyingState,
} from '../crypto/envelope/obeying.js';
import type { Operation, Unsupported } from '../crypto/envelope/operation.js';
import { ConflictError, GridringError } from '../crypto/errors.js';
import type { MeterGroups } from './meter-groups.js';
import type { Parts } from './parts.js';
import type { ReadingInterval } from './reading-interval.js';
import { Serial } from './serial.js';
import type { MeterStore } from './stores.js';

export interface MeterCommandsParts extends Parts {
  readonly store: Pick<MeterStore, 'loadObeying' | 'saveObeying'>;
  readonly groups: MeterGroups;
  readonly interval?: ReadingInterval | undefined;
  /** When the state in the store came from a backup, Unix seconds; undefined where it did not. */
  readonly restoredS?: number | undefined;
}

export class MeterCommands {
  readonly #parts: MeterCommandsParts;
  readonly #serial = new Serial();
  #state: ObeyingState;

  private constructor(parts: MeterCommandsParts, state: ObeyingState) {
    this.#parts = parts;
    this.#state = state;
  }

  static async load(parts: MeterCommandsParts): Promise<MeterCommands> {
    const stored = await parts.store.loadObeying();
    const commands = new MeterCommands(parts, stored ? decodeObeyingState(stored) : newObeyingState);
    commands.#apply();
    return commands;
  }

  /** As an operator has set it, in seconds; undefined where none has, or the source cannot any more. */
  get readingIntervalS(): number | undefined {
    const { readingIntervalS } = this.#state;
    return readingIntervalS !== null && this.#parts.interval?.takes(readingIntervalS) ? readingIntervalS : undefined;
  }

  /** Whether this meter is among those that a command names, before anything of it is verified. */
  concerns(message: Uint8Array): boolean {
    const { suite, identity } = this.#parts;
    try {
      return parseCommand(suite, message).targets.some((target) => equalBytes(target, identity.certHash));
    } catch (error) {
      if (error instanceof GridringError) return false;
      throw error;
    }
  }

  /**
   * Takes a command, and gives the receipt.
   * @throws MalformedError, VerificationError, ConflictError as `obey`; ConflictError `wrong-group`
   */
  take(message: Uint8Array): Promise<Uint8Array> {
    return this.#serial.run(async () => {
      const { suite, identity, nowS, random, groups, restoredS, store, log } = this.#parts;
      const { name, id } = parseCommand(suite, message);
      const group = groups.forCommands(name.gid);
      if (!group) throw new ConflictError('wrong-group', 'a command to a group that is not known here');
      const context = {
        ...{ suite, ...group, nowS: nowS(), self: identity, random, restoredS },
        unsupported: (operation: Operation) => this.#unsupported(operation),
      };
      const { state, receipt } = obey(context, this.#state, message);
      if (state === this.#state) return receipt;
      await store.saveObeying(encodeObeyingState(state));
      this.#state = state;
      this.#apply();
      log.info({ meter: identity.id, command: toHex(id) }, 'a command was answered');
      return receipt;
    });
  }

  #unsupported(operation: Operation): Unsupported | null {
    if (operation.name !== 'set-reading-interval') return null;
    const { interval } = this.#parts;
    if (!interval) return 'operation-unsupported';
    return interval.takes(operation.intervalS) ? null : 'parameter-invalid';
  }

  /** After a restart too: what is on disk holds. */
  #apply(): void {
    const { readingIntervalS } = this;
    if (readingIntervalS !== undefined) this.#parts.interval?.set(readingIntervalS);
  }
}
