/**
 * What a list changes of the one before it, in words: made from the two lists and nothing else, so that whoever signs sees
 * what is signed and not what somebody says of it.
 */
import { equalBytes, toHex } from '../../crypto/bytes.js';
import type { Delegation } from '../../crypto/delegation.js';
import {
  roleBit,
  successorOf,
  type AuthorityList,
  type ListEntry,
  type ListRole,
  type Policy,
} from '../../crypto/membership.js';
import { suiteById } from '../../crypto/suite-node.js';
import { duration } from './durations.js';

/** The name of a certificate's holder, for people. */
export type NameOf = (certHash: Uint8Array) => string;

export const isoTime = (timeS: number): string => new Date(timeS * 1000).toISOString();

/** What a policy says beside who is required and who reads. */
export const policyLines = ({ profile, minMembers, rekeyIntervalS, graceS, epochFloor }: Policy): readonly string[] => [
  `profile ${profile}`,
  `at least ${minMembers} members`,
  rekeyIntervalS === 0 ? 'no rekey by time' : `a new key every ${duration(rekeyIntervalS)}`,
  `the old key receives for ${duration(graceS)}`,
  ...(epochFloor === null ? [] : [`epochs above ${epochFloor}`]),
];

/** The roles of an entry, by name. */
export const rolesOf = ({ roles }: Pick<ListEntry, 'roles'>): readonly ListRole[] =>
  (Object.keys(roleBit) as ListRole[]).filter((role) => (roles & roleBit[role]) !== 0);

/** One line a change; `base` is undefined for the first list of a group. */
export function changesBetween(
  base: AuthorityList | undefined,
  next: AuthorityList,
  nameOf: NameOf,
): readonly string[] {
  const before = base && policyUnder(base.policy, next);
  return [
    ...entryChanges(base?.entries ?? [], next.entries, nameOf),
    ...readingChanges(before, next.policy, nameOf),
    ...requiredChanges(before?.requiredMembers ?? [], next.policy.requiredMembers, nameOf),
    ...policyChanges(base?.policy, next.policy),
    ...(base?.notBeforeS === next.notBeforeS ? [] : [`* valid from ${isoTime(next.notBeforeS)}`]),
    ...(base?.notAfterS === next.notAfterS ? [] : [`* valid until ${isoTime(next.notAfterS)}`]),
  ];
}

/** What a policy says, said of the certificates that are in the place of those that it names. */
function policyUnder(policy: Policy, next: AuthorityList): Policy {
  const heirOf = (certHash: Uint8Array): Uint8Array => successorOf(next, certHash)?.certHash ?? certHash;
  return {
    ...policy,
    requiredMembers: policy.requiredMembers.map(heirOf),
    readings: policy.readings.map(({ reader, meters }) => ({
      reader: heirOf(reader),
      meters: meters?.map(heirOf) ?? null,
    })),
  };
}

const keyOf = ({ certHash }: ListEntry): string => toHex(certHash);

function entryChanges(before: readonly ListEntry[], after: readonly ListEntry[], nameOf: NameOf): readonly string[] {
  const [old, now] = [before, after].map((entries) => new Map(entries.map((entry) => [keyOf(entry), entry])));
  const line = (sign: string, entry: ListEntry): string =>
    `${sign} ${rolesOf(entry).join(', ')} ${nameOf(entry.certHash)} (${keyOf(entry)})`;
  const isHeir = ({ replaced }: ListEntry): boolean => old?.has(toHex(replaced?.at(-1) ?? new Uint8Array(0))) ?? false;
  const heirs = after.filter((entry) => !old?.has(keyOf(entry)) && isHeir(entry));
  const gone = new Set(heirs.flatMap(({ replaced = [] }) => replaced.map(toHex)));
  return [
    ...before.filter((entry) => !now?.has(keyOf(entry)) && !gone.has(keyOf(entry))).map((entry) => line('-', entry)),
    ...heirs.map((entry) => {
      const was = toHex(entry.replaced?.at(-1)?.subarray(0, 8) ?? new Uint8Array(0));
      return `* ${rolesOf(entry).join(', ')} ${nameOf(entry.certHash)} has a new certificate (${keyOf(entry)}), after ${was}…`;
    }),
    ...after.filter((entry) => !old?.has(keyOf(entry)) && !isHeir(entry)).map((entry) => line('+', entry)),
    ...after.flatMap((entry) => {
      // Also of a new certificate: it brings neither other roles nor another key by itself.
      const was = old?.get(keyOf(entry)) ?? old?.get(toHex(entry.replaced?.at(-1) ?? new Uint8Array(0)));
      if (!was) return [];
      return [
        ...(was.roles === entry.roles ? [] : [line('*', entry)]),
        ...(isSameKey(was.hpkeKey, entry.hpkeKey) ? [] : [`* ${nameOf(entry.certHash)} opens grants with another key`]),
      ];
    }),
  ];
}

const isSameKey = (a: Uint8Array | null, b: Uint8Array | null): boolean =>
  a === null || b === null ? a === b : equalBytes(a, b);

/** Per reader: all meters, or which. */
function readingChanges(before: Policy | undefined, after: Policy, nameOf: NameOf): readonly string[] {
  const [was, is] = [rightsOf(before), rightsOf(after)];
  const readers = [...new Set([...was.keys(), ...is.keys()])];
  return readers.flatMap((key) => {
    const reader = nameOf((is.get(key) ?? was.get(key))?.reader ?? new Uint8Array(0));
    const [old, now] = [was.get(key)?.meters ?? [], is.get(key)?.meters ?? []];
    if (now === 'all') return old === 'all' ? [] : [`+ ${reader} reads all meters`];
    if (old === 'all') {
      const rest = now.length === 0 ? 'any meter' : `any meter but ${now.map(nameOf).join(', ')}`;
      return [`- ${reader} no longer reads ${rest}`];
    }
    const [lost, won] = [without(old, now), without(now, old)];
    return [
      ...(lost.length === 0 ? [] : [`- ${reader} no longer reads ${lost.map(nameOf).join(', ')}`]),
      ...(won.length === 0 ? [] : [`+ ${reader} reads ${won.map(nameOf).join(', ')}`]),
    ];
  });
}

interface Right {
  readonly reader: Uint8Array;
  readonly meters: 'all' | readonly Uint8Array[];
}

function rightsOf(policy: Policy | undefined): ReadonlyMap<string, Right> {
  const rights = new Map<string, Right>();
  for (const { reader, meters } of policy?.readings ?? []) {
    const known = rights.get(toHex(reader))?.meters ?? [];
    rights.set(toHex(reader), { reader, meters: meters === null || known === 'all' ? 'all' : [...known, ...meters] });
  }
  return rights;
}

/** Of some certHashes those that are not among others. */
export const without = (from: readonly Uint8Array[], others: readonly Uint8Array[]): readonly Uint8Array[] =>
  from.filter((each) => !others.some((other) => equalBytes(each, other)));

const requiredChanges = (
  before: readonly Uint8Array[],
  after: readonly Uint8Array[],
  nameOf: NameOf,
): readonly string[] => [
  ...without(before, after).map((member) => `- ${nameOf(member)} is no longer required in every epoch`),
  ...without(after, before).map((member) => `+ ${nameOf(member)} is required in every epoch`),
];

function policyChanges(before: Policy | undefined, after: Policy): readonly string[] {
  const known = before ? policyLines(before) : [];
  return [
    ...(before?.suite === after.suite ? [] : [`* suite ${suiteById(after.suite).name}`]),
    ...(before && before.gatewayIsMember === after.gatewayIsMember
      ? []
      : [`* a gateway may ${after.gatewayIsMember ? '' : 'not '}be a member, and hold the key`]),
    ...policyLines(after)
      .filter((line) => !known.includes(line))
      .map((line) => `* ${line}`),
    ...(before && before.epochFloor !== null && after.epochFloor === null ? ['* no floor of epochs'] : []),
  ];
}

/** What a delegation allows, one line each. */
export const delegationLines = (
  { gateway, notAfterS, mayRemove, additions }: Pick<Delegation, 'gateway' | 'notAfterS' | 'mayRemove' | 'additions'>,
  nameOf: NameOf,
): readonly string[] => [
  `* ${nameOf(gateway)} may change this list until ${isoTime(notAfterS)}`,
  ...(mayRemove ? ['* it may remove members; a majority of those in this list must take part in every epoch'] : []),
  ...additions.map((added) => `* it may add ${nameOf(added)} (${toHex(added)})`),
];
