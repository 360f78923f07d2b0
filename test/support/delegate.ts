/** Lists that the authority lets a gateway change, and what the gateway makes of them. */
import { CertificateCache } from '../../crypto/certificate/cache.js';
import { signDelegation, type Delegation, type ListChange } from '../../crypto/delegation.js';
import {
  changeMembership,
  encodeMembershipBundle,
  parseMembershipBundle,
  type AuthorityList,
  verifyMembership,
  type Membership,
} from '../../crypto/membership.js';
import { suites } from './forge.js';
import { nowS, type Neighbourhood, type Principal } from './neighbourhood.js';

export const dayS = 86_400;

/** The bundle of a list with a delegation to the gateway: for a day, with removals, unless `terms` say otherwise. */
export function delegate(
  n: Neighbourhood,
  terms: Partial<Delegation> = {},
  list: AuthorityList = n.list(),
  extra: readonly Principal[] = [],
): Uint8Array {
  const { listMessage, certificates } = parseMembershipBundle(n.bundle(list, extra));
  const delegation = signDelegation(n.suite, n.authority, { ...termsOf(n, list), ...terms });
  return encodeMembershipBundle(listMessage, certificates, { delegation, change: null });
}

/** What the authority delegates for a list, if nothing else is said. */
export const termsOf = (n: Neighbourhood, list: AuthorityList = n.list()): Delegation => ({
  gid: list.gid,
  gateway: n.gateway.certHash,
  baseVersion: list.version,
  baseHash: n.membership(list).listHash,
  notAfterS: nowS + dayS,
  mayRemove: true,
  additions: [],
});

export const changeOf = (
  removed: readonly Principal[],
  added: readonly Principal[] = [],
  revision = 1,
): ListChange => ({
  revision,
  removals: removed.map(({ certHash }) => certHash),
  additions: added.map(({ certHash }) => certHash),
});

export const change = (
  n: Neighbourhood,
  bundle: Uint8Array,
  by: ListChange,
  gateway: Principal = n.gateway,
): Uint8Array => changeMembership(n.suite, gateway, bundle, by);

/** Parsing the same certificates again is what would cost most. */
const certificateCaches = new Map(suites.map((suite) => [suite, new CertificateCache()]));

export const verified = ({ suite, root }: Neighbourhood, bundle: Uint8Array, when = nowS): Membership =>
  verifyMembership({ suite, trustedRoots: [root], nowS: when, certificateCache: certificateCaches.get(suite) }, bundle);
