/** People of a backend in its database, for whoever has that: it stands in the audit log as `local:<name>`. */
import { randomUUID } from 'node:crypto';
import { userInfo } from 'node:os';
import { auditFacts, type AuditFacts } from '../../crypto/audit/entry.js';
import { ConflictError, NotFoundError } from '../../crypto/errors.js';
import type { AuditEvent } from '../../things/audit-log.js';
import type { Account } from '../../things/stores.js';
import { rightsDetails } from '../auth/account-audit.js';
import { personUrn, sessionsEnd } from '../auth/sessions.js';
import { createdEvent, linkPath, Logins, newPerson, type Doer } from '../issuer/logins.js';
import type { BackendStores } from '../stores/backend.js';
import type { NewPerson, People, PersonChange } from './people.js';

const pageSize = 500;

interface DatabaseParts {
  readonly stores: BackendStores;
  /** Of the backend, where it is known: what links begin with. */
  readonly origin?: string;
  readonly nowS: () => number;
}

export function peopleInDatabase({ stores, origin = '', nowS }: DatabaseParts): People {
  const { accounts, issuer: store, audit: log } = stores;
  const by = doer();
  const facts = (event: AuditEvent): AuditFacts => auditFacts({ ...event, timeS: nowS() });
  const append = async (event: AuditEvent): Promise<void> => {
    await log.append(facts(event));
  };
  const logins = new Logins({ store, accounts, audit: { facts, append }, nowS });
  return {
    via: 'database',
    all: () => allOf(stores),
    loginOf: async (id) => {
      const login = await logins.loginOf(id);
      return login && { username: login.username, passwordSet: login.password !== null };
    },
    add: async ({ name, roles, meters }: NewPerson) => {
      const account = newPerson({ id: randomUUID(), name, roles, meters }, nowS());
      const login = logins.newLogin(account.id, name);
      await accounts.createAccount(account, { login, audit: [facts(createdEvent(account, by))] });
      return account;
    },
    change: async (id, change) => {
      const account = await accounts.account(id);
      if (!account) throw new NotFoundError('account-unknown', 'no account of that id');
      const next = changed(account, change, nowS());
      const told = facts({
        ...{ ...by, action: 'user.change', subject: personUrn(account), outcome: 'done' },
        details: rightsDetails(change),
      });
      const endsSessions = change.disabled === true;
      if (await accounts.replaceAccount(next, { endsSessions, audit: [told] })) return next;
      throw new ConflictError('account-changed', 'the account was changed meanwhile: try again');
    },
    link: async (id, reset) => {
      const { code, username, expiresS } = await logins.addLink(id, by, { endsPassword: reset });
      return { username, link: origin + linkPath(code), expiresS };
    },
  };
}

const changed = (account: Account, change: PersonChange, nowS: number): Account => ({
  ...account,
  ...change,
  ...(change.disabled === true && sessionsEnd(nowS)),
  revision: account.revision + 1,
  modifiedS: nowS,
});

async function allOf({ accounts }: BackendStores): Promise<readonly Account[]> {
  const found: Account[] = [];
  for (;;) {
    const page = await accounts.accounts(found.at(-1)?.id ?? '', pageSize);
    found.push(...page);
    if (page.length < pageSize) return found;
  }
}

/** Whoever has the machine, by its name there; in a container it may have none. */
function doer(): Doer {
  try {
    return { actor: `local:${userInfo().username}`, requestId: null };
  } catch {
    return { actor: `local:${process.getuid?.() ?? 'unknown'}`, requestId: null };
  }
}
