/** `gridring user`: accounts of people who log in at a backend's own issuer, on the machine and database of the backend. */
import { randomUUID } from 'node:crypto';
import { userInfo } from 'node:os';
import { Option, type Command } from 'commander';
import { ConflictError, NotFoundError } from '../../crypto/errors.js';
import type { Account } from '../../things/stores.js';
import { personRoles } from '../auth/roles.js';
import { readConfig } from '../config.js';
import { auditFacts } from '../../crypto/audit/entry.js';
import type { AuditEvent } from '../../things/audit-log.js';
import { personUrn } from '../auth/sessions.js';
import { rightsDetails } from '../auth/account-audit.js';
import { createdEvent, Logins, newPerson, type Doer } from '../issuer/logins.js';
import { systemNowS } from '../runtime.js';
import { openBackendStores, type BackendStores } from '../stores/backend.js';
import { collect } from './options.js';
import { printJson, printLine, table } from './output.js';

interface UserOptions {
  readonly config: string;
  readonly role?: readonly string[];
  readonly meter?: readonly string[];
  readonly json?: true;
}

const pageSize = 500;

export function addUser(program: Command): void {
  const user = program.command('user').description('people who log in at a backend, with its database at hand');
  const verb = (name: string, description: string): Command =>
    user
      .command(name)
      .description(description)
      .requiredOption('--config <file>', 'configuration of the backend; with SQLite it must not be running')
      .option('--json', 'print JSON');
  const roles = (): Option =>
    new Option('--role <role>', `what it may, may be given again: ${Object.keys(personRoles).join(', ')}`).argParser(
      (text: string, all?: readonly string[]) => collect(text.toUpperCase(), all),
    );
  verb('ls', 'list accounts').action((options: UserOptions) => withStores(options, (stores) => list(stores, options)));
  verb('add <name>', 'make an account, and a link by which its owner chooses a password')
    .addOption(roles())
    .option('--meter <id>', 'of a household: its meter; may be given again', collect)
    .action((name: string, options: UserOptions) => withStores(options, (stores) => add(stores, name, options)));
  verb('role <name>', 'give an account other roles')
    .addOption(roles().makeOptionMandatory())
    .action((name: string, options: UserOptions) => change(name, options, { roles: checkedRoles(options.role) }));
  verb('disable <name>', 'let nobody in under an account, and end its sessions').action(
    (name: string, options: UserOptions) => change(name, options, { disabled: true, sessionsFromS: systemNowS() + 1 }),
  );
  verb('enable <name>', 'let its owner in again').action((name: string, options: UserOptions) =>
    change(name, options, { disabled: false }),
  );
  verb('link <name>', 'make a link by which its owner chooses a new password').action(
    (name: string, options: UserOptions) =>
      withStores(options, async (stores) => {
        await showLink(stores, await accountNamed(stores, name), options);
      }),
  );
}

async function withStores(
  { config: path }: UserOptions,
  work: (stores: BackendStores) => Promise<void>,
): Promise<void> {
  const { dataDir, database: configured, suite } = readConfig('backend', path);
  const { DATABASE_URL: fromEnvironment = '' } = process.env;
  const database = fromEnvironment === '' ? configured : fromEnvironment;
  const stores = await openBackendStores({ dataDir, suite, ...(database !== undefined && { database }) });
  try {
    await work(stores);
  } finally {
    await stores.close();
  }
}

async function list(stores: BackendStores, { json }: UserOptions): Promise<void> {
  const accounts = await allAccounts(stores);
  if (json) {
    for (const { id, name, roles, meters, disabled } of accounts) printJson({ id, name, roles, meters, disabled });
    return;
  }
  const rows = accounts.map(({ name, roles, disabled, id }) => [name, roles.join(' '), disabled ? 'disabled' : '', id]);
  printLine(table([['NAME', 'ROLES', 'STATE', 'ID'], ...rows]));
}

async function add(stores: BackendStores, name: string, options: UserOptions): Promise<void> {
  const roles = checkedRoles(options.role);
  if ((await allAccounts(stores)).some((account) => account.name === name)) {
    throw new ConflictError('username-taken', `there is an account ${name} already: "gridring user link ${name}"`);
  }
  const [id, nowS] = [randomUUID(), systemNowS()];
  const meters = (options.meter ?? []).map((meter) =>
    meter.startsWith('urn:') ? meter : `urn:gridring:meter:${meter}`,
  );
  const account = newPerson({ id, name, roles, meters }, nowS);
  const login = loginsOn(stores).newLogin(id, name);
  await stores.accounts.createAccount(account, { login, audit: [facts(createdEvent(account, doer()))] });
  await showLink(stores, account, options);
}

/** Whoever has the machine, by its name there. */
const doer = (): Doer => ({ actor: `local:${userInfo().username}`, requestId: null });
const facts = (event: AuditEvent) => auditFacts({ ...event, timeS: systemNowS() });

function loginsOn({ issuer: store, accounts, audit: kept }: BackendStores): Logins {
  const audit = {
    facts,
    append: async (event: AuditEvent): Promise<void> => {
      await kept.append(facts(event));
    },
  };
  return new Logins({ store, accounts, audit, nowS: systemNowS });
}

async function showLink(stores: BackendStores, { id, name }: Account, { json }: UserOptions): Promise<void> {
  const { code } = await loginsOn(stores).addLink(id, doer(), { username: name });
  const path = `/oidc/link/${code}`;
  if (json) printJson({ event: 'link', name, id, path });
  else printLine(`${name} chooses a password once, within a day, at the backend's address with ${path}`);
}

function change(name: string, options: UserOptions, changes: Partial<Account>): Promise<void> {
  return withStores(options, async (stores) => {
    const account = await accountNamed(stores, name);
    const changed = { ...account, ...changes, revision: account.revision + 1, modifiedS: systemNowS() };
    const audit = [
      facts({
        ...{ ...doer(), action: 'user.change', subject: personUrn(account), outcome: 'done' },
        details: rightsDetails(changes),
      }),
    ];
    if (!(await stores.accounts.replaceAccount(changed, { endsSessions: changes.disabled === true, audit }))) {
      throw new ConflictError('account-changed', 'the account was changed meanwhile: try again');
    }
    if (options.json)
      printJson({ event: 'account', name, id: account.id, roles: changed.roles, disabled: changed.disabled });
    else printLine(`${name}: ${changed.roles.join(' ')}${changed.disabled ? ', disabled' : ''}`);
  });
}

async function accountNamed(stores: BackendStores, name: string): Promise<Account> {
  const account = (await allAccounts(stores)).find((each) => each.name === name);
  if (!account) throw new NotFoundError('account-unknown', `there is no account ${name}`);
  return account;
}

async function allAccounts({ accounts }: BackendStores): Promise<readonly Account[]> {
  const found: Account[] = [];
  for (;;) {
    const page = await accounts.accounts(found.at(-1)?.id ?? '', pageSize);
    found.push(...page);
    if (page.length < pageSize) return found.filter(({ issuer }) => issuer === 'embedded');
  }
}

/** @throws NotFoundError `role-unknown` */
function checkedRoles(roles: readonly string[] = []): readonly string[] {
  const unknown = roles.find((role) => !Object.hasOwn(personRoles, role));
  if (unknown !== undefined)
    throw new NotFoundError('role-unknown', `no role ${unknown}: ${Object.keys(personRoles).join(', ')}`);
  return roles;
}
