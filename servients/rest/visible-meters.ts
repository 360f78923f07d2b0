/** What a caller may know of meters: their sealed readings' number and times, and who was in the group, is for those concerned. */
import { equalBytes, toHex } from '../../crypto/bytes.js';
import type { VerifiedCertificate } from '../../crypto/certificate.js';
import { VerificationError } from '../../crypto/errors.js';
import { findEntry, type Membership, type MembershipList } from '../../crypto/membership.js';
import type { Backend } from '../../things/backend.js';

export interface VisibleMeter {
  readonly certHash: Uint8Array;
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
  /** By certHash in hex, by URN or the id in it; where a device has had several certificates, the newest. */
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
  /** By the caller's certHash in hex; the one that was asked for last is the last. */
  readonly #views = new Map<string, KeptView>();

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /**
   * The meters that the current lists let a caller see: its gateway and operators all of a group, a reader those that the
   * policy lets it read. Meters that have left are among them, for what they measured is still read.
   * @throws VerificationError `not-listed` unless a current list names the caller in one of these roles
   */
  of(caller: VerifiedCertificate): View {
    const { listsRevision: revision, currentMemberships: current } = this.#backend;
    const name = toHex(caller.certHash);
    const kept = this.#views.get(name);
    this.#views.delete(name);
    // Lists begin and end by the clock too, with no new revision.
    const isCurrent =
      kept?.revision === revision &&
      kept.current.length === current.length &&
      kept.current.every((membership, i) => membership === current[i]);
    const view = isCurrent ? kept.view : makeView(seenBy(this.#backend, current, caller));
    const [oldest] = this.#views.keys();
    if (oldest !== undefined && this.#views.size >= maxViews) this.#views.delete(oldest);
    this.#views.set(name, { view, revision, current });
    return view;
  }
}

function makeView(meters: readonly VisibleMeter[]): View {
  const byKey = [...meters].sort((a, b) => (a.key < b.key ? -1 : 1));
  const names = new Map<string, VisibleMeter>();
  for (const meter of meters) {
    names.set(meter.key, meter);
    if (!names.has(meter.id)) names.set(meter.id, meter);
  }
  return { meters, byKey, find: (name) => names.get(name) ?? names.get(urnOf(name)) };
}

const urnOf = (id: string): string => `urn:gridring:meter:${id}`;

function seenBy(
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
  const found = new Map<string, VisibleMeter>();
  for (const { gid, sees } of groups) {
    for (const meter of backend.listsOf(gid).flatMap(membersOf)) {
      if (!found.has(meter.key) && sees(meter.certHash)) found.set(meter.key, meter);
    }
  }
  return [...found.values()];
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
 * Who may see a list that is no longer the newest, and so who was in the group then: whoever stands in it, and who sees
 * all of the group by the current one.
 */
export const mayAudit = (backend: Backend, { certHash }: VerifiedCertificate, { list }: Membership): boolean =>
  list.entries.some((entry) => equalBytes(entry.certHash, certHash)) ||
  backend.currentMemberships.some(
    (current) => equalBytes(current.list.gid, list.gid) && seesWholeGroup(current.list, certHash),
  );

const members = new WeakMap<Membership, readonly VisibleMeter[]>();

/** A list never changes: its meters are looked for once. */
function membersOf(membership: Membership): readonly VisibleMeter[] {
  const known = members.get(membership);
  if (known) return known;
  const { list, certificates } = membership;
  const found = list.entries.flatMap(({ certHash }, i) => {
    const certificate = certificates[i];
    const isMember = certificate?.role === 'meter' && findEntry(list, certHash, 'member') !== undefined;
    return isMember ? [{ certHash, key: toHex(certHash), id: urnOf(certificate.id) }] : [];
  });
  members.set(membership, found);
  return found;
}
