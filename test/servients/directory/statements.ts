/**
 * Which statements of WoT Discovery the tests of the directory show. A test that shows some names them first, by `shows`;
 * the table of docs/directory.md is made of those that have passed.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { expect, onTestFinished } from 'vitest';

type TestTask = Parameters<Parameters<typeof onTestFinished>[0]>[0]['task'];

interface Statement {
  readonly id: string;
  readonly text: string;
}

const { statements } = JSON.parse(
  readFileSync(new URL('../../vectors/td/discovery-statements.json', import.meta.url), 'utf8'),
) as { readonly statements: readonly Statement[] };

/** Searching other directories by SPARQL, which this one does not. */
const leftOut = new Set(['tdd-search-sparql-federation', 'tdd-search-sparql-federation-version']);
const ids = new Set(statements.map(({ id }) => id));
const shownBy = new Map<string, Set<TestTask>>();

/** Of the test that runs: the statements that it shows, by their ids. */
export function shows(...shown: readonly string[]): void {
  for (const id of shown) if (!ids.has(id)) throw new Error(`${id} is no statement of WoT Discovery on directories`);
  onTestFinished(({ task }) => {
    for (const id of shown) shownBy.set(id, (shownBy.get(id) ?? new Set()).add(task));
  });
}

const document = new URL('../../../docs/directory.md', import.meta.url);
const table = /(?<=<!-- statements: [^\n]*-->\n)[\s\S]*(?=<!-- end of the statements -->)/;

/**
 * That each statement is shown, by tests that passed in every one of the modes, and that the document says so. With
 * WRITE_VECTORS=1 it is written.
 */
export function expectTable(modes: readonly string[]): void {
  const isShownIn = (id: string, mode: string): boolean =>
    [...(shownBy.get(id) ?? [])].some((test) => test.result?.state === 'pass' && groupsOf(test).includes(mode));
  const missing = statements
    .filter(({ id }) => !leftOut.has(id))
    .flatMap(({ id }) => modes.filter((mode) => !isShownIn(id, mode)).map((mode) => `${id}: ${mode}`));
  expect(missing, 'statements that no test shows').toEqual([]);
  const text = readFileSync(document, 'utf8');
  const current = text.replace(table, () => `\n${rowsOf(modes)}\n\n`);
  if (process.env.WRITE_VECTORS === '1') writeFileSync(document, current);
  else expect(text, 'stale: WRITE_VECTORS=1 npx vitest run test/servients/directory.test.ts').toBe(current);
}

function rowsOf(modes: readonly string[]): string {
  const rows = statements.map(({ id, text }) => {
    if (leftOut.has(id)) return [`\`${id}\``, levelOf(text), '', 'not implemented'];
    const titles = new Set([...(shownBy.get(id) ?? [])].map((test) => titleOf(test, modes)));
    return [`\`${id}\``, levelOf(text), [...titles].sort().join('<br>'), `passed: ${modes.join(', ')}`];
  });
  const lines = [['statement', 'level', 'test', 'result'], ['---', '---', '---', '---'], ...rows];
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

/** The strongest word of RFC 2119 in it. */
const levelOf = (text: string): string => {
  if (/\bMUST\b/.test(text)) return 'MUST';
  return /\bSHOULD\b|\bRECOMMENDED\b/.test(text) ? 'SHOULD' : 'MAY';
};

/** Of the describe blocks around a test, from outside. */
function groupsOf(test: TestTask): readonly string[] {
  const groups: string[] = [];
  for (let suite = test.suite; suite; suite = suite.suite) groups.unshift(suite.name);
  return groups;
}

const titleOf = (test: TestTask, modes: readonly string[]): string =>
  [...groupsOf(test).filter((name) => !modes.includes(name)), test.name].join(': ');
