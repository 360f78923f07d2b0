/** The roles of people and certificates: the page that shows them, and what several together reach. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { scopesOfDevice, scopesOfPerson } from '../../servients/auth/principal.js';
import { certificateRoles, personRoles, scopes, type Scope } from '../../servients/auth/roles.js';

const page = readFileSync(new URL('../../docs/roles.md', import.meta.url), 'utf8');

/** Rows of the table under a heading, its cells trimmed. */
function tableUnder(heading: string): readonly (readonly string[])[] {
  const section = page.split(/^## /m).find((text) => text.startsWith(heading)) ?? '';
  const rows = section.split('\n').filter((line) => line.startsWith('|'));
  return rows.map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

const expected = (roles: Readonly<Record<string, readonly Scope[]>>, mark: (role: string) => string) =>
  (Object.keys(scopes) as readonly Scope[]).map((scope) => [
    `\`${scope}\``,
    ...Object.entries(roles).map(([role, has]) => (has.includes(scope) ? mark(role) : '')),
  ]);

describe('docs/roles.md', () => {
  it('lists every scope with what it is for', () => {
    expect(tableUnder('Scopes').slice(2)).toEqual(
      Object.entries(scopes).map(([scope, text]) => [`\`${scope}\``, text]),
    );
  });

  it.each([
    { heading: 'People', roles: personRoles as Readonly<Record<string, readonly Scope[]>> },
    { heading: 'Certificates', roles: certificateRoles },
  ])('says of every role under “$heading” what it may, and no more', ({ heading, roles }) => {
    const [header, , ...rows] = tableUnder(heading);
    expect(header).toEqual(['', ...Object.keys(roles)]);
    expect(rows).toEqual(expected(roles, (role) => (role === 'HOUSEHOLD' ? 'own' : '×')));
  });
});

describe('several roles of one person', () => {
  it('reach together what each of them does: a household that views all meters reads its own alone', () => {
    const found = scopesOfPerson(['HOUSEHOLD', 'VIEWER']);
    expect([found.get('meters:read'), found.get('readings:read')]).toEqual(['all', 'own']);
    expect(scopesOfPerson(['VIEWER', 'HOUSEHOLD'])).toEqual(found);
  });

  it('are cut down to what the token was given for, and never widened by it', () => {
    const granted = new Set(['meters:read', 'users:manage', 'openid']);
    expect(scopesOfPerson(['OPERATOR'], granted)).toEqual(new Map([['meters:read', 'all']]));
    expect(scopesOfDevice({ role: 'reader' }, granted)).toEqual(new Map([['meters:read', 'all']]));
    expect(scopesOfPerson([]).size).toBe(0);
  });

  it('give nobody but gateways what gateways do, and nobody but RBACMNT and the authority the accounts', () => {
    const having = (scope: Scope): readonly string[] =>
      Object.entries({ ...personRoles, ...certificateRoles } as Readonly<Record<string, readonly Scope[]>>)
        .filter(([, has]) => has.includes(scope))
        .map(([role]) => role);
    expect(having('gateway')).toEqual(['gateway']);
    expect(having('users:manage')).toEqual(['RBACMNT', 'authority']);
  });
});
