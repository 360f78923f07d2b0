/** A token bucket for every source address, or whatever else names a source, in bounded memory. */
export interface RateLimits {
  readonly perSecond: number;
  readonly burst: number;
  /** How many sources are remembered; whoever was not heard of longest is forgotten first. */
  readonly sources: number;
}

interface Bucket {
  readonly tokens: number;
  readonly atMs: number;
}

export class RateLimit {
  readonly #limits: RateLimits;
  readonly #buckets = new Map<string, Bucket>();

  constructor(limits: RateLimits) {
    this.#limits = limits;
  }

  /** Takes one token of the address's; false when there is none. */
  take(address: string, nowMs: number): boolean {
    const source = sourceOf(address);
    const { perSecond, burst, sources } = this.#limits;
    const last = this.#buckets.get(source) ?? { tokens: burst, atMs: nowMs };
    const filled = Math.min(burst, last.tokens + ((nowMs - last.atMs) * perSecond) / 1_000);
    const allowed = filled >= 1;
    this.#buckets.delete(source);
    this.#buckets.set(source, { tokens: allowed ? filled - 1 : filled, atMs: nowMs });
    if (this.#buckets.size > sources) this.#buckets.delete(this.#buckets.keys().next().value ?? '');
    return allowed;
  }

  get size(): number {
    return this.#buckets.size;
  }
}

/** Who counts as one source: an IPv4 address, or the /64 of an IPv6 address as the system writes it (RFC 5952). */
export function sourceOf(address: string): string {
  if (!address.includes(':')) return address;
  if (address.startsWith('::ffff:')) return address.slice(7);
  const [head = '', tail] = address.split('::');
  const groups = head.split(':');
  const behind = tail === undefined || tail === '' ? [] : tail.split(':');
  const gap = tail === undefined ? 0 : 8 - groups.length - behind.length;
  return [...groups, ...Array<string>(gap).fill('0'), ...behind].slice(0, 4).join(':');
}
