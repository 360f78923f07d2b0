/** Whose sealed readings a caller may fetch. They stay sealed: this keeps even their number and times to those concerned. */
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
  if (findEntry(list, certHash, 'coordinator') ?? findEntry(list, certHash, 'operator')) return () => true;
  if (!findEntry(list, certHash, 'reader')) return undefined;
  const rules = list.policy.readings.filter(({ reader }) => equalBytes(reader, certHash));
  if (rules.some(({ meters }) => meters === null)) return () => true;
  const readable = new Set(rules.flatMap(({ meters }) => meters ?? []).map(toHex));
  return (meter) => readable.has(toHex(meter));
}

const membersOf = ({ list, certificates }: Membership): readonly VisibleMeter[] =>
  list.entries.flatMap(({ certHash }, i) => {
    const certificate = certificates[i];
    const isMember = certificate?.role === 'meter' && findEntry(list, certHash, 'member') !== undefined;
    return isMember ? [{ certHash, id: `urn:gridring:meter:${certificate.id}` }] : [];
  });
