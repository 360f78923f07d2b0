/** Gives members that can be called what they should have soon, and would find in `round` otherwise: so it need not succeed. */
import { toHex } from '../crypto/bytes.js';
import type { MemberAction, Members } from './epoch-run.js';
import { isCallable } from './roll.js';
import type { EnrolledMeter } from './stores.js';

interface HandOutParts {
  readonly members: Members;
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** By certHash in hex. */
  readonly enrolled: ReadonlyMap<string, EnrolledMeter>;
  readonly onMemberFailed: (member: Uint8Array, action: MemberAction, error: unknown) => void;
}

const tries = 5;

export class HandOut {
  readonly #parts: HandOutParts;
  readonly #closed = new AbortController();

  constructor(parts: HandOutParts) {
    this.#parts = parts;
  }

  /** Resolves when everybody has taken it or was tried often enough. */
  async give(action: MemberAction, message: Uint8Array, members: readonly Uint8Array[]): Promise<void> {
    const callable = members.filter((member) => {
      const meter = this.#parts.enrolled.get(toHex(member));
      return meter !== undefined && isCallable(meter);
    });
    await Promise.all(callable.map((member) => this.#giveTo(member, action, message)));
  }

  close(): void {
    this.#closed.abort();
  }

  /** Whoever refuses may take it a little later: an endorsement, say, once it has the confirmations. */
  async #giveTo(member: Uint8Array, action: MemberAction, message: Uint8Array): Promise<void> {
    const { members, sleep, onMemberFailed } = this.#parts;
    const { signal } = this.#closed;
    for (let tried = 1; tried <= tries && !signal.aborted; tried++) {
      try {
        await members.invoke(member, action, message);
        return;
      } catch (error) {
        onMemberFailed(member, action, error);
        await sleep(1_000 * 2 ** tried, AbortSignal.any([signal]));
      }
    }
  }
}
