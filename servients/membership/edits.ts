/** Changes of a membership list as the authority asks for them, each with what follows from it that one may not expect. */
import { compareBytes, equalBytes, toHex } from '../../crypto/bytes.js';
import type { LeafCertificate } from '../../crypto/certificate.js';
import { SetupError } from '../../crypto/errors.js';
import {
  lineOf,
  lineWith,
  memberCount,
  readableBy,
  roleBit,
  type AuthorityList,
  type ListRole,
  type Policy,
} from '../../crypto/membership.js';
import { isoTime, policyLines, without, type NameOf } from './changes.js';

export interface Edit {
  readonly list: AuthorityList;
  readonly warnings: readonly string[];
}

export interface NewEntry {
  readonly certificate: LeafCertificate;
  readonly hpkeKey: Uint8Array | null;
  /** Of which meters a reader reads; null: of all. Undefined for anybody else. */
  readonly reads: readonly Uint8Array[] | null | undefined;
}

const roleOf = { meter: 'member', reader: 'reader', operator: 'operator', gateway: 'coordinator' } as const;

/** What a certificate's holder can be in a list. @throws SetupError `certificate-role` */
export function listRoleOf({ role, id }: LeafCertificate): ListRole {
  if (role === 'backend' || role === 'authority') {
    throw new SetupError('certificate-role', `${id} is certified as ${role}, which no list names`);
  }
  return roleOf[role];
}

/** @throws SetupError `already-listed`, `certificate-role` */
export function addEntry(list: AuthorityList, { certificate, hpkeKey, reads }: NewEntry, nameOf: NameOf): Edit {
  const { certHash } = certificate;
  const name = nameOf(certHash);
  if (list.entries.some((entry) => equalBytes(entry.certHash, certHash))) {
    throw new SetupError('already-listed', `${name} is in the list already, with this certificate`);
  }
  const role = listRoleOf(certificate);
  const sameName = list.entries.filter((entry) => entry.roles === roleBit[role] && nameOf(entry.certHash) === name);
  const readings =
    reads === undefined ? list.policy.readings : [...list.policy.readings, { reader: certHash, meters: reads }];
  return {
    list: {
      ...list,
      policy: { ...list.policy, readings },
      entries: [...list.entries, { certHash, roles: roleBit[role], hpkeKey }],
    },
    warnings: sameName.map(
      (entry) =>
        `${name} has another certificate in the list, which stays until it is removed: ${toHex(entry.certHash)}`,
    ),
  };
}

/**
 * Puts a certificate in the place of another of the same holder: whatever the list and its policy say of the one they say
 * of the other.
 * @throws SetupError `certificate-of-another`, `already-listed`, `nothing-changes`
 */
export function replaceEntry(list: AuthorityList, before: LeafCertificate, after: LeafCertificate): Edit {
  if (before.role !== after.role || before.id !== after.id) {
    const names = `${before.role} ${before.id} and ${after.role} ${after.id}`;
    throw new SetupError(
      'certificate-of-another',
      `the certificates are of two holders, ${names}: nothing is replaced`,
    );
  }
  if (equalBytes(before.certHash, after.certHash)) {
    throw new SetupError('nothing-changes', `${after.id} has that certificate in the list already`);
  }
  if (lineWith(list, after.certHash)) {
    throw new SetupError('already-listed', `${after.id} has had that certificate before, or has it beside this one`);
  }
  const swap = (certHash: Uint8Array): Uint8Array =>
    equalBytes(certHash, before.certHash) ? after.certHash : certHash;
  const { policy } = list;
  return {
    list: {
      ...list,
      policy: {
        ...policy,
        requiredMembers: policy.requiredMembers.map(swap),
        readings: policy.readings.map(({ reader, meters }) => ({
          reader: swap(reader),
          meters: meters?.map(swap) ?? null,
        })),
      },
      entries: list.entries.map((entry) =>
        equalBytes(entry.certHash, before.certHash)
          ? { ...entry, certHash: after.certHash, replaced: lineOf(entry) }
          : entry,
      ),
    },
    warnings: [],
  };
}

/**
 * Removes an entry and all that the policy says of it.
 * @throws SetupError `too-few-members` when no epoch could be agreed without it
 */
export function removeEntry(list: AuthorityList, certHash: Uint8Array, nameOf: NameOf): Edit {
  const name = nameOf(certHash);
  const isOther = (other: Uint8Array): boolean => !equalBytes(other, certHash);
  const { policy } = list;
  const warnings: string[] = [];
  const readings = policy.readings.flatMap(({ reader, meters }) => {
    if (!isOther(reader)) return [];
    const others = meters?.filter(isOther) ?? null;
    if (others?.length !== 0 || meters?.length === 0) return [{ reader, meters: others }];
    warnings.push(`${nameOf(reader)} read ${name} only, and reads nothing any more`);
    return [];
  });
  const requiredMembers = policy.requiredMembers.filter(isOther);
  if (requiredMembers.length < policy.requiredMembers.length) {
    const rule = requiredMembers.length > 0 ? 'the others that are required' : 'a majority';
    warnings.push(`${name} was required in every epoch: from now on ${rule} must be`);
  }
  const entries = list.entries.filter((entry) => isOther(entry.certHash));
  const next = { ...list, policy: { ...policy, readings, requiredMembers }, entries };
  if (memberCount(next) < policy.minMembers) {
    const advice = 'lower the number first: "gridring membership policy --min-members"';
    throw new SetupError(
      'too-few-members',
      `without ${name} there are ${memberCount(next)} members, and the policy asks for ${policy.minMembers}: ${advice}`,
    );
  }
  if (!next.entries.some(({ roles }) => (roles & roleBit.coordinator) !== 0)) {
    warnings.push('no gateway is left that could coordinate an epoch');
  }
  return { list: next, warnings };
}

export interface PolicyChange {
  readonly profile?: Policy['profile'] | undefined;
  readonly rekeyIntervalS?: number | undefined;
  readonly graceS?: number | undefined;
  readonly minMembers?: number | undefined;
  readonly epochFloor?: number | undefined;
}

/** @throws SetupError `nothing-changes`, `too-few-members` */
export function changePolicy(list: AuthorityList, change: PolicyChange): Edit {
  const { policy } = list;
  const given = Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined));
  const next: Policy = { ...policy, ...given };
  if (next.minMembers > memberCount(list)) {
    throw new SetupError('too-few-members', `the list names ${memberCount(list)} members; ask for no more than that`);
  }
  if (policyLines(next).every((line) => policyLines(policy).includes(line)))
    throw new SetupError('nothing-changes', 'the policy says that already, or nothing was asked for');
  const lower = (next.epochFloor ?? 0) < (policy.epochFloor ?? 0);
  return {
    list: { ...list, policy: next },
    warnings: lower ? ['members that have followed the higher epoch floor do not go back'] : [],
  };
}

/** @throws SetupError `nothing-changes` unless it lasts longer then */
export function renew(list: AuthorityList, notAfterS: number): Edit {
  if (notAfterS <= list.notAfterS) {
    throw new SetupError(
      'nothing-changes',
      `the list is valid until ${isoTime(list.notAfterS)} already; give more --days`,
    );
  }
  return { list: { ...list, notAfterS }, warnings: [] };
}

/**
 * The certificate that a person means by an id, a URN, or at least 8 digits of its hash.
 * @throws SetupError `entry-unknown`, `entry-ambiguous`
 */
export function certHashBy(list: AuthorityList, asked: string, urnOf: NameOf): Uint8Array {
  const isHash = /^[0-9a-f]{8,64}$/.test(asked);
  const found = list.entries
    .map(({ certHash }) => certHash)
    .filter((certHash) => {
      const urn = urnOf(certHash);
      return urn === asked || urn.split(':').at(-1) === asked || (isHash && toHex(certHash).startsWith(asked));
    })
    .sort(compareBytes);
  const [first, ...more] = found;
  if (!first)
    throw new SetupError('entry-unknown', `nobody in the list is ${asked}; "gridring membership show" lists all`);
  if (more.length > 0) {
    const candidates = found.map((certHash) => `${urnOf(certHash)} ${toHex(certHash)}`).join(', ');
    throw new SetupError('entry-ambiguous', `${asked} may be ${candidates}; give the certificate's hash`);
  }
  return first;
}

/** Lets a reader read: all meters (null), or these beside what it reads already. @throws SetupError `nothing-changes` */
export function grantReading(list: AuthorityList, reader: Uint8Array, meters: readonly Uint8Array[] | null): Edit {
  const known = readableBy(list, reader);
  const fresh = known === null ? [] : meters && without(meters, known);
  if (fresh?.length === 0) throw new SetupError('nothing-changes', 'the reader reads that already');
  return withReadable(list, reader, meters && [...(known ?? []), ...(fresh ?? [])]);
}

/**
 * Takes what a reader may read from it: all of it (null), or these meters.
 * @throws SetupError `nothing-changes`; `reads-all` where single meters are taken from who reads all
 */
export function withdrawReading(list: AuthorityList, reader: Uint8Array, meters: readonly Uint8Array[] | null): Edit {
  const known = readableBy(list, reader);
  if (known === null && meters) {
    throw new SetupError(
      'reads-all',
      'the reader reads all meters: take that away, and grant the ones that it is to read',
    );
  }
  const rest = meters && known ? without(known, meters) : [];
  if (known?.length === rest.length) throw new SetupError('nothing-changes', 'the reader does not read that');
  return withReadable(list, reader, rest);
}

function withReadable(list: AuthorityList, reader: Uint8Array, meters: readonly Uint8Array[] | null): Edit {
  const others = list.policy.readings.filter((rule) => !equalBytes(rule.reader, reader));
  const readings = meters?.length === 0 ? others : [...others, { reader, meters }];
  return { list: { ...list, policy: { ...list.policy, readings } }, warnings: [] };
}
