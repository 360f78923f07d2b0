/** Thing Descriptions that are not ours: the examples of the TD playground, and what those of vendors look like. */
import { readdirSync, readFileSync } from 'node:fs';

export type Td = Readonly<Record<string, unknown>>;

const examples = new URL('../../node_modules/@thing-description-playground/core/examples/tds/', import.meta.url);

/** The playground's examples of a kind, as text, by file name. What it says of them is the name of their folder. */
export const playgroundExamples = (kind: 'valid' | 'invalid' | 'warning'): readonly (readonly [string, string])[] =>
  readdirSync(new URL(`${kind}/`, examples)).map((file) => [
    file,
    readFileSync(new URL(`${kind}/${file}`, examples), 'utf8'),
  ]);

const casesOf = (file: string): readonly (readonly [string, Td])[] => {
  const text = readFileSync(new URL(`../vectors/td/${file}`, import.meta.url), 'utf8');
  const { cases } = JSON.parse(text) as { readonly cases: readonly { readonly after: string; readonly td: Td }[] };
  return cases.map(({ after, td }) => [after, td]);
};

export const vendorTds = casesOf('vendors.json');

/** All that a directory has to take as it is. */
export const foreignTds: readonly (readonly [string, Td])[] = [
  ...[...playgroundExamples('valid'), ...playgroundExamples('warning')].map(
    ([file, text]) => [file, JSON.parse(text) as Td] as const,
  ),
  ...casesOf('accepted.json'),
  ...vendorTds,
];
