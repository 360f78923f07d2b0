/** Fetches operators' commands for a gateway's groups from the backend, and brings back the receipts of their members. */
import { fromHex, toHex } from '../crypto/bytes.js';
import { GridringError, UnavailableError } from '../crypto/errors.js';
import { isTarget } from '../things/command-relay.js';
import type { Gateway } from '../things/gateway.js';
import type { BackendClient, BackendCommand } from './backend-client.js';
import { BackendWatch } from './backend-watch.js';
import { PeerRefusal } from './bindings/peer-refusal.js';
import { codeOf, type Runtime } from './runtime.js';

interface CommandExchangeParts {
  readonly gateway: Gateway;
  readonly backend: Pick<BackendClient, 'waitingCommands' | 'commandReceipt' | 'listenFor'>;
  readonly runtime: Runtime;
}

/** Logged once each, as long as there are no more. */
const rememberedRefusals = 256;

export class CommandExchange {
  readonly #parts: CommandExchangeParts;
  /** Commands that were refused here, by their bytes in hex: they stay in the backend until they end. */
  readonly #refused = new Set<string>();
  /** Woken when there may be a command there, or a receipt here. */
  readonly watch: BackendWatch;

  constructor(parts: CommandExchangeParts) {
    this.#parts = parts;
    this.watch = new BackendWatch({ ...parts, topic: 'commands', look: () => this.exchange() });
  }

  /** @throws GridringError when the backend is away, or refuses to tell */
  async exchange(): Promise<void> {
    const { gateway, backend } = this.#parts;
    for (const { gid } of gateway.groups) {
      try {
        for (const command of await backend.waitingCommands(fromHex(gid))) await this.#serve(command);
      } catch (error) {
        // It has no list of the group yet, or one that names another gateway.
        if (codeOf(error) !== 'group-unknown') throw error;
      }
    }
  }

  /** Takes a command that is new here, and brings the receipts that the backend lacks. */
  async #serve({ id, message, targets }: BackendCommand): Promise<void> {
    const { gateway } = this.#parts;
    if (!(await this.#take(message))) return;
    const receipts = await gateway.commandReceipts(id);
    for (const receipt of receipts.filter(({ meter }) => isTarget(targets, meter)))
      await this.#bring(id, receipt.message);
  }

  /** What cannot be taken now (an older list is known here, say) is tried again at the next look. @returns whether it is here */
  async #take(message: Uint8Array): Promise<boolean> {
    const { gateway, runtime } = this.#parts;
    const name = toHex(message);
    try {
      await gateway.takeCommand(message);
      this.#refused.delete(name);
      return true;
    } catch (error) {
      if (!(error instanceof GridringError) || error instanceof UnavailableError) throw error;
      if (!this.#refused.has(name)) runtime.log.warn({ code: error.code, err: error }, 'a command was refused');
      if (this.#refused.size >= rememberedRefusals) this.#refused.clear();
      this.#refused.add(name);
      return false;
    }
  }

  async #bring(id: Uint8Array, receipt: Uint8Array): Promise<void> {
    const { backend, runtime } = this.#parts;
    try {
      await backend.commandReceipt(id, receipt);
    } catch (error) {
      if (!(error instanceof PeerRefusal) || error.status >= 500 || error.status === 429) throw error;
      runtime.log.warn({ command: toHex(id), code: error.code }, 'the backend refuses a receipt of a command');
    }
  }
}
