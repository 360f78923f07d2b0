/** Whether a verified token still counts, and what its holder may: asked at every request, and while a stream is open. */
import { VerificationError } from '../../crypto/errors.js';
import type { VerifiedCertificate } from '../../crypto/certificate.js';
import { toHex } from '../../crypto/bytes.js';
import type { Backend } from '../../things/backend.js';
import type { Account, AccountsStore } from '../../things/stores.js';
import type { Caller } from '../bindings/token.js';
import type { AccessToken } from './access-token.js';
import { scopesOfDevice, scopesOfPerson, type Principal } from './principal.js';
import { isPersonRole } from './roles.js';

/** A token that was verified: one that a device signed itself, or one of an issuer. */
export type Credential =
  { readonly kind: 'certificate'; readonly caller: Caller } | { readonly kind: 'issued'; readonly token: AccessToken };

/** Enough to fetch the list, and with it the certificate that came after. */
const scopesOfReplaced: ReadonlySet<string> = new Set(['membership:read']);

const maxRemembered = 10_000;

type AuthBackend = Pick<Backend, 'refresh' | 'requireNotRemoved' | 'isReplaced' | 'lineOf'>;

export class Sessions {
  readonly #backend: AuthBackend;
  readonly #accounts: AccountsStore;
  /** What the store has said since its last change. */
  readonly #remembered = new Map<string, Promise<unknown>>();
  #revision = -1;

  constructor(backend: AuthBackend, accounts: AccountsStore) {
    this.#backend = backend;
    this.#accounts = accounts;
  }

  /**
   * The holder of a token as of now, whatever other processes have changed.
   * @throws VerificationError `token-revoked`, `token-session-ended`, `token-account-disabled`, `token-account-unknown`,
   * `not-listed`
   */
  async principal(credential: Credential): Promise<Principal> {
    const [revision] = await Promise.all([this.#accounts.accessRevision(), this.#backend.refresh()]);
    if (revision !== this.#revision || this.#remembered.size > maxRemembered) this.#remembered.clear();
    this.#revision = revision;
    if (credential.kind === 'certificate') {
      const { certificate, subject, tokenId, expiresS } = credential.caller;
      await this.#requireNotRevoked(subject, tokenId);
      return this.#device(certificate, subject, expiresS);
    }
    const { token } = credential;
    await this.#requireNotRevoked(token.issuer, token.tokenId);
    return token.certificate
      ? this.#device(token.certificate, token.subject, token.expiresS, token.granted)
      : this.#person(token);
  }

  async #device(
    certificate: VerifiedCertificate,
    subject: string,
    expiresS: number,
    granted?: ReadonlySet<string>,
  ): Promise<Principal> {
    this.#backend.requireNotRemoved(certificate);
    const { certHash } = certificate;
    // Whoever was disabled is not let in with the certificate that came after.
    for (const each of this.#backend.lineOf(certHash)) {
      const account = await this.#once(`certificate ${toHex(each)}`, () => this.#accounts.accountWith(each));
      if (account?.disabled === true) throw disabled(account);
    }
    const scopes = scopesOfDevice(certificate, this.#backend.isReplaced(certHash) ? scopesOfReplaced : granted);
    return { kind: 'device', subject, certificate, scopes, expiresS };
  }

  async #person({ issuer, subject, issuedS, expiresS, granted, issuerRoles }: AccessToken): Promise<Principal> {
    const account = await this.#once(`account ${issuer} ${subject}`, () => this.#accounts.accountOf(issuer, subject));
    if (account?.disabled === true) throw disabled(account);
    if (account && issuedS < account.sessionsFromS) {
      throw new VerificationError('token-session-ended', `the sessions of account ${account.id} were ended`);
    }
    if (!account && !issuerRoles) {
      throw new VerificationError('token-account-unknown', `no account for ${subject} of ${issuer}`);
    }
    const roles = [...new Set([...(account?.roles ?? []), ...(issuerRoles ?? [])])].filter(isPersonRole);
    return {
      kind: 'person',
      subject: account ? personUrn(account) : `${issuer}#${subject}`,
      roles,
      scopes: scopesOfPerson(roles, granted),
      expiresS,
      ...(account && { account }),
    };
  }

  async #requireNotRevoked(issuer: string, tokenId: string): Promise<void> {
    const revoked = await this.#once(`token ${issuer} ${tokenId}`, () => this.#accounts.isRevoked(issuer, tokenId));
    if (revoked) throw new VerificationError('token-revoked', `token ${tokenId} of ${issuer} was revoked`);
  }

  #once<Value>(name: string, ask: () => Promise<Value>): Promise<Value> {
    const known = this.#remembered.get(name) as Promise<Value> | undefined;
    if (known) return known;
    const asked = ask();
    this.#remembered.set(name, asked);
    asked.catch(() => {
      if (this.#remembered.get(name) === asked) this.#remembered.delete(name);
    });
    return asked;
  }
}

/** Of an account whose sessions end: also those that begin in this very second, for none of them can be told from those before. */
export const sessionsEnd = (nowS: number): Pick<Account, 'sessionsFromS'> => ({ sessionsFromS: nowS + 1 });

export const personUrn = ({ id }: Pick<Account, 'id'>): string => `urn:gridring:person:${id}`;

const disabled = ({ id }: Account): VerificationError =>
  new VerificationError('token-account-disabled', `account ${id} is disabled`);
