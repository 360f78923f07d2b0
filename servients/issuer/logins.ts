/**
 * People who log in with a password here: their user names, one-time links that set passwords, and attempts. What comes of
 * them is in the audit log.
 */
import { hash, randomBytes, randomUUID } from 'node:crypto';
import {
  ConflictError,
  GridringError,
  LimitError,
  MalformedError,
  NotFoundError,
  VerificationError,
} from '../../crypto/errors.js';
import type { AuditEvent, AuditLog } from '../../things/audit-log.js';
import type { IssuerStore, Login, LoginStore, NewLink } from '../../things/issuer-store.js';
import type { Account, AccountsStore } from '../../things/stores.js';
import { rightsDetails } from '../auth/account-audit.js';
import { embeddedIssuerName } from '../auth/access-token.js';
import { personUrn, sessionsEnd } from '../auth/sessions.js';
import { RateLimit } from '../bindings/rate-limit.js';
import { usernameTaken } from '../stores/account-row.js';
import { longestPassword, shortestPassword } from './password-rules.js';
import { Passwords } from './password.js';
import { LoginThrottle } from './throttle.js';

const linkLifetimeS = 86_400;
const firstUsername = 'admin';
/** They make everybody else's accounts, and publish what the authority has signed. */
const firstRoles = ['SECADM', 'RBACMNT'];

/** For each account: whoever guesses does not fill the audit log. */
const failedEntries = { perSecond: 0.1, burst: 20, sources: 4_096 };

export interface LoginParts {
  readonly store: IssuerStore & LoginStore;
  readonly accounts: AccountsStore;
  readonly audit: Pick<AuditLog, 'facts' | 'append'>;
  readonly nowS: () => number;
  readonly passwords?: Passwords;
}

export class LoginThrottled extends LimitError {
  readonly waitS: number;

  constructor(waitS: number) {
    super('login-throttled', `too many failed tries: wait ${waitS} seconds`);
    this.waitS = waitS;
  }
}

/** Whose doing it is, as the audit log names it. */
export type Doer = Pick<AuditEvent, 'actor' | 'requestId'>;

/** From where somebody tries to log in. */
export interface LoginAttempt {
  /** Of the connection. */
  readonly address: string;
  readonly requestId: string;
}

export interface LinkOptions {
  /** For an account that has none yet; default: its name. */
  readonly username?: string;
  /** Whether the password of until now counts no more, and all sessions end. Links of before end in any case. */
  readonly endsPassword?: boolean;
}

export interface MadeLink {
  /** Shown once, and kept nowhere. */
  readonly code: string;
  readonly username: string;
  readonly expiresS: number;
}

export class Logins {
  readonly #parts: LoginParts;
  readonly #passwords: Passwords;
  readonly #throttle = new LoginThrottle();
  readonly #failedEntries = new RateLimit(failedEntries);

  constructor(parts: LoginParts) {
    this.#parts = parts;
    this.#passwords = parts.passwords ?? new Passwords();
  }

  /**
   * The account of who knows the password.
   * @throws VerificationError `login-refused`, the same for whatever is wrong; LoginThrottled;
   * UnavailableError `logins-busy`
   */
  async logIn(username: string, password: string, attempt: LoginAttempt): Promise<string> {
    const { store, accounts } = this.#parts;
    const { address } = attempt;
    const waitMs = this.#throttle.begin(username, address, performance.now());
    if (waitMs > 0) {
      throw new LoginThrottled(Math.ceil(waitMs / 1000));
    }
    const login = await store.loginByName(username);
    const matches = await this.#passwords.matches(password, login?.password ?? undefined);
    const account = login && (await accounts.account(login.subject));
    if (!matches || !account || account.disabled) {
      this.#throttle.failed(username, address, performance.now());
      if (account) await this.#logFailure(account, matches ? 'account-disabled' : 'password-wrong', attempt);
      throw new VerificationError('login-refused', 'user name or password is wrong, or the account is disabled');
    }
    this.#throttle.succeeded(username, address);
    await this.#parts.audit.append(loginEvent(account, 'done', attempt));
    return account.id;
  }

  /** @throws MalformedError `username-unfit` */
  newLogin(subject: string, username: string): Login {
    if (!/^[a-z0-9][a-z0-9._@-]{0,63}$/.test(username)) {
      throw new MalformedError(
        'username-unfit',
        'a user name is 1 to 64 of a-z, 0-9 and . _ @ -, and begins with none of these',
      );
    }
    return { subject, username, password: null, createdS: this.#parts.nowS() };
  }

  /**
   * A new one-time code that sets the password of an account, in the place of those of before; the account is given a user
   * name where it has none yet.
   * @throws ConflictError `username-taken`, `account-elsewhere`, `account-changed`; MalformedError `username-unfit`;
   * NotFoundError `account-unknown`
   */
  async addLink(accountId: string, by: Doer, { username, endsPassword = false }: LinkOptions = {}): Promise<MadeLink> {
    const { store, accounts } = this.#parts;
    const account = await accounts.account(accountId);
    if (!account) throw new NotFoundError('account-unknown', 'no account of that id');
    if (account.issuer !== embeddedIssuerName) {
      throw new ConflictError('account-elsewhere', `${account.issuer} has the password of this account`);
    }
    let login = await store.loginOf(accountId);
    if (!login) {
      login = this.newLogin(accountId, username ?? account.name);
      if (!(await store.addLogin(login))) throw usernameTaken(login.username);
    }
    if (endsPassword) await this.#endSessions(account, by);
    const made = await this.#addLink(account, by, endsPassword ? 'password' : 'links');
    return { ...made, username: login.username };
  }

  loginOf(accountId: string): Promise<Login | undefined> {
    return this.#parts.store.loginOf(accountId);
  }

  /** Whose password the code sets. @throws NotFoundError `link-unknown` */
  async linked(code: string): Promise<Login> {
    const login = await this.#parts.store.linkedLogin(codeHash(code), this.#parts.nowS());
    if (!login) throw new NotFoundError('link-unknown', 'this link has been used, or has ended: ask for another one');
    return login;
  }

  /**
   * Sets the password once. What was logged in before ends.
   * @throws MalformedError `password-unfit`; NotFoundError `link-unknown`; UnavailableError `logins-busy`
   */
  async useLink(code: string, password: string, { address, requestId }: LoginAttempt): Promise<void> {
    const { store, audit, nowS } = this.#parts;
    const { subject, username } = await this.linked(code);
    assertFit(password, username);
    const hashed = await this.#passwords.hash(password);
    const person = personUrn({ id: subject });
    const used = audit.facts({
      ...{ actor: person, action: 'login-link.use', subject: person, outcome: 'done', requestId },
      details: { address },
    });
    if (!(await store.useLink(codeHash(code), hashed, nowS(), [used]))) await this.linked(code);
  }

  /** Where nobody has a password yet: a code for the first administrator, whose account is made. */
  async firstCode(by: Doer): Promise<string | undefined> {
    const { store, accounts } = this.#parts;
    const logins = await store.logins();
    if (logins.some(({ password }) => password !== null)) return undefined;
    const subject = logins.find(({ username }) => username === firstUsername)?.subject ?? (await this.#makeFirst(by));
    const account = await accounts.account(subject);
    // Those that other processes on the database have shown at their start stay good.
    return account && (await this.#addLink(account, by, 'nothing')).code;
  }

  async #makeFirst(by: Doer): Promise<string> {
    const { accounts, audit, nowS } = this.#parts;
    const account = newPerson({ id: randomUUID(), name: firstUsername, roles: firstRoles, meters: [] }, nowS());
    await accounts.createAccount(account, {
      login: this.newLogin(account.id, firstUsername),
      audit: [audit.facts(createdEvent(account, by))],
    });
    return account.id;
  }

  async #endSessions(account: Account, by: Doer): Promise<void> {
    const { accounts, audit, nowS } = this.#parts;
    const next = { ...account, ...sessionsEnd(nowS()), revision: account.revision + 1, modifiedS: nowS() };
    const ended = {
      ...by,
      action: 'user.end-sessions',
      subject: personUrn(account),
      outcome: 'done',
      details: {},
    } as const;
    if (await accounts.replaceAccount(next, { endsSessions: true, audit: [audit.facts(ended)] })) return;
    throw new ConflictError('account-changed', 'the account was changed meanwhile: read it again');
  }

  async #addLink(account: Account, by: Doer, ends: NewLink['ends']): Promise<Omit<MadeLink, 'username'>> {
    const { store, audit, nowS } = this.#parts;
    const code = randomBytes(24).toString('base64url');
    const expiresS = nowS() + linkLifetimeS;
    const action = ends === 'password' ? 'login-link.reset' : 'login-link.make';
    const made = audit.facts({
      ...{ ...by, action, subject: personUrn(account), outcome: 'done' },
      details: { expires: expiresS },
    });
    await store.addLink({ codeHash: codeHash(code), subject: account.id, expiresS, ends }, [made]);
    return { code, expiresS };
  }

  /** A database that cannot be written to is no reason to answer something else. */
  async #logFailure(account: Account, reason: string, attempt: LoginAttempt): Promise<void> {
    if (!this.#failedEntries.take(account.id, Date.now())) return;
    await this.#parts.audit.append(loginEvent(account, 'refused', attempt, reason)).catch((error: unknown) => {
      if (!(error instanceof GridringError)) throw error;
    });
  }
}

/** Of a household's meter, by the id that it is certified for. */
export const meterUrn = (name: string): string => (name.startsWith('urn:') ? name : `urn:gridring:meter:${name}`);

/** An account of the embedded issuer. */
export const newPerson = (person: Pick<Account, 'id' | 'name' | 'roles' | 'meters'>, nowS: number): Account => ({
  ...person,
  issuer: embeddedIssuerName,
  subject: person.id,
  certHashes: [],
  disabled: false,
  sessionsFromS: 0,
  revision: 1,
  createdS: nowS,
  modifiedS: nowS,
});

export const createdEvent = (account: Account, by: Doer): AuditEvent => ({
  ...by,
  action: 'user.create',
  subject: personUrn(account),
  outcome: 'done',
  details: rightsDetails({ roles: account.roles, ...(account.meters.length > 0 && { meters: account.meters }) }),
});

/** Who tries is the account's owner only where the password was right. */
function loginEvent(
  account: Account,
  outcome: 'done' | 'refused',
  { address, requestId }: LoginAttempt,
  reason?: string,
): AuditEvent {
  const subject = personUrn(account);
  return {
    actor: outcome === 'done' ? subject : 'anonymous',
    action: 'login.password',
    ...{ subject, outcome, requestId },
    details: { address, ...(reason !== undefined && { reason }) },
  };
}

function assertFit(password: string, username: string): void {
  const { length } = password;
  if (length < shortestPassword || length > longestPassword) {
    throw new MalformedError('password-unfit', `a password has ${shortestPassword} to ${longestPassword} characters`);
  }
  if (password.toLowerCase().includes(username)) {
    throw new MalformedError('password-unfit', 'a password must not contain the user name');
  }
}

/** Where the owner of an account uses a code, on the issuer's origin. */
export const linkPath = (code: string): string => `/oidc/link/${code}`;

const codeHash = (code: string): Uint8Array => hash('sha256', code, 'buffer');
