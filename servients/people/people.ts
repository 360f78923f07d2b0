/** People with accounts at a backend, wherever they are reached: by its API, or in its database. */

export interface Person {
  readonly id: string;
  /** `embedded` for those who log in at the backend itself. */
  readonly issuer: string;
  readonly name: string;
  readonly roles: readonly string[];
  /** URNs. */
  readonly meters: readonly string[];
  readonly disabled: boolean;
}

export type NewPerson = Pick<Person, 'name' | 'roles' | 'meters'>;
export type PersonChange = Partial<Pick<Person, 'roles' | 'disabled'>>;

export interface PersonLogin {
  readonly username: string;
  readonly passwordSet: boolean;
}

interface PasswordLink {
  readonly username: string;
  /** Where its owner chooses a password; only the path where the backend's address is not known. */
  readonly link: string;
  readonly expiresS: number;
}

export interface People {
  readonly via: 'api' | 'database';
  all(): Promise<readonly Person[]>;
  /** Undefined for whoever logs in elsewhere, or never had a link. */
  loginOf(id: string): Promise<PersonLogin | undefined>;
  /** The name is the user name too. @throws `username-taken`, `username-unfit`; nothing is made then */
  add(person: NewPerson): Promise<Person>;
  /** To disable somebody ends all sessions. @throws `account-changed` */
  change(id: string, change: PersonChange): Promise<Person>;
  /** @param reset whether the password of until now and all sessions end. @throws `account-elsewhere`, `account-changed` */
  link(id: string, reset: boolean): Promise<PasswordLink>;
}
