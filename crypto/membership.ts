/**
 * Membership lists on their way (protocol §3): bundles with the certificates to check them, and the check. The authority
 * signs a list, and no server process holds its key. Revoked means: not in the current list.
 */
import { followAnchors } from './anchors.js';
import { equalBytes, toHex } from './bytes.js';
import { decodeStrict, encode } from './cbor.js';
import {
  issuersOf,
  parseCertificate,
  verifyChain,
  type CaCertificate,
  type Certificate,
  type Role,
  type VerifiedCertificate,
} from './certificate.js';
import type { CertificateCache } from './certificate/cache.js';
import { parseSign1, verifySign1, type Sign1 } from './cose.js';
import {
  applyChange,
  assertDelegationOf,
  delegatedHash,
  delegationHash,
  isDelegationOver,
  parseChange,
  parseDelegation,
  signChange,
  type Delegation,
  type ListChange,
} from './delegation.js';
import { ConflictError, GridringError, VerificationError } from './errors.js';
import { arrayOf, bytesOf, nullOr } from './fields.js';
import { limits } from './limits.js';
import {
  assertListValid,
  findEntry,
  membershipHash,
  parseMembershipList,
  roleBit,
  unchangedList,
  type ListEntry,
  type ListRole,
  type MembershipList,
} from './membership/list.js';
import { successorOf } from './membership/succession.js';
import type { Signer, Suite } from './suite.js';

export * from './membership/list.js';
export * from './membership/succession.js';

/** A list that has been verified, with the verified certificates of its entries. */
export interface Membership {
  readonly list: MembershipList;
  readonly listHash: Uint8Array;
  /** Of each entry, by its index in the list; undefined where none verified. */
  readonly certificates: readonly (VerifiedCertificate | undefined)[];
  /** What whoever verified it is to trust from now on: mostly what was trusted before. */
  readonly trustedRoots: readonly Certificate[];
  /** CAs that came with it. */
  readonly cas: readonly CaCertificate[];
  /** What the gateway may change without the authority, and has changed; undefined without a delegation in force. */
  readonly delegation: DelegationInForce | undefined;
}

/** A certificate in the place of one that its holder had before. */
export interface Renewal {
  readonly certificate: VerifiedCertificate;
  /** It, and the CAs between it and a root; DER. */
  readonly chain: readonly Uint8Array[];
}

interface DelegationInForce extends Delegation {
  /** Null: the list is as the authority signed it. */
  readonly change: ListChange | null;
}

interface MembershipBundle {
  readonly listMessage: Uint8Array;
  readonly certificates: readonly Uint8Array[];
  /** Null where the authority has delegated nothing. */
  readonly delegated: DelegatedMessages | null;
  /** Statements of trust, in the order in which they were made. */
  readonly anchors: readonly Uint8Array[];
}

interface DelegatedMessages {
  readonly delegation: Uint8Array;
  /** Signed by the gateway; null as long as it has changed nothing. */
  readonly change: Uint8Array | null;
}

/** Without and with a delegation, without and with statements of trust. */
const arities = [2, 3, 4, 5] as const;

/** What `updateMembership` carries: the signed list and the certificates to check it and its entries with. */
export const encodeMembershipBundle = (
  listMessage: Uint8Array,
  certificates: readonly Uint8Array[],
  delegated: DelegatedMessages | null = null,
  anchors: readonly Uint8Array[] = [],
): Uint8Array =>
  encode([
    ...[listMessage, certificates],
    ...(delegated ? [delegated.delegation, delegated.change] : []),
    ...(anchors.length > 0 ? [anchors] : []),
  ]);

/** @throws MalformedError `message-malformed` and those of the CBOR gate */
export function parseMembershipBundle(bytes: Uint8Array): MembershipBundle {
  const what = 'membership bundle';
  const items = arrayOf(decodeStrict(bytes, limits.membership), what);
  const hasAnchors = items.length % 2 === 1;
  const [listMessage, certificates, delegation, change] = arrayOf(
    items,
    what,
    arities.find((n) => n === items.length) ?? 2,
  );
  return {
    listMessage: bytesOf(listMessage, what),
    certificates: arrayOf(certificates, what).map((der) => bytesOf(der, what)),
    delegated:
      items.length <= 3
        ? null
        : { delegation: bytesOf(delegation, what), change: nullOr(change, (item) => bytesOf(item, what)) },
    anchors: hasAnchors ? arrayOf(items.at(-1), what).map((statement) => bytesOf(statement, what)) : [],
  };
}

export interface MembershipCheck {
  readonly suite: Suite;
  readonly trustedRoots: readonly Certificate[];
  readonly nowS: number;
  /** Where several hold the same lists in one process. */
  readonly certificateCache?: CertificateCache | undefined;
}

/** The authority's list that a bundle holds. */
interface Base {
  readonly list: MembershipList;
  readonly listHash: Uint8Array;
}

/**
 * Verifies a list: certified authority, signature, validity, what was changed under a delegation, and the certificate of
 * every entry. An entry whose certificate is absent or does not verify now is listed and has no certificate: it cannot
 * take part.
 * @throws MalformedError, VerificationError `membership-authority`, `membership-expired`, `membership-suite`,
 * `delegation-overstepped`
 */
export function verifyMembership(check: MembershipCheck, bundle: Uint8Array): Membership {
  const { suite, nowS } = check;
  const { listMessage, certificates, delegated, anchors } = parseMembershipBundle(bundle);
  const message = parseSign1(listMessage, limits.membership);
  const trustedRoots = followAnchors(suite, check.trustedRoots, anchors);
  const list = unchangedList(parseMembershipList(message.payload));
  const base: Base = { list, listHash: membershipHash(suite, message.payload) };
  const delegation = delegated && parseSign1(delegated.delegation, limits.delegation);
  const terms = delegation && parseDelegation(delegation.payload);
  const named = [...list.entries.map(({ certHash }) => certHash), ...(terms?.additions ?? [])];
  const shelf = new Shelf({ ...check, trustedRoots }, certificates, named);
  const trust = { trustedRoots, cas: shelf.cas };

  verifySign1(suite, shelf.authority(message).verifier, message, { type: 'membership', context: list.gid });
  shelf.trust();
  if (list.policy.suite !== suite.id) throw new VerificationError('membership-suite', 'the list is for another suite');
  assertListValid(list, nowS);
  if (!delegation || !terms)
    return { ...base, ...trust, certificates: list.entries.map(shelf.entry), delegation: undefined };

  verifySign1(suite, shelf.authority(delegation).verifier, delegation, { type: 'delegation', context: list.gid });
  assertDelegationOf(terms, base);
  const { change } = delegated;
  if (change === null) {
    const inForce = isDelegationOver(terms, nowS) ? undefined : { ...terms, change };
    return { ...base, ...trust, certificates: list.entries.map(shelf.entry), delegation: inForce };
  }
  return changed(
    { ...check, trustedRoots },
    base,
    { ...terms, hash: delegationHash(suite, delegation.payload) },
    change,
    shelf,
  );
}

function changed(
  { suite, nowS, trustedRoots }: MembershipCheck,
  base: Base,
  delegation: Delegation & { readonly hash: Uint8Array },
  changeMessage: Uint8Array,
  shelf: Shelf,
): Membership {
  const message = parseSign1(changeMessage, limits.delegation);
  const change = parseChange(message.payload);
  const entry = findEntry(base.list, delegation.gateway, 'coordinator')?.entry;
  const gateway = entry && shelf.entry(entry);
  if (!gateway || !equalBytes(gateway.kid, message.kid)) throw overstepped('a change by another than the gateway');
  verifySign1(suite, gateway.verifier, message, { type: 'delegatedMembership', context: base.list.gid });
  if (!equalBytes(change.delegationHash, delegation.hash) || !equalBytes(change.baseHash, base.listHash)) {
    throw overstepped('a change under another delegation, or of another list');
  }
  if (isDelegationOver(delegation, nowS)) throw overstepped('the delegation is over');
  const list = applyChange(base.list, delegation, change);
  return {
    list,
    listHash: delegatedHash(suite, base.listHash, delegation.hash, message.payload),
    trustedRoots,
    cas: shelf.cas,
    certificates: list.entries.map(shelf.entry),
    delegation: { ...delegation, change },
  };
}

const overstepped = (why: string): VerificationError => new VerificationError('delegation-overstepped', why);

/**
 * The gateway's change of the list in a bundle, in the place of an earlier one. Whether the delegation allows it,
 * `verifyMembership` says of the bundle that is returned.
 * @throws ConflictError `delegation-absent`; MalformedError
 */
export function changeMembership(
  suite: Suite,
  gateway: { readonly signer: Signer; readonly kid: Uint8Array },
  bundle: Uint8Array,
  change: ListChange,
): Uint8Array {
  const { listMessage, certificates, delegated, anchors } = parseMembershipBundle(bundle);
  if (!delegated) throw new ConflictError('delegation-absent', 'the authority has delegated no changes of this list');
  const { delegation } = delegated;
  const { payload } = parseSign1(listMessage, limits.membership);
  const bound = {
    ...change,
    delegationHash: delegationHash(suite, parseSign1(delegation, limits.delegation).payload),
    baseHash: membershipHash(suite, payload),
  };
  const signed = signChange(suite, gateway, parseMembershipList(payload).gid, bound);
  return encodeMembershipBundle(listMessage, certificates, { delegation, change: signed }, anchors);
}

/** Until when the list in a bundle says that it is valid, before anything of it is verified. @throws MalformedError */
export function lastValidS(bundle: Uint8Array): number {
  const { listMessage, delegated } = parseMembershipBundle(bundle);
  const { notAfterS } = parseMembershipList(parseSign1(listMessage, limits.membership).payload);
  if (!delegated || delegated.change === null) return notAfterS;
  return Math.min(notAfterS, parseDelegation(parseSign1(delegated.delegation, limits.delegation).payload).notAfterS);
}

/**
 * The certificates of a bundle. Before the list's signature is checked, only those are parsed that no entry names, and
 * few of them: a stranger's bundle must not cost more than it cost to send.
 */
class Shelf {
  readonly #check: MembershipCheck;
  /** DER of those that entries name, by certHash in hex. */
  readonly #named = new Map<string, Uint8Array>();
  /** The authority, CAs, and who does not belong here. */
  readonly #others: readonly Certificate[];

  /** @throws MalformedError, VerificationError when one of the others is malformed or of another suite */
  constructor(check: MembershipCheck, ders: readonly Uint8Array[], named: readonly Uint8Array[]) {
    this.#check = check;
    const names = new Set(named.map(toHex));
    const others: (readonly [string, Uint8Array])[] = [];
    for (const der of ders) {
      const key = toHex(check.suite.sha256(der));
      if (names.has(key)) this.#named.set(key, der);
      else others.push([key, der]);
    }
    this.#others = others.slice(0, limits.membershipCas).map(([key, der]) => this.#parse(key, der));
  }

  get cas(): readonly CaCertificate[] {
    return this.#others.filter((other): other is CaCertificate => other.role === 'ca');
  }

  /** @throws VerificationError `membership-authority`, and those of `verifyChain` */
  authority({ kid }: Sign1): VerifiedCertificate {
    const authority = this.#others.find((other) => other.role === 'authority' && equalBytes(other.kid, kid));
    if (authority) return this.#verify(authority, 'authority');
    throw new VerificationError('membership-authority', 'the certificate of the authority is not there');
  }

  /** The authority has signed the list. */
  trust(): void {
    for (const certificate of this.#others) this.#check.certificateCache?.add(certificate);
  }

  readonly entry = (entry: ListEntry): VerifiedCertificate | undefined => {
    const key = toHex(entry.certHash);
    const der = this.#named.get(key);
    if (!der) return undefined;
    try {
      const certificate = this.#parse(key, der);
      this.#check.certificateCache?.add(certificate);
      return this.#verify(certificate, certificateRole(entry));
    } catch (error) {
      if (error instanceof GridringError) return undefined;
      throw error;
    }
  };

  #parse(key: string, der: Uint8Array): Certificate {
    return this.#check.certificateCache?.get(key) ?? parseCertificate(this.#check.suite, der);
  }

  #verify(leaf: Certificate, role: Role): VerifiedCertificate {
    const { suite, trustedRoots, nowS } = this.#check;
    return verifyChain(suite, leaf, this.#others, trustedRoots, nowS, role);
  }
}

/** The certificate's role that an entry's roles ask for; the gateway may be a member beside coordinating. */
function certificateRole({ roles }: ListEntry): 'gateway' | 'meter' | 'reader' | 'operator' {
  if ((roles & roleBit.coordinator) !== 0) return 'gateway';
  if ((roles & roleBit.member) !== 0) return 'meter';
  return (roles & roleBit.operator) !== 0 ? 'operator' : 'reader';
}

/**
 * Whether a copy of a list comes with more certificates that are valid now than another copy of it. The authority signs
 * the list and not what travels beside it, so that whoever carries a bundle may leave certificates out.
 */
export const isFuller = (copy: Membership, other: Membership, nowS: number): boolean =>
  usableIn(copy, nowS) > usableIn(other, nowS);

const usableIn = ({ certificates }: Membership, nowS: number): number =>
  certificates.filter((certificate) => certificate && nowS - limits.clockSkewS <= certificate.notAfterS).length;

/** The certificate that a list has in the place of one; undefined where it has none, or one that did not verify. */
export function renewalIn({ list, certificates, cas }: Membership, certHash: Uint8Array): Renewal | undefined {
  const heir = successorOf(list, certHash);
  const certificate = heir && certificates[list.entries.indexOf(heir)];
  return certificate && { certificate, chain: [certificate, ...issuersOf(certificate, cas)].map(({ der }) => der) };
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
