/** The registry of Things (WoT Discovery §7.3): validated TDs, their owners, and their expiry. */
import { ConflictError, MalformedError, NotFoundError, VerificationError } from '../crypto/errors.js';
import { uint32Max } from '../crypto/fields.js';
import { limits } from '../crypto/limits.js';
import { isReservedId, proofMember, verifyRegistration, type RegistrationCheck } from '../crypto/registration.js';
import type { FieldError } from '../td/schema-errors.js';
import { validateTd } from '../td/validate-td.js';
import { enrich, expiryOf, type EnrichedTd } from './directory-entry.js';
import { isOfEndpoint } from './endpoint-owner.js';
import { mergePatch } from './merge-patch.js';
import type { DirectoryEntry, DirectoryEvent, DirectoryStore, EntryContent } from './stores.js';

export interface DirectoryParts {
  readonly store: DirectoryStore;
  readonly nowS: () => number;
  /** Whose certificates count, and the name that proofs have to be for. */
  readonly proofs: Required<Omit<RegistrationCheck, 'nowS'>>;
}

/** Not a Thing Description that can be registered; says which fields are wrong (WoT Discovery §7.3.2.1.6). */
export class TdInvalidError extends MalformedError {
  readonly validationErrors: readonly FieldError[];

  constructor(errors: readonly FieldError[]) {
    super('td-invalid', errors.map(({ field, description }) => `${field} ${description}`).join('; '));
    this.validationErrors = errors;
  }
}

/** Who changes an entry, and what it must be like before; `admit` throws where it is not. */
export interface Change {
  /** URN of whoever registers; only the same may change or remove the entry. */
  readonly owner: string;
  readonly admit?: (known: DirectoryEntry | undefined) => void;
}

export interface DirectoryPage {
  readonly entries: readonly DirectoryEntry[];
  readonly total: number;
}

export class Directory {
  readonly #parts: DirectoryParts;

  constructor(parts: DirectoryParts) {
    this.#parts = parts;
  }

  /** Of the event positions, as `DirectoryStore.life`. */
  get life(): string {
    return this.#parts.store.life;
  }

  /** Another one whenever entries have come, gone or changed. */
  position(): Promise<number> {
    return this.#parts.store.position();
  }

  /** As `DirectoryStore.eventsAfter`. */
  eventsAfter(position: number, limit: number): Promise<readonly DirectoryEvent[]> {
    return this.#parts.store.eventsAfter(position, limit);
  }

  /**
   * Creates or replaces the entry `id`.
   * @returns whether it was created
   * @throws TdInvalidError; MalformedError `too-large`; VerificationError `td-of-another` and those of
   * `verifyRegistration`; ConflictError `td-stale`; what `admit` throws
   */
  async put(id: string, td: unknown, change: Change): Promise<boolean> {
    const described = validTd(td);
    if (described['id'] !== id) throw invalid('id', 'is not the one in the address');
    return this.#save(id, described, change);
  }

  /**
   * Registers an anonymous TD under an identifier that nobody has, or the same again.
   * @returns the identifier
   * @throws TdInvalidError; MalformedError `too-large`
   */
  async add(id: string, td: unknown, change: Change): Promise<string> {
    const described = validTd(td);
    if ('id' in described) throw invalid('id', 'a TD with an id is put under that id');
    await this.#save(id, { ...described, id }, change);
    return id;
  }

  /**
   * Changes parts of an entry by a JSON merge patch (RFC 7396). Where the entry has a ttl, it begins anew.
   * @throws NotFoundError `td-unknown`; MalformedError `patch-malformed`; and as `put`
   */
  async patch(id: string, patch: unknown, change: Change): Promise<void> {
    assertPatch(patch);
    await this.purge();
    await this.#parts.store.changeEntry(id, (known, last) => {
      if (!known) throw unknownTd(id);
      assertAdmitted(known, change);
      const patched = validTd(mergePatch(registeredTd(known), patch));
      if (patched['id'] !== id) throw invalid('id', 'cannot be changed');
      const serial = this.#serialOf(patched);
      // By the owner alone, however new it is.
      isNewer(serial, last);
      return { ...this.#contentOf(patched, change.owner), ...serial };
    });
  }

  /** @throws NotFoundError `td-unknown` */
  async entry(id: string): Promise<DirectoryEntry> {
    const entry = await this.#parts.store.entry(id);
    if (!entry || this.#isExpired(entry)) throw unknownTd(id);
    return entry;
  }

  /** The entry as it is retrieved now. */
  retrieved(entry: DirectoryEntry): EnrichedTd {
    return enrich(entry, this.#parts.nowS());
  }

  /** @throws NotFoundError `td-unknown`; VerificationError `td-of-another`; what `admit` throws */
  async delete(id: string, change: Change): Promise<void> {
    await this.purge();
    const isGone = await this.#parts.store.deleteEntry(id, (known) => {
      assertAdmitted(known, change);
    });
    if (!isGone) throw unknownTd(id);
  }

  /** One page, ascending by id, of the ids where any are given. */
  async list(offset: number, limit: number, ids?: readonly string[]): Promise<DirectoryPage> {
    await this.purge();
    return this.#parts.store.listEntries(offset, limit, ids);
  }

  /** The next ones after an id, ascending, of the ids where any are given. */
  after(id: string, limit: number, ids?: readonly string[]): Promise<readonly DirectoryEntry[]> {
    return this.#parts.store.entriesAfter(id, limit, ids);
  }

  /** Removes what has outlived its time to live. @returns the ids */
  async purge(): Promise<readonly string[]> {
    return this.#parts.store.purgeExpired(this.#parts.nowS());
  }

  async #save(id: string, td: EnrichedTd, change: Change): Promise<boolean> {
    const serial = this.#serialOf(td);
    const content = { ...this.#contentOf(td, change.owner), ...serial };
    await this.purge();
    const outcome = await this.#parts.store.changeEntry(id, (known, last) => {
      assertAdmitted(known, change, isNewer(serial, last));
      return content;
    });
    return outcome === 'created';
  }

  /** Ids of devices are for those who prove that they are theirs. @throws as `verifyRegistration`, TdInvalidError */
  #serialOf(td: EnrichedTd): Serial {
    if (!isReservedId(td['id'])) return {};
    if (td[proofMember] === undefined) throw invalid(proofMember, 'is required: such an id is for the device itself');
    const { proofs, nowS } = this.#parts;
    return { serial: verifyRegistration({ ...proofs, nowS: nowS() }, td).timeS };
  }

  #contentOf({ registration, ...described }: EnrichedTd, owner: string): EntryContent {
    const td = JSON.stringify(described);
    if (td.length > limits.thingDescription) {
      throw new MalformedError('too-large', `a TD has at most ${limits.thingDescription} characters`);
    }
    const nowS = this.#parts.nowS();
    return { td, modifiedS: nowS, owner, ...expiryAsked(registration, nowS) };
  }

  #isExpired(entry: DirectoryEntry): boolean {
    const expiry = expiryOf(entry);
    return expiry !== null && expiry <= this.#parts.nowS();
  }
}

type Serial = Pick<EntryContent, 'serial'>;

/** Whether the device has signed it after the last one. @throws ConflictError `td-stale` where it was before that */
function isNewer({ serial }: Serial, last: number | null): boolean {
  if (serial === undefined) return false;
  if (last === null || serial > last) return true;
  if (serial === last) return false;
  throw new ConflictError('td-stale', 'the device has signed a newer description since');
}

/**
 * Who brings what the device has signed since may change its entry, whoever brought the one before; and who has a token,
 * what an endpoint described of which only the address is known.
 */
function assertAdmitted(known: DirectoryEntry | undefined, { owner, admit }: Change, isSuccessor = false): void {
  const givesWay = known !== undefined && isOfEndpoint(known) && !isOfEndpoint({ owner });
  if (known && known.owner !== owner && !isSuccessor && !givesWay) {
    throw new VerificationError('td-of-another', `the entry ${known.id} belongs to someone else`);
  }
  admit?.(known);
}

/** The TD with what its owner said of its registration, and nothing that the directory adds. */
function registeredTd({ td, ttlS, expiresS }: DirectoryEntry): EnrichedTd {
  const described = JSON.parse(td) as EnrichedTd;
  if (ttlS !== null) return { ...described, registration: { ttl: ttlS } };
  if (expiresS === null) return described;
  return { ...described, registration: { expires: new Date(expiresS * 1000).toISOString() } };
}

/** A merge patch of a TD is a part of one. */
function assertPatch(patch: unknown): void {
  if (typeof patch === 'object' && patch !== null && !Array.isArray(patch)) return;
  throw new MalformedError('patch-malformed', 'a merge patch of a Thing Description is a JSON object');
}

function validTd(td: unknown): EnrichedTd {
  const verdict = validateTd(td);
  if (!verdict.valid) throw new TdInvalidError(verdict.errors);
  return verdict.td;
}

/** `registration.ttl`, or else `registration.expires` (WoT Discovery §7.3.1.1). */
function expiryAsked(registration: unknown, nowS: number): Pick<EntryContent, 'ttlS' | 'expiresS'> {
  if (registration === undefined) return { ttlS: null, expiresS: null };
  if (typeof registration !== 'object' || registration === null) throw invalid('registration', 'must be an object');
  const { ttl, expires } = registration as EnrichedTd;
  if (ttl !== undefined) return { ttlS: secondsAhead('registration.ttl', ttl), expiresS: null };
  if (expires === undefined) return { ttlS: null, expiresS: null };
  return { ttlS: null, expiresS: nowS + secondsAhead('registration.expires', secondsOf(expires) - nowS) };
}

/** RFC 3339, whose offset from UTC is not optional; NaN for what is no such time. */
const secondsOf = (time: unknown): number =>
  typeof time === 'string' && /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:\d{2})$/i.test(time)
    ? Date.parse(time) / 1000
    : Number.NaN;

function secondsAhead(field: string, seconds: unknown): number {
  if (typeof seconds === 'number' && seconds > 0 && seconds <= uint32Max) return Math.ceil(seconds);
  throw invalid(field, `must be a time ahead, of at most ${uint32Max} seconds`);
}

const invalid = (field: string, description: string): TdInvalidError => new TdInvalidError([{ field, description }]);
export const unknownTd = (id: string): NotFoundError =>
  new NotFoundError('td-unknown', `no Thing ${JSON.stringify(id.slice(0, 128))} here`);
