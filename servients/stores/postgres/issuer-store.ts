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
import { appendAudit } from './audit.js';
import type { Database, Session } from './database.js';

const insertItem = `INSERT INTO issuer_item (model, id_hash, payload, grant_id, uid, user_code, account, expires_s)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (model, id_hash) DO UPDATE SET
    payload = excluded.payload, grant_id = excluded.grant_id, uid = excluded.uid, user_code = excluded.user_code,
    account = excluded.account, expires_s = excluded.expires_s`;
const found = 'SELECT payload, consumed_s AS "consumedS" FROM issuer_item WHERE model = $1';
const login = 'SELECT login.subject AS subject, username, password, created_s AS "createdS" FROM login';

export class PostgresIssuerStore implements IssuerStore, LoginStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  putItem(item: IssuerItem, audit: readonly AuditFacts[] = []): Promise<void> {
    return this.#logged(audit, (session) => session.run(insertItem, columnsOf(item)));
  }

  async addItem(item: IssuerItem, nowS: number): Promise<boolean> {
    const add = `${insertItem}, consumed_s = NULL WHERE issuer_item.expires_s <= $9`;
    return (await this.#database.run(add, [...columnsOf(item), nowS])) > 0;
  }

  item(model: string, idHash: Uint8Array): Promise<FoundIssuerItem | undefined> {
    return this.#first(`${found} AND id_hash = $2`, [model, idHash]);
  }

  itemByUid(model: string, uid: string): Promise<FoundIssuerItem | undefined> {
    return this.#first(`${found} AND uid = $2`, [model, uid]);
  }

  itemByUserCode(model: string, userCode: string): Promise<FoundIssuerItem | undefined> {
    return this.#first(`${found} AND user_code = $2`, [model, userCode]);
  }

  async consumeItem(model: string, idHash: Uint8Array, nowS: number): Promise<boolean> {
    const consume = `UPDATE issuer_item SET consumed_s = $3 WHERE model = $1 AND id_hash = $2 AND consumed_s IS NULL`;
    return (await this.#database.run(consume, [model, idHash, nowS])) > 0;
  }

  async deleteItem(model: string, idHash: Uint8Array): Promise<void> {
    await this.#database.run('DELETE FROM issuer_item WHERE model = $1 AND id_hash = $2', [model, idHash]);
  }

  deleteGrant(grantId: string, audit: readonly AuditFacts[] = []): Promise<void> {
    return this.#logged(audit, (session) => session.run('DELETE FROM issuer_item WHERE grant_id = $1', [grantId]));
  }

  async putKey({ kid, jwk, expiresS }: IssuerKey): Promise<void> {
    await this.#database.run(
      `INSERT INTO issuer_key (kid, jwk, expires_s) VALUES ($1, $2, $3)
       ON CONFLICT (kid) DO UPDATE SET expires_s = excluded.expires_s`,
      [kid, jwk, expiresS],
    );
  }

  keys(nowS: number): Promise<readonly IssuerKey[]> {
    return this.#database.rows(
      'SELECT kid, jwk, expires_s AS "expiresS" FROM issuer_key WHERE expires_s > $1 ORDER BY kid',
      [nowS],
    );
  }

  purgeIssuer(nowS: number): Promise<number> {
    return this.#database.transaction(async (session) => {
      let removed = 0;
      for (const table of ['issuer_item', 'issuer_key', 'login_link']) {
        removed += await session.run(`DELETE FROM ${table} WHERE expires_s <= $1`, [nowS]);
      }
      return removed;
    });
  }

  addLogin(login: Login): Promise<boolean> {
    return insertLogin(this.#database, login);
  }

  loginByName(username: string): Promise<Login | undefined> {
    return this.#first(`${login} WHERE username = $1`, [username]);
  }

  loginOf(subject: string): Promise<Login | undefined> {
    return this.#first(`${login} WHERE subject = $1`, [subject]);
  }

  logins(): Promise<readonly Login[]> {
    return this.#database.rows(`${login} ORDER BY username`);
  }

  addLink({ codeHash, subject, expiresS, ends }: NewLink, audit: readonly AuditFacts[] = []): Promise<void> {
    return this.#database.transaction(async (session) => {
      if (ends !== 'nothing') await endLinks(session, subject);
      if (ends === 'password') await setPassword(session, subject, null);
      await session.run('INSERT INTO login_link (code_hash, subject, expires_s) VALUES ($1, $2, $3)', [
        codeHash,
        subject,
        expiresS,
      ]);
      for (const facts of audit) await appendAudit(session, facts);
    });
  }

  linkedLogin(codeHash: Uint8Array, nowS: number): Promise<Login | undefined> {
    return this.#first(
      `${login} JOIN login_link ON login_link.subject = login.subject WHERE code_hash = $1 AND expires_s > $2`,
      [codeHash, nowS],
    );
  }

  useLink(codeHash: Uint8Array, password: string, nowS: number, audit: readonly AuditFacts[] = []): Promise<boolean> {
    return this.#database.transaction(async (session) => {
      // Whoever deletes it has used it: of two at once, one.
      const [link] = await session.rows<{ readonly subject: string }>(
        'DELETE FROM login_link WHERE code_hash = $1 AND expires_s > $2 RETURNING subject',
        [codeHash, nowS],
      );
      if (!link) return false;
      await setPassword(session, link.subject, password);
      await endLinks(session, link.subject);
      await endSessions(session, link.subject);
      for (const facts of audit) await appendAudit(session, facts);
      return true;
    });
  }

  async #logged(audit: readonly AuditFacts[], work: (session: Session) => Promise<unknown>): Promise<void> {
    if (audit.length === 0) {
      await work(this.#database);
      return;
    }
    await this.#database.transaction(async (session) => {
      await work(session);
      for (const facts of audit) await appendAudit(session, facts);
    });
  }

  async #first<Row>(text: string, values: readonly (string | number | Uint8Array)[]): Promise<Row | undefined> {
    const [row] = await this.#database.rows<Row>(text, values);
    return row;
  }
}

/** @returns whether it was added: the user name was free */
export const insertLogin = async (
  session: Session,
  { subject, username, password, createdS }: Login,
): Promise<boolean> =>
  (await session.run(
    'INSERT INTO login (subject, username, password, created_s) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING',
    [subject, username, password, createdS],
  )) > 0;

/** Ends sessions, grants and refresh tokens of a subject. */
export const endSessions = (session: Session, subject: string): Promise<number> =>
  session.run('DELETE FROM issuer_item WHERE account = $1', [subject]);

const endLinks = (session: Session, subject: string): Promise<number> =>
  session.run('DELETE FROM login_link WHERE subject = $1', [subject]);

const setPassword = (session: Session, subject: string, password: string | null): Promise<number> =>
  session.run('UPDATE login SET password = $2 WHERE subject = $1', [subject, password]);

const columnsOf = (item: IssuerItem) => [
  item.model,
  item.idHash,
  item.payload,
  item.grantId,
  item.uid,
  item.userCode,
  item.account,
  item.expiresS,
];
