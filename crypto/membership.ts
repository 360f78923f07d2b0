/**
 * Membership lists (protocol §3): who may be in a group, and under which policy, signed by the membership authority,
 * whose key no server process holds. Revoked means: not in the current list.
 */
import { compareBytes, equalBytes, toHex } from './bytes.js';
import { decodeStrict, encode, type CborItem } from './cbor.js';
import { parseCertificate, verifyChain, type Certificate, type VerifiedCertificate } from './certificate.js';
import { parseSign1, sign1, verifySign1 } from './cose.js';
import { GridringError, MalformedError, VerificationError } from './errors.js';
import { arrayOf, booleanOf, bytesOf, nullOr, oneOf, uint32Max, uintOf } from './fields.js';
import { hash } from './hash.js';
import { limits } from './limits.js';
import type { Signer, Suite, SuiteId } from './suite.js';

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

/** A list that nobody has changed since the authority signed it. */
export const unchangedList = (list: AuthorityList): MembershipList => ({
  ...list,
  revision: 0,
  quorumMembers: list.entries.filter(({ roles }) => (roles & roleBit.member) !== 0).map(({ certHash }) => certHash),
});

/** A list that has been verified, with the verified certificates of its entries. */
export interface Membership {
  readonly list: MembershipList;
  readonly listHash: Uint8Array;
  /** Of each entry, by its index in the list; undefined where none verified. */
  readonly certificates: readonly (VerifiedCertificate | undefined)[];
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
    sorted.map(({ certHash, roles, hpkeKey }) => [certHash, roles, hpkeKey]),
    notBeforeS,
    notAfterS,
  ]);
}

/** @throws MalformedError `message-malformed`, `membership-malformed` and those of the CBOR gate */
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
  const memberAndCoordinator = roleBit.member | roleBit.coordinator;
  const gatewayIsMember = list.entries.some(({ roles }) => (roles & memberAndCoordinator) === memberAndCoordinator);
  if (gatewayIsMember && !list.policy.gatewayIsMember) {
    throw malformedList('a coordinator is listed as a member, which the policy excludes');
  }
  return list;
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
  const [certHash, roles, hpkeKey] = arrayOf(item, what, 3);
  return {
    certHash: bytesOf(certHash, what, 32),
    roles: uintOf(roles, what, 15, 1),
    hpkeKey: nullOr(hpkeKey, (key) => bytesOf(key, what, 32, 65)),
  };
}

const malformedList = (why: string): MalformedError => new MalformedError('membership-malformed', why);

const membershipHash = (suite: Suite, payload: Uint8Array): Uint8Array => hash(suite, 'list', payload);

/** Signed by the authority: a COSE_Sign1 under type "membership" and the group's id. */
export const signMembershipList = (
  suite: Suite,
  authority: { readonly signer: Signer; readonly kid: Uint8Array },
  list: AuthorityList,
): Uint8Array =>
  sign1(suite, authority.signer, authority.kid, { type: 'membership', context: list.gid }, encodeMembershipList(list));

/** What `updateMembership` carries: the signed list and the certificates to check it and its entries with. */
export const encodeMembershipBundle = (listMessage: Uint8Array, certificates: readonly Uint8Array[]): Uint8Array =>
  encode([listMessage, certificates]);

/** @throws MalformedError `message-malformed` and those of the CBOR gate */
export function parseMembershipBundle(bytes: Uint8Array): {
  readonly listMessage: Uint8Array;
  readonly certificates: readonly Uint8Array[];
} {
  const what = 'membership bundle';
  const [listMessage, certificates] = arrayOf(decodeStrict(bytes, limits.membership), what, 2);
  return {
    listMessage: bytesOf(listMessage, what),
    certificates: arrayOf(certificates, what).map((der) => bytesOf(der, what)),
  };
}

export interface MembershipCheck {
  readonly suite: Suite;
  readonly trustedRoots: readonly Certificate[];
  readonly nowS: number;
}

/**
 * Verifies a list: certified authority, signature, validity, and the certificate of every entry. An entry whose
 * certificate is absent or does not verify now is listed and has no certificate: it cannot take part.
 * @throws MalformedError, VerificationError `membership-authority`, `membership-expired`, `membership-suite`
 */
export function verifyMembership(check: MembershipCheck, bundle: Uint8Array): Membership {
  const { suite, nowS } = check;
  const { listMessage, certificates } = parseMembershipBundle(bundle);
  const message = parseSign1(listMessage, limits.membership);
  const list = unchangedList(parseMembershipList(message.payload));
  const parsed = certificates.map((der) => parseCertificate(suite, der));
  const authority = parsed.find(({ kid, role }) => role === 'authority' && equalBytes(kid, message.kid));
  if (!authority) throw new VerificationError('membership-authority', 'the certificate of the authority is not there');
  const verified = verifyOne(check, authority, parsed, 'authority');
  verifySign1(suite, verified.verifier, message, { type: 'membership', context: list.gid });
  if (list.policy.suite !== suite.id) throw new VerificationError('membership-suite', 'the list is for another suite');
  assertListValid(list, nowS);
  return {
    list,
    listHash: membershipHash(suite, message.payload),
    certificates: verifiedEntries(check, list, parsed),
  };
}

/** @throws VerificationError `membership-expired` */
export function assertListValid({ notBeforeS, notAfterS, version }: AuthorityList, nowS: number): void {
  if (nowS + limits.clockSkewS < notBeforeS || nowS - limits.clockSkewS > notAfterS) {
    throw new VerificationError('membership-expired', `membership list ${version} is not valid now`);
  }
}

function verifiedEntries(
  check: MembershipCheck,
  list: MembershipList,
  parsed: readonly Certificate[],
): readonly (VerifiedCertificate | undefined)[] {
  const byHash = new Map(parsed.map((certificate) => [toHex(certificate.certHash), certificate]));
  return list.entries.map((entry) => {
    const certificate = byHash.get(toHex(entry.certHash));
    try {
      return certificate && verifyOne(check, certificate, parsed, certificateRole(entry));
    } catch (error) {
      if (error instanceof GridringError) return undefined;
      throw error;
    }
  });
}

const verifyOne = (
  { suite, trustedRoots, nowS }: MembershipCheck,
  leaf: Certificate,
  all: readonly Certificate[],
  role: Parameters<typeof verifyChain>[5],
): VerifiedCertificate => verifyChain(suite, leaf, all, trustedRoots, nowS, role);

/** The certificate's role that an entry's roles ask for; the gateway may be a member beside coordinating. */
function certificateRole({ roles }: ListEntry): 'gateway' | 'meter' | 'reader' | 'operator' {
  if ((roles & roleBit.coordinator) !== 0) return 'gateway';
  if ((roles & roleBit.member) !== 0) return 'meter';
  return (roles & roleBit.operator) !== 0 ? 'operator' : 'reader';
}

/** Index and entry of a certificate in the list, if it stands there with the role. */
export function findEntry(
  { entries }: MembershipList,
  certHash: Uint8Array,
  role: ListRole,
): { readonly index: number; readonly entry: ListEntry } | undefined {
  const index = entries.findIndex((entry) => equalBytes(entry.certHash, certHash));
  const entry = entries[index];
  return entry && (entry.roles & roleBit[role]) !== 0 ? { index, entry } : undefined;
}

/** As `certificateAt`, by the hash of the certificate. */
export const certificateOf = (
  membership: Membership,
  certHash: Uint8Array,
  role: ListRole,
  nowS: number,
): VerifiedCertificate =>
  certificateAt(membership, findEntry(membership.list, certHash, role)?.index ?? -1, role, nowS);

/**
 * The verified certificate of a list entry, valid now.
 * @throws VerificationError `not-listed` (no such entry, role or usable certificate), `certificate-expired`
 */
export function certificateAt(
  { list, certificates }: Membership,
  listIndex: number,
  role: ListRole,
  nowS: number,
): VerifiedCertificate {
  const roles = list.entries[listIndex]?.roles ?? 0;
  const certificate = certificates[listIndex];
  if (!certificate || (roles & roleBit[role]) === 0)
    throw new VerificationError('not-listed', `no ${role} with that certificate in the membership list`);
  if (nowS - limits.clockSkewS > certificate.notAfterS) {
    throw new VerificationError('certificate-expired', `the certificate of ${certificate.id} has expired`);
  }
  return certificate;
}

/** How many entries have the role of member. */
export const memberCount = ({ entries }: MembershipList): number =>
  entries.filter(({ roles }) => (roles & roleBit.member) !== 0).length;

/**
 * Rule 6: all members that the policy requires, or where it requires none, more than half of the authority's members;
 * and never fewer of them than its least number. Two rosters of one attempt then always share a member, who answers only
 * one of them; a majority beside a roster of the required ones need not. What a delegation removed still counts for the
 * whole, and what it added for nothing: else two changes of one list would have quorums that share nobody.
 */
export function isQuorum({ policy, quorumMembers }: MembershipList, roster: readonly Uint8Array[]): boolean {
  const { minMembers, requiredMembers } = policy;
  const inRoster = new Set(roster.map(toHex));
  const present = quorumMembers.filter((certHash) => inRoster.has(toHex(certHash))).length;
  if (present < minMembers) return false;
  return requiredMembers.length > 0
    ? requiredMembers.every((required) => inRoster.has(toHex(required)))
    : present * 2 > quorumMembers.length;
}

/** @throws VerificationError `roster-minority` */
export function assertQuorum(list: MembershipList, roster: readonly Uint8Array[]): void {
  if (!isQuorum(list, roster)) {
    throw new VerificationError('roster-minority', `${roster.length} members are too few for the policy of the list`);
  }
}
