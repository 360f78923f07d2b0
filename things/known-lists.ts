/** The membership lists of a group that a gateway knows: the newest, and those before it that epochs were agreed under. */
import { equalBytes, toHex } from '../crypto/bytes.js';
import type { Certificate } from '../crypto/certificate.js';
import type { CertificateCache } from '../crypto/certificate/cache.js';
import { ConflictError, GridringError, VerificationError } from '../crypto/errors.js';
import {
  assertSucceeds,
  certificateOf,
  changeMembership,
  compareLists,
  isFuller,
  lastValidS,
  successorOf,
  verifyMembership,
  type Membership,
} from '../crypto/membership.js';
import type { Signer, Suite } from '../crypto/suite.js';
import type { Log } from './parts.js';
import type { GroupStore, KeptList } from './stores.js';

interface ListParts {
  readonly suite: Suite;
  readonly trustedRoots: readonly Certificate[];
  readonly retiredRoots?: readonly Certificate[];
  readonly certificateCache?: CertificateCache;
  /** Of the gateway: it takes no list that does not let it coordinate. */
  readonly identity: { readonly certHash: Uint8Array };
  readonly nowS: () => number;
  readonly store: GroupStore;
  readonly log: Log;
}

type RemovalParts = Omit<ListParts, 'store' | 'log' | 'identity'> & {
  readonly identity: { readonly signer: Signer; readonly kid: Uint8Array };
};

export interface VerifiedBundle {
  readonly membership: Membership;
  readonly bundle: Uint8Array;
}

export interface EpochNumber {
  readonly epoch: number;
  readonly attempt: number;
}

export class KnownLists {
  readonly #parts: ListParts;
  #newest: VerifiedBundle;
  /** The newest first, the newest of all included. */
  #kept: readonly KeptList[] = [];
  readonly #past = new Map<KeptList, Membership | undefined>();

  private constructor(parts: ListParts, newest: VerifiedBundle) {
    this.#parts = parts;
    this.#newest = newest;
  }

  /**
   * Starts from the newer of the stored list and the one from the configuration. A newer list that has ended does not give
   * way to an older one: it may have removed somebody. Nothing is agreed under it until the authority signs the next.
   * @throws MalformedError, VerificationError when a list does not verify; `not-listed` when it names another coordinator
   */
  static async load(parts: ListParts, configuredBundle: Uint8Array): Promise<KnownLists> {
    const { store, log } = parts;
    const configured = verifyStored(parts, configuredBundle);
    const { gid } = configured.membership.list;
    const storedBundle = await store.loadMembership(gid);
    let newest = configured;
    try {
      const stored = storedBundle && verifyStored(parts, storedBundle);
      if (stored && isToStay(parts, stored.membership, configured.membership)) newest = stored;
    } catch (error) {
      log.warn({ gid: toHex(gid), err: error }, 'the stored membership list does not verify; using the configured one');
    }
    assertCoordinator(parts, newest.membership);
    const lists = new KnownLists(parts, newest);
    await lists.#keep(newest);
    return lists;
  }

  get newest(): VerifiedBundle {
    return this.#newest;
  }

  /**
   * Verifies a list, and keeps it before it is used.
   * @returns whether it is newer than the one before; the same list again is fine
   * @throws MalformedError, VerificationError; ConflictError `wrong-group`, `membership-rollback`, `membership-conflict`
   */
  async update(bundle: Uint8Array): Promise<boolean> {
    const next = verify(this.#parts, bundle);
    const { list, listHash } = next.membership;
    const current = this.#newest.membership;
    if (!equalBytes(list.gid, current.list.gid)) throw new ConflictError('wrong-group', 'a list of another group');
    if (equalBytes(listHash, current.listHash)) {
      if (addsTo(this.#parts, current, next.membership)) await this.#keep(next);
      return false;
    }
    const order = compareLists(list, current.list);
    const name = `${list.version}.${list.revision}`;
    if (order === 0) throw new ConflictError('membership-conflict', `another list ${name} is known`);
    if (order < 0) throw new ConflictError('membership-rollback', `list ${name} is older than the one that is known`);
    assertSucceeds(list, current.list);
    assertCoordinator(this.#parts, next.membership);
    await this.#keep(next);
    return true;
  }

  async #keep(next: VerifiedBundle): Promise<void> {
    const { list, listHash } = next.membership;
    await this.#parts.store.saveMembership(list.gid, list, listHash, next.bundle);
    this.#newest = next;
    await this.refresh();
  }

  /** An epoch was agreed, so that the list before it reaches further. */
  async refresh(): Promise<void> {
    this.#kept = await this.#parts.store.lists(this.#newest.membership.list.gid);
    this.#past.clear();
  }

  /** The list of this hash, if it is known. */
  byHash(listHash: Uint8Array): Membership | undefined {
    if (equalBytes(this.#newest.membership.listHash, listHash)) return this.#newest.membership;
    return this.#kept.map((kept) => this.#verified(kept)).find((past) => past && equalBytes(past.listHash, listHash));
  }

  /**
   * The lists that something of an epoch may rest on: the newest; and for what was sealed before a member or reader was
   * removed, those that this epoch or a later one was agreed under.
   */
  *reaching({ epoch, attempt }: EpochNumber): Generator<Membership> {
    yield this.#newest.membership;
    for (const kept of this.#kept) {
      const { lastEpoch } = kept;
      if (!lastEpoch || (lastEpoch.epoch - epoch || lastEpoch.attempt - attempt) < 0) continue;
      const past = this.#verified(kept);
      if (past) yield past;
    }
  }

  #verified(kept: KeptList): Membership | undefined {
    if (this.#past.has(kept)) return this.#past.get(kept);
    const past = this.#verifyPast(kept.bundle);
    this.#past.set(kept, past);
    return past;
  }

  #verifyPast(bundle: Uint8Array): Membership | undefined {
    try {
      return verifyStored(this.#parts, bundle).membership;
    } catch (error) {
      if (!(error instanceof GridringError)) throw error;
      this.#parts.log.warn({ err: error }, 'an older membership list does not verify');
      return undefined;
    }
  }
}

/**
 * The newest list without a member, changed by the gateway as far as the authority's delegation allows; undefined where it
 * has none, or one that does not let it remove this member.
 */
export function removalUnderDelegation(
  { suite, identity, trustedRoots, certificateCache, nowS }: RemovalParts,
  { membership, bundle }: VerifiedBundle,
  member: Uint8Array,
): Uint8Array | undefined {
  const { delegation } = membership;
  if (!delegation?.mayRemove) return undefined;
  const { revision = 0, removals = [], additions = [] } = delegation.change ?? {};
  const isAddition = additions.some((added) => equalBytes(added, member));
  const change = {
    revision: revision + 1,
    removals: isAddition ? removals : [...removals, member],
    additions: additions.filter((added) => !equalBytes(added, member)),
  };
  const changed = changeMembership(suite, identity, bundle, change);
  try {
    verifyMembership({ suite, trustedRoots, certificateCache, nowS: nowS() }, changed);
    return changed;
  } catch (error) {
    if (error instanceof VerificationError && error.code === 'delegation-overstepped') return undefined;
    throw error;
  }
}

const verify = ({ suite, trustedRoots, certificateCache, nowS }: ListParts, bundle: Uint8Array): VerifiedBundle => ({
  membership: verifyMembership({ suite, trustedRoots, certificateCache, nowS: nowS() }, bundle),
  bundle,
});

/**
 * Whether a copy of a list brings certificates that were missing, or beside it what the authority delegates for longer.
 * Anybody may bring it, so nothing that is known is given up for it.
 */
function addsTo({ identity, nowS }: ListParts, known: Membership, copy: Membership): boolean {
  if (isFuller(copy, known, nowS())) return true;
  const [old, delegation] = [known.delegation, copy.delegation];
  if (isFuller(known, copy, nowS()) || !delegation || !equalBytes(delegation.gateway, identity.certHash)) return false;
  return !old || !equalBytes(old.gateway, identity.certHash) || delegation.notAfterS > old.notAfterS;
}

/** Whether the stored list is newer than the configured one, or a copy of it that has all that this one has. */
const isToStay = (parts: ListParts, stored: Membership, configured: Membership): boolean =>
  equalBytes(stored.listHash, configured.listHash)
    ? !addsTo(parts, stored, configured)
    : compareLists(stored.list, configured.list) > 0;

/** As at the last moment of the list's validity, where that is over. */
function verifyStored(parts: ListParts, bundle: Uint8Array): VerifiedBundle {
  const { trustedRoots, retiredRoots = [] } = parts;
  const nowS = (): number => Math.min(parts.nowS(), lastValidS(bundle));
  try {
    return verify({ ...parts, nowS }, bundle);
  } catch (error) {
    if (retiredRoots.length === 0 || !(error instanceof VerificationError)) throw error;
    const { membership } = verify({ ...parts, trustedRoots: retiredRoots, nowS }, bundle);
    return { membership: { ...membership, trustedRoots }, bundle };
  }
}

/** @throws VerificationError `not-listed` */
const assertCoordinator = ({ identity, nowS }: ListParts, membership: Membership): void => {
  // Under a renewed certificate this gateway coordinates once it has taken it.
  const heir = successorOf(membership.list, identity.certHash);
  certificateOf(membership, heir?.certHash ?? identity.certHash, 'coordinator', nowS());
};
