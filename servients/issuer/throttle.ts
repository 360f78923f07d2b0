/**
 * Delays that grow with failed logins: for a user from one address, for all of an address, and for all of a user. Whoever
 * guesses cannot lock a user out: where the user has logged in from lately, only failures from there count.
 */
import { sourceOf } from '../bindings/rate-limit.js';

interface Failures {
  readonly count: number;
  readonly lastMs: number;
}

/** How many failures are free, and how long the delay may become. */
const rules = {
  pair: { free: 4, longestMs: 900_000 },
  address: { free: 20, longestMs: 900_000 },
  user: { free: 50, longestMs: 60_000 },
} as const;
type Kind = keyof typeof rules;

const forgottenAfterMs = 3_600_000;
const rememberedMaximum = 10_000;

export class LoginThrottle {
  readonly #failures = new Map<string, Failures>();
  readonly #known = new Set<string>();

  /** @returns for how long there is no try, in milliseconds; 0: none, and of this user from there it counts as failed */
  begin(username: string, address: string, nowMs: number): number {
    const names = namesOf(username, address);
    const kinds: readonly Kind[] = this.#known.has(names.pair) ? ['pair', 'address'] : ['pair', 'address', 'user'];
    const waitMs = Math.max(...kinds.map((kind) => this.#waitMs(kind, names[kind], nowMs)));
    // Before it is known how it ends, or many at once would all be free.
    if (waitMs === 0) this.#count(names.pair, nowMs);
    return waitMs;
  }

  failed(username: string, address: string, nowMs: number): void {
    const names = namesOf(username, address);
    this.#count(names.address, nowMs);
    this.#count(names.user, nowMs);
  }

  succeeded(username: string, address: string): void {
    const { pair } = namesOf(username, address);
    this.#failures.delete(pair);
    this.#known.delete(pair);
    this.#known.add(pair);
    forgetOldest(this.#known);
  }

  #waitMs(kind: Kind, name: string, nowMs: number): number {
    const failures = this.#failures.get(name);
    const { free, longestMs } = rules[kind];
    if (!failures || failures.count <= free || nowMs - failures.lastMs > forgottenAfterMs) return 0;
    const delayMs = Math.min(longestMs, 1_000 * 2 ** (failures.count - free - 1));
    return Math.max(0, failures.lastMs + delayMs - nowMs);
  }

  #count(name: string, nowMs: number): void {
    const before = this.#failures.get(name);
    const isOver = before === undefined || nowMs - before.lastMs > forgottenAfterMs;
    this.#failures.delete(name);
    this.#failures.set(name, { count: isOver ? 1 : before.count + 1, lastMs: nowMs });
    forgetOldest(this.#failures);
  }
}

/** Nobody's name is longer; what is remembered of those who try names is not to grow with these. */
const longestName = 64;

/** A host has all addresses of an IPv6 /64: they are one. */
function namesOf(username: string, address: string) {
  const [user, source] = [username.slice(0, longestName), sourceOf(address)];
  return { pair: JSON.stringify([user, source]), address: `address ${source}`, user: `user ${user}` };
}

function forgetOldest(remembered: Map<string, unknown> | Set<string>): void {
  const oldest = remembered.keys().next();
  if (remembered.size > rememberedMaximum && oldest.done !== true) remembered.delete(oldest.value);
}
