/**
 * What the embedded issuer keeps, and who logs in there. Entries of the audit log go into the transaction of the change that
 * they tell of.
 */
import type { AuditFacts } from '../crypto/audit/entry.js';

/** A session, code, grant, refresh token or used proof, until it expires. */
export interface IssuerItem {
  readonly model: string;
  /** SHA-256 of what a bearer shows. */
  readonly idHash: Uint8Array;
  /** JSON text. */
  readonly payload: string;
  readonly grantId: string | null;
  readonly uid: string | null;
  readonly userCode: string | null;
  /** The subject that it is about. */
  readonly account: string | null;
  readonly expiresS: number;
}

export type FoundIssuerItem = Pick<IssuerItem, 'payload'> & { readonly consumedS: number | null };

/** A public key under which tokens verify. */
export interface IssuerKey {
  readonly kid: string;
  /** JSON text. */
  readonly jwk: string;
  readonly expiresS: number;
}

export interface IssuerStore {
  /** Creates or replaces; what was consumed stays so. */
  putItem(item: IssuerItem, audit?: readonly AuditFacts[]): Promise<void>;
  /** @returns false, and changes nothing, where there is one that has not expired */
  addItem(item: IssuerItem, nowS: number): Promise<boolean>;
  item(model: string, idHash: Uint8Array): Promise<FoundIssuerItem | undefined>;
  itemByUid(model: string, uid: string): Promise<FoundIssuerItem | undefined>;
  itemByUserCode(model: string, userCode: string): Promise<FoundIssuerItem | undefined>;
  /** @returns false where it was consumed before, or is not there */
  consumeItem(model: string, idHash: Uint8Array, nowS: number): Promise<boolean>;
  deleteItem(model: string, idHash: Uint8Array): Promise<void>;
  /** All that was given out under a grant. */
  deleteGrant(grantId: string, audit?: readonly AuditFacts[]): Promise<void>;

  /** Creates or replaces. */
  putKey(key: IssuerKey): Promise<void>;
  keys(nowS: number): Promise<readonly IssuerKey[]>;

  /** Removes items, keys and links that have expired. @returns how many */
  purgeIssuer(nowS: number): Promise<number>;
}

export interface Login {
  readonly subject: string;
  readonly username: string;
  /** Hash with its parameters; null until a link was used. */
  readonly password: string | null;
  readonly createdS: number;
}

/** A code by which a password can be set once. */
export interface NewLink {
  readonly codeHash: Uint8Array;
  /** Of a login that is there. */
  readonly subject: string;
  readonly expiresS: number;
  /** What ends with it: nothing, the other links of the login, or also its password. */
  readonly ends: 'nothing' | 'links' | 'password';
}

export interface LoginStore {
  /** @returns false, and changes nothing, where the user name is taken */
  addLogin(login: Login): Promise<boolean>;
  loginByName(username: string): Promise<Login | undefined>;
  loginOf(subject: string): Promise<Login | undefined>;
  logins(): Promise<readonly Login[]>;
  addLink(link: NewLink, audit?: readonly AuditFacts[]): Promise<void>;
  /** Whose link it is, unless it has expired. */
  linkedLogin(codeHash: Uint8Array, nowS: number): Promise<Login | undefined>;
  /**
   * Sets the password, and ends all links of the login and whatever the issuer keeps of it.
   * @returns false, and changes nothing, where the link is no more
   */
  useLink(codeHash: Uint8Array, password: string, nowS: number, audit?: readonly AuditFacts[]): Promise<boolean>;
}
