/** Who calls: a device (or a reader or operator) with a certificate, or a person with an account. */
import type { VerifiedCertificate } from '../../crypto/certificate.js';
import type { Account } from '../../things/stores.js';
import { certificateRoles, personRoles, type PersonRole, type Scope } from './roles.js';

/** How far a scope reaches: over everything, or over what belongs to the account's own meters. */
export type Reach = 'all' | 'own';

interface Session {
  /** Who it is in logs and in the audit: `urn:gridring:<role>:<id>`, or of a person `urn:gridring:person:<account id>`. */
  readonly subject: string;
  readonly scopes: ReadonlyMap<Scope, Reach>;
  /** When the token ends, Unix seconds. */
  readonly expiresS: number;
}

interface DevicePrincipal extends Session {
  readonly kind: 'device';
  readonly certificate: VerifiedCertificate;
}

interface PersonPrincipal extends Session {
  readonly kind: 'person';
  readonly roles: readonly PersonRole[];
  /** Undefined where the issuer's word alone gives the roles. */
  readonly account?: Account;
}

export type Principal = DevicePrincipal | PersonPrincipal;

/** What a certificate of this role may; the lists say of which meters. `granted`: those of the token, where it names some. */
export const scopesOfDevice = (
  { role }: Pick<VerifiedCertificate, 'role'>,
  granted?: ReadonlySet<string>,
): ReadonlyMap<Scope, Reach> =>
  new Map(certificateRoles[role].filter((scope) => granted?.has(scope) ?? true).map((scope) => [scope, 'all']));

/** What the roles together may, cut down to what the token was given for; a household's own meters widen to all. */
export function scopesOfPerson(roles: readonly PersonRole[], granted?: ReadonlySet<string>): ReadonlyMap<Scope, Reach> {
  const found = new Map<Scope, Reach>();
  for (const role of roles) {
    for (const scope of personRoles[role]) {
      if (granted && !granted.has(scope)) continue;
      if (role !== 'HOUSEHOLD') found.set(scope, 'all');
      else if (!found.has(scope)) found.set(scope, 'own');
    }
  }
  return found;
}
