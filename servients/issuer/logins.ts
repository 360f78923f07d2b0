/** People who log in with a password here: their user names, one-time links that set passwords, and attempts. */
import { hash, randomBytes, randomUUID } from 'node:crypto';
import { ConflictError, LimitError, MalformedError, NotFoundError, VerificationError } from '../../crypto/errors.js';
import type { IssuerStore, Login, LoginStore } from '../../things/issuer-store.js';
import type { AccountsStore } from '../../things/stores.js';
import { Passwords } from './password.js';
import { LoginThrottle } from './throttle.js';

export const shortestPassword = 12;
const longestPassword = 256;
const linkLifetimeS = 86_400;
const firstUsername = 'admin';
/** They make everybody else's accounts, and publish what the authority has signed. */
const firstRoles = ['SECADM', 'RBACMNT'];

export interface LoginParts {
  readonly store: IssuerStore & LoginStore;
  readonly accounts: AccountsStore;
  readonly nowS: () => number;
  readonly passwords?: Passwords;
}

export class Logins {
  readonly #store: IssuerStore & LoginStore;
  readonly #accounts: AccountsStore;
  readonly #nowS: () => number;
  readonly #passwords: Passwords;
  readonly #throttle = new LoginThrottle();

  constructor({ store, accounts, nowS, passwords = new Passwords() }: LoginParts) {
    this.#store = store;
    this.#accounts = accounts;
    this.#nowS = nowS;
    this.#passwords = passwords;
  }

  /**
   * The account of who knows the password.
   * @throws VerificationError `login-refused`, the same for whatever is wrong; LimitError `login-throttled`;
   * UnavailableError `logins-busy`
   */
  async logIn(username: string, password: string, address: string): Promise<string> {
    const waitMs = this.#throttle.begin(username, address, performance.now());
    if (waitMs > 0) {
      throw new LimitError('login-throttled', `Too many failed tries. Wait ${Math.ceil(waitMs / 1000)} seconds.`);
    }
    const login = await this.#store.loginByName(username);
    const matches = await this.#passwords.matches(password, login?.password ?? undefined);
    const account = login && (await this.#accounts.account(login.subject));
    if (!matches || !account || account.disabled) {
      this.#throttle.failed(username, address, performance.now());
      throw new VerificationError('login-refused', 'User name or password is wrong, or the account is disabled.');
    }
    this.#throttle.succeeded(username, address);
    return account.id;
  }

  /**
   * A new one-time code that sets the password of an account; the account is given the user name where it has none yet.
   * @throws ConflictError `username-taken`; NotFoundError `account-unknown`
   */
  async addLink(accountId: string, username?: string): Promise<string> {
    const account = await this.#accounts.account(accountId);
    if (!account) throw new NotFoundError('account-unknown', 'no account of that id');
    const known = (await this.#store.logins()).find(({ subject }) => subject === accountId);
    if (!known) await this.#addLogin(accountId, username ?? account.name);
    const code = randomBytes(24).toString('base64url');
    await this.#store.addLink(codeHash(code), accountId, this.#nowS() + linkLifetimeS);
    return code;
  }

  /** Whose password the code sets. @throws NotFoundError `link-unknown` */
  async linked(code: string): Promise<Login> {
    const login = await this.#store.linkedLogin(codeHash(code), this.#nowS());
    if (!login) throw new NotFoundError('link-unknown', 'This link has been used, or has ended. Ask for another one.');
    return login;
  }

  /**
   * Sets the password once. What was logged in before ends.
   * @throws MalformedError `password-unfit`; NotFoundError `link-unknown`; UnavailableError `logins-busy`
   */
  async useLink(code: string, password: string): Promise<void> {
    const { subject, username } = await this.linked(code);
    assertFit(password, username);
    const hashed = await this.#passwords.hash(password);
    if (!(await this.#store.useLink(codeHash(code), hashed, this.#nowS()))) await this.linked(code);
    await this.#store.deleteItemsOf(subject);
  }

  /** Where nobody has a password yet: a code for the first administrator, whose account is made. */
  async firstCode(): Promise<string | undefined> {
    const logins = await this.#store.logins();
    if (logins.some(({ password }) => password !== null)) return undefined;
    const first = logins.find(({ username }) => username === firstUsername);
    return this.addLink(first?.subject ?? (await this.#makeFirst()), firstUsername);
  }

  async #makeFirst(): Promise<string> {
    const [id, nowS] = [randomUUID(), this.#nowS()];
    await this.#accounts.createAccount({
      ...{ id, issuer: 'embedded', subject: id, name: firstUsername, roles: firstRoles, meters: [], certHashes: [] },
      ...{ disabled: false, sessionsFromS: 0, revision: 1, createdS: nowS, modifiedS: nowS },
    });
    return id;
  }

  async #addLogin(subject: string, username: string): Promise<void> {
    if (!/^[a-z0-9][a-z0-9._@-]{0,63}$/.test(username)) {
      throw new MalformedError(
        'username-unfit',
        'a user name is 1 to 64 of a-z, 0-9 and . _ @ -, and begins with none of these',
      );
    }
    if (!(await this.#store.addLogin({ subject, username, password: null, createdS: this.#nowS() }))) {
      throw new ConflictError('username-taken', `the user name ${username} is another account's`);
    }
  }
}

function assertFit(password: string, username: string): void {
  const { length } = password;
  if (length < shortestPassword || length > longestPassword) {
    throw new MalformedError('password-unfit', `A password has ${shortestPassword} to ${longestPassword} characters.`);
  }
  if (password.toLowerCase().includes(username)) {
    throw new MalformedError('password-unfit', 'A password must not contain the user name.');
  }
}

const codeHash = (code: string): Uint8Array => hash('sha256', code, 'buffer');
