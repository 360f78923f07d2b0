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
  readonly gateway: Pick<Gateway, 'groups' | 'takeCommand' | 'keptCommands' | 'commandReceipts'>;
  readonly backend: Pick<BackendClient, 'waitingCommands' | 'reportCommand' | 'commandReceipt' | 'listenFor'>;
  readonly runtime: Runtime;
}

/** Logged once each, as long as there are no more. */
const rememberedRefusals = 256;
/** Of all groups, that the backend has; what is forgotten is reported again, which changes nothing. */
const rememberedCommands = 4_096;

export class CommandExchange {
  readonly #parts: CommandExchangeParts;
  /** Commands that were refused here, by their bytes in hex: they stay in the backend until they end. */
  readonly #refused = new Set<string>();
  /** Ids in hex of commands that the backend has, or refuses. */
  readonly #known = new Set<string>();
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
        await this.#report(fromHex(gid));
      } catch (error) {
        // It has no list of the group yet, or one that names another gateway.
        if (codeOf(error) !== 'group-unknown') throw error;
      }
    }
  }

  /** Operators may give commands to the gateway itself, also while the backend is away: it is to know of them. */
  async #report(gid: Uint8Array): Promise<void> {
    const { gateway, backend, runtime } = this.#parts;
    for (const { id, message } of await gateway.keptCommands(gid)) {
      const name = toHex(id);
      if (this.#known.has(name)) continue;
      try {
        await backend.reportCommand(gid, message);
        for (const receipt of await gateway.commandReceipts(id)) await this.#bring(id, receipt.message);
      } catch (error) {
        if (!(error instanceof PeerRefusal) || error.status >= 500 || error.status === 429) throw error;
        runtime.log.warn({ command: name, code: error.code }, 'the backend refuses a command that was given here');
      }
      this.#remember(name);
    }
  }

  #remember(name: string): void {
    if (this.#known.size >= rememberedCommands) this.#known.clear();
    this.#known.add(name);
  }

  /** Takes a command that is new here, and brings the receipts that the backend lacks. */
  async #serve({ id, message, targets }: BackendCommand): Promise<void> {
    const { gateway } = this.#parts;
    this.#remember(toHex(id));
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
