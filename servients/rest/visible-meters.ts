/** What a caller may know of meters: their sealed readings' number and times, and who was in the group, is for those concerned. */
import { equalBytes, toHex } from '../../crypto/bytes.js';
import type { VerifiedCertificate } from '../../crypto/certificate.js';
import { VerificationError } from '../../crypto/errors.js';
import { findEntry, type Membership, type MembershipList } from '../../crypto/membership.js';
import type { Backend } from '../../things/backend.js';

export interface VisibleMeter {
  readonly certHash: Uint8Array;
  /** `urn:gridring:meter:<id>` */
  readonly id: string;
}

type Sight = (meter: Uint8Array) => boolean;

/**
 * The meters that the current lists let a caller see: its gateway and operators all of a group, a reader those that the
 * policy lets it read. Meters that have left are among them, for what they measured is still read.
 * @throws VerificationError `not-listed` unless a current list names the caller in one of these roles
 */
export function visibleMeters(backend: Backend, caller: VerifiedCertificate): readonly VisibleMeter[] {
  const groups = backend.currentMemberships.flatMap(({ list }) => {
    const sees = sightOf(list, caller);
    return sees ? [{ gid: list.gid, sees }] : [];
  });
  if (groups.length === 0)
    throw new VerificationError('not-listed', 'no reader, operator or gateway of any group here');
  const found = new Map<string, VisibleMeter>();
  for (const { gid, sees } of groups) {
    for (const meter of backend.listsOf(gid).flatMap(membersOf)) {
      const key = toHex(meter.certHash);
      if (!found.has(key) && sees(meter.certHash)) found.set(key, meter);
    }
  }
  return [...found.values()];
}

/** By certHash in hex, by URN or by the id in it; where a device has had several certificates, the newest. */
export const findMeter = (meters: readonly VisibleMeter[], name: string): VisibleMeter | undefined =>
  meters.find(({ certHash }) => toHex(certHash) === name) ??
  meters.find(({ id }) => id === name || id === `urn:gridring:meter:${name}`);

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

const membersOf = ({ list, certificates }: Membership): readonly VisibleMeter[] =>
  list.entries.flatMap(({ certHash }, i) => {
    const certificate = certificates[i];
    const isMember = certificate?.role === 'meter' && findEntry(list, certHash, 'member') !== undefined;
    return isMember ? [{ certHash, id: `urn:gridring:meter:${certificate.id}` }] : [];
  });
