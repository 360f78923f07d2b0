/** What a caller may know of meters: their sealed readings' number and times, and who was in the group, is for those concerned. */
import { equalBytes, toHex } from '../../crypto/bytes.js';
import type { VerifiedCertificate } from '../../crypto/certificate.js';
import { VerificationError } from '../../crypto/errors.js';
import { findEntry, lineOf, type Membership, type MembershipList } from '../../crypto/membership.js';
import type { Backend } from '../../things/backend.js';
import type { EpochRow } from '../../things/stores.js';
import type { Principal } from '../auth/principal.js';
import type { Scope } from '../auth/roles.js';

export interface VisibleMeter {
  readonly certHash: Uint8Array;
  /** All certificates that it has had, the oldest first and the one above last. */
  readonly line: readonly Uint8Array[];
  /** The certHash in hex: the order of pages. */
  readonly key: string;
  /** `urn:gridring:meter:<id>` */
  readonly id: string;
}

type Sight = (meter: Uint8Array) => boolean;

/** What one caller may see, kept until lists change. */
export interface View {
  /** In the order of the lists. */
  readonly meters: readonly VisibleMeter[];
  /** Ascending by key. */
  readonly byKey: readonly VisibleMeter[];
  /** By certHash in hex, also one that was replaced, by URN or the id in it; of several meters of one id, the newest. */
  find(name: string): VisibleMeter | undefined;
}

interface KeptView {
  readonly view: View;
  readonly revision: number;
  readonly current: readonly Membership[];
}

/** Callers whose views are kept. That of all meters of a large backend takes some megabytes. */
const maxViews = 16;

/** Views are made once for each caller and state of the lists, not for each request: a page must not cost a whole list. */
export class VisibleMeters {
  readonly #backend: Backend;
  /** By what the caller may see; the one that was asked for last is the last. */
  readonly #views = new Map<string, KeptView>();

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /**
   * The meters that a caller may see. With a certificate, what the current lists say: its gateway and operators all of a
   * group, a reader those that the policy lets it read. A person, as far as the scope reaches: all, or the account's own.
   * Meters that have left are among them, for what they measured is still read.
   * @throws VerificationError `not-listed` where a certificate calls that no current list names in one of these roles
   */
  of(caller: Principal, scope: Scope): View {
    const { listsRevision: revision, currentMemberships: current } = this.#backend;
    const own = ownMeters(caller, scope);
    const name = caller.kind === 'device' ? toHex(caller.certificate.certHash) : (own?.join(' ') ?? 'all');
    const kept = this.#views.get(name);
    this.#views.delete(name);
    // Lists begin and end by the clock too, with no new revision.
    const isCurrent =
      kept?.revision === revision &&
      kept.current.length === current.length &&
      kept.current.every((membership, i) => membership === current[i]);
    const view = isCurrent ? kept.view : makeView(this.#seenBy(caller, own, current));
    const [oldest] = this.#views.keys();
    if (oldest !== undefined && this.#views.size >= maxViews) this.#views.delete(oldest);
    this.#views.set(name, { view, revision, current });
    return view;
  }

  #seenBy(
    caller: Principal,
    own: readonly string[] | undefined,
    current: readonly Membership[],
  ): readonly VisibleMeter[] {
    if (caller.kind === 'device') return seenByCertificate(this.#backend, current, caller.certificate);
    const found = new Found();
    for (const { list } of this.#backend.memberships) {
      for (const meter of this.#backend.listsOf(list.gid).flatMap(membersOf)) {
        if (own?.includes(meter.id) ?? true) found.add(meter);
      }
    }
    return found.meters;
  }
}

/** The meters that a scope of the caller is confined to; undefined where it reaches all. */
export const ownMeters = (caller: Principal, scope: Scope): readonly string[] | undefined =>
  caller.kind === 'person' && caller.scopes.get(scope) !== 'all' ? (caller.account?.meters ?? []) : undefined;

/** Whether a meter of the caller's own is or was in the group, where its scope is confined to these. */
export const seesGroup = (backend: Backend, caller: Principal, scope: Scope, gid: Uint8Array): boolean =>
  seesSome(backend.listsOf(gid), ownMeters(caller, scope));

/** The same of the list that an epoch rests on. */
export const seesEpoch = (
  backend: Backend,
  caller: Principal,
  scope: Scope,
  { gid, listHash }: Pick<EpochRow, 'gid' | 'listHash'>,
): boolean =>
  seesSome(
    backend.listsOf(gid).filter((membership) => equalBytes(membership.listHash, listHash)),
    ownMeters(caller, scope),
  );

const seesSome = (lists: readonly Membership[], own: readonly string[] | undefined): boolean =>
  own === undefined || lists.flatMap(membersOf).some(({ id }) => own.includes(id));

function makeView(meters: readonly VisibleMeter[]): View {
  const byKey = [...meters].sort((a, b) => (a.key < b.key ? -1 : 1));
  const names = new Map<string, VisibleMeter>();
  for (const meter of meters) {
    for (const certHash of meter.line) names.set(toHex(certHash), meter);
    if (!names.has(meter.id)) names.set(meter.id, meter);
  }
  return { meters, byKey, find: (name) => names.get(name) ?? names.get(urnOf(name)) };
}

const urnOf = (id: string): string => `urn:gridring:meter:${id}`;

function seenByCertificate(
  backend: Backend,
  current: readonly Membership[],
  caller: VerifiedCertificate,
): readonly VisibleMeter[] {
  const groups = current.flatMap(({ list }) => {
    const sees = sightOf(list, caller);
    return sees ? [{ gid: list.gid, sees }] : [];
  });
  if (groups.length === 0)
    throw new VerificationError('not-listed', 'no reader, operator or gateway of any group here');
  const found = new Found();
  for (const { gid, sees } of groups) {
    for (const meter of backend.listsOf(gid).flatMap(membersOf)) if (sees(meter.certHash)) found.add(meter);
  }
  return found.meters;
}

/** Each meter once, as the newest list has it that names any of its certificates. */
class Found {
  readonly meters: VisibleMeter[] = [];
  readonly #known = new Set<string>();

  add(meter: VisibleMeter): void {
    if (this.#known.has(meter.key)) return;
    this.meters.push(meter);
    for (const certHash of meter.line) this.#known.add(toHex(certHash));
  }
}

function sightOf(list: MembershipList, { certHash }: VerifiedCertificate): Sight | undefined {
  if (seesWholeGroup(list, certHash)) return () => true;
  if (!findEntry(list, certHash, 'reader')) return undefined;
  const readable = new Set(
    rulesFor(list, certHash)
      .flatMap(({ meters }) => meters ?? [])
      .map(toHex),
  );
  return (meter) => readable.has(toHex(meter));
}

function seesWholeGroup(list: MembershipList, certHash: Uint8Array): boolean {
  if (findEntry(list, certHash, 'coordinator') ?? findEntry(list, certHash, 'operator')) return true;
  return !!findEntry(list, certHash, 'reader') && rulesFor(list, certHash).some(({ meters }) => meters === null);
}

const rulesFor = ({ policy }: MembershipList, certHash: Uint8Array): MembershipList['policy']['readings'] =>
  policy.readings.filter(({ reader }) => equalBytes(reader, certHash));

/**
 * Who may see a list that is no longer the newest, and so who was in the group then: whoever stands in it, who sees all of
 * the group by the current one, and people whose roles reach all.
 */
export function mayAudit(backend: Backend, caller: Principal, { list }: Membership): boolean {
  if (caller.kind === 'person') return ownMeters(caller, 'epochs:read') === undefined;
  const { certHash } = caller.certificate;
  return (
    list.entries.some((entry) => equalBytes(entry.certHash, certHash)) ||
    backend.currentMemberships.some(
      (current) => equalBytes(current.list.gid, list.gid) && seesWholeGroup(current.list, certHash),
    )
  );
}

const members = new WeakMap<Membership, readonly VisibleMeter[]>();

/** A list never changes: its meters are looked for once. */
function membersOf(membership: Membership): readonly VisibleMeter[] {
  const known = members.get(membership);
  if (known) return known;
  const { list, certificates } = membership;
  const found = list.entries.flatMap((entry, i) => {
    const { certHash } = entry;
    const certificate = certificates[i];
    const isMember = certificate?.role === 'meter' && findEntry(list, certHash, 'member') !== undefined;
    return isMember ? [{ certHash, line: lineOf(entry), key: toHex(certHash), id: urnOf(certificate.id) }] : [];
  });
  members.set(membership, found);
  return found;
}
