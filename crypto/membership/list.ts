/**
 * Membership lists (protocol §3): who may be in a group, and under which policy. Here: their form, their order, and what
 * they say of a certificate or a roster.
 */
import { compareBytes, equalBytes, toHex } from '../bytes.js';
import { decodeStrict, encode, type CborItem } from '../cbor.js';
import { sign1 } from '../cose.js';
import { MalformedError, VerificationError } from '../errors.js';
import { arrayOf, booleanOf, bytesOf, nullOr, oneOf, uint32Max, uintOf } from '../fields.js';
import { hash } from '../hash.js';
import { limits } from '../limits.js';
import type { Signer, Suite, SuiteId } from '../suite.js';

/** Bits of a list entry's roles. */
export const roleBit = { member: 1, reader: 2, operator: 4, coordinator: 8 } as const;
export type ListRole = keyof typeof roleBit;
export type Profile = 'full' | 'constrained';

export interface ListEntry {
  readonly certHash: Uint8Array;
  /** Sum of `roleBit`. */
  readonly roles: number;
  /** HPKE public key of a reader or operator (32 or 65 bytes), where it has one. */
  readonly hpkeKey: Uint8Array | null;
  /** certHashes that the holder had before this one, the oldest first; absent where this is its first. */
  readonly replaced?: readonly Uint8Array[];
}

/** Who reads the readings: one reader, and of which meters (null: of all). */
interface ReadingRule {
  readonly reader: Uint8Array;
  readonly meters: readonly Uint8Array[] | null;
}

export interface Policy {
  readonly suite: SuiteId;
  readonly minMembers: number;
  readonly requiredMembers: readonly Uint8Array[];
  readonly gatewayIsMember: boolean;
  readonly profile: Profile;
  readonly rekeyIntervalS: number;
  /** How long the previous key still receives. */
  readonly graceS: number;
  readonly readings: readonly ReadingRule[];
  /** Lets members jump to epochs far ahead, after a coordinator lost its state. */
  readonly epochFloor: number | null;
}

/** A list as the authority signs it. */
export interface AuthorityList {
  readonly gid: Uint8Array;
  readonly version: number;
  readonly policy: Policy;
  /** Ascending by certHash, no duplicates; a roster refers to an entry by its index. */
  readonly entries: readonly ListEntry[];
  readonly notBeforeS: number;
  readonly notAfterS: number;
}

/** All certificates that the holder of an entry has had, the oldest first and its own last. */
export const lineOf = ({ certHash, replaced = [] }: ListEntry): readonly Uint8Array[] => [...replaced, certHash];

/** What lists of a group are ordered by. */
export interface ListOrder {
  readonly version: number;
  /** 0: as the authority signed it; above: changed under a delegation. */
  readonly revision: number;
}

/** A list in force. */
export interface MembershipList extends AuthorityList, ListOrder {
  /** certHashes of the authority's members, whom alone a quorum counts (protocol §1, rule 6). */
  readonly quorumMembers: readonly Uint8Array[];
}

/** Below zero when `a` is older than `b`: any list of a higher version comes after every revision of a lower one. */
export const compareLists = (a: ListOrder, b: ListOrder): number => a.version - b.version || a.revision - b.revision;

const hasRole =
  (...roles: readonly ListRole[]) =>
  (entry: Pick<ListEntry, 'roles'>): boolean =>
    roles.every((role) => (entry.roles & roleBit[role]) !== 0);

/** A list that nobody has changed since the authority signed it. */
export const unchangedList = (list: AuthorityList): MembershipList => ({
  ...list,
  revision: 0,
  quorumMembers: list.entries.filter(hasRole('member')).map(({ certHash }) => certHash),
});

/** The meters that the policy lets a reader read; null: all. */
export function readableBy(
  { policy }: Pick<AuthorityList, 'policy'>,
  reader: Uint8Array,
): readonly Uint8Array[] | null {
  const rules = policy.readings.filter((rule) => equalBytes(rule.reader, reader));
  return rules.some(({ meters }) => meters === null) ? null : rules.flatMap(({ meters }) => meters ?? []);
}

const profiles: readonly Profile[] = ['full', 'constrained'];

export function encodeMembershipList({
  gid,
  version,
  policy,
  entries,
  notBeforeS,
  notAfterS,
}: AuthorityList): Uint8Array {
  const sorted = [...entries].sort((a, b) => compareBytes(a.certHash, b.certHash));
  return encode([
    gid,
    version,
    [
      policy.suite,
      policy.minMembers,
      policy.requiredMembers,
      policy.gatewayIsMember,
      profiles.indexOf(policy.profile),
      policy.rekeyIntervalS,
      policy.graceS,
      policy.readings.map(({ reader, meters }) => [reader, meters]),
      policy.epochFloor,
    ],
    sorted.map(({ certHash, roles, hpkeKey, replaced = [] }) => [
      ...[certHash, roles, hpkeKey],
      ...(replaced.length > 0 ? [replaced] : []),
    ]),
    notBeforeS,
    notAfterS,
  ]);
}

/**
 * @throws MalformedError `message-malformed`, `membership-malformed`, `members-too-many` and those of the CBOR gate
 */
export function parseMembershipList(payload: Uint8Array): AuthorityList {
  const what = 'membership list';
  const [gid, version, policy, entries, notBeforeS, notAfterS] = arrayOf(
    decodeStrict(payload, limits.membership),
    what,
    6,
  );
  const list: AuthorityList = {
    gid: bytesOf(gid, what, 16),
    version: uintOf(version, what, uint32Max, 1),
    policy: parsePolicy(policy),
    entries: arrayOf(entries, what).map(parseEntry),
    notBeforeS: uintOf(notBeforeS, what),
    notAfterS: uintOf(notAfterS, what),
  };
  if (list.entries.length > limits.membershipEntries)
    throw malformedList(`more than ${limits.membershipEntries} entries`);
  const ascending = list.entries.every(
    ({ certHash }, i, all) => i === 0 || compareBytes(all[i - 1]?.certHash ?? certHash, certHash) < 0,
  );
  if (!ascending) throw malformedList('entries are not in ascending order, or one stands twice');
  assertOneSuccessor(list);
  assertRoles(list);
  return list;
}

/** No certificate stands beside the one that replaced it, nor was replaced by two. */
function assertOneSuccessor({ entries }: AuthorityList): void {
  const lines = entries.flatMap(lineOf);
  if (new Set(lines.map(toHex)).size === lines.length) return;
  throw malformedList('a certificate was replaced, and stands in the list beside that, or was replaced twice');
}

function assertRoles({ entries, policy }: AuthorityList): void {
  if (!policy.gatewayIsMember && entries.some(hasRole('member', 'coordinator'))) {
    throw malformedList('a coordinator is listed as a member, which the policy excludes');
  }
  // A meter that may also command would turn whoever steals it into an operator.
  if (entries.some(hasRole('member', 'operator'))) throw malformedList('a member is listed as an operator too');
  const members = entries.filter(hasRole('member')).length;
  if (members <= limits.ringMembersHard) return;
  throw new MalformedError(
    'members-too-many',
    `${members} members, and a ring holds ${limits.ringMembersHard} at most: split the group into cells, each with a list of its own`,
  );
}

function parsePolicy(item: CborItem | undefined): Policy {
  const what = 'membership policy';
  const [suite, minMembers, required, gatewayIsMember, profile, rekeyIntervalS, graceS, readings, epochFloor] = arrayOf(
    item,
    what,
    9,
  );
  return {
    suite: oneOf<SuiteId>(suite, what, [1, 2]),
    minMembers: uintOf(minMembers, what, limits.ringMembersHard, 2),
    requiredMembers: arrayOf(required, what).map((certHash) => bytesOf(certHash, what, 32)),
    gatewayIsMember: booleanOf(gatewayIsMember, what),
    profile: oneOf(profile, what, [0, 1]) === 0 ? 'full' : 'constrained',
    rekeyIntervalS: uintOf(rekeyIntervalS, what),
    graceS: uintOf(graceS, what),
    readings: arrayOf(readings, what).map(parseReadingRule),
    epochFloor: nullOr(epochFloor, (floor) => uintOf(floor, what)),
  };
}

function parseReadingRule(item: CborItem): ReadingRule {
  const what = 'rule for readings';
  const [reader, meters] = arrayOf(item, what, 2);
  return {
    reader: bytesOf(reader, what, 32),
    meters: nullOr(meters, (all) => arrayOf(all, what).map((certHash) => bytesOf(certHash, what, 32))),
  };
}

function parseEntry(item: CborItem): ListEntry {
  const what = 'entry of a membership list';
  const items = arrayOf(item, what);
  const [certHash, roles, hpkeKey, replaced] = arrayOf(item, what, items.length === 3 ? 3 : 4);
  return {
    certHash: bytesOf(certHash, what, 32),
    roles: uintOf(roles, what, 15, 1),
    hpkeKey: nullOr(hpkeKey, (key) => bytesOf(key, what, 32, 65)),
    ...(items.length === 4 && { replaced: parseReplaced(replaced, what) }),
  };
}

function parseReplaced(item: CborItem | undefined, what: string): readonly Uint8Array[] {
  const replaced = arrayOf(item, what).map((certHash) => bytesOf(certHash, what, 32));
  if (replaced.length > 0 && replaced.length <= limits.certificatesReplaced) return replaced;
  throw malformedList(`an entry that names no certificate before it, or more than ${limits.certificatesReplaced}`);
}

const malformedList = (why: string): MalformedError => new MalformedError('membership-malformed', why);

export const membershipHash = (suite: Suite, payload: Uint8Array): Uint8Array => hash(suite, 'list', payload);

/** Signed by the authority: a COSE_Sign1 under type "membership" and the group's id. */
export const signMembershipList = (
  suite: Suite,
  authority: { readonly signer: Signer; readonly kid: Uint8Array },
  list: AuthorityList,
): Uint8Array =>
  sign1(suite, authority.signer, authority.kid, { type: 'membership', context: list.gid }, encodeMembershipList(list));

/** @throws VerificationError `membership-expired` */
export function assertListValid({ notBeforeS, notAfterS, version }: AuthorityList, nowS: number): void {
  if (nowS + limits.clockSkewS < notBeforeS || nowS - limits.clockSkewS > notAfterS) {
    throw new VerificationError('membership-expired', `membership list ${version} is not valid now`);
  }
}

/** Index and entry of a certificate in the list, if it stands there with the role. */
export function findEntry(
  { entries }: AuthorityList,
  certHash: Uint8Array,
  role: ListRole,
): { readonly index: number; readonly entry: ListEntry } | undefined {
  const index = entries.findIndex((entry) => equalBytes(entry.certHash, certHash));
  const entry = entries[index];
  return entry && hasRole(role)(entry) ? { index, entry } : undefined;
}

/** How many entries have the role of member. */
export const memberCount = ({ entries }: AuthorityList): number => entries.filter(hasRole('member')).length;

/**
 * Rule 6: all members that the policy requires, or where it requires none, more than half of the authority's members;
 * and never fewer of them than its least number. Two rosters of one attempt then always share a member, who answers only
 * one of them; a majority beside a roster of the required ones need not. What a delegation removed still counts for the
 * whole, and what it added for nothing: else two changes of one list would have quorums that share nobody.
 */
export function isQuorum({ policy, quorumMembers }: MembershipList, roster: readonly Uint8Array[]): boolean {
  const { minMembers, requiredMembers } = policy;
  const isPresent = (certHash: Uint8Array): boolean => roster.some((present) => equalBytes(present, certHash));
  const present = quorumMembers.filter(isPresent).length;
  if (present < minMembers) return false;
  return requiredMembers.length > 0 ? requiredMembers.every(isPresent) : present * 2 > quorumMembers.length;
}

/** @throws VerificationError `roster-minority` */
export function assertQuorum(list: MembershipList, roster: readonly Uint8Array[]): void {
  if (!isQuorum(list, roster)) {
    throw new VerificationError('roster-minority', `${roster.length} members are too few for the policy of the list`);
  }
}
