/** What the models rest on must hold in the code: `formal/README.md` names the tests that see to it. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const textOf = (path: string): string => readFileSync(`${root}${path}`, 'utf8');
const readme = textOf('formal/README.md');

interface Condition {
  readonly name: string;
  readonly tests: readonly { readonly title: string; readonly file: string }[];
}

/** Rows `| K1 | condition | [title of a test](../test/….ts) … |`. */
const conditions = readme
  .split('\n')
  .filter((line) => /^\| K\d+ \|/.test(line))
  .map((line): Condition => {
    const links = line.matchAll(/\[([^\]]+)\]\(\.\.\/(test\/[^)]+)\)/g);
    return {
      name: line.split('|')[1]?.trim() ?? '',
      tests: [...links].map(([, title = '', file = '']) => ({ title, file })),
    };
  });

describe('the conditions of the models', () => {
  it('are numbered without a gap, and the rules of the protocol are among them', () => {
    expect(conditions.map(({ name }) => name)).toEqual(conditions.map((_, i) => `K${i + 1}`));
    for (const rule of [1, 2, 3, 4, 5, 6]) expect(readme).toContain(`(rule ${rule})`);
  });

  it.each(conditions)('have tests of the code by these titles: $name', ({ tests }) => {
    expect(tests.length).toBeGreaterThan(0);
    for (const { title, file } of tests) {
      const calls = textOf(file).replaceAll(/\(\s+/g, '(');
      expect(calls.includes(`('${title}'`), `${title} in ${file}`).toBe(true);
    }
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
