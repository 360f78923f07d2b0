/** The registry of Things (WoT Discovery §7.3, as far as it is built): validated TDs, their owners, and their expiry. */
import { MalformedError, NotFoundError, VerificationError } from '../crypto/errors.js';
import { uint32Max } from '../crypto/fields.js';
import { limits } from '../crypto/limits.js';
import type { FieldError } from '../td/schema-errors.js';
import { validateTd } from '../td/validate-td.js';
import type { DirectoryEntry, DirectoryStore } from './stores.js';

export interface DirectoryParts {
  readonly store: DirectoryStore;
  readonly nowS: () => number;
  /** An identifier for a TD that has none, never the same twice: `urn:uuid:…` (WoT Discovery §7.3.1.2). */
}

/** A TD with the directory's registration information (WoT Discovery §7.3.1, `registration`). */
export type EnrichedTd = Readonly<Record<string, unknown>>;

/** Not a Thing Description that can be registered; says which fields are wrong (WoT Discovery §7.3.2.1.6). */
export class TdInvalidError extends MalformedError {
  readonly validationErrors: readonly FieldError[];

  constructor(errors: readonly FieldError[]) {
    super('td-invalid', errors.map(({ field, description }) => `${field} ${description}`).join('; '));
    this.validationErrors = errors;
  }
}

/** Of every TD that a directory gives out. */
export const discoveryContext = 'https://www.w3.org/2022/wot/discovery';

export class Directory {
  readonly #parts: DirectoryParts;

  constructor(parts: DirectoryParts) {
    this.#parts = parts;
  }

  /** Another one whenever entries have come, gone or changed. */
  revision(): Promise<string> {
    return this.#parts.store.revision();
  }

  /**
   * Creates or replaces the entry `id`; `owner` is the URN of whoever registers it, and only the same may replace it.
   * @returns whether it was created
   * @throws TdInvalidError; MalformedError `too-large`; VerificationError `td-of-another`
   */
  async put(id: string, td: unknown, owner: string): Promise<boolean> {
    const described = validTd(td);
    if (described['id'] !== id) throw invalid('id', 'is not the one in the address');
    await this.#requireOwner(id, owner);
    return this.#save(id, described, owner);
  }

  /**
   * Registers an anonymous TD under an identifier that nobody has, or the same again.
   * @returns the identifier
   * @throws TdInvalidError; MalformedError `too-large`
   */
  async add(id: string, td: unknown, owner: string): Promise<string> {
    const described = validTd(td);
    if ('id' in described) throw invalid('id', 'a TD with an id is put under that id');
    await this.#save(id, { ...described, id }, owner);
    return id;
  }

  /** @throws NotFoundError `td-unknown` */
  async get(id: string): Promise<EnrichedTd> {
    const entry = await this.#parts.store.entry(id);
    if (!entry || this.#isExpired(entry)) throw unknownTd(id);
    return enrich(entry);
  }

  /** @throws NotFoundError `td-unknown`; VerificationError `td-of-another` */
  async delete(id: string, owner: string): Promise<void> {
    await this.purge();
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
  async purge(): Promise<readonly string[]> {
    return this.#parts.store.purgeExpired(this.#parts.nowS());
  }

  async #save(id: string, { registration, ...described }: EnrichedTd, owner: string): Promise<boolean> {
    const { store, nowS } = this.#parts;
    const text = JSON.stringify(described);
    if (text.length > limits.thingDescription) {
      throw new MalformedError('too-large', `a TD has at most ${limits.thingDescription} characters`);
    }
    const ttlS = ttlOf(registration, nowS());
    await this.purge();
    // Whoever has registered it since the owner was looked up is not overwritten.
    const outcome = await store.putEntry({ id, td: text, modifiedS: nowS(), ttlS, owner });
    if (outcome === 'of-another') throw tdOfAnother(id);
    return outcome === 'created';
  }

  #isExpired({ modifiedS, ttlS }: DirectoryEntry): boolean {
    return ttlS !== null && modifiedS + ttlS <= this.#parts.nowS();
  }

  async #requireOwner(id: string, owner: string): Promise<void> {
    const known = await this.#parts.store.entry(id);
    if (known && !this.#isExpired(known) && known.owner !== owner) {
      throw tdOfAnother(id);
    }
  }
}

function validTd(td: unknown): EnrichedTd {
  const verdict = validateTd(td);
  if (!verdict.valid) throw new TdInvalidError(verdict.errors);
  return verdict.td;
}

/** In seconds from now: `registration.ttl`, or else what is left until `registration.expires`; null for neither. */
function ttlOf(registration: unknown, nowS: number): number | null {
  if (registration === undefined) return null;
  if (typeof registration !== 'object' || registration === null) throw invalid('registration', 'must be an object');
  const { ttl, expires } = registration as EnrichedTd;
  if (ttl !== undefined) return checkedTtl('registration.ttl', ttl);
  if (expires === undefined) return null;
  return checkedTtl('registration.expires', secondsOf(expires) - nowS);
}

/** RFC 3339; NaN for what is no time. */
const secondsOf = (time: unknown): number =>
  typeof time === 'string' && /^\d{4}-\d{2}-\d{2}T/.test(time) ? Date.parse(time) / 1000 : Number.NaN;

function checkedTtl(field: string, ttlS: unknown): number {
  if (typeof ttlS === 'number' && ttlS > 0 && ttlS <= uint32Max) return Math.ceil(ttlS);
  throw invalid(field, `must be a time ahead, of at most ${uint32Max} seconds`);
}

function enrich({ td, createdS, modifiedS, ttlS }: DirectoryEntry): EnrichedTd {
  const described = JSON.parse(td) as EnrichedTd;
  const context = [described['@context']].flat();
  return {
    ...described,
    '@context': context.includes(discoveryContext) ? context : [...context, discoveryContext],
    registration: {
      created: isoTime(createdS),
      modified: isoTime(modifiedS),
      ...(ttlS !== null && { ttl: ttlS, expires: isoTime(modifiedS + ttlS) }),
    },
  };
}

const invalid = (field: string, description: string): TdInvalidError => new TdInvalidError([{ field, description }]);
const isoTime = (timeS: number): string => new Date(timeS * 1000).toISOString();
const tdOfAnother = (id: string): VerificationError =>
  new VerificationError('td-of-another', `the entry ${id} belongs to someone else`);
const unknownTd = (id: string): NotFoundError =>
  new NotFoundError('td-unknown', `no Thing ${JSON.stringify(id.slice(0, 128))} here`);
