/** Members of a group that its next epoch should let in, by certHash in hex. */
import { toHex } from '../crypto/bytes.js';

export class Newcomers {
  /** Enrolled since this process started. */
  readonly #present = new Set<string>();
  readonly #waiting = new Set<string>();
  /** Asked for once and did not come: a sign of life alone does not ask for them again. */
  readonly #tried = new Set<string>();

  get someoneWaits(): boolean {
    return this.#waiting.size > 0;
  }

  isPresent(member: Uint8Array): boolean {
    return this.#present.has(toHex(member));
  }

  /** Whether a sign of life is worth a rekey. */
  isWorthATry(member: Uint8Array): boolean {
    return !this.#tried.has(toHex(member));
  }

  /** It has enrolled, and begins anew. */
  enrolled(member: Uint8Array): void {
    this.#present.add(toHex(member));
    this.#tried.delete(toHex(member));
    this.#waiting.delete(toHex(member));
  }

  /** @returns false when it waits already */
  wait(member: Uint8Array): boolean {
    if (this.#waiting.has(toHex(member))) return false;
    this.#waiting.add(toHex(member));
    return true;
  }

  departed(member: Uint8Array): void {
    this.#waiting.delete(toHex(member));
  }

  /** An agreement begins, which asks for all who wait. */
  asked(): void {
    for (const member of this.#waiting) this.#tried.add(member);
    this.#waiting.clear();
  }

  /** There is an epoch with this roster; who has come since it was begun still waits. */
  agreed(roster: readonly Uint8Array[]): void {
    for (const member of roster) {
      this.#waiting.delete(toHex(member));
      this.#tried.delete(toHex(member));
    }
  }
}
