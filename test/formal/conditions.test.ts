/** What the models rest on must hold in the code: `formal/README.md` names the tests that see to it. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const textOf = (path: string): string => readFileSync(`${root}${path}`, 'utf8');
const readme = textOf('formal/README.md');

interface NamedTest {
  readonly title: string;
  readonly file: string;
}

interface Condition {
  readonly name: string;
  readonly tests: readonly NamedTest[];
}

/** Links `[title of a test](../test/….ts)`. */
const testsIn = (text: string): readonly NamedTest[] =>
  [...text.matchAll(/\[([^\]]+)\]\(\.\.\/(test\/[^)]+)\)/g)].map(([, title = '', file = '']) => ({ title, file }));

function expectExists({ title, file }: NamedTest): void {
  const calls = textOf(file).replaceAll(/\(\s+/g, '(');
  expect(calls.includes(`('${title}'`), `${title} in ${file}`).toBe(true);
}

/** Rows `| K1 | condition | [title of a test](../test/….ts) … |`. */
const conditions = readme
  .split('\n')
  .filter((line) => /^\| K\d+ \|/.test(line))
  .map((line): Condition => ({ name: line.split('|')[1]?.trim() ?? '', tests: testsIn(line) }));

describe('the conditions of the models', () => {
  it('are numbered without a gap, and the rules of the protocol are among them', () => {
    expect(conditions.map(({ name }) => name)).toEqual(conditions.map((_, i) => `K${i + 1}`));
    for (const rule of [1, 2, 3, 4, 5, 6]) expect(readme).toContain(`(rule ${rule})`);
  });

  it.each(conditions)('have tests of the code by these titles: $name', ({ tests }) => {
    expect(tests.length).toBeGreaterThan(0);
    for (const test of tests) expectExists(test);
  });
});

describe('the security analysis', () => {
  const analysis = textOf('docs/security-analysis.md');
  const rowsOf = (section: string): readonly string[] => {
    const [, text = ''] = analysis.split(`\n## ${section}\n`);
    return (text.split('\n## ')[0] ?? '').split('\n').filter((line) => /^\| (?!attack|---)/.test(line));
  };

  it('names tests that exist', () => {
    expect(testsIn(analysis).length).toBeGreaterThan(0);
    for (const test of testsIn(analysis)) expectExists(test);
  });

  it('has a test for each attack of the catalogue', () => {
    const attacks = rowsOf('The catalogue of attacks');
    expect(attacks.length).toBeGreaterThan(0);
    for (const row of attacks) expect(testsIn(row).length, row).toBeGreaterThan(0);
  });

  it('names models that exist', () => {
    const named = [...analysis.matchAll(/`((?:full|constrained|mutant)\d?_\w+)`/g)].map(([, name = '']) => name);
    const files = readdirSync(`${root}formal`);
    expect(named.filter((name) => !files.includes(`${name}.pv`))).toEqual([]);
  });
});

describe('the README of the models', () => {
  it('lists every file for ProVerif, and no other', () => {
    const files = readdirSync(`${root}formal`).filter((name) => name.endsWith('.pv'));
    const listed = readme.matchAll(/`([a-z]+\d?_[a-z0-9_]+)`/g);
    expect(new Set([...listed].map(([, name]) => `${name ?? ''}.pv`))).toEqual(new Set(files));
  });

  it('lists every run of Spin with the result that the check expects', () => {
    const runs = textOf('formal/check.sh').matchAll(/^(?:quick|all|long)\|([^|]+)\|(none|cycle|A\d)\|/gm);
    const rows = readme.split('\n').map((line) => line.split('|').map((cell) => cell.trim()));
    for (const [, name = '', expected = ''] of runs) {
      expect(rows.find(([, first]) => first === name)?.[2], name).toBe(expected);
    }
  });
});
