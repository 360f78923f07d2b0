/** The embedded issuer of a backend: what it is made of, loaded when it is first asked for something. */
import type { FastifyInstance } from 'fastify';
import type { JWTVerifyGetKey } from 'jose';
import type Provider from 'oidc-provider';
import type { CaCertificate, Role, VerifiedCertificate } from '../../crypto/certificate.js';
import { VerificationError } from '../../crypto/errors.js';
import type { Suite } from '../../crypto/suite.js';
import type { Backend } from '../../things/backend.js';
import type { AuditLog } from '../../things/audit-log.js';
import type { IssuerStore } from '../../things/issuer-store.js';
import type { Log } from '../../things/parts.js';
import type { AccountsStore } from '../../things/stores.js';
import { scopesOfPerson } from '../auth/principal.js';
import { scopes, type PersonRole } from '../auth/roles.js';
import { keyLifetimeS, makeKeyLookup, makeSigningKey } from './keys.js';
import type { Logins } from './logins.js';
import { issuerPath, issuerRoutes } from './mount.js';
import type { IssuerAccount } from './provider.js';

export interface EmbeddedIssuerParts {
  readonly store: IssuerStore;
  readonly accounts: AccountsStore;
  readonly logins: Logins;
  readonly audit: AuditLog;
  readonly suite: Suite;
  readonly trustedRoots: readonly CaCertificate[];
  readonly backend: Pick<Backend, 'refresh' | 'requireNotRemoved'>;
  /** `aud` of the tokens. */
  readonly audience: string;
  readonly nowS: () => number;
  readonly log: Log;
}

export interface EmbeddedIssuer {
  /** Keys that its tokens verify under, those of other processes on the same database too. */
  readonly keys: JWTVerifyGetKey;
  /** `iss` of its tokens; once `begin` has been called. */
  readonly url: () => string;
  mount(app: FastifyInstance): void;
  /** @param origin of the server as others name it, without a slash at the end */
  begin(origin: string): void;
  end(): void;
}

/** Meters do not call the backend, and a backend not itself. */
const served: ReadonlySet<Role> = new Set<Role>(['gateway', 'operator', 'reader', 'authority']);

export function makeEmbeddedIssuer(parts: EmbeddedIssuerParts): EmbeddedIssuer {
  const { store, logins, nowS, log } = parts;
  let origin = '';
  let republishing: NodeJS.Timeout | undefined;
  let provider: Promise<Provider> | undefined;
  const load = async (): Promise<Provider> => {
    const [{ makeProvider }, { makeDeviceLookup }] = await Promise.all([
      import('./provider.js'),
      import('./clients.js'),
    ]);
    const key = await makeSigningKey(store);
    await key.publish(nowS());
    republishing = setInterval(() => {
      key.publish(nowS()).catch((error: unknown) => {
        log.warn({ err: error }, 'the key that signs tokens could not be published again');
      });
    }, keyLifetimeS * 250).unref();
    const assertNotRemoved = (certificate: VerifiedCertificate): Promise<void> => notRemoved(parts, certificate);
    return makeProvider({
      ...parts,
      scopes: Object.keys(scopes),
      findAccount: (subject) => accountOf(parts.accounts, subject),
      key,
      issuer: origin + issuerPath,
      findClient: makeDeviceLookup({ ...parts, assertNotRemoved }),
    });
  };
  return {
    keys: makeKeyLookup(store, nowS),
    url: () => origin + issuerPath,
    mount: (app) => {
      issuerRoutes(app, {
        ...{ store, nowS, logins, origin: () => origin },
        provider: () => {
          provider ??= load().catch((error: unknown) => {
            provider = undefined;
            throw error;
          });
          return provider;
        },
      });
    },
    begin: (known) => {
      origin = known;
    },
    end: () => {
      clearInterval(republishing);
    },
  };
}

async function accountOf(accounts: AccountsStore, id: string): Promise<IssuerAccount | undefined> {
  const account = await accounts.account(id);
  if (!account || account.disabled) return undefined;
  return { subject: id, scopes: [...scopesOfPerson(account.roles as readonly PersonRole[]).keys()] };
}

async function notRemoved({ backend }: EmbeddedIssuerParts, certificate: VerifiedCertificate): Promise<void> {
  if (!served.has(certificate.role)) throw new VerificationError('token-role', `no tokens for a ${certificate.role}`);
  await backend.refresh();
  backend.requireNotRemoved(certificate);
}
