/**
 * Delegations (protocol §3): for days without the authority, it lets one gateway remove members of one list, and add
 * certificates that it names. The gateway's change is signed and stands beside the authority's list; together they make a
 * delegated list. A quorum is counted over the authority's members all the same (rule 6).
 */
import { compareBytes, equalBytes, toHex } from './bytes.js';
import { decodeStrict, encode, type CborItem } from './cbor.js';
import { sign1 } from './cose.js';
import { MalformedError, VerificationError } from './errors.js';
import { arrayOf, booleanOf, bytesOf, uint32Max, uintOf } from './fields.js';
import { hash } from './hash.js';
import { limits } from './limits.js';
import { memberCount, roleBit, type ListEntry, type MembershipList } from './membership/list.js';
import type { Signer, Suite } from './suite.js';

/** What the authority allows. */
export interface Delegation {
  readonly gid: Uint8Array;
  /** certHash of the gateway that may use it. */
  readonly gateway: Uint8Array;
  /** The one list that it may change. */
  readonly baseVersion: number;
  readonly baseHash: Uint8Array;
  readonly notAfterS: number;
  readonly mayRemove: boolean;
  /** certHashes that may become members, ascending. */
  readonly additions: readonly Uint8Array[];
}

/** What the gateway has changed, all of it and not only what is new since the last revision. */
export interface ListChange {
  /** From 1. */
  readonly revision: number;
  /** certHashes, ascending. */
  readonly removals: readonly Uint8Array[];
  readonly additions: readonly Uint8Array[];
}

/** A change as it is signed: bound to the delegation and to the list that it changes. */
export interface BoundChange extends ListChange {
  readonly delegationHash: Uint8Array;
  readonly baseHash: Uint8Array;
}

type Signing = { readonly signer: Signer; readonly kid: Uint8Array };

/** A COSE_Sign1 of the authority under type "delegation" and the group's id. */
export function signDelegation(suite: Suite, authority: Signing, delegation: Delegation): Uint8Array {
  const { gid, gateway, baseVersion, baseHash, notAfterS, mayRemove, additions } = delegation;
  const payload = encode([gid, gateway, baseVersion, baseHash, notAfterS, mayRemove, sorted(additions)]);
  return sign1(suite, authority.signer, authority.kid, { type: 'delegation', context: gid }, payload);
}

/** @throws MalformedError `message-malformed`, `membership-malformed` and those of the CBOR gate */
export function parseDelegation(payload: Uint8Array): Delegation {
  const what = 'delegation';
  const [gid, gateway, baseVersion, baseHash, notAfterS, mayRemove, additions] = arrayOf(
    decodeStrict(payload, limits.delegation),
    what,
    7,
  );
  return {
    gid: bytesOf(gid, what, 16),
    gateway: bytesOf(gateway, what, 32),
    baseVersion: uintOf(baseVersion, what, uint32Max, 1),
    baseHash: bytesOf(baseHash, what, 32),
    notAfterS: uintOf(notAfterS, what),
    mayRemove: booleanOf(mayRemove, what),
    additions: parseCertHashes(additions, what),
  };
}

export const delegationHash = (suite: Suite, payload: Uint8Array): Uint8Array => hash(suite, 'delegation', payload);

/** A COSE_Sign1 of the gateway under type "delegatedMembership" and the group's id. */
export function signChange(suite: Suite, gateway: Signing, gid: Uint8Array, change: BoundChange): Uint8Array {
  const { revision, removals, additions } = change;
  const payload = encode([change.delegationHash, change.baseHash, revision, sorted(removals), sorted(additions)]);
  return sign1(suite, gateway.signer, gateway.kid, { type: 'delegatedMembership', context: gid }, payload);
}

/** @throws MalformedError `message-malformed`, `membership-malformed` and those of the CBOR gate */
export function parseChange(payload: Uint8Array): BoundChange {
  const what = 'change of a membership list';
  const [delegation, base, revision, removals, additions] = arrayOf(decodeStrict(payload, limits.delegation), what, 5);
  return {
    delegationHash: bytesOf(delegation, what, 32),
    baseHash: bytesOf(base, what, 32),
    revision: uintOf(revision, what, uint32Max, 1),
    removals: parseCertHashes(removals, what),
    additions: parseCertHashes(additions, what),
  };
}

function parseCertHashes(item: CborItem | undefined, what: string): readonly Uint8Array[] {
  const hashes = arrayOf(item, what).map((certHash) => bytesOf(certHash, what, 32));
  const ascending = hashes.every((certHash, i) => i === 0 || compareBytes(hashes[i - 1] ?? certHash, certHash) < 0);
  if (!ascending) throw new MalformedError('membership-malformed', `certificates in a ${what} do not ascend`);
  return hashes;
}

const sorted = (hashes: readonly Uint8Array[]): readonly Uint8Array[] => [...hashes].sort(compareBytes);

/** The hash of a delegated list; `base` is that of the authority's, `payload` that of the change. */
export const delegatedHash = (
  suite: Suite,
  base: Uint8Array,
  delegation: Uint8Array,
  payload: Uint8Array,
): Uint8Array => hash(suite, 'delegated', base, delegation, payload);

const overstepped = (why: string): VerificationError => new VerificationError('delegation-overstepped', why);

/** @throws VerificationError `delegation-overstepped` unless the delegation is for this list of the authority */
export function assertDelegationOf(
  delegation: Delegation,
  base: { readonly list: MembershipList; readonly listHash: Uint8Array },
): void {
  const { list, listHash } = base;
  const isOf =
    equalBytes(delegation.gid, list.gid) &&
    delegation.baseVersion === list.version &&
    equalBytes(delegation.baseHash, listHash);
  if (!isOf) throw overstepped('the delegation is for another list');
}

export const isDelegationOver = ({ notAfterS }: Delegation, nowS: number): boolean =>
  nowS - limits.clockSkewS > notAfterS;

/**
 * The authority's list as the gateway has changed it. It ends with the delegation, and nothing but its members differs.
 * @throws VerificationError `delegation-overstepped`
 */
export function applyChange(
  base: MembershipList,
  delegation: Delegation,
  { revision, removals, additions }: ListChange,
): MembershipList {
  if (removals.length > 0 && !delegation.mayRemove) throw overstepped('the delegation allows no removals');
  for (const certHash of removals) assertRemovable(base, certHash);
  const named = new Set(delegation.additions.map(toHex));
  const listed = new Set(base.entries.map(({ certHash }) => toHex(certHash)));
  for (const certHash of additions.map(toHex)) {
    if (!named.has(certHash)) throw overstepped(`${certHash} is added, and the delegation does not name it`);
    if (listed.has(certHash)) throw overstepped(`${certHash} is added, and stands in the list already`);
  }
  const removed = new Set(removals.map(toHex));
  const entries = [
    ...base.entries.filter(({ certHash }) => !removed.has(toHex(certHash))),
    ...additions.map((certHash): ListEntry => ({ certHash, roles: roleBit.member, hpkeKey: null })),
  ].sort((a, b) => compareBytes(a.certHash, b.certHash));
  const list = { ...base, entries, revision, notAfterS: Math.min(base.notAfterS, delegation.notAfterS) };
  if (memberCount(list) > limits.ringMembersHard) throw overstepped('more members than a ring holds');
  return list;
}

function assertRemovable({ entries, policy }: MembershipList, certHash: Uint8Array): void {
  const entry = entries.find((listed) => equalBytes(listed.certHash, certHash));
  if (entry?.roles !== roleBit.member)
    throw overstepped(`${toHex(certHash)} is removed, and is no member, or more than that`);
  if (policy.requiredMembers.some((required) => equalBytes(required, certHash))) {
    throw overstepped(`${toHex(certHash)} is removed, and the policy requires it`);
  }
}
