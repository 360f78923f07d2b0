/** `gridring user`: accounts of people who log in at a backend's own issuer, by its API or in its database. */
import { Option, type Command } from 'commander';
import { ConflictError, NotFoundError } from '../../crypto/errors.js';
import { embeddedIssuerName } from '../auth/access-token.js';
import { personRoles } from '../auth/roles.js';
import { readConfig } from '../config.js';
import { meterUrn } from '../issuer/logins.js';
import { withPeople } from '../people/open.js';
import type { People, Person, PersonChange } from '../people/people.js';
import { systemNowS } from '../runtime.js';
import { authorizedFetch } from './authorized-fetch.js';
import { baseUrl, collect } from './options.js';
import { printJson, printLine, table } from './output.js';

interface UserOptions {
  readonly config?: string;
  readonly url?: string;
  readonly role?: readonly string[];
  readonly meter?: readonly string[];
  readonly json?: true;
}

const help = `
With --url, or where the backend of --config is running, the account that is logged in there ("gridring login") must have the
role RBACMNT. With --config alone, whoever can read the backend's database needs no login: with SQLite while the backend is
stopped, with PostgreSQL at any time. The audit log then names the user of this machine.`;

export function addUser(program: Command): void {
  const user = program
    .command('user')
    .description('people who log in at a backend: by its API, or in its database while it is stopped')
    .addHelpText('after', help);
  const verb = (name: string, description: string): Command =>
    user
      .command(name)
      .description(description)
      .option('--url <url>', 'the backend; default: that of --config, or http://127.0.0.1:8470', baseUrl)
      .option('--config <file>', "configuration of the backend, on the backend's machine")
      .option('--json', 'print JSON')
      .addHelpText('after', help);
  const roles = (): Option =>
    new Option('--role <role>', `what it may, may be given again: ${Object.keys(personRoles).join(', ')}`).argParser(
      (text: string, all?: readonly string[]) => collect(text.toUpperCase(), all),
    );
  verb('ls', 'list accounts').action((options: UserOptions) => open(options, (people) => list(people, options)));
  verb('show <name>', 'show an account, by its name or id').action((name: string, options: UserOptions) =>
    open(options, (people) => show(people, name, options)),
  );
  verb('add <name>', 'make an account, and a link by which its owner chooses a password')
    .addOption(roles())
    .option('--meter <id>', 'of a household: its meter; may be given again', collect)
    .action((name: string, options: UserOptions) => {
      const wanted = { name, roles: checkedRoles(options.role), meters: (options.meter ?? []).map(meterUrn) };
      return open(options, async (people) => showLink(people, await people.add(wanted), options));
    });
  verb('role <name>', 'give an account other roles')
    .addOption(roles().makeOptionMandatory())
    .action((name: string, options: UserOptions) => change(name, options, { roles: checkedRoles(options.role) }));
  verb('disable <name>', 'let nobody in under an account, and end its sessions').action(
    (name: string, options: UserOptions) => change(name, options, { disabled: true }),
  );
  verb('enable <name>', 'let its owner in again').action((name: string, options: UserOptions) =>
    change(name, options, { disabled: false }),
  );
  verb('link <name>', 'make a link by which its owner chooses a new password; the links of before end').action(
    (name: string, options: UserOptions) =>
      open(options, async (people) => showLink(people, await named(people, name), options)),
  );
  verb('reset <name>', 'end the password and all sessions of an account, and make a link for a new one').action(
    (name: string, options: UserOptions) =>
      open(options, async (people) => showLink(people, await named(people, name), options, true)),
  );
}

function open({ config, url }: UserOptions, work: (people: People) => Promise<void>): Promise<void> {
  const place = {
    fetchAt: authorizedFetch,
    nowS: systemNowS,
    ...(config !== undefined && { config: readConfig('backend', config) }),
    ...(url !== undefined && { url }),
  };
  return withPeople(place, work);
}

async function list(people: People, { json }: UserOptions): Promise<void> {
  const all = await people.all();
  if (json) {
    for (const person of all) printJson(shown(person));
    return;
  }
  const rows = all.map((person) => [person.name, person.roles.join(' '), stateOf(person), person.id]);
  printLine(table([['NAME', 'ROLES', 'STATE', 'ID'], ...rows]));
}

async function show(people: People, name: string, { json }: UserOptions): Promise<void> {
  const person = await named(people, name);
  const login = await people.loginOf(person.id);
  if (json) {
    printJson({ event: 'account', via: people.via, ...shown(person), ...(login && { login }) });
    return;
  }
  const { id, roles, meters } = person;
  const password = login?.passwordSet === true ? 'chosen' : 'none: "gridring user link" makes one possible';
  const rows = [
    ['name', person.name],
    ['id', id],
    ['state', stateOf(person) || 'enabled'],
    ['roles', roles.join(' ')],
    ...(meters.length > 0 ? [['meters', meters.join(' ')]] : []),
    ...(login ? [['user name', login.username]] : []),
    ...(person.issuer === embeddedIssuerName ? [['password', password]] : []),
  ];
  printLine(table(rows));
}

/** Of an account that was just made, or had its password reset, the same. */
async function showLink(people: People, { id, name }: Person, { json }: UserOptions, reset = false): Promise<void> {
  const { link, username, expiresS } = await people.link(id, reset);
  if (json) {
    const expiresAt = new Date(expiresS * 1000).toISOString();
    printJson({ event: 'link', via: people.via, name, id, username, link, expiresAt, reset });
    return;
  }
  const where = link.startsWith('/') ? `at the backend's address with ${link}` : `at ${link}`;
  printLine(`${username} chooses a password once, within a day, ${where}`);
}

function change(name: string, options: UserOptions, wanted: PersonChange): Promise<void> {
  return open(options, async (people) => {
    const person = await people.change((await named(people, name)).id, wanted);
    if (options.json) printJson({ event: 'account', via: people.via, ...shown(person) });
    else printLine(`${person.name}: ${[person.roles.join(' '), stateOf(person)].filter(Boolean).join(', ')}`);
  });
}

const shown = ({ id, issuer, name, roles, meters, disabled }: Person): object => ({
  ...{ id, issuer, name, roles, meters, disabled },
});

const stateOf = ({ disabled, issuer }: Person): string =>
  [disabled ? 'disabled' : '', issuer === embeddedIssuerName ? '' : `of ${issuer}`].filter(Boolean).join(', ');

/** @throws NotFoundError `account-unknown`; ConflictError `account-ambiguous` */
async function named(people: People, name: string): Promise<Person> {
  const found = (await people.all()).filter((each) => each.name === name || each.id === name);
  const [first, second] = found;
  if (!first) throw new NotFoundError('account-unknown', `there is no account ${name}: "gridring user ls"`);
  if (!second) return first;
  const ids = found.map(({ id }) => id).join(', ');
  throw new ConflictError('account-ambiguous', `several accounts are called ${name}: name one by its id, of ${ids}`);
}

/** @throws NotFoundError `role-unknown` */
function checkedRoles(roles: readonly string[] = []): readonly string[] {
  const unknown = roles.find((role) => !Object.hasOwn(personRoles, role));
  if (unknown === undefined) return roles;
  throw new NotFoundError('role-unknown', `no role ${unknown}: ${Object.keys(personRoles).join(', ')}`);
}
