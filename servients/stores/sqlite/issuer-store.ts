import type { AuditFacts } from '../../../crypto/audit/entry.js';
import type {
  FoundIssuerItem,
  IssuerItem,
  IssuerKey,
  IssuerStore,
  Login,
  LoginStore,
  NewLink,
} from '../../../things/issuer-store.js';
import type { SqliteAudit } from './audit.js';
import type { Database, Statement } from './database.js';

type ItemColumns = [
  model: string,
  idHash: Uint8Array,
  payload: string,
  grantId: string | null,
  uid: string | null,
  userCode: string | null,
  account: string | null,
  expiresS: number,
];
type Key = [model: string, idHash: Uint8Array];

const insertItem = `INSERT INTO issuer_item (model, id_hash, payload, grant_id, uid, user_code, account, expires_s)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (model, id_hash) DO UPDATE SET
    payload = excluded.payload, grant_id = excluded.grant_id, uid = excluded.uid, user_code = excluded.user_code,
    account = excluded.account, expires_s = excluded.expires_s`;
const found = 'SELECT payload, consumed_s AS consumedS FROM issuer_item WHERE model = ?';
const login = 'SELECT login.subject AS subject, username, password, created_s AS createdS FROM login';

/** Within a transaction of the caller. @returns whether it was added: the user name was free */
export function insertLogin(database: Database): (login: Login) => boolean {
  const insert = database.prepare<[string, string, string | null, number]>(
    'INSERT INTO login (subject, username, password, created_s) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING',
  );
  return ({ subject, username, password, createdS }) => insert.run(subject, username, password, createdS).changes > 0;
}

/** Ends sessions, grants and refresh tokens of a subject. */
export const endSessionsStatement = (database: Database): Statement<[subject: string]> =>
  database.prepare('DELETE FROM issuer_item WHERE account = ?');

export class SqliteIssuerStore implements IssuerStore, LoginStore {
  readonly #database: Database;
  readonly #audit: SqliteAudit;
  readonly #putItem: Statement<ItemColumns>;
  readonly #addItem: Statement<[...ItemColumns, nowS: number]>;
  readonly #item: Statement<Key, FoundIssuerItem>;
  readonly #itemByUid: Statement<[model: string, uid: string], FoundIssuerItem>;
  readonly #itemByUserCode: Statement<[model: string, userCode: string], FoundIssuerItem>;
  readonly #consume: Statement<[nowS: number, ...Key]>;
  readonly #deleteItem: Statement<Key>;
  readonly #deleteGrant: Statement<[grantId: string]>;
  readonly #endSessions: Statement<[subject: string]>;
  readonly #putKey: Statement<[kid: string, jwk: string, expiresS: number]>;
  readonly #keys: Statement<[nowS: number], IssuerKey>;
  readonly #purges: readonly Statement<[nowS: number]>[];
  readonly #addLogin: (login: Login) => boolean;
  readonly #loginByName: Statement<[username: string], Login>;
  readonly #loginOf: Statement<[subject: string], Login>;
  readonly #logins: Statement<[], Login>;
  readonly #setPassword: Statement<[password: string | null, subject: string]>;
  readonly #addLink: Statement<[codeHash: Uint8Array, subject: string, expiresS: number]>;
  readonly #linkedLogin: Statement<[codeHash: Uint8Array, nowS: number], Login>;
  readonly #endLinks: Statement<[subject: string]>;

  constructor(database: Database, audit: SqliteAudit) {
    this.#database = database;
    this.#audit = audit;
    this.#putItem = database.prepare(insertItem);
    this.#addItem = database.prepare(`${insertItem}, consumed_s = NULL WHERE issuer_item.expires_s <= ?`);
    this.#item = database.prepare(`${found} AND id_hash = ?`);
    this.#itemByUid = database.prepare(`${found} AND uid = ?`);
    this.#itemByUserCode = database.prepare(`${found} AND user_code = ?`);
    this.#consume = database.prepare(
      'UPDATE issuer_item SET consumed_s = ? WHERE model = ? AND id_hash = ? AND consumed_s IS NULL',
    );
    this.#deleteItem = database.prepare('DELETE FROM issuer_item WHERE model = ? AND id_hash = ?');
    this.#deleteGrant = database.prepare('DELETE FROM issuer_item WHERE grant_id = ?');
    this.#endSessions = endSessionsStatement(database);
    this.#putKey = database.prepare(
      `INSERT INTO issuer_key (kid, jwk, expires_s) VALUES (?, ?, ?)
       ON CONFLICT (kid) DO UPDATE SET expires_s = excluded.expires_s`,
    );
    this.#keys = database.prepare(
      'SELECT kid, jwk, expires_s AS expiresS FROM issuer_key WHERE expires_s > ? ORDER BY kid',
    );
    this.#purges = ['issuer_item', 'issuer_key', 'login_link'].map((table) =>
      database.prepare(`DELETE FROM ${table} WHERE expires_s <= ?`),
    );
    this.#addLogin = insertLogin(database);
    this.#loginByName = database.prepare(`${login} WHERE username = ?`);
    this.#loginOf = database.prepare(`${login} WHERE subject = ?`);
    this.#logins = database.prepare(`${login} ORDER BY username`);
    this.#setPassword = database.prepare('UPDATE login SET password = ? WHERE subject = ?');
    this.#addLink = database.prepare('INSERT INTO login_link (code_hash, subject, expires_s) VALUES (?, ?, ?)');
    this.#linkedLogin = database.prepare(
      `${login} JOIN login_link ON login_link.subject = login.subject WHERE code_hash = ? AND expires_s > ?`,
    );
    this.#endLinks = database.prepare('DELETE FROM login_link WHERE subject = ?');
  }

  async putItem(item: IssuerItem, audit: readonly AuditFacts[] = []): Promise<void> {
    this.#logged(audit, () => this.#putItem.run(...columnsOf(item)));
  }

  async addItem(item: IssuerItem, nowS: number): Promise<boolean> {
    return this.#database.read(() => this.#addItem.run(...columnsOf(item), nowS)).changes > 0;
  }

  async item(...key: Key): Promise<FoundIssuerItem | undefined> {
    return this.#database.read(() => this.#item.get(...key));
  }

  async itemByUid(model: string, uid: string): Promise<FoundIssuerItem | undefined> {
    return this.#database.read(() => this.#itemByUid.get(model, uid));
  }

  async itemByUserCode(model: string, userCode: string): Promise<FoundIssuerItem | undefined> {
    return this.#database.read(() => this.#itemByUserCode.get(model, userCode));
  }

  async consumeItem(model: string, idHash: Uint8Array, nowS: number): Promise<boolean> {
    return this.#database.read(() => this.#consume.run(nowS, model, idHash)).changes > 0;
  }

  async deleteItem(...key: Key): Promise<void> {
    this.#database.read(() => this.#deleteItem.run(...key));
  }

  async deleteGrant(grantId: string, audit: readonly AuditFacts[] = []): Promise<void> {
    this.#logged(audit, () => this.#deleteGrant.run(grantId));
  }

  async putKey({ kid, jwk, expiresS }: IssuerKey): Promise<void> {
    this.#database.read(() => this.#putKey.run(kid, jwk, expiresS));
  }

  async keys(nowS: number): Promise<readonly IssuerKey[]> {
    return this.#database.read(() => this.#keys.all(nowS));
  }

  async purgeIssuer(nowS: number): Promise<number> {
    return this.#database.transaction(() =>
      this.#purges.reduce((removed, purge) => removed + purge.run(nowS).changes, 0),
    );
  }

  async addLogin(login: Login): Promise<boolean> {
    return this.#database.read(() => this.#addLogin(login));
  }

  async loginByName(username: string): Promise<Login | undefined> {
    return this.#database.read(() => this.#loginByName.get(username));
  }

  async loginOf(subject: string): Promise<Login | undefined> {
    return this.#database.read(() => this.#loginOf.get(subject));
  }

  async logins(): Promise<readonly Login[]> {
    return this.#database.read(() => this.#logins.all());
  }

  async addLink({ codeHash, subject, expiresS, ends }: NewLink, audit: readonly AuditFacts[] = []): Promise<void> {
    this.#logged(audit, () => {
      if (ends !== 'nothing') this.#endLinks.run(subject);
      if (ends === 'password') this.#setPassword.run(null, subject);
      this.#addLink.run(codeHash, subject, expiresS);
    });
  }

  async linkedLogin(codeHash: Uint8Array, nowS: number): Promise<Login | undefined> {
    return this.#database.read(() => this.#linkedLogin.get(codeHash, nowS));
  }

  async useLink(
    codeHash: Uint8Array,
    password: string,
    nowS: number,
    audit: readonly AuditFacts[] = [],
  ): Promise<boolean> {
    return this.#database.transaction(() => {
      const linked = this.#linkedLogin.get(codeHash, nowS);
      if (!linked) return false;
      this.#setPassword.run(password, linked.subject);
      this.#endLinks.run(linked.subject);
      this.#endSessions.run(linked.subject);
      this.#append(audit);
      return true;
    });
  }

  #logged(audit: readonly AuditFacts[], work: () => void): void {
    this.#database.transaction(() => {
      work();
      this.#append(audit);
    });
  }

  #append(audit: readonly AuditFacts[]): void {
    for (const facts of audit) this.#audit.appendWithin(facts);
  }
}

const columnsOf = (item: IssuerItem): ItemColumns => [
  item.model,
  item.idHash,
  item.payload,
  item.grantId,
  item.uid,
  item.userCode,
  item.account,
  item.expiresS,
];
