import type { AuditFacts } from '../../../crypto/audit/entry.js';
import type { Account, AccountsStore } from '../../../things/stores.js';
import { accountExists, accountOfRow, certificateEnrolled, usernameTaken, type AccountRow } from '../account-row.js';
import type { SqliteAudit } from './audit.js';
import { onlyRow, type Database, type Statement } from './database.js';
import type { SqliteEvents } from './events.js';
import { endSessionsStatement, insertLogin } from './issuer-store.js';

const columns = `id, issuer, subject, name, roles, meters, disabled, sessions_from_s AS sessionsFromS, revision,
  created_s AS createdS, modified_s AS modifiedS,
  (SELECT group_concat(lower(hex(cert_hash))) FROM account_certificate WHERE account = account.id) AS certHashes`;

/** Whatever changes stays the same in all rows but these. */
type Changeable = [
  name: string,
  roles: string,
  meters: string,
  disabled: number,
  sessionsFromS: number,
  revision: number,
  modifiedS: number,
];

export class SqliteAccountsStore implements AccountsStore {
  readonly #database: Database;
  readonly #events: SqliteEvents;
  readonly #audit: SqliteAudit;
  readonly #create: Statement<[...Changeable, id: string, issuer: string, subject: string, createdS: number]>;
  readonly #replace: Statement<[...Changeable, id: string, before: number]>;
  readonly #account: Statement<[id: string], AccountRow>;
  readonly #accountOf: Statement<[issuer: string, subject: string], AccountRow>;
  readonly #accountWith: Statement<[certHash: Uint8Array], AccountRow>;
  readonly #accounts: Statement<[afterId: string, limit: number], AccountRow>;
  readonly #addLogin: ReturnType<typeof insertLogin>;
  readonly #endSessions: ReturnType<typeof endSessionsStatement>;
  readonly #forgetCertificates: Statement<[account: string]>;
  readonly #enrol: Statement<[certHash: Uint8Array, account: string]>;
  readonly #revoke: Statement<[issuer: string, tokenId: string, expiresS: number]>;
  readonly #revoked: Statement<[issuer: string, tokenId: string], unknown>;
  readonly #changed: Statement<[]>;
  readonly #revision: Statement<[], { readonly revision: number }>;
  readonly #takeProof: Statement<[proof: Uint8Array, expiresS: number]>;
  readonly #purges: readonly Statement<[nowS: number]>[];

  constructor(database: Database, events: SqliteEvents, audit: SqliteAudit) {
    this.#database = database;
    this.#events = events;
    this.#audit = audit;
    this.#addLogin = insertLogin(database);
    this.#endSessions = endSessionsStatement(database);
    this.#create = database.prepare(
      `INSERT INTO account (name, roles, meters, disabled, sessions_from_s, revision, modified_s, id, issuer, subject, created_s)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (issuer, subject) DO NOTHING`,
    );
    this.#replace = database.prepare(
      `UPDATE account SET name = ?, roles = ?, meters = ?, disabled = ?, sessions_from_s = ?, revision = ?, modified_s = ?
       WHERE id = ? AND revision = ?`,
    );
    this.#account = database.prepare(`SELECT ${columns} FROM account WHERE id = ?`);
    this.#accountOf = database.prepare(`SELECT ${columns} FROM account WHERE issuer = ? AND subject = ?`);
    this.#accountWith = database.prepare(
      `SELECT ${columns} FROM account WHERE id = (SELECT account FROM account_certificate WHERE cert_hash = ?)`,
    );
    this.#accounts = database.prepare(`SELECT ${columns} FROM account WHERE id > ? ORDER BY id LIMIT ?`);
    this.#forgetCertificates = database.prepare('DELETE FROM account_certificate WHERE account = ?');
    this.#enrol = database.prepare(
      'INSERT INTO account_certificate (cert_hash, account) VALUES (?, ?) ON CONFLICT (cert_hash) DO NOTHING',
    );
    this.#revoke = database.prepare(
      `INSERT INTO revoked_token (issuer, token_id, expires_s) VALUES (?, ?, ?)
       ON CONFLICT (issuer, token_id) DO UPDATE SET expires_s = max(expires_s, excluded.expires_s)`,
    );
    this.#revoked = database.prepare('SELECT 1 FROM revoked_token WHERE issuer = ? AND token_id = ?');
    this.#changed = database.prepare('UPDATE access_state SET revision = revision + 1');
    this.#revision = database.prepare('SELECT revision FROM access_state');
    this.#takeProof = database.prepare(
      'INSERT INTO proof_shown (proof, expires_s) VALUES (?, ?) ON CONFLICT DO NOTHING',
    );
    this.#purges = ['proof_shown', 'revoked_token'].map((table) =>
      database.prepare(`DELETE FROM ${table} WHERE expires_s < ?`),
    );
  }

  async createAccount(
    account: Account,
    { login, audit }: Parameters<AccountsStore['createAccount']>[1] = {},
  ): Promise<void> {
    this.#change(audit, () => {
      const { id, issuer, subject, createdS } = account;
      const { changes } = this.#create.run(...changeable(account), id, issuer, subject, createdS);
      if (changes === 0) throw accountExists();
      this.#enrolCertificates(account);
      if (login && !this.#addLogin(login)) throw usernameTaken(login.username);
      return true;
    });
  }

  async replaceAccount(
    account: Account,
    { endsSessions = false, audit }: Parameters<AccountsStore['replaceAccount']>[1] = {},
  ): Promise<boolean> {
    return this.#change(audit, () => {
      const { changes } = this.#replace.run(...changeable(account), account.id, account.revision - 1);
      if (changes === 0) return false;
      this.#forgetCertificates.run(account.id);
      this.#enrolCertificates(account);
      if (endsSessions) this.#endSessions.run(account.id);
      return true;
    });
  }

  async account(id: string): Promise<Account | undefined> {
    return this.#only(() => this.#account.get(id));
  }

  async accountOf(issuer: string, subject: string): Promise<Account | undefined> {
    return this.#only(() => this.#accountOf.get(issuer, subject));
  }

  async accountWith(certHash: Uint8Array): Promise<Account | undefined> {
    return this.#only(() => this.#accountWith.get(certHash));
  }

  async accounts(afterId: string, limit: number): Promise<readonly Account[]> {
    return this.#database.read(() => this.#accounts.all(afterId, limit)).map(accountOfRow);
  }

  async revokeToken(issuer: string, tokenId: string, expiresS: number, audit?: readonly AuditFacts[]): Promise<void> {
    this.#change(audit, () => this.#revoke.run(issuer, tokenId, expiresS).changes > 0);
  }

  async isRevoked(issuer: string, tokenId: string): Promise<boolean> {
    return this.#database.read(() => this.#revoked.get(issuer, tokenId)) !== undefined;
  }

  async accessRevision(): Promise<number> {
    return this.#database.read(() => onlyRow(this.#revision.get())).revision;
  }

  async takeProof(proof: Uint8Array, expiresS: number): Promise<boolean> {
    return this.#database.withoutSync(() => this.#takeProof.run(proof, expiresS).changes > 0);
  }

  async purgeAccess(nowS: number): Promise<void> {
    this.#database.withoutSync(() => {
      for (const purge of this.#purges) purge.run(nowS);
    });
  }

  #only(row: () => AccountRow | undefined): Account | undefined {
    const found = this.#database.read(row);
    return found && accountOfRow(found);
  }

  #enrolCertificates({ id, certHashes }: Account): void {
    for (const certHash of certHashes) {
      if (this.#enrol.run(certHash, id).changes === 0) throw certificateEnrolled();
    }
  }

  /** @param work says whether there was a change: only then it is told of */
  #change(audit: readonly AuditFacts[] = [], work: () => boolean): boolean {
    const isChanged = this.#database.transaction(() => {
      if (!work()) return false;
      this.#changed.run();
      for (const facts of audit) this.#audit.appendWithin(facts);
      return true;
    });
    this.#events.wake();
    return isChanged;
  }
}

const changeable = ({ name, roles, meters, disabled, sessionsFromS, revision, modifiedS }: Account): Changeable => [
  name,
  JSON.stringify(roles),
  JSON.stringify(meters),
  disabled ? 1 : 0,
  sessionsFromS,
  revision,
  modifiedS,
];
