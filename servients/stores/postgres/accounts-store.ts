import type { AuditFacts } from '../../../crypto/audit/entry.js';
import type { Account, AccountsStore } from '../../../things/stores.js';
import { accountExists, accountOfRow, certificateEnrolled, usernameTaken, type AccountRow } from '../account-row.js';
import { appendAudit } from './audit.js';
import { onlyRow, type Database, type Session } from './database.js';
import { wakeAll } from './events.js';
import { endSessions, insertLogin } from './issuer-store.js';

const columns = `id, issuer, subject, name, roles, meters, disabled, sessions_from_s AS "sessionsFromS", revision,
  created_s AS "createdS", modified_s AS "modifiedS",
  (SELECT string_agg(encode(cert_hash, 'hex'), ',') FROM account_certificate WHERE account = account.id) AS "certHashes"`;

export class PostgresAccountsStore implements AccountsStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async createAccount(
    account: Account,
    { login, audit }: Parameters<AccountsStore['createAccount']>[1] = {},
  ): Promise<void> {
    const { id, issuer, subject, createdS } = account;
    await this.#change(audit, async (session) => {
      const created = await session.run(
        `INSERT INTO account
           (name, roles, meters, disabled, sessions_from_s, revision, modified_s, id, issuer, subject, created_s)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (issuer, subject) DO NOTHING`,
        [...changeable(account), id, issuer, subject, createdS],
      );
      if (created === 0) throw accountExists();
      await enrolCertificates(session, account);
      if (login && !(await insertLogin(session, login))) throw usernameTaken(login.username);
      return true;
    });
  }

  replaceAccount(
    account: Account,
    { endsSessions = false, audit }: Parameters<AccountsStore['replaceAccount']>[1] = {},
  ): Promise<boolean> {
    return this.#change(audit, async (session) => {
      const replaced = await session.run(
        `UPDATE account
         SET name = $1, roles = $2, meters = $3, disabled = $4, sessions_from_s = $5, revision = $6, modified_s = $7
         WHERE id = $8 AND revision = $9`,
        [...changeable(account), account.id, account.revision - 1],
      );
      if (replaced === 0) return false;
      await session.run('DELETE FROM account_certificate WHERE account = $1', [account.id]);
      await enrolCertificates(session, account);
      if (endsSessions) await endSessions(session, account.id);
      return true;
    });
  }

  account(id: string): Promise<Account | undefined> {
    return this.#only('id = $1', [id]);
  }

  accountOf(issuer: string, subject: string): Promise<Account | undefined> {
    return this.#only('issuer = $1 AND subject = $2', [issuer, subject]);
  }

  accountWith(certHash: Uint8Array): Promise<Account | undefined> {
    return this.#only('id = (SELECT account FROM account_certificate WHERE cert_hash = $1)', [certHash]);
  }

  async accounts(afterId: string, limit: number): Promise<readonly Account[]> {
    const rows = await this.#database.rows<AccountRow>(
      `SELECT ${columns} FROM account WHERE id > $1 ORDER BY id LIMIT $2`,
      [afterId, limit],
    );
    return rows.map(accountOfRow);
  }

  async revokeToken(issuer: string, tokenId: string, expiresS: number, audit?: readonly AuditFacts[]): Promise<void> {
    await this.#change(audit, async (session) => {
      await session.run(
        `INSERT INTO revoked_token AS known (issuer, token_id, expires_s) VALUES ($1, $2, $3)
         ON CONFLICT (issuer, token_id) DO UPDATE SET expires_s = greatest(known.expires_s, excluded.expires_s)`,
        [issuer, tokenId, expiresS],
      );
      return true;
    });
  }

  async isRevoked(issuer: string, tokenId: string): Promise<boolean> {
    const found = await this.#database.rows('SELECT FROM revoked_token WHERE issuer = $1 AND token_id = $2', [
      issuer,
      tokenId,
    ]);
    return found.length > 0;
  }

  async accessRevision(): Promise<number> {
    return onlyRow(await this.#database.rows<{ readonly revision: number }>('SELECT revision FROM access_state'))
      .revision;
  }

  /** Its commit does not wait for the disk. */
  async takeProof(proof: Uint8Array, expiresS: number): Promise<boolean> {
    const taken = await this.#database.run(
      `WITH hasty AS (SELECT set_config('synchronous_commit', 'off', true))
       INSERT INTO proof_shown (proof, expires_s) SELECT $1::bytea, $2::bigint FROM hasty ON CONFLICT DO NOTHING`,
      [proof, expiresS],
    );
    return taken > 0;
  }

  async purgeAccess(nowS: number): Promise<void> {
    await this.#database.run('DELETE FROM proof_shown WHERE expires_s < $1', [nowS]);
    await this.#database.run('DELETE FROM revoked_token WHERE expires_s < $1', [nowS]);
  }

  async #only(condition: string, values: readonly (string | Uint8Array)[]): Promise<Account | undefined> {
    const [row] = await this.#database.rows<AccountRow>(`SELECT ${columns} FROM account WHERE ${condition}`, values);
    return row && accountOfRow(row);
  }

  /** @param work says whether there was a change: only then it is told of */
  #change(audit: readonly AuditFacts[] = [], work: (session: Session) => Promise<boolean>): Promise<boolean> {
    return this.#database.transaction(async (session) => {
      if (!(await work(session))) return false;
      await session.run('UPDATE access_state SET revision = revision + 1');
      await wakeAll(session);
      for (const facts of audit) await appendAudit(session, facts);
      return true;
    });
  }
}

async function enrolCertificates(session: Session, { id, certHashes }: Account): Promise<void> {
  for (const certHash of certHashes) {
    const enrolled = await session.run(
      'INSERT INTO account_certificate (cert_hash, account) VALUES ($1, $2) ON CONFLICT (cert_hash) DO NOTHING',
      [certHash, id],
    );
    if (enrolled === 0) throw certificateEnrolled();
  }
}

const changeable = ({ name, roles, meters, disabled, sessionsFromS, revision, modifiedS }: Account) => [
  name,
  JSON.stringify(roles),
  JSON.stringify(meters),
  disabled ? 1 : 0,
  sessionsFromS,
  revision,
  modifiedS,
];
