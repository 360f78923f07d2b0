/** The registry of Things (WoT Discovery §7.3, as far as it is built): validated TDs, their owners, and their expiry. */
import { ConflictError, MalformedError, NotFoundError, VerificationError } from '../crypto/errors.js';
import { limits } from '../crypto/limits.js';
import type { DirectoryEntry, DirectoryStore } from './stores.js';

export interface DirectoryParts {
  readonly store: DirectoryStore;
  readonly nowS: () => number;
  /** Says what is wrong with a TD, or nothing. */
  readonly tdFault: (td: unknown) => string | undefined;
}

/** A TD with the directory's registration information (WoT Discovery §7.3.1, `registration`). */
export type EnrichedTd = Readonly<Record<string, unknown>>;

export class Directory {
  readonly #parts: DirectoryParts;

  constructor(parts: DirectoryParts) {
    this.#parts = parts;
  }

  /**
   * Creates or replaces the entry `id`; `owner` is the URN of whoever registers it, and only the same may replace it.
   * @returns whether it was created
   * @throws MalformedError `td-invalid`, `td-too-large`; ConflictError `td-id-mismatch`; VerificationError `td-of-another`
   */
  async put(id: string, td: unknown, owner: string): Promise<boolean> {
    const { store, nowS, tdFault } = this.#parts;
    const fault = tdFault(td);
    if (fault !== undefined) throw new MalformedError('td-invalid', fault);
    const { registration, ...described } = td as Readonly<Record<string, unknown>>;
    if (described['id'] !== id) throw new ConflictError('td-id-mismatch', 'the id in the TD is not the one in the URL');
    const text = JSON.stringify(described);
    if (text.length > limits.thingDescription) {
      throw new MalformedError('too-large', `a TD has at most ${limits.thingDescription} characters`);
    }
    await this.#requireOwner(id, owner);
    return store.putEntry({ id, td: text, modifiedS: nowS(), ttlS: ttlOf(registration), owner });
  }

  /** @throws NotFoundError `td-unknown` */
  async get(id: string): Promise<EnrichedTd> {
    const entry = await this.#parts.store.entry(id);
    if (!entry || this.#isExpired(entry)) throw unknownTd(id);
    return enrich(entry);
  }

  /** @throws NotFoundError `td-unknown`; VerificationError `td-of-another` */
  async delete(id: string, owner: string): Promise<void> {
    await this.#requireOwner(id, owner);
    if (!(await this.#parts.store.deleteEntry(id))) throw unknownTd(id);
  }

  /** One page, ascending by id, and how many there are in all. */
  async list(offset: number, limit: number): Promise<{ readonly tds: readonly EnrichedTd[]; readonly total: number }> {
    await this.purge();
    const { entries, total } = await this.#parts.store.listEntries(offset, limit);
    return { tds: entries.map(enrich), total };
  }

  /** Removes what has outlived its time to live. @returns the ids */
  purge(): Promise<readonly string[]> {
    return this.#parts.store.purgeExpired(this.#parts.nowS());
  }

  #isExpired({ modifiedS, ttlS }: DirectoryEntry): boolean {
    return ttlS !== null && modifiedS + ttlS <= this.#parts.nowS();
  }

  async #requireOwner(id: string, owner: string): Promise<void> {
    const known = await this.#parts.store.entry(id);
    if (known && !this.#isExpired(known) && known.owner !== owner) {
      throw new VerificationError('td-of-another', `the entry ${id} belongs to someone else`);
    }
  }
}

/** `registration.ttl` in seconds, where the TD asks for one. @throws MalformedError `td-invalid` */
function ttlOf(registration: unknown): number | null {
  if (registration === undefined) return null;
  if (typeof registration === 'object' && registration !== null) {
    if (!('ttl' in registration)) return null;
    const { ttl } = registration;
    if (typeof ttl === 'number' && Number.isFinite(ttl) && ttl > 0) return Math.ceil(ttl);
  }
  throw new MalformedError('td-invalid', 'registration is an object, and its ttl a positive number of seconds');
}

function enrich({ td, createdS, modifiedS, ttlS }: DirectoryEntry): EnrichedTd {
  return {
    ...(JSON.parse(td) as EnrichedTd),
    registration: {
      created: isoTime(createdS),
      modified: isoTime(modifiedS),
      ...(ttlS !== null && { ttl: ttlS, expires: isoTime(modifiedS + ttlS) }),
    },
  };
}

const isoTime = (timeS: number): string => new Date(timeS * 1000).toISOString();
const unknownTd = (id: string): NotFoundError =>
  new NotFoundError('td-unknown', `no Thing ${JSON.stringify(id.slice(0, 128))} here`);
