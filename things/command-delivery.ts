/**
 * A gateway brings commands to the members that they are for: those that can be called it calls, until they have answered
 * or the command has ended; for the others the property `round` shows them. Each member is given one after the other.
 */
import { equalBytes, toHex } from '../crypto/bytes.js';
import { GridringError } from '../crypto/errors.js';
import type { CommandStore, WaitingCommand } from './command-store.js';
import type { Members } from './epoch-run.js';
import type { Log } from './parts.js';
import { isCallable } from './roll.js';
import type { EnrolledMeter } from './stores.js';

export interface CommandDeliveryParts {
  readonly store: Pick<CommandStore, 'waitingCommands'>;
  /** Keeps a receipt, or refuses it. */
  readonly takeReceipt: (message: Uint8Array) => Promise<void>;
  readonly members: Members;
  /** By certHash in hex. */
  readonly enrolled: ReadonlyMap<string, EnrolledMeter>;
  readonly nowS: () => number;
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly log: Log;
}

/** After a failure with a member; doubles with each further one. */
const firstPauseMs = 1_000;
const longestPauseMs = 60_000;
/** Shown at once, another part of them at each look: who comes takes one of its own at each waking. */
const shownBytes = 32_000;

interface Waiting {
  readonly member: Uint8Array;
  readonly command: WaitingCommand;
}

export class CommandDelivery {
  readonly #parts: CommandDeliveryParts;
  #wake = new AbortController();
  /** The oldest of each member that cannot be called, when it was looked at last; by gid in hex. */
  #shown: ReadonlyMap<string, readonly Uint8Array[]> = new Map();
  #looks = 0;
  /** Members that are being called, by certHash in hex. */
  readonly #busy = new Set<string>();

  constructor(parts: CommandDeliveryParts) {
    this.#parts = parts;
  }

  /** There may be more to bring. */
  wake(): void {
    this.#wake.abort();
  }

  /** Messages for the members of a group, by its id in hex, that cannot be called. */
  shown(gid: string): readonly Uint8Array[] {
    return this.#shown.get(gid) ?? [];
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#wake = new AbortController();
      const either = AbortSignal.any([signal, this.#wake.signal]);
      await this.#enduring(() => this.look(signal));
      await this.#parts.sleep(longestPauseMs, either);
    }
  }

  /** Begins to call whoever has something to be told, and shows the rest. */
  async look(signal: AbortSignal): Promise<void> {
    const { store, nowS, enrolled } = this.#parts;
    const waiting = oldestOfEach(await store.waitingCommands(nowS()));
    const callable = ({ member }: Waiting): boolean => {
      const meter = enrolled.get(toHex(member));
      return meter !== undefined && isCallable(meter);
    };
    this.#shown = messagesByGroup(
      rotated(
        waiting.filter((each) => !callable(each)),
        this.#looks++,
      ),
    );
    for (const { member } of waiting.filter(callable)) {
      const name = toHex(member);
      if (this.#busy.has(name)) continue;
      this.#busy.add(name);
      void this.#enduring(() => this.#serve(member, signal)).finally(() => this.#busy.delete(name));
    }
  }

  /** A disk that fails for a while ends nothing: it is looked at again. */
  async #enduring(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof GridringError)) throw error;
      this.#parts.log.warn({ code: error.code, err: error }, 'commands cannot be brought now');
    }
  }

  /** All that waits for one member, the oldest first. */
  async #serve(member: Uint8Array, signal: AbortSignal): Promise<void> {
    const { store, nowS, sleep } = this.#parts;
    for (let failures = 0; !signal.aborted;) {
      const own = oldestOfEach(await store.waitingCommands(nowS())).find((each) => equalBytes(each.member, member));
      if (!own) return;
      if (await this.#bring(own)) failures = 0;
      else await sleep(Math.min(longestPauseMs, firstPauseMs * 2 ** failures++), signal);
    }
  }

  /** @returns whether the member has answered */
  async #bring({ member, command }: Waiting): Promise<boolean> {
    const { members, takeReceipt, log } = this.#parts;
    try {
      await takeReceipt(await members.invoke(member, 'control', command.message));
      return true;
    } catch (error) {
      if (!(error instanceof GridringError)) throw error;
      log.info({ command: toHex(command.id), member: toHex(member), code: error.code }, 'a command was not answered');
      return false;
    }
  }
}

function oldestOfEach(waiting: readonly WaitingCommand[]): readonly Waiting[] {
  const oldest = new Map<string, Waiting>();
  for (const command of waiting) {
    for (const member of command.targets) {
      const name = toHex(member);
      if (!oldest.has(name)) oldest.set(name, { member, command });
    }
  }
  return [...oldest.values()];
}

const rotated = <T>(items: readonly T[], by: number): readonly T[] => {
  const start = items.length === 0 ? 0 : by % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
};

function messagesByGroup(waiting: readonly Waiting[]): ReadonlyMap<string, readonly Uint8Array[]> {
  const shown = new Map<string, Uint8Array[]>();
  const taken = new Set<string>();
  let bytes = 0;
  for (const { command } of waiting) {
    const id = toHex(command.id);
    if (taken.has(id) || bytes + command.message.length > shownBytes) continue;
    taken.add(id);
    bytes += command.message.length;
    const gid = toHex(command.gid);
    shown.set(gid, [...(shown.get(gid) ?? []), command.message]);
  }
  return shown;
}
