/** A membership list for people, and for programs. */
import { equalBytes, toHex } from '../../crypto/bytes.js';
import type { ListRole, Membership } from '../../crypto/membership.js';
import { suiteById } from '../../crypto/suite-node.js';
import { isoTime, policyLines, rolesOf } from '../membership/changes.js';
import { table } from './output.js';

interface Row {
  readonly id: string | undefined;
  readonly certHash: string;
  readonly roles: readonly ListRole[];
  readonly required: boolean;
  /** What a reader reads. */
  readonly reads?: 'all' | readonly string[];
}

function urnOf({ list, certificates }: Membership, certHash: Uint8Array): string {
  const certificate = certificates[list.entries.findIndex((entry) => equalBytes(entry.certHash, certHash))];
  return certificate ? `urn:gridring:${certificate.role}:${certificate.id}` : toHex(certHash);
}

function rowsOf(membership: Membership): readonly Row[] {
  const { list, certificates } = membership;
  return list.entries.map((entry, i) => {
    const { certHash } = entry;
    const rules = list.policy.readings.filter(({ reader }) => equalBytes(reader, certHash));
    const reads = rules.some(({ meters }) => meters === null)
      ? 'all'
      : rules.flatMap(({ meters }) => meters ?? []).map((meter) => urnOf(membership, meter));
    return {
      id: certificates[i] && urnOf(membership, certHash),
      certHash: toHex(certHash),
      roles: rolesOf(entry),
      required: list.policy.requiredMembers.some((required) => equalBytes(required, certHash)),
      ...(rules.length > 0 && { reads }),
    };
  });
}

export function membershipJson(membership: Membership): object {
  const { list, listHash, delegation } = membership;
  const { suite, profile, minMembers, gatewayIsMember, rekeyIntervalS, graceS, epochFloor } = list.policy;
  return {
    gid: toHex(list.gid),
    version: list.version,
    revision: list.revision,
    listHash: toHex(listHash),
    notBefore: isoTime(list.notBeforeS),
    notAfter: isoTime(list.notAfterS),
    policy: { suite, profile, minMembers, gatewayIsMember, rekeyIntervalS, graceS, epochFloor },
    entries: rowsOf(membership),
    ...(delegation && {
      delegation: {
        gateway: toHex(delegation.gateway),
        notAfter: isoTime(delegation.notAfterS),
        mayRemove: delegation.mayRemove,
        additions: delegation.additions.map(toHex),
      },
    }),
  };
}

export function membershipText(membership: Membership): string {
  const { list, listHash, delegation } = membership;
  const revision = list.revision > 0 ? `, revision ${list.revision} by the gateway` : '';
  const rows = [...rowsOf(membership)].sort((a, b) => (a.id ?? a.certHash).localeCompare(b.id ?? b.certHash));
  const lines = [
    `group   ${toHex(list.gid)}`,
    `list    version ${list.version}${revision}, hash ${toHex(listHash)}`,
    `valid   ${isoTime(list.notBeforeS)} to ${isoTime(list.notAfterS)}`,
    `policy  suite ${suiteById(list.policy.suite).name}, ${policyLines(list.policy).join(', ')}`,
  ];
  if (delegation) {
    const may = [
      ...(delegation.mayRemove ? ['remove members'] : []),
      ...delegation.additions.map((a) => `add ${toHex(a).slice(0, 16)}`),
    ];
    const gateway = short(urnOf(membership, delegation.gateway));
    lines.push(`allows  ${gateway} to ${may.join(', ')} until ${isoTime(delegation.notAfterS)}`);
  }
  const cells = rows.map(({ id, roles, certHash, required, reads }) => [
    id ?? '(no valid certificate)',
    roles.join(', '),
    certHash.slice(0, 16),
    [
      ...(required ? ['required'] : []),
      ...(reads ? [`reads ${reads === 'all' ? 'all meters' : reads.map(short).join(', ')}`] : []),
    ].join(', '),
  ]);
  return [...lines, '', table([['ID', 'ROLE', 'CERTIFICATE', ''], ...cells])].join('\n');
}

const short = (urn: string): string => urn.split(':').at(-1) ?? urn;
